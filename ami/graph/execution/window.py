"""Keep the buckets of one reduction's window, and say what is in it at a place of the stream.

A window is a set of *buckets*, each with a state and the account of the events in it: one for each run, each
interval, or each pane of a window of time. A partial goes into the bucket that its run and interval name, so
one that comes late, or a supplement, lands where it belongs. A few older buckets are kept for that.

Windows of N events: :mod:`ami.graph.execution.picking`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ami.graph.execution.bucket import Arrival, Bucket, Place
from ami.graph.execution.partial import Partial
from ami.graph.execution.sliding import Sliding
from ami.graph.library.base import Reduction, State, bytes_of
from ami.graph.library.window import Panes, length_ns, panes_of

KEPT_RUNS = 2  # this one, and the one before for what comes late at the border
KEPT_INTERVALS = 4  # beyond those that a window needs, to take in what comes late


@dataclass(slots=True)
class Floor:
    """The place at which windows are looked at, where that is not the newest: shared by all of them."""

    place: Place | None = None


class Window:
    """The buckets of one reduction.

    Args:
        since: the graph version with which the reduction came in: an event-less partial of an
            older version says nothing about it.
    """

    is_of_events: ClassVar[bool] = False

    def __init__(self, reduction: Reduction, since: int) -> None:
        self.reduction = reduction
        self.since = since
        self.buckets: dict[Place, Bucket] = {}  # in the order of their places
        self.batch: Bucket | None = None  # the last full one, of window "N events"
        self.is_of_runs = reduction.window == "run"
        self.floor = Floor()
        self._near: tuple[tuple[Place, int], list[Place]] | None = None  # what was found last
        self._sliding = Sliding(reduction)
        self.choose()

    def choose(self, *, interval_ns: int = 1, one_in: int = 1, large: bool = False) -> None:
        """Say how long intervals are, and how many of them are taken in.

        Args:
            one_in: only intervals whose number this divides; nobody leaves any out of a window of time.
            large: the states are.
        """
        window = self.reduction.window
        is_of_time = length_ns(window) > 0
        self._one_in = 1 if self.is_of_runs or is_of_time else one_in
        cut = panes_of(window, interval_ns, large=large)
        self._cut = Panes(-(-cut.intervals // self._one_in), 1) if self._one_in > 1 else cut
        self._step = max(self._one_in, self._cut.each)
        older = 1 if self._one_in > 1 or (large and is_of_time) else KEPT_INTERVALS
        self._kept = KEPT_RUNS if self.is_of_runs else self._cut.most + older
        self._sliding.forget()

    def forget_intervals(self) -> None:
        """Begin anew if it is of intervals: those that come have another length, and so other numbers."""
        if not self.is_of_runs:
            self.buckets, self._near = {}, None

    def where(self, place: Place) -> Place:
        """Return the place of the bucket into which goes what comes from ``place``."""
        if self.is_of_runs:
            return (place[0], 0)
        each = self._cut.each
        return place if each == 1 else (place[0], place[1] - place[1] % each)

    def apply(self, partial: Partial, key: str, of: Arrival) -> bool:
        """Take a partial in; return whether it came too late for that."""
        state = partial.states.get(key)
        if state is None and key not in partial.states and partial.graph_version < self.since:
            return False
        if of.place[1] % self._one_in:
            return False
        where, used = self.where(of.place), partial.used.get(key, 0)
        bucket = self.buckets.get(where)
        if bucket is None:
            return not self._begin(where, Bucket.of(state, used, of))
        if self._cut.most > 1:
            self._sliding.forget(where)
        self._add(bucket, state, used, of)
        return False

    def _begin(self, where: Place, bucket: Bucket) -> bool:
        """Put a bucket where there is none; return whether it is kept, and those after it are not enough."""
        buckets = self.buckets
        if buckets and where < next(reversed(buckets)):
            if len(buckets) >= self._kept and where < next(iter(buckets)):
                return False
            self.buckets = buckets = dict(sorted([*buckets.items(), (where, bucket)]))
            self._sliding.forget(where)
        else:
            buckets[where] = bucket
        self._near = None
        if len(buckets) > self._kept:
            self._let_go(self._kept)
        return True

    def _let_go(self, kept: int) -> None:
        """Remove the oldest buckets, but keep so many up to the place at which the window is looked at."""
        if self.floor.place is not None:
            last = self.where(self.floor.place)
            kept += sum(place > last for place in self.buckets)
        while len(self.buckets) > kept:
            del self.buckets[next(iter(self.buckets))]

    def _add(self, bucket: Bucket, state: State, used: int, of: Arrival) -> None:
        bucket.count(used, of)
        if state is not None:
            bucket.state = state if bucket.state is None else self.reduction.merge(bucket.state, state)

    def begin_run(self, run: int) -> None:
        """Make the run's bucket the newest, so that results begin anew without an event."""
        if self.is_of_runs and (run, 0) not in self.buckets:
            self._begin((run, 0), Bucket())

    def at(self, place: Place) -> Bucket | None:
        """Return the bucket of the window that ends at ``place``, None when there is nothing in it.

        For a window of several intervals or panes it is made by merging their buckets.
        """
        if self.is_of_runs:
            return self.buckets.get((place[0], 0))
        newest = place if self._step == 1 else (place[0], place[1] - place[1] % self._step)
        if self._cut.most == 1:
            return self.buckets.get(newest)
        places = self._list_near(newest, place)
        return self._sliding.merge(self.buckets, places) if places else None

    def _list_near(self, newest: Place, place: Place) -> list[Place]:
        """Return where the buckets of a window are, by number: a gap in the events is a gap in the window."""
        if self._one_in > 1:
            oldest = newest[1] - (self._cut.intervals - 1) * self._one_in
        else:
            oldest = place[1] - self._cut.intervals + 1
            oldest -= oldest % self._cut.each
        if self._near is not None and self._near[0] == (newest, oldest):
            return self._near[1]
        near: list[Place] = []
        for where in sorted(self.buckets, reverse=True):
            if where > newest:
                continue
            # Where time went back, with another recording, an earlier run's events are not near.
            if not oldest <= where[1] <= (near[-1] if near else newest)[1]:
                break
            near.append(where)
        near.reverse()
        self._near = ((newest, oldest), near)
        return near

    def measure(self) -> int:
        """Return how many bytes its states have."""
        buckets = [*self.buckets.values(), *([] if self.batch is None else [self.batch])]
        return sum(bytes_of(bucket.state) for bucket in buckets)

    def to_plain(self) -> dict[str, Any]:
        """Return it as what the stores' codec carries; the states are not copied."""
        return {"since": self.since, "buckets": dict(self.buckets), "batch": self.batch}

    def load(self, plain: Mapping[str, Any]) -> None:
        """Take up what :meth:`to_plain` described."""
        self.since = int(plain["since"])
        buckets = sorted(plain["buckets"].items())
        self.buckets = {(int(r), int(i)): replace(bucket) for (r, i), bucket in buckets}
        self.batch = None if plain["batch"] is None else replace(plain["batch"])
        self._near = None
        self._sliding.forget()
