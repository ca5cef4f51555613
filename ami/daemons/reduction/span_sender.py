"""Send the large lane of a node: each span when it is whole, part by part, into an inbox of its own.

Batches are numbered, and the mark of how far they reach is stored with each in one step; who follows goes on
with the next part. Spans of a ring that is gone are sent as incomplete when its workers have let go of it.

Where the global store is of this machine alone, a batch lies in a parcel, and its record only names it: the
server is spared two copies. It holds for as long as the store does, which is in memory, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ami.daemons.process.rate import Flows
from ami.daemons.process.stage import Setup
from ami.daemons.reduction.alone import is_alone
from ami.daemons.reduction.spans import Arenas, Batches, Span, find_span
from ami.errors import StoreFull, StoreUnavailable
from ami.graph.execution.bind import Reductions, reductions
from ami.graph.graph import Graph
from ami.graph.library.base import bytes_of
from ami.messages.large import LargeBatch, LargeMark, Parcel, SpanEnd
from ami.messages.message import read
from ami.ring import arena
from ami.ring.observer import RingObserver
from ami.ring.parcels import Parcels, look, remove
from ami.stores import keys
from ami.stores.codec import encode

logger = logging.getLogger(__name__)

# Of batches that the global reducer has not checkpointed. Beyond, spans grow longer, and arenas fill.
BYTES_AHEAD = 256 << 20
WAIT_S = 0.05
RINGS_KNOWN = 4  # of so many, the newest, the mark says where they end
PARCEL_BYTES = 64 << 10  # a smaller batch costs the server less than a file costs here


class SpanSender:
    """The large lane of a local reducer. Only one thread at a time may :meth:`send`.

    Args:
        graph: returns a version of the graph.
    """

    def __init__(self, setup: Setup, graph: Callable[[int], Graph]) -> None:
        self._setup = setup
        self._host = host = setup.config.node.host
        self._global = setup.stores.cluster("global-reducer")
        self._inbox = self._global.journal(keys.large_inbox(host))
        self._parcels = Parcels(setup.config.ring.name)
        self._alone = False
        self._graph = graph
        self._known: tuple[int, Reductions] | None = None
        self._number = 0
        self._is_sure = True  # whether what was sent last has arrived
        self._places: dict[int, tuple[int, int]] = {}  # by ring: next entry, parts of its span that are sent
        self._ends: dict[int, SpanEnd] = {}
        self._void = 0  # rings up to this one count no more
        self._full_until = 0.0  # when to ask again whether the inbox has room
        self.flows = Flows()  # bytes of states, of both lanes, by fingerprint
        self.batches = 0

    @property
    def waits(self) -> bool:
        """Whether the global reducer is so far behind that nothing is sent for the moment."""
        return time.monotonic() < self._full_until

    def start(self) -> None:
        """Go on where the mark in the global store says."""
        # Fenced before the mark is read: what a dead predecessor sent last is in it now, or never will be.
        self._number = self._inbox.fence()
        mark = read(self._global, keys.large_mark(self._host), LargeMark)
        self._places = {} if mark is None else dict(mark.places)
        self._ends, self._void = ({}, 0) if mark is None else (dict(mark.ends), mark.void)
        self._is_sure = True
        # All of them are a predecessor's, or of a store that was emptied.
        remove(self._find_unnamed())
        self.look_around()

    def look_around(self) -> None:
        """Look whether parcels may be left, and remove those that the global reducer forgot."""
        self._alone = is_alone(self._setup.config, set(self._global.set(keys.NODES)))
        last = self._number  # before the look: what is left meanwhile has a higher number
        remove(name for name, number in self._find_unnamed().items() if number <= last)
        if not self._alone:
            self._unpack()

    def _find_unnamed(self) -> dict[str, int]:
        if not (found := self._parcels.find()):
            return {}
        pending = set(self._inbox.numbers())
        return {name: number for name, number in found.items() if number not in pending}

    def close(self) -> None:
        """Bring into the store what lies in parcels: where a node is stopped in order, that is what is kept.

        A global reducer that lives takes it from there, too; without one, nothing is left in shared memory.
        """
        try:
            self._unpack()
        except (StoreUnavailable, StoreFull) as error:
            logger.warning("large batches stay in shared memory until the next start: %s", error)

    def _unpack(self) -> None:
        """Send what is in parcels, which other machines, and later starts of this one, may not find."""
        last, found = self._number, self._parcels.find()
        pending = set(self._inbox.numbers()) if found else set()
        for name, number in found.items():
            if number <= last and number in pending:
                self._inbox.replace(number, look(name))
                remove([name])

    def next_entry(self, ring_id: int) -> int:
        """Return the first entry of a ring that is not in the inbox."""
        return self._places.get(ring_id, (0, 0))[0]

    def lag_s(self, ring: RingObserver, now_ns: int) -> float:
        """Return for how long the oldest entry of a span is closed that is not in the inbox."""
        first = max(self.next_entry(ring.ring_id), ring.oldest_entry)
        if first >= ring.cursor.entries_closed:
            return 0.0
        entry = ring.entry(first)
        return 0.0 if entry.span < 0 else max(0.0, (now_ns - entry.closed_wall_ns) / 1e9)

    def find(self, ring: RingObserver, upto: int | None = None, *, whole: bool = True) -> Span | None:
        """Return the next span of a ring, if it can be sent now, and is not beyond entry ``upto``."""
        first, parts = self._places.get(ring.ring_id, (0, 0))
        found = find_span(ring, first, whole=whole)
        if isinstance(found, Span):
            return found if upto is None or found.end <= upto else None
        self._places[ring.ring_id] = (found, parts if found == first else 0)
        return None

    def send(self, ring: RingObserver, span: Span) -> None:
        """Send what is left of a span, as far as there is room for it.

        Raises:
            StoreUnavailable, StoreFull: call again.
        """
        arenas = Arenas(ring.name, ring.ring_id, ring.worker_numbers(), self._setup.shared)
        try:
            self._send(arenas, span, ring.interval_ns)
        finally:
            arenas.close()

    def find_left(self, ring: RingObserver) -> list[int]:
        """Return the rings before this one of which there are arenas."""
        return sorted({ring_id for ring_id, _ in arena.find(ring.name) if ring_id < ring.ring_id})

    def send_left(self, ring: RingObserver, ring_id: int) -> None:
        """Send what a ring left that is gone, if none of its workers has it still, and remove its arenas.

        Raises:
            StoreUnavailable, StoreFull: call again.
        """
        workers = [worker for other, worker in arena.find(ring.name) if other == ring_id]
        arenas = Arenas(ring.name, ring_id, workers, self._setup.shared)
        try:
            if not arenas.are_free:
                return
            if ring_id <= self._void:
                self.forget(ring.name, ring_id)
                return
            for span in arenas.list_spans(self.next_entry(ring_id)):
                logger.warning("a span of an earlier ring is sent now, as incomplete")
                if not self._send(arenas, span, ring.interval_ns):
                    return
        finally:
            arenas.close()
        self.forget(ring.name, ring_id)

    def forget(self, ring_name: str, ring_id: int) -> None:
        """Remove the arenas of a ring of which all is sent."""
        arena.remove(ring_name, [one for one in arena.find(ring_name) if one[0] == ring_id])
        self._places.pop(ring_id, None)

    def _send(self, arenas: Arenas, span: Span, interval_ns: int) -> bool:
        """Send what is left of a span; return whether all of it was."""
        ring_id = arenas.ring_id
        if not self._is_sure:
            # Whether the last batch arrived nobody knows, and this may be another: not with its number.
            self.start()
        first, parts = self._places.get(ring_id, (0, 0))
        if span.index < first or ring_id <= self._void:
            return True
        if span.index != first:
            parts = 0
        batches = Batches(
            span, arenas, self._reductions_of(span.graph_version), node=self._host, interval_ns=interval_ns,
            prefix=lambda worker: keys.prefix(self._host, "worker", worker),
        )  # fmt: skip
        made = batches.make(parts)
        # Asked before the part is made: it would be made again.
        while self._has_room():
            batch = next(made, None)
            if batch is None:
                return True
            parts += 1
            place = (span.end, 0) if batch.last else (span.index, parts)
            ends = self._ends | ({ring_id: _end(span, batch)} if batch.last and span.position else {})
            self._append(batch, {**self._places, ring_id: place}, ends)
        return False

    def _append(
        self, batch: LargeBatch, places: dict[int, tuple[int, int]], ends: dict[int, SpanEnd]
    ) -> None:
        number = self._number + 1
        ends = {ring_id: ends[ring_id] for ring_id in sorted(ends)[-RINGS_KNOWN:]}
        mark = LargeMark(batch=number, places=places, ends=ends, void=self._void)
        self._is_sure = False
        if not self._inbox.append(
            number, self._pack(number, batch), also={keys.large_mark(self._host): mark}
        ):
            raise StoreUnavailable(
                f"batch {number} was refused: its number is taken, by it or by who fenced it"
            )
        self._number, self._places, self._ends, self._is_sure = number, places, ends, True
        self.batches += 1
        for part in batch.intervals:
            for fingerprint, state in part.partial.states.items():
                self.flows.add(fingerprint, bytes_of(state))

    def _pack(self, number: int, batch: LargeBatch) -> LargeBatch | Parcel:
        """Return what the record of a batch is: the parcel that it lies in, where there can be one."""
        if not self._alone:
            return batch
        chunks = encode(batch)
        if len(chunks) < PARCEL_BYTES:
            return batch
        try:
            name = self._parcels.leave(number, chunks.buffers)
        except OSError as error:
            logger.warning("a batch goes through the store, shared memory refuses it: %s", error)
            return batch
        self._setup.shared.sent += len(chunks)
        return Parcel(name=name, bytes=len(chunks))

    def _has_room(self) -> bool:
        """Whether the global reducer is near enough to send it more."""
        # To wait for it here would be to hang, for the monitor.
        if self._setup.stopping.is_set() or self.waits:
            return False
        if self._inbox.measure() + self._parcels.measure() < BYTES_AHEAD:
            return True
        self._full_until = time.monotonic() + WAIT_S
        return False

    def _reductions_of(self, version: int) -> Reductions:
        if self._known is None or self._known[0] != version:
            here = f"on local-reducer:0 of {self._host}"
            self._known = (version, reductions(self._graph(version).lane(large=True), here))
        return self._known[1]


def _end(span: Span, batch: LargeBatch) -> SpanEnd:
    last = max((part.interval for part in batch.intervals), default=0)
    return SpanEnd(
        position=span.position, interval=last, interval_ns=batch.interval_ns, run=span.run,
        graph_version=span.graph_version,
    )  # fmt: skip
