"""Say what a source is: a numbered input of events that can be read from any position on.

A source knows nothing of rings, stores or clocks. It answers which events come next and when they
happened (:meth:`Source.span`), and writes their values where it is told (:meth:`Source.read`). So
the daemon that plays it can be killed at any instruction: its successor asks again from the
position that the ring remembers, and gets the same events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ami.event import Schema, Slots, Transition

Timestamps = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Span:
    """Some of the events that come next, all of one step.

    ``timestamps`` has an entry for each event, in ns, ascending. ``transitions`` are what the data
    acquisition said between the event before ``first`` and ``first``, in order, with their values:
    the number of the run, or the value of the step. Begin of the first run and end of the last are
    not among them: whoever plays an input begins a run with it, and ends it.
    """

    first: int
    timestamps: Timestamps
    transitions: tuple[tuple[Transition, float], ...] = ()
    step_value: float = 0.0

    @property
    def count(self) -> int:
        return len(self.timestamps)


class Source(Protocol):
    """A numbered input of events with its pace; see the module.

    schema: fields of every event.
    identity: hex digest of what the input is. Equal input, equal identity; pace and policy do not
        enter, so that a replay may go on at another speed.
    length: number of events, or None where there is no end.
    paced: events are due when their timestamps say so; False: as fast as possible.
    start_ns: timestamp of position 0.
    speed: event time per wall time; an event is due ``(timestamp - start_ns) / speed`` ns after the start.
    interval_s: length of interval that the URI asks for or, in a replay as fast as possible, that is
        proposed; None: the node's setting. :func:`ami.sources.intervals.choose` weighs them.
    interval_fixed: the URI asks for ``interval_s``.
    policy: "wait" or "drop" where the URI says so.
    skipped: what of the input is no field, each with the reason, for people.
    """

    schema: Schema
    identity: str
    length: int | None
    paced: bool
    start_ns: int
    speed: float
    interval_s: float | None
    interval_fixed: bool
    policy: str | None
    skipped: tuple[str, ...]

    def span(self, first: int, limit: int) -> Span | None:
        """Return up to ``limit`` events from position ``first`` on, or None at the end.

        Raises:
            SourceError: the input has gone bad.
        """

    def read(self, first: int, into: Slots, fields: frozenset[str]) -> None:
        """Write the events from position ``first`` on: the columns of ``fields``, valid bits, timestamps.

        Bits of other fields are cleared. What stands in a column where its bit is clear means nothing.

        Raises:
            SourceError: the input has gone bad, or ends before ``first + into.count``.
        """

    def close(self) -> None:
        """Let go of files and memory. Called once."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an event stands in runs and steps: numbers, value, and index of the first event behind."""

    run: int
    number: int
    value: float
    stop: int


class Input(Protocol):
    """What a protocol provides: events by index. Selection, repetition and pace are put around it
    by :class:`ami.sources.playback.Playback`, once for all of them.

    content: text that is equal for equal input, from which the identity is made.
    count: number of events, or None where there is no end.
    rate_hz: mean number of events per second of event time.
    """

    schema: Schema
    content: str
    count: int | None
    skipped: tuple[str, ...]

    @property
    def rate_hz(self) -> float: ...

    def timestamps(self, index: int, into: Timestamps) -> None:
        """Write the timestamps, in ns, of ``len(into)`` events from ``index`` on."""

    def step(self, index: int) -> Step | None:
        """Return the step of an event; None where the input has no steps."""

    def read(self, index: int, into: Slots, fields: frozenset[str]) -> None:
        """Write columns of ``fields`` and all valid bits of the events from ``index`` on."""

    def close(self) -> None:
        """Let go of files and memory."""
