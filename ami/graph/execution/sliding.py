"""Merge the buckets of a window that slides, at the cost of two or three merges a step.

Of each bucket, from the oldest to some later one, it is known what it gives with those behind it up to that
one. What comes after is merged as it comes. When the oldest of these has passed, all are merged anew.
(Source: the queue of two stacks; see K. Tangwongsan, M. Hirzel, S. Schneider, "Low-latency sliding-window
aggregation in worst-case constant time", DEBS 2017. Rejected: to take the oldest out of what is merged.
Floats would not give what the others give, and a smallest value cannot be taken out at all.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from ami.graph.execution.bucket import Bucket, Place
from ami.graph.execution.lanes import copied
from ami.graph.library.base import Reduction


class Sliding:
    """What was merged of the buckets of one window. Buckets stay as they are."""

    def __init__(self, reduction: Reduction) -> None:
        self._reduction = reduction
        self._from: dict[Place, Bucket] = {}  # each with all after it up to the last one in here
        self._behind: Bucket | None = None  # those after that
        self._known: list[Place] = []  # all that was merged, in order

    def forget(self, place: Place | None = None) -> None:
        """Forget what was merged, if the bucket of this place, or, None, any is in it."""
        if place is None or (self._known and place <= self._known[-1]):
            self._from, self._behind, self._known = {}, None, []

    def merge(self, buckets: Mapping[Place, Bucket], places: Sequence[Place]) -> Bucket:
        """Return the buckets of ``places``, which ascend, as one; only the newest may change later."""
        *older, newest = places
        if not older:
            return buckets[newest]
        known = self._known[bisect_left(self._known, older[0]) :]
        if older[0] not in self._from or known != older[: len(known)]:
            known = self._begin(buckets, older)
        for place in older[len(known) :]:
            self._behind = self._both(self._behind, buckets[place])
            self._known.append(place)
        return self._both(self._both(self._from[older[0]], self._behind), buckets[newest])

    def _begin(self, buckets: Mapping[Place, Bucket], older: Sequence[Place]) -> list[Place]:
        self.forget()
        both: Bucket | None = None
        for place in reversed(older):
            self._from[place] = both = self._both(buckets[place], both)
        self._known = list(older)
        return self._known

    def _both(self, a: Bucket | None, b: Bucket | None) -> Bucket:
        """Return a bucket of both, of which neither has any memory."""
        if a is None or b is None:
            one = a or b
            assert one is not None
            return one
        both = a.with_account(b)
        if a.state is None or b.state is None:
            both.state = b.state if a.state is None else a.state
        else:
            # Merging may write into its first argument and keep parts of the second.
            both.state = self._reduction.merge(copied(a.state), b.state)
        return both
