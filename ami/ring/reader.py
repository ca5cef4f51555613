"""Claim blocks of events, run them, commit them: a worker's hands on the ring.

A claim is the only thing that needs a lock. A commit needs none: only its owner writes a slot's
owner byte, and committed slots are the source's to fill again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ami.errors import RingError
from ami.event import Slots
from ami.ring import configurations
from ami.ring import layout as at
from ami.ring.block import Block, Piece, Stretch, among, entries_of, split
from ami.ring.columns import Columns
from ami.ring.entries import Entry
from ami.ring.handle import Handle
from ami.ring.offences import Offences
from ami.ring.owners import Sequences
from ami.ring.segment import Segment
from ami.ring.wake import wait
from ami.ring.workers import pid_word

_MANY: Final = 1 << 62


class RingReader(Handle):
    """A worker's hands on a ring. ``worker`` is 0 to 249.

    For one thread; a second one may :meth:`commit`, but not while the first takes up what dead workers
    left (:meth:`recover`, :meth:`adopt`), which commits as well.

    Raises:
        RingGone: there is no such ring now.
        RingBusy: a living process has this number.
    """

    def __init__(self, name: str, worker: int) -> None:
        if not 0 <= worker < at.MAX_WORKERS:
            raise RingError(f"a worker's number is 0 to {at.MAX_WORKERS - 1}, got {worker}")
        segment = Segment.join(name, at.WORKER_LOCK + worker, pid_word(worker), f"worker {worker}")
        super().__init__(segment, worker)
        self._timestamps.flags.writeable = False
        self._claim_lock = segment.locks.critical(at.CLAIM_LOCK)
        self._announce = [self._bell.announce_worker(worker, holding=holding) for holding in (False, True)]
        self._semaphore = segment.semaphore(at.WORK_SEMAPHORES[worker % len(at.WORK_SEMAPHORES)])
        self._offences = Offences(segment)
        self._entry: Entry | None = None
        self._columns: Columns | None = None  # of that entry
        self._closed_seen = self._closed()
        self.worker = worker

    @property
    def fd(self) -> int:
        """The descriptor of its locks: who has lost it must not go on."""
        return self._segment.locks.fd

    # --- claim and commit -----------------------------------------------------------------------

    def claim(self, limit: int, bytes: int = _MANY, sharers: int = 1) -> Block | None:
        """Take the next events of one entry; None when there are none now.

        Args:
            limit: events at most.
            bytes: that they take at most, where that is not less than one event.
            sharers: how many workers share what there is of the entry.

        Raises:
            RingError: their columns cannot be mapped; nothing was taken.
        """
        if limit < 1:
            raise RingError(f"a claim is for at least 1 event, got {limit}")
        if self._owners.count_claimed() >= self._record.read_published():
            return None  # without the lock: an idle worker does not disturb the others
        with self._claim_lock:
            published, _, opened, *_ = self._record.read()
            first = self._owners.count_claimed()
            if first >= published:
                return None
            index, end = self._entry_of(first, published, opened)
            entry, columns = self._meet(index)
            start = first % self.slot_count
            mine = -(-(end - first) // sharers)
            count = min(limit, mine, self.slot_count - start, columns.room(first), columns.fit(bytes))
            self._owners.claim(first, count, index)
        if first + count < published:
            self._bell.wake_a_worker()
        slots = columns.slots(first, count, self._timestamps[start : start + count])
        return Block(slots, first, entry, 0)

    def _entry_of(self, sequence: int, published: int, opened: int) -> tuple[int, int]:
        """Return index and end of the entry that has an unclaimed event.

        It is the last one that begins at or before the event: those without events begin where the
        next one begins. A row that a later entry took over was of one that had ended long ago.
        """
        index = max(self._words[at.CLAIM_ENTRY], opened - self._entries.row_count)
        while index + 1 < opened:
            following = self._entries.first_sequence(index + 1)
            if following is not None and following > sequence:
                return index, following
            index += 1
        return index, published

    def _meet(self, index: int) -> tuple[Entry, Columns]:
        """Return an entry, and the columns that have its events."""
        entry, columns = self._entry, self._columns
        if entry is not None and columns is not None and entry.index == index:
            return entry, columns
        entry = self.entry(index)
        if columns is None or columns.number != entry.configuration:
            columns = configurations.attach(self.name, self.ring_id, entry.configuration, self.schema)
        # Columns of earlier entries go with the last block that looks at them.
        self._entry, self._columns = entry, columns
        return entry, columns

    def _slots(self, columns: Columns, first: int, count: int) -> Slots:
        start = first % self.slot_count
        return columns.slots(first, count, self._timestamps[start : start + count])

    def depth_of(self, entry: Entry) -> int:
        """Return how many events there is room for while entries have the columns of this one."""
        return self._meet(entry.index)[1].depth

    def event_bytes_of(self, entry: Entry) -> int:
        """Return how many bytes an event has in the columns of an entry."""
        return self._meet(entry.index)[1].event_bytes

    def commit(self, stretches: Iterable[Stretch], *, entry: int | None = None) -> None:
        """Give events back whose results are stored: (first sequence, count) of each stretch.

        Args:
            entry: of which all of them are, if that is known: the local reducer is woken when it is complete.

        Raises:
            RingError: one of them is not this worker's; nothing of that stretch is committed.
        """
        committed = 0
        for first, count in stretches:
            self._owners.commit(first, count)
            committed += count
        self._count_commit(committed, entry)

    def _count_commit(self, events: int, entry: int | None = None) -> None:
        self._workers.count_commit(events)
        self._bell.wake_source()
        self._wake_reducer(entry)

    def _wake_reducer(self, entry: int | None) -> None:
        # Of an entry that others have a part of, the last one wakes it. Two that end at the same instant may
        # each see the other's part as it was, which costs a time-out, as any wake-up that is missed.
        self._bell.wake_reducer(None if entry is None else lambda: self.is_complete(entry))

    def set_flushed(self, stretches: Iterable[Stretch], *, entry: int | None = None) -> None:
        """Say that events of this worker are in a stored flush, and stay its own for their large states.

        Whoever follows this worker finds it in their blocks. It is forgotten with the event. ``entry``: see
        :meth:`commit`.
        """
        for first, count in stretches:
            self._owners.set_flushed(first, count)
        self._workers.count_commit(0)
        self._wake_reducer(entry)

    def leave_breadcrumb(self, first: int, count: int, operation: int) -> None:
        """Leave word of what runs now (operation 0: nothing), should this process die of it."""
        self._workers.leave_breadcrumb(first, count, operation)

    def read_breadcrumb(self) -> tuple[int, int, int]:
        """Return the (first, count, operation) that was left last, in whatever process."""
        row = self._workers.read(self.worker)
        return row.first, row.count, row.operation

    def touch_breadcrumb(self) -> None:
        """Say that what runs, perhaps in another process, gets on."""
        self._workers.touch_breadcrumb()

    # --- offences -------------------------------------------------------------------------------

    @property
    def offences_seen(self) -> int:
        """A number that changes when an operation is switched off, or no longer is."""
        return self._offences.generation

    @property
    def suspects(self) -> bool:
        """Whether some operation did harm a moment ago, and is not switched off."""
        return self._offences.suspects

    def list_offenders(self) -> dict[str, str]:
        """Return which operations are switched off, by fingerprint, and for what."""
        return self._offences.list_off()

    def count_offence(
        self, fingerprint: str, version: int, weight: int, how: str, *, suspect: bool = False
    ) -> bool:
        """Count what an operation did to a worker; return whether it is switched off now.

        ``suspect``: it may well do it again, so blocks are to be tried for a while before they are run.
        """
        with self._claim_lock:
            return self._offences.count(fingerprint, version, weight, how, suspect=suspect)

    def forget_offences(self, version: int, there: Collection[str]) -> None:
        """Forget what operations did that are not ``there`` any more in a newer graph version."""
        with self._claim_lock:
            self._offences.forget(version, there)

    # --- after a death --------------------------------------------------------------------------

    def recover(
        self, covered: Iterable[Stretch], *, large: Iterable[Stretch] = (), limit: int = _MANY
    ) -> list[Block]:
        """Take up what the last process of this number left behind.

        Args:
            covered: the events in its last stored flush, of this ring.
            large: those that came last into the large states that it left.
            limit: events of a block, at most.

        What it still owned and is in all states that it is for is committed now. Returns the rest, to be run
        again.
        """
        return self._take_up(self.worker, covered, large, limit)

    def find_abandoned(self) -> list[int]:
        """Return the numbers of the other workers that are dead and own events."""
        is_free = self._segment.locks.is_free
        return [number for number in self._others_that_own() if is_free(at.WORKER_LOCK + number)]

    def adopt(
        self,
        *,
        covered: Callable[[int], Sequence[Stretch]],
        large: Callable[[int], Sequence[Stretch]] = lambda _worker: (),
        workers: Collection[int] | None = None,
        limit: int = _MANY,
    ) -> list[Block]:
        """Do the same for other workers that are dead and own events: they become this one's.

        Args:
            workers: those to look at; None: all.
            covered, large: give of a worker what :meth:`recover` wants. While they are asked, that
                worker cannot come back, so the answers stay true.
        """
        locks = self._segment.locks
        blocks: list[Block] = []
        for number in self._others_that_own():
            if not (workers is None or number in workers) or not locks.take(at.WORKER_LOCK + number):
                continue
            try:
                blocks += self._take_up(number, covered(number), large(number), limit)
            finally:
                locks.release(at.WORKER_LOCK + number)
        return blocks

    def _others_that_own(self) -> list[int]:
        owned = self._owners.count_by_worker(self._record.read_published())
        return [number for number in self._workers.list_attached() if number != self.worker and owned[number]]

    def _take_up(
        self, worker: int, covered: Iterable[Stretch], large: Iterable[Stretch], limit: int
    ) -> list[Block]:
        owners = self._owners
        with self._claim_lock:
            firsts = self._entries.first_sequences(self._record.read().entries_opened)
            sequences = owners.sequences_of(worker, self._record.read_published())
            flushed = owners.are_flushed(sequences) | among(sequences, covered)
            # What is in large states was flushed before.
            done = flushed & (among(sequences, large) | self._have_one_lane(sequences, firsts))
            # What is in the stores is committed first: once it were this worker's, its own last
            # flush would not cover it, and another death here would run it twice.
            owners.free(sequences[done])
            left = sequences[~done]
            died_in = self._count_attempt(worker, left)
            # Before they are this worker's, whose own last flush says nothing of them.
            owners.mark_flushed(left[flushed[~done]])
            attempts, marks = owners.take(left)
        if done.any():
            self._count_commit(int(done.sum()))
        pieces = split(left, attempts, marks, firsts, slot_count=self.slot_count, limit=limit)
        return [block for piece in pieces for block in self._blocks(piece, died_in)]

    def _have_one_lane(self, sequences: Sequences, firsts: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        """Return which events are of entries without large states."""
        entries = entries_of(sequences, firsts)
        lanes = {index: self.entry(index).span < 0 for index in np.unique(entries).tolist()}
        return np.array([lanes[index] for index in entries.tolist()], np.bool_)

    def _blocks(self, piece: Piece, died_in: int) -> Iterator[Block]:
        """Cut a piece where its columns end."""
        entry, columns = self._meet(piece.entry)
        first, end = piece.first, piece.first + piece.count
        while first < end:
            count = min(end - first, columns.room(first))
            slots = self._slots(columns, first, count)
            yield Block(slots, first, entry, piece.attempts, piece.flushed, died_in if piece.attempts else 0)
            first += count

    def _count_attempt(self, worker: int, left: Sequences) -> int:
        """Count that a worker died of what it ran, if it did; return the number of the operation."""
        row = self._workers.read(worker)
        if row.operation:
            # Cleared first: a death in between loses one attempt, where it would otherwise count twice.
            self._workers.clear_breadcrumb(worker)
            self._owners.count_attempt(left[among(left, [(row.first, row.count)])])
        return row.operation

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, timeout_s: float, *, holding: bool = False) -> bool:
        """Wait until events can be claimed, or the ring was replaced.

        While ``holding`` events that are not committed, also until an entry or span was closed since the last
        call, or the source waits for slots.
        """

        def ready() -> bool:
            return self._is_ready() or (holding and self.space_wanted)

        is_ready = wait(ready, self._announce[holding], self._semaphore, timeout_s)
        self._closed_seen = self._closed()
        return is_ready

    def _is_ready(self) -> bool:
        published = self._record.read_published()
        return (
            published > self._owners.count_claimed()
            or self._closed() != self._closed_seen
            or self._segment.retired
        )

    def _closed(self) -> tuple[int, int]:
        return self._record.read_closed(), self.spans_closed

    @property
    def worker_count(self) -> int:
        """How many workers were ever attached, this one included."""
        return len(self._workers.list_attached())

    @property
    def space_wanted(self) -> bool:
        """Whether the source waits for slots: what is done should be committed now."""
        return bool(self._words[at.SOURCE_WAITS])
