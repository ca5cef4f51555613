"""Hold a reduction's state of one part of the stream, with the account of the events in it."""

from __future__ import annotations

from dataclasses import dataclass

from ami.graph.execution.partial import Partial
from ami.graph.library.base import State

Place = tuple[int, int]  # run and interval, as things are ordered
ANY: Place = (0, 0)  # the place of a bucket that is bound to no run or interval


@dataclass(slots=True)
class Bucket:
    """A state, None of no events, and the account of its events."""

    state: State = None
    used: int = 0
    expected: int = 0
    dropped: int = 0
    set_aside: int = 0
    first: Place | None = None  # oldest and newest interval in it
    last: Place | None = None

    def count(self, partial: Partial, used: int, expected: int, dropped: int, place: Place) -> None:
        """Add a partial to the account."""
        self.used += used
        self.expected += expected
        self.dropped += dropped
        self.set_aside += partial.set_aside
        self.first = place if self.first is None else min(self.first, place)
        self.last = place if self.last is None else max(self.last, place)
