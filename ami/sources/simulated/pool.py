"""Give out pre-made events again and again: the parts that simulated sources share.

Making a random number costs more than reducing it, so a simulation that makes its events while
it runs measures itself. Here they are made once, and an event is a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import SourceError
from ami.event import Array, Schema, Slots
from ami.sources.base import Step, Timestamps

# 2026-01-01T00:00:00Z. A fixed day, not today: the same position has the same timestamp in every
# process, so that a source that was killed goes on where it stopped.
START_NS = 1_767_225_600 * 10**9


class Clock:
    """Timestamps of events at even distance, which is a whole number of ns, at least 1."""

    def __init__(self, rate_hz: float) -> None:
        self.period_ns = max(1, round(1e9 / rate_hz))
        self.rate_hz = 1e9 / self.period_ns
        self._ramp = np.empty(0, np.int64)

    def write(self, index: int, into: Timestamps) -> None:
        if len(self._ramp) < len(into):
            self._ramp = np.arange(len(into), dtype=np.int64) * self.period_ns
        np.add(self._ramp[: len(into)], START_NS + index * self.period_ns, out=into)


class Pooled:
    """An :class:`~ami.sources.base.Input` that copies each field from a pool, made when it is first read.

    Args:
        where: what errors name.
        options: of these, share and fields of the values that are ``missing``, and the ``seed``; or none.
    """

    count: int | None = None
    skipped: tuple[str, ...] = ()

    def __init__(self, where: str, schema: Schema, clock: Clock, options: Mapping[str, Any]) -> None:
        self.schema = schema
        self.rate_hz = clock.rate_hz
        self._clock = clock
        self._options = options
        self._lost = frozenset(options.get("missing_fields", ()))
        if unknown := self._lost - set(schema.names):
            known = ", ".join(schema.names)
            raise SourceError(f"{where}: missing_fields: there is no {min(unknown)!r}; known: {known}")
        self._pools: dict[str, Array] = {}

    def timestamps(self, index: int, into: Timestamps) -> None:
        self._clock.write(index, into)

    def step(self, index: int) -> Step | None:
        return None

    def read(self, index: int, into: Slots, fields: frozenset[str]) -> None:
        into.set_valid(fields)
        for name in fields:
            if name not in self._pools:
                self._pools[name] = self._make(name)
            self._copy(self._pools[name], index, into.columns[name])
        if self._options.get("missing") and (lost := fields & self._lost):
            missing = is_missing(index, into.count, self._options["missing"], self._options["seed"])
            into.set_missing(lost, missing)

    def _make(self, name: str) -> Array:
        """Return the pool of a field."""
        raise NotImplementedError

    def _copy(self, pool: Array, index: int, into: Array) -> None:
        copy_cyclic(pool, index, into)

    def close(self) -> None:
        self._pools.clear()


def copy_cyclic(pool: Array, index: int, into: Array) -> None:
    """Fill ``into`` with the rows from ``index`` on of ``pool``, which is repeated without end."""
    at, done = index % len(pool), 0
    while done < len(into):
        count = min(len(pool) - at, len(into) - done)
        into[done : done + count] = pool[at : at + count]
        done, at = done + count, 0


def is_missing(index: int, count: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which of the events from ``index`` on lack a value: about ``share`` of them.

    Event i does if ``mix(i + seed * 2**40) < share * 2**64``, where mix is the output function of
    SplitMix64: a rule, not a draw, so that it can be checked for every event alone.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mixed = np.arange(index, index + count, dtype=np.uint64) + np.uint64((seed << 40) % 2**64)
    mixed += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed.astype(np.float64) < share * 2.0**64)
