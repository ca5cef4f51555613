"""What a worker sends to the local reducer: a partial of one entry, and the slots whose events it has."""

from __future__ import annotations

from typing import Any

from ami.graph.execution.partial import ErrorRecord, Partial
from ami.graph.library.base import State
from ami.messages.message import message
from ami.ring.entries import Entry
from ami.stores import codec, columns


def _pack_states(states: dict[str, State]) -> tuple[list[str], list[Any]]:
    return list(states), columns.pack(list(states.values()))


def _unpack_states(packed: Any) -> dict[str, State]:
    keys, states = packed
    return dict(zip(keys, columns.unpack(states), strict=True))


codec.register(ErrorRecord)
codec.register(Partial, packed={"states": (_pack_states, _unpack_states)})


@message
class EntryFacts:
    """Of which entry something is. With it a partial means something also when its ring is gone."""

    ring: int
    index: int
    interval: int
    run: int
    step: int
    step_value: float
    graph_version: int

    @classmethod
    def of(cls, ring: int, entry: Entry) -> EntryFacts:
        """Return the facts of a ring's entry."""
        return cls(
            ring=ring,
            index=entry.index,
            interval=entry.interval,
            run=entry.run,
            step=entry.step,
            step_value=entry.step_value,
            graph_version=entry.graph_version,
        )


@message
class Covers:
    """Which events of an entry a partial is of: how many, from when to when (ns; None: of none)."""

    events: int = 0
    first_ns: int | None = None
    last_ns: int | None = None

    def plus(self, other: Covers) -> Covers:
        """Return what both cover. They have no event in common."""
        firsts = [one.first_ns for one in (self, other) if one.first_ns is not None]
        lasts = [one.last_ns for one in (self, other) if one.last_ns is not None]
        return Covers(
            events=self.events + other.events,
            first_ns=min(firsts, default=None),
            last_ns=max(lasts, default=None),
        )


@message
class Flush:
    """A record of a worker's journal of flushes."""

    entry: EntryFacts
    covers: Covers
    partial: Partial


@message
class Covered:
    """The slots of a worker's last flush, set in one step with it: its successor commits them."""

    ring: int
    flush: int
    runs: list[tuple[int, int]]
