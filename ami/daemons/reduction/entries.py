"""Decide which entry of the ring is sent next, and make its batch; knows no store and no clock of its own.

Entries go in order. One that stays incomplete for longer than the grace time is sent as it is; what
comes later follows as a supplement. The begin and end of a run are barriers: they wait for the late ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ami.config import ReducerConfig
from ami.event import Transition
from ami.graph.execution.bind import Reductions, reductions
from ami.graph.execution.partial import Partial
from ami.graph.graph import Graph
from ami.messages.batch import Batch, Mark
from ami.messages.flush import Covers, EntryFacts, Flush
from ami.ring.cursor import Cursor
from ami.ring.entries import Entry

logger = logging.getLogger(__name__)

LOOK_AHEAD = 64  # entries behind a late one: others of the workers are at them

# Of one batch, that states which grow with what comes may have, of all workers together.
BATCH_BYTES = 128 << 20
RINGS_KNOWN = 4  # of so many, the newest, the mark says how far they are
BARRIERS = (Transition.BEGIN_RUN, Transition.END_RUN)

Sent = tuple[Batch, Mark]  # one step into the global store; the mark has its number


class Table(Protocol):
    """What this needs of a ring."""

    ring_id: int
    interval_ns: int

    @property
    def cursor(self) -> Cursor: ...

    def entry(self, index: int) -> Entry: ...

    def is_complete(self, index: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Ready:
    """An entry that is to be sent now; ``late``: a part of it was sent before."""

    index: int
    complete: bool
    late: bool


@dataclass(slots=True)
class _Arrived:
    """Flushes of one entry that were not sent yet."""

    entry: EntryFacts
    partial: Partial | None = None
    flushes: dict[str, list[int]] = field(default_factory=dict)
    covers: Covers = field(default_factory=Covers)


class EntryQueue:
    """The entries of a node on their way from flushes to batches.

    Args:
        node: the name of this node, for the batches.
        graph: returns a version of the graph; its reductions know how to merge.
    """

    def __init__(self, config: ReducerConfig, node: str, graph: Callable[[int], Graph]) -> None:
        self._config = config
        self._node = node
        self._graph = graph
        self._reductions: dict[int, Reductions] = {}
        self._ring_id = 0
        self.next_entry = 0
        self._late: set[int] = set()
        self._late_before: set[tuple[int, int]] = set()  # the same of earlier rings, with the ring
        self._number = 0
        self._positions: dict[int, int] = {}
        self.void = 0  # rings up to this one count no more
        self._arrived: dict[tuple[int, int], _Arrived] = {}

    @property
    def lowest(self) -> int:
        """The first entry that is still needed; those below may leave the table."""
        return min(self._late, default=self.next_entry)

    def resume(self, mark: Mark | None, last_number: int) -> None:
        """Go on after the batch that this mark was stored with."""
        self._number = last_number
        if mark is not None:
            self._ring_id, self.next_entry, self._late = mark.ring, mark.next_entry, set(mark.late)
            self._positions, self.void = dict(mark.positions), mark.void

    def attach(self, ring: Table) -> list[Sent]:
        """Follow this ring; return what was left of earlier ones, whose entries nobody can complete."""
        left = [key for key in sorted(self._arrived) if key[0] != ring.ring_id]
        # Numbered while the mark still names the earlier ring: a successor then knows of its late entries.
        batches = [self._orphan(*key, ring.interval_ns) for key in left]
        if ring.ring_id != self._ring_id:
            self._late_before |= {(self._ring_id, index) for index in self._late}
            self._ring_id, self.next_entry, self._late = ring.ring_id, 0, set()
        return batches

    def orphans(self, ring: Table) -> list[Sent]:
        """Return what came of earlier rings since: of workers that took longer to leave them."""
        left = [key for key in sorted(self._arrived) if key[0] < self._ring_id]
        return [self._orphan(*key, ring.interval_ns) for key in left]

    def take(self, worker: str, number: int, flush: Flush) -> None:
        """Merge a flush into what arrived of its entry."""
        known = self._reductions_of(flush.partial.graph_version)
        flush.partial.leave_out(known.unbound)
        key = (flush.entry.ring, flush.entry.index)
        arrived = self._arrived.setdefault(key, _Arrived(flush.entry))
        if arrived.partial is None:
            arrived.partial = flush.partial
        else:
            arrived.partial.merge(flush.partial, known)
        arrived.partial.bound(known.growing, BATCH_BYTES)
        arrived.flushes.setdefault(worker, []).append(number)
        arrived.covers = arrived.covers.plus(flush.covers)

    def _reductions_of(self, version: int) -> Reductions:
        if version not in self._reductions:
            here = f"on local-reducer:0 of {self._node}"
            # The first that came goes: after many edits one worker may be far behind the other, and ask for
            # one that is older than all that are kept.
            while len(self._reductions) > 1:
                del self._reductions[next(iter(self._reductions))]
            self._reductions[version] = reductions(self._graph(version), here)
        return self._reductions[version]

    def look(self, ring: Table, now_ns: int) -> list[Ready]:
        """Return the entries to send now, in order. Ask the store for their flushes after this."""
        ready = [Ready(index, True, True) for index in sorted(self._late) if ring.is_complete(index)]
        late = len(self._late) - len(ready)
        for index in range(self.next_entry, ring.cursor.entries_opened):
            entry = ring.entry(index)
            waited_s = (now_ns - entry.closed_wall_ns) / 1e9 if entry.closed else 0.0
            if entry.transition in BARRIERS and late and waited_s < self._config.barrier_s:
                break
            complete = ring.is_complete(index)
            if not complete and (waited_s < self._config.grace_s or self._is_backlog(ring, index)):
                break
            late += not complete
            ready.append(Ready(index, complete, False))
        return ready

    def has_all(self, ring: Table, ready: Iterable[Ready]) -> bool:
        """Whether each of these entries is complete, and all of its events have arrived."""
        nothing = Covers()
        for one in ready:
            arrived = self._arrived.get((ring.ring_id, one.index))
            covers = nothing if arrived is None else arrived.covers
            if not one.complete or one.late or covers.events != ring.entry(one.index).count:
                return False
        return True

    def _is_backlog(self, ring: Table, index: int) -> bool:
        """Return whether nothing behind an entry is complete either: then all workers are behind.

        To send it would help nobody, and show an interval without what is still to come of it. It waits, and
        is late. (Rejected: the grace time alone. In a backlog that is longer, every interval was sent empty.)
        """
        behind = range(index + 1, min(ring.cursor.entries_closed, index + 1 + LOOK_AHEAD))
        return not any(ring.entry(later).count and ring.is_complete(later) for later in behind)

    def batch(self, ring: Table, ready: Ready) -> Sent:
        """Return the batch of an entry, and count it as sent."""
        entry = ring.entry(ready.index)
        facts = EntryFacts.of(ring.ring_id, entry)
        arrived = self._arrived.pop((ring.ring_id, ready.index), _Arrived(facts))
        events = arrived.covers.events
        if ready.late:
            self._late.discard(ready.index)
        else:
            self.next_entry = ready.index + 1
            self._note_position(ring.ring_id, entry.position)
            if not ready.complete:
                self._late.add(ready.index)
                logger.warning(
                    "entry %d is sent with %d of its %d events: nobody finished the others within %g s",
                    ready.index, events, entry.count, self._config.grace_s,
                )  # fmt: skip
            elif events != entry.count:
                logger.error("entry %d: %d events in the ring, %d reduced", ready.index, entry.count, events)
        return self._number_next(
            arrived,
            interval_ns=ring.interval_ns,
            transition=entry.transition,
            expected=0 if ready.late else entry.count + entry.dropped,
            dropped=0 if ready.late else entry.dropped,
            complete=ready.complete,
            supplement=ready.late,
        )

    def _note_position(self, ring_id: int, position: int) -> None:
        self._positions[ring_id] = position
        while len(self._positions) > RINGS_KNOWN:
            del self._positions[min(self._positions)]

    def _orphan(self, ring_id: int, index: int, interval_ns: int) -> Sent:
        arrived = self._arrived.pop((ring_id, index))
        late = (ring_id, index) in self._late_before or (ring_id == self._ring_id and index in self._late)
        return self._number_next(
            arrived,
            interval_ns=interval_ns,
            transition=0,
            expected=0 if late else arrived.covers.events,
            dropped=0,
            complete=False,
            supplement=late,
        )

    def _number_next(
        self, arrived: _Arrived, *, interval_ns: int, transition: int, expected: int, dropped: int,
        complete: bool, supplement: bool,
    ) -> Sent:  # fmt: skip
        self._number += 1
        batch = Batch(
            node=self._node,
            entry=arrived.entry,
            interval_ns=interval_ns,
            transition=transition,
            covers=arrived.covers,
            expected=expected,
            dropped=dropped,
            complete=complete,
            supplement=supplement,
            workers=tuple(sorted(arrived.flushes)),
            partial=arrived.partial,
        )
        mark = Mark(
            batch=self._number,
            ring=self._ring_id,
            next_entry=self.next_entry,
            late=tuple(sorted(self._late)),
            flushes=arrived.flushes,
            positions=dict(self._positions),
            void=self.void,
        )
        return batch, mark
