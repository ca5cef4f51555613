"""Keep a window of N events: pick them from each interval as from a whole, and make batches of them.

Each interval has a bucket of its own until all its parts are there and a later one has begun; then what was
picked of it goes into the batch in the making, in the order of the intervals. So it does not show in how
many parts an interval came (borders of steps and spans), nor who died: what a dead worker had comes as a
supplement after the grace time, and later intervals wait for it. What is shown meanwhile is what there would
be if nothing more came.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import ClassVar, NamedTuple

from ami.graph.execution.bucket import ANY, Arrival, Bucket, Place
from ami.graph.execution.partial import Partial
from ami.graph.execution.window import Window
from ami.graph.library.base import Reduction

MOST_PENDING = 200  # intervals; one whose rest never comes holds up no more


class _Step(NamedTuple):
    """What an interval makes of the batches: one that is full with it, and what is left for the next."""

    place: Place
    full: Bucket | None
    left: Bucket


class PickedWindow(Window):
    """The intervals that are not over, each a bucket; what waits for the next batch (ANY); the last batch."""

    is_of_events: ClassVar[bool] = True

    def __init__(self, reduction: Reduction, since: int) -> None:
        super().__init__(reduction, since)
        self._count = int(reduction.window.split()[0])
        self._ahead: list[_Step] = []  # of the first intervals that are not over

    def choose(self, *, interval_ns: int = 1, one_in: int = 1, large: bool = False) -> None:
        """Do nothing: it is of no intervals, and all of them are taken in."""

    def forget_intervals(self) -> None:
        """Do nothing: it is of no intervals."""

    def where(self, place: Place) -> Place:
        """Return the place of the bucket into which goes what comes from ``place``."""
        return place

    def apply(self, partial: Partial, key: str, of: Arrival) -> bool:
        """Take a partial in; return False: nothing is too late for a batch to come."""
        if key not in partial.states and partial.graph_version < self.since:
            return False
        state, used = partial.states.get(key), partial.used.get(key, 0)
        pending = self._list_pending()
        if pending and of.place < pending[0]:
            # Of another node, or nobody waited so long: it is picked from by itself.
            late = Bucket()
            self._add(late, state, used, of)
            self._go_on(*self._poured(self._pool, late))
            self._ahead = []
            return False
        self._ahead = [step for step in self._ahead if step.place < of.place]
        self._add(self.buckets.setdefault(of.place, Bucket()), state, used, of)
        self._settle()
        return False

    def at(self, place: Place) -> Bucket | None:
        """Return the newest full batch at a place, None while there is none.

        Of later intervals other nodes' parts are to come yet, from which as much may be picked.
        """
        count = bisect_right(self._list_pending(), place)
        full = [step.full for step in self._look(count)[:count] if step.full is not None]
        return full[-1] if full else self.batch

    @property
    def _pool(self) -> Bucket:
        return self.buckets.get(ANY) or Bucket()

    def _list_pending(self) -> list[Place]:
        return sorted(place for place in self.buckets if place != ANY)

    def _settle(self) -> None:
        """Let the oldest intervals go into the batches, as far as they are over; with a run all are."""
        pending, floor = self._list_pending(), self.floor.place
        while len(pending) > 1 and (
            (self.buckets[pending[0]].to_come <= 0 and (floor is None or pending[0] < floor))
            or len(pending) > MOST_PENDING
            or pending[0][0] < pending[-1][0]
        ):
            (step, *ahead) = self._look(1)
            self._go_on(step.full, step.left)
            self._ahead = ahead
            del self.buckets[pending.pop(0)]

    def _go_on(self, full: Bucket | None, left: Bucket) -> None:
        self.batch = full or self.batch
        self.buckets[ANY] = left

    def _look(self, count: int) -> list[_Step]:
        """Return what so many of the intervals that are not over make of the batches."""
        for place in self._list_pending()[len(self._ahead) : count]:
            pool = self._ahead[-1].left if self._ahead else self._pool
            self._ahead.append(_Step(place, *self._poured(pool, self.buckets[place])))
        return self._ahead

    def _poured(self, pool: Bucket, more: Bucket) -> tuple[Bucket | None, Bucket]:
        """Return the batch that is full when more events come to the pool, if one is, and what is left."""
        both = pool.with_account(more)
        full, left = self.reduction.fill(pool.state, more.state)
        if full is None:
            return None, replace(both, state=left)
        first_ns, last_ns = self.reduction.times(full) or (both.first_ns, both.last_ns)
        batch = replace(both, state=full, used=self._count, first_ns=first_ns, last_ns=last_ns)
        # What is left is of the newest interval, which is then one of those that the next batch is from.
        return batch, Bucket() if left is None else replace(more, state=left)


def window_of_reduction(reduction: Reduction, since: int) -> Window:
    """Return a window for a reduction, with nothing in it."""
    return (PickedWindow if reduction.window.endswith(" events") else Window)(reduction, since)
