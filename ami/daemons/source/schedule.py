"""Keep one schedule with the nodes that play other shares of the same replay.

When an event of some time is due stands in the global store, by run and by the store's clock: whoever begins
a run first writes it down. So a node that begins later, or comes back, plays what the others have played
meanwhile as fast as it can, and is then where they are: of an interval there are results when all have passed
it, and who stays behind by more than 200 of them is not waited for. (Rejected: a schedule of each node's own,
moved when it has fallen behind, as that of who plays alone: a node that stood still for 10 s was missing in
every result from then on. And: to read off the results how far the others are; those wait for this node.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from ami.errors import Conflict
from ami.stores import ABSENT, Store, keys

KEPT: Final = 32  # runs, as in the book
# A store's clock may be another one after a fail-over: nobody waits longer for it than so, s.
MOST_EARLY_S: Final = 1.0

Begun: TypeAlias = Mapping[int, tuple[int, int]]  # by run: time of an event, and when it was due; ns


class Schedule:
    """The schedules of the cluster's runs.

    Args:
        store: what belongs to the cluster's source.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def find_late_s(self, run: int, event_ns: int, speed: float) -> float:
        """Return for how long an event of a run is due already; 0 where this is the first node in it.

        Args:
            speed: event time per time.

        Raises:
            StoreUnavailable
        """
        while True:
            found: Any = self._store.get(keys.SCHEDULES)
            known = found if isinstance(found, dict) else {}
            new, late_s = enter(known, run, event_ns, self._store.time_ns(), speed)
            if new == known:
                return late_s
            try:
                expected = {keys.SCHEDULES: ABSENT if found is None else found}
                self._store.commit(None, {keys.SCHEDULES: new}, expected=expected, copied=True)
            except Conflict:
                continue
            return late_s


def enter(known: Begun, run: int, event_ns: int, now_ns: int, speed: float) -> tuple[Begun, float]:
    """Return the schedules with that of a run, and for how long an event of it is due; see `find_late_s`."""
    begun = known.get(run)
    if begun is None:
        newest = sorted({*known, run})[-KEPT:]
        return {one: known.get(one, (event_ns, now_ns)) for one in newest}, 0.0
    first_ns, due_ns = begun
    late_s = (now_ns - due_ns - (event_ns - first_ns) / speed) / 1e9
    return known, max(-MOST_EARLY_S, late_s)
