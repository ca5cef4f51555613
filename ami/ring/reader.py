"""Claim blocks of events, run them, commit them: a worker's hands on the ring.

A claim is the only thing that needs a lock: the worker's number goes into the owner byte of each
slot, and only then is the count of handed-out events moved. Ownership counts only below that
count, so a worker killed in between has claimed nothing. A commit needs no lock: only its owner
writes a slot's owner byte, and committed slots are the source's to fill again.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import Final

import numpy as np

from ami.errors import RingError, RingGone
from ami.event import Schema
from ami.ring import layout as at
from ami.ring.block import Block, among, split
from ami.ring.layout import Entry
from ami.ring.segment import Segment
from ami.ring.state import RingState
from ami.ring.wake import Bell, wait

_RUNNING: Final = struct.Struct("@4q")  # first, count, operation, since: a worker's breadcrumb
_MANY: Final = 1 << 62


class RingReader:
    """A worker's place in a ring. ``worker`` is 0 to 249.

    For one thread; a second one may :meth:`commit`, but not while the first takes up what dead workers
    left (:meth:`recover`, :meth:`adopt`), which commits as well.

    Raises:
        RingGone: there is no such ring now.
        RingBusy: a living process has this number.
    """

    def __init__(self, name: str, worker: int) -> None:
        if not 0 <= worker < at.MAX_WORKERS:
            raise RingError(f"a worker's number is 0 to {at.MAX_WORKERS - 1}, got {worker}")
        self._segment = segment = Segment.attach(name)
        self._state = state = RingState(segment)
        row = at.WORKERS + worker * at.WORKER.itemsize
        try:
            segment.hold(at.WORKER_LOCK + worker, row // 8, f"worker {worker}")
            if segment.retired:
                raise RingGone(f"ring {name} is being replaced")
        except BaseException:
            segment.close()
            raise
        segment.sign(row // 8, row // 8 + 1)
        self._words = segment.words
        self._commits_word = row // 8 + 2
        self._running_offset = row + at.RUNNING
        self._claim_lock = segment.locks.critical(at.CLAIM_LOCK)
        self._bell = Bell(segment)
        self._announce = self._bell.announce_worker(worker)
        self._me = worker + 1
        self._mine = bytes([self._me]) * 4096
        self._entry: Entry | None = None
        self._closed_seen = state.entries_closed()
        self.name = name
        self.worker = worker
        self.schema: Schema = segment.layout.schema
        self.interval_ns = segment.layout.interval_ns
        self.slot_count = segment.layout.slot_count
        self.ring_id = segment.ring_id

    # --- claim and commit -----------------------------------------------------------------------

    def claim(self, limit: int) -> Block | None:
        """Take the next events, at most ``limit``, of one entry; None when there are none now."""
        if limit < 1:
            raise RingError(f"a claim is for at least 1 event, got {limit}")
        words, state = self._words, self._state
        if words[at.CLAIMED] >= state.published():
            return None  # without the lock: an idle worker does not disturb the others
        with self._claim_lock:
            published, _, opened, *_ = state.cursor_words()
            first = words[at.CLAIMED]
            if first >= published:
                return None
            index, end = self._entry_of(first, published, opened)
            start = first % self.slot_count
            count = min(limit, end - first, self.slot_count - start)
            state.owner[start : start + count] = self._me
            words[at.CLAIM_ENTRY] = index
            words[at.CLAIMED] = first + count
        if first + count < published:
            self._bell.wake_a_worker()
        return self._block(first, count, index, 0)

    def _entry_of(self, sequence: int, published: int, opened: int) -> tuple[int, int]:
        """Return index and end of the entry that has an unclaimed event.

        It is the last one that begins at or before the event: those without events begin where the
        next one begins. A row that a later entry took over was of one that had ended long ago.
        """
        state = self._state
        index = max(self._words[at.CLAIM_ENTRY], opened - state.entry_count)
        while index + 1 < opened:
            following = state.first_sequence(index + 1)
            if following is not None and following > sequence:
                return index, following
            index += 1
        return index, published

    def _block(self, first: int, count: int, index: int, attempts: int) -> Block:
        entry = self._entry
        if entry is None or entry.index != index:
            self._entry = entry = self._state.entry(index)
        return Block(self._state.slots(first, count), first, entry, attempts)

    def commit(self, runs: Sequence[tuple[int, int]]) -> None:
        """Give events back whose results are stored: ``runs`` of (first sequence, count).

        Raises:
            RingError: one of them is not this worker's; nothing of that run is committed.
        """
        committed = 0
        for first, count in runs:
            for piece in self._state.pieces(first, first + count):
                self._free(piece, first)
            committed += count
        self._count_commit(committed)

    def _free(self, piece: slice, first: int) -> None:
        count = piece.stop - piece.start
        if count > len(self._mine):
            self._mine = bytes([self._me]) * count
        offset = self._state.owner_offset
        # A slot given back twice might by then be somebody else's: that would lose events in silence.
        if self._segment.memory[offset + piece.start : offset + piece.stop] != self._mine[:count]:
            raise RingError(f"worker {self.worker} commits events from {first} on that are not its own")
        self._state.owner[piece] = at.FREE

    def _count_commit(self, events: int) -> None:
        self._words[self._commits_word] += 1
        self._words[self._commits_word + 1] += events
        self._bell.wake_source()
        self._bell.wake_reducer()

    def running(self, first: int, count: int, operation: int) -> None:
        """Leave word of what runs now (operation 0: nothing), should this process die of it."""
        _RUNNING.pack_into(
            self._segment.memory, self._running_offset, first, count, operation, time.monotonic_ns()
        )

    def breadcrumb(self) -> tuple[int, int, int]:
        """Return the (first, count, operation) that :meth:`running` left last, in whatever process."""
        first, count, operation, _ = _RUNNING.unpack_from(self._segment.memory, self._running_offset)
        return first, count, operation

    # --- after a death --------------------------------------------------------------------------

    def recover(self, covered: Sequence[tuple[int, int]], *, limit: int = _MANY) -> list[Block]:
        """Take up what the last process of this number left behind.

        Args:
            covered: (first sequence, count) of the events in its last stored flush, of this ring.
                Those that it still owned are committed now.
            limit: events of a block, at most.

        Returns the rest of what it owned, to be run again.
        """
        return self._take_up(self.worker, covered, limit)

    def abandoned(self) -> list[int]:
        """Return the numbers of the other workers that are dead and own events."""
        locks = self._segment.locks
        return [
            number
            for number in np.flatnonzero(self._state.workers["pid"]).tolist()
            if number != self.worker and locks.is_free(at.WORKER_LOCK + number) and self._owns(number)
        ]

    def adopt(
        self,
        *,
        covered: Callable[[int], Sequence[tuple[int, int]]],
        workers: Collection[int] | None = None,
        limit: int = _MANY,
    ) -> list[Block]:
        """Do the same for other workers that are dead and own events: they become this one's.

        Args:
            workers: those to look at; None: all.
            covered: gives the last stored flush of a worker. While it is asked, that worker cannot
                come back, so the answer stays true.
        """
        locks = self._segment.locks
        blocks: list[Block] = []
        for number in np.flatnonzero(self._state.workers["pid"]).tolist():
            if number == self.worker or not (workers is None or number in workers) or not self._owns(number):
                continue
            if not locks.take(at.WORKER_LOCK + number):
                continue
            try:
                blocks += self._take_up(number, covered(number), limit)
            finally:
                locks.release(at.WORKER_LOCK + number)
        return blocks

    def _owned(self, worker: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the sequences that a worker owns, ascending. Below the count of claims only."""
        state = self._state
        claimed = self._words[at.CLAIMED]
        first = max(0, state.published() - self.slot_count)
        return np.flatnonzero(state.owners(first, claimed) == worker + 1) + first

    def _owns(self, worker: int) -> bool:
        return bool(len(self._owned(worker)))

    def _take_up(self, worker: int, covered: Iterable[tuple[int, int]], limit: int) -> list[Block]:
        state = self._state
        with self._claim_lock:
            sequences = self._owned(worker)
            done = among(sequences, covered)
            # What is in the store is committed first: once it were this worker's, its own last
            # flush would not cover it, and another death here would run it twice.
            state.owner[sequences[done] % self.slot_count] = at.FREE
            left = sequences[~done]
            places = left % self.slot_count
            self._count_attempt(worker, left)
            state.owner[places] = self._me
            attempts = state.attempts[places]
        if done.any():
            self._count_commit(int(np.count_nonzero(done)))
        if not len(left):
            return []
        runs = split(left, attempts, state.entry_firsts(), slot_count=self.slot_count, limit=limit)
        return [self._block(run.first, run.count, run.entry, run.attempts) for run in runs]

    def _count_attempt(self, worker: int, left: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        row = self._state.workers[worker]
        if not row["operation"]:
            return
        inside = left[among(left, [(int(row["first"]), int(row["count"]))])] % self.slot_count
        # Cleared first: a death in between loses one attempt, where it would otherwise count twice.
        row["operation"] = 0
        self._words[at.ATTEMPTED] = 1
        attempts = self._state.attempts
        attempts[inside] = np.minimum(attempts[inside], 254) + 1

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, timeout_s: float, *, holding: bool = False) -> bool:
        """Wait until events can be claimed, an entry was closed since the last call, or the ring was
        replaced; while ``holding`` events that are not committed, also until the source waits for slots."""

        def ready() -> bool:
            return self._is_ready() or (holding and self.space_wanted)

        is_ready = wait(ready, self._announce, self._segment.semaphore(".work"), timeout_s)
        self._closed_seen = self._state.entries_closed()
        return is_ready

    def _is_ready(self) -> bool:
        published, _, _, closed, *_ = self._state.cursor_words()
        return published > self._words[at.CLAIMED] or closed != self._closed_seen or self._segment.retired

    @property
    def worker_count(self) -> int:
        """How many workers were ever attached, this one included."""
        return int(np.count_nonzero(self._state.workers["pid"]))

    @property
    def space_wanted(self) -> bool:
        """Whether the source waits for slots: what is done should be committed now."""
        return bool(self._words[at.SOURCE_WAITS])

    @property
    def replaced(self) -> bool:
        """Whether this ring was retired: attach again when nothing is left to do here."""
        return self._segment.retired

    def entry(self, index: int) -> Entry:
        """Return an entry as it is now.

        Raises:
            RingError: it was not opened yet, or a later one has its place.
        """
        return self._state.entry(index)

    def close(self) -> None:
        """Let go of this number. What it owns stays its own, for ``recover`` or ``adopt``."""
        self._segment.close()

    def __enter__(self) -> RingReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
