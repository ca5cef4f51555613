"""Keep the buckets of one reduction's window, and say what is in it at a place of the stream.

A window is a set of *buckets*, each with a state and the account of the events in it: one for each run, each
interval, or each pane of a window of time. A partial goes into the bucket that its run and interval name, so
one that comes late, or a supplement, lands where it belongs. A few older buckets are kept for that.

A window of N events picks them from each interval as from a whole, however many parts it comes in: the
newest interval has a bucket of its own until the next one begins; what was picked before waits in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ami.graph.execution.bucket import ANY, Arrival, Bucket, Place
from ami.graph.execution.partial import Partial
from ami.graph.execution.sliding import Sliding
from ami.graph.library.base import Reduction, bytes_of
from ami.graph.library.window import Panes, length_ns, panes_of

KEPT_RUNS = 2  # this one, and the one before for what comes late at the border
KEPT_INTERVALS = 4  # beyond those that a window needs, to take in what comes late


class Window:
    """The buckets of one reduction.

    Args:
        since: the graph version with which the reduction came in: an event-less partial of an
            older version says nothing about it.
    """

    def __init__(self, reduction: Reduction, since: int) -> None:
        self.reduction = reduction
        self.since = since
        self.buckets: dict[Place, Bucket] = {}
        self.batch: Bucket | None = None  # the last full one, of window "N events"
        window = reduction.window
        self.is_of_runs = window == "run"
        self._events = int(window.split()[0]) if window.endswith(" events") else 0
        self.is_of_events = self._events > 0
        self._is_of_time = length_ns(window) > 0
        self._newest = ANY  # place of the newest bucket
        self._near: tuple[tuple[Place, int], list[Place]] | None = None  # what was found last
        self._sliding = Sliding(reduction)
        self._ahead: tuple[Bucket | None, Bucket] | None = None
        self.choose()

    def choose(self, *, interval_ns: int = 1, one_in: int = 1, large: bool = False) -> None:
        """Say how long intervals are, and how many of them are taken in.

        Args:
            one_in: only intervals whose number this divides; nobody leaves any out of a window of time.
            large: the states are.
        """
        # A window that is of no intervals has no such.
        none = self.is_of_runs or self._events
        self._one_in = 1 if none or self._is_of_time else one_in
        cut = Panes(1, 1) if none else panes_of(self.reduction.window, interval_ns, large=large)
        self._cut = Panes(-(-cut.intervals // self._one_in), 1) if self._one_in > 1 else cut
        older = 1 if self._one_in > 1 or (large and self._is_of_time) else KEPT_INTERVALS
        self._step = max(self._one_in, self._cut.each)
        # Of N events there are the newest interval and what was picked before.
        self._kept = KEPT_RUNS if none else self._cut.most + older
        self._sliding.forget()

    def forget_intervals(self) -> None:
        """Begin anew if it is of intervals: those that come have another length, and so other numbers."""
        if not self.is_of_runs and not self._events:
            self.buckets, self._newest, self._near = {}, ANY, None

    def where(self, place: Place) -> Place:
        """Return the place of the bucket into which goes what comes from ``place``."""
        if self.is_of_runs:
            return (place[0], 0)
        return (place[0], place[1] - place[1] % self._cut.each)

    def apply(self, partial: Partial, key: str, of: Arrival) -> bool:
        """Take a partial in; return whether it came too late for that."""
        state = partial.states.get(key)
        if state is None and key not in partial.states and partial.graph_version < self.since:
            return False
        if of.place[1] % self._one_in:
            return False
        where = self.where(of.place)
        bucket = self.buckets.get(where) or self._begin(where)
        if bucket is None:
            return True
        self._sliding.forget(where)
        self._ahead = None
        bucket.count(partial.used.get(key, 0), of)
        if state is not None:
            bucket.state = state if bucket.state is None else self.reduction.merge(bucket.state, state)
        if self.is_of_events and where < self._newest:
            self._pour(*self._poured(bucket))
        return False

    def _begin(self, where: Place) -> Bucket | None:
        """Return a bucket for a place that has none; None: places before it are no longer kept."""
        if self.is_of_events:
            if where < self._newest:
                return Bucket()  # late, because its node is: it is picked from by itself
            if self._newest != ANY:
                self._pour(*self._look_ahead())
                del self.buckets[self._newest]
        elif len(self.buckets) >= self._kept and where < min(self.buckets):
            return None
        bucket = self.buckets[where] = Bucket()
        self._newest, self._near = max(where, self._newest), None
        while len(self.buckets) > self._kept:
            del self.buckets[min(self.buckets)]
        return bucket

    def _look_ahead(self) -> tuple[Bucket | None, Bucket]:
        """Return what there is when the newest interval has ended, should nothing more come of it."""
        if self._ahead is None:
            self._ahead = self._poured(self.buckets[self._newest])
        return self._ahead

    def _poured(self, more: Bucket) -> tuple[Bucket | None, Bucket]:
        """Return the batch that is full with these events, if one is, and what is left for the next one."""
        pool = self.buckets.get(ANY) or Bucket()
        both = pool.with_account(more)
        full, left = self.reduction.fill(pool.state, more.state)
        if full is None:
            return None, replace(both, state=left)
        first_ns, last_ns = self.reduction.times(full) or (both.first_ns, both.last_ns)
        batch = replace(both, state=full, used=self._events, first_ns=first_ns, last_ns=last_ns)
        # What is left is of the newest interval, which is then one of those that the next batch is from.
        return batch, Bucket() if left is None else replace(more, state=left)

    def _pour(self, full: Bucket | None, left: Bucket) -> None:
        """Let the events that were picked go into the batch in the making."""
        self.batch = full or self.batch
        self.buckets[ANY] = left
        self._ahead = None

    def begin_run(self, run: int) -> None:
        """Make the run's bucket the newest, so that results begin anew without an event."""
        if self.is_of_runs:
            self.buckets.setdefault((run, 0), Bucket())
            while len(self.buckets) > KEPT_RUNS:
                del self.buckets[min(self.buckets)]

    def at(self, place: Place) -> Bucket | None:
        """Return the bucket of the window that ends at ``place``, None when there is nothing in it.

        For a window of several intervals or panes it is made by merging their buckets.
        """
        if self.is_of_events:
            return (self._look_ahead()[0] if self._newest != ANY else None) or self.batch
        if self.is_of_runs:
            return self.buckets.get((place[0], 0))
        newest = (place[0], place[1] - place[1] % self._step)
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
        self.buckets = {(int(r), int(i)): replace(bucket) for (r, i), bucket in plain["buckets"].items()}
        self.batch = None if plain["batch"] is None else replace(plain["batch"])
        self._newest, self._near, self._ahead = max(self.buckets, default=ANY), None, None
        self._sliding.forget()
