"""Hold a reduction's state of one part of the stream, with the account of the events in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ami.graph.library.base import State

Place = tuple[int, int]  # run and interval, as things are ordered
ANY: Place = (0, 0)  # the place of a bucket that is bound to no run or interval


class Arrival(NamedTuple):
    """What all windows count of a partial: where it is from, its events, and when they came (ns), if any.

    ``to_come``: as of a bucket.
    """

    place: Place
    expected: int
    dropped: int
    set_aside: int
    first_ns: int | None
    last_ns: int | None
    to_come: int


@dataclass(slots=True)
class Bucket:
    """A state, None of no events, and the account of its events.

    ``first``, ``last``: the oldest and the newest interval in it; ``first_ns``, ``last_ns``: when its first
    and last event came. ``to_come``: of how many parts of intervals the rest is still to come.
    """

    state: State = None
    used: int = 0
    expected: int = 0
    dropped: int = 0
    set_aside: int = 0
    first: Place | None = None
    last: Place | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    to_come: int = 0

    @classmethod
    def of(cls, state: State, used: int, of: Arrival) -> Bucket:
        """Return one with a partial in it."""
        place, expected, dropped, set_aside, first_ns, last_ns, to_come = of
        return cls(state, used, expected, dropped, set_aside, place, place, first_ns, last_ns, to_come)

    def count(self, used: int, of: Arrival) -> None:
        """Add a partial to the account."""
        self.used += used
        self.expected += of.expected
        self.dropped += of.dropped
        self.set_aside += of.set_aside
        self.to_come += of.to_come
        self._reach(of.place, of.place, of.first_ns, of.last_ns)

    def with_account(self, other: Bucket) -> Bucket:
        """Return a bucket with the account of both, and no state."""
        both = Bucket(
            None, self.used + other.used, self.expected + other.expected, self.dropped + other.dropped,
            self.set_aside + other.set_aside, self.first, self.last, self.first_ns, self.last_ns,
            self.to_come + other.to_come,
        )  # fmt: skip
        if other.first is not None and other.last is not None:
            both._reach(other.first, other.last, other.first_ns, other.last_ns)
        return both

    def _reach(self, first: Place, last: Place, first_ns: int | None, last_ns: int | None) -> None:
        if self.first is None or first < self.first:
            self.first = first
        if self.last is None or last > self.last:
            self.last = last
        if first_ns is not None and (self.first_ns is None or first_ns < self.first_ns):
            self.first_ns = first_ns
        if last_ns is not None and (self.last_ns is None or last_ns > self.last_ns):
            self.last_ns = last_ns
