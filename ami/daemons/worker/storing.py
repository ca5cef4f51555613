"""Store a worker's flushes, and commit their slots, while the worker computes on.

One flush is under way at the most: the store keeps the slots of the last flush only, so the one before
must be committed when the next is sent, or a death in between would run its events twice.

While too much waits for the local reducer, nothing is stored: the worker holds its slots, so the ring fills,
and the source's policy decides. (Rejected: to go on until the store is full. Then nobody's flush finds room,
not even that for which the oldest entry waits, and who comes back has gigabytes to take in.)
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from ami.errors import StoreFull
from ami.messages.flush import Covered, Flush
from ami.ring.reader import RingReader
from ami.stores import Journal, keys

UnderWay = tuple[Flush, Covered, RingReader, bool]  # whose slots they are, and whether they stay


LOOK_S = 0.5  # from one look at what waits to the next


class Storing:
    """A thread that stores one flush after the other. What fails is kept, and tried again when asked.

    Args:
        room_bytes: of the flushes of all workers that may wait for the local reducer.

    Attributes:
        waits: whether it does not store, because too much waits for the local reducer.
    """

    def __init__(self, journal: Journal, room_bytes: int) -> None:
        self._journal = journal
        self._room_bytes = room_bytes
        self._look_at = 0.0
        self.waits = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._under_way: UnderWay | None = None  # not acknowledged yet; the same one is tried until it is
        self._trial: Future[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._under_way is None

    def begin(self, flush: Flush, covered: Covered, ring: RingReader, *, stay: bool) -> None:
        """Store ``flush``, then commit its slots, without waiting for either. Nothing may be under way.

        ``stay``: only mark them as flushed, because their large states are not stored yet.
        """
        assert self.is_idle
        self._under_way = (flush, covered, ring, stay)
        self._trial = self._thread.submit(self._store, *self._under_way)

    def look(self) -> None:
        """Let go of what is stored by now, and try again what failed; waits only for the latter.

        Raises:
            StoreUnavailable, StoreFull: it is not stored; call again.
        """
        if self._trial is None or self._trial.done():
            self.finish()

    def finish(self) -> None:
        """Wait until nothing is under way.

        Raises:
            StoreUnavailable, StoreFull: it is not stored; call again.
        """
        if self._under_way is None:
            return
        trial, self._trial = self._trial, None
        if trial is None:
            trial = self._thread.submit(self._store, *self._under_way)
        trial.result()
        self._under_way = None

    def _look_for_room(self, sharers: int) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        waiting = self._journal.measure()
        self.waits = waiting > self._room_bytes // max(1, sharers)
        if self.waits:
            raise StoreFull(f"flushes of {waiting:,} bytes wait for the local reducer, which is far behind")
        self._look_at = now + LOOK_S

    def _store(self, flush: Flush, covered: Covered, ring: RingReader, stay: bool) -> None:
        self._look_for_room(ring.worker_count)
        # Numbered: when the answer to the first try was lost, the second try changes nothing.
        self._journal.append(covered.flush, flush, also={keys.COVERED: covered}, expire_s=keys.FLUSH_EXPIRE_S)
        # Here and not in the worker's loop: an event of a second must not hold up those before it.
        if stay:
            ring.set_flushed(covered.runs, entry=flush.entry.index)
        else:
            ring.commit(covered.runs, entry=flush.entry.index)

    def close(self) -> None:
        """Let go of the thread, which first ends the try that it is in."""
        self._thread.shutdown()
