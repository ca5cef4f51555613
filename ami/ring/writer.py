"""Publish events and entries: the source's hands on the ring.

Everything that the source knows of the stream is in one cursor record, kept twice. A change is written
into the copy that is not selected, and becomes true with one 8-byte store of the selector. What lies
beyond the selected cursor (slots, owners, rows of the table) never counted, so a source
killed at any instruction leaves a consistent ring, and the next one goes on at ``cursor.position``.
"""

from __future__ import annotations

import struct
import time
from types import TracebackType
from typing import Final

import numpy as np

from ami.errors import RingError, RingGone
from ami.event import Schema, Slots
from ami.ring import layout as at
from ami.ring.layout import Cursor, Entry, Layout
from ami.ring.observer import RingObserver
from ami.ring.segment import Segment
from ami.ring.state import CURSOR, RingState
from ami.ring.wake import Bell, wait

_ROW_REST: Final = struct.Struct("@3qd5q")  # an entry's row behind its index, up to opened_wall_ns
_ROW_END: Final = struct.Struct("@4q")  # count, dropped, last_ns, closed_wall_ns
_LOOK_AHEAD: Final = 1 << 16  # slots that are looked at at once for being free; 2 us


class RingWriter:
    """The one writer of a ring; not for several threads. Made by :meth:`create`."""

    def __init__(self, segment: Segment, *, resumed: bool) -> None:
        self._segment = segment
        self._state = state = RingState(segment, writable=True)
        self._words = segment.words
        self._bell = Bell(segment)
        self._table_full = False
        self.resumed = resumed
        self.name = segment.name
        self.schema: Schema = segment.layout.schema
        self.interval_ns = segment.layout.interval_ns
        self.slot_count = segment.layout.slot_count
        self.ring_id = segment.ring_id
        (
            self._published,
            self._position,
            self._opened,
            self._closed,
            self._dropped,
            self._open_dropped,
            self._open_last_ns,
        ) = state.cursor_words()
        self._reserved = 0
        self._free_until = self._published
        self._row = state.row_word(self._opened - 1)
        if resumed:
            self._undo_unpublished()

    @classmethod
    def create(
        cls,
        name: str,
        schema: Schema,
        *,
        source_id: str,
        bytes: int,
        max_slots: int,
        entries: int,
        interval_ns: int,
        policy: str,
    ) -> RingWriter:
        """Continue the ring of a dead writer, or make a new one.

        A ring is continued when schema, source, geometry and interval are equal. Any other
        ring of this name is retired at once, whatever is still in it (see :meth:`leftover`).

        Args:
            bytes: what slots may take; there are at least 8 and at most ``max_slots`` of them.
            entries: places in the table of entries.
            policy: "wait" or "drop", for others to read; the caller keeps to it.

        Raises:
            RingBusy: a living process writes to this ring.
            RingError: the name belongs to something else, or shared memory is short.
        """
        if policy not in at.POLICIES:
            raise RingError(f"ring policy {policy!r} is unknown; known: {', '.join(at.POLICIES)}")
        if entries < 2 or interval_ns < 1:
            raise RingError(f"a ring needs at least 2 entries and 1 ns, got {entries} and {interval_ns}")
        wanted = Layout(
            schema,
            source_id=source_id,
            slot_count=at.slot_count(schema, bytes, max_slots),
            entry_count=entries,
            interval_ns=interval_ns,
        )
        policy_number = at.POLICIES.index(policy)
        while True:
            old = _take_over(name)
            if old is not None and not old.retired and old.layout == wanted:
                old.words[at.POLICY] = policy_number
                return cls(old, resumed=True)
            try:
                made = Segment.create(name, wanted, policy=policy_number, replacing=old)
            finally:
                if old is not None:
                    old.close()
            if made is not None:
                return cls(made, resumed=False)

    @classmethod
    def leftover(cls, name: str) -> RingObserver | None:
        """Return a look at what a dead writer left uncommitted, or None when nothing is left.

        For a caller that is about to replace the ring and wants it drained first: the
        dead writer's open entry is closed, so that the reducer can complete it.

        Raises:
            RingBusy: a living process writes to this ring.
        """
        segment = _take_over(name)
        if segment is None:
            return None
        if segment.retired:
            segment.close()
            return None
        with cls(segment, resumed=True) as writer:
            if writer.open is not None:
                writer.close_entry()
            if writer.drained():
                return None
            return RingObserver(name)

    def _undo_unpublished(self) -> None:
        """Free the slots that a writer killed inside ``publish`` had marked already."""
        state = self._state
        with self._segment.locks.critical(at.CLAIM_LOCK):
            marked = state.owner == at.UNCLAIMED
            for piece in state.pieces(self._words[at.CLAIMED], self._published):
                marked[piece] = False
            state.owner[np.flatnonzero(marked)] = at.FREE

    # --- what the stream is ---------------------------------------------------------------------

    @property
    def cursor(self) -> Cursor:
        return Cursor(self._published, self._position, self._opened, self._closed, self._dropped)

    @property
    def open(self) -> Entry | None:
        """The entry to which events are published now."""
        return self._state.entry(self._closed) if self._opened > self._closed else None

    def entry(self, index: int) -> Entry:
        """Return an entry as it is now.

        Raises:
            RingError: it was not opened yet, or a later one has its place.
        """
        return self._state.entry(index)

    def _flip(self) -> None:
        words = self._words
        generation = words[at.SELECTOR] + 1
        CURSOR.pack_into(
            self._segment.memory,
            8 * at.CURSORS[generation % 2],
            self._published,
            self._position,
            self._opened,
            self._closed,
            self._dropped,
            self._open_dropped,
            self._open_last_ns,
        )
        words[at.SELECTOR] = generation

    # --- entries --------------------------------------------------------------------------------

    def open_entry(
        self,
        *,
        interval: int,
        run: int,
        step: int,
        step_value: float,
        graph_version: int,
        transition: int = 0,
    ) -> bool:
        """Begin an entry; one of a transition is closed at once.

        Returns False when the table is full, because the local reducer is behind.

        Raises:
            RingError: an entry is open.
        """
        if self._opened > self._closed:
            raise RingError(f"entry {self._closed} of ring {self.name} is still open; close it first")
        self._table_full = not self._row_is_free()
        if self._table_full:
            return False
        self._row = row = self._state.row_word(self._opened)
        now_ns = time.time_ns()
        self._words[row] = -1  # readers of the entry that had this row see that it is gone
        _ROW_REST.pack_into(
            self._segment.memory,
            8 * (row + 1),
            interval,
            run,
            step,
            step_value,
            graph_version,
            transition,
            self._published,
            0,
            now_ns,
        )
        _ROW_END.pack_into(
            self._segment.memory, 8 * (row + at.ENTRY_COUNT), 0, 0, 0, now_ns if transition else 0
        )
        self._words[row] = self._opened
        self._opened += 1
        self._open_dropped = 0
        self._open_last_ns = 0
        if transition:
            self._closed += 1
        self._flip()
        if transition:
            self._announce_closed()
        return True

    def _row_is_free(self) -> bool:
        old = self._opened - self._state.entry_count
        if old < 0:
            return True
        reduced = self._words[at.REDUCED]
        return (reduced < 0 or old < reduced) and self._state.outstanding(old) == 0

    def close_entry(self) -> None:
        """End the open entry.

        Raises:
            RingError: no entry is open.
        """
        self._must_be_open()
        words, row = self._words, self._row
        _ROW_END.pack_into(
            self._segment.memory,
            8 * (row + at.ENTRY_COUNT),
            self._published - words[row + at.ENTRY_FIRST],
            self._open_dropped,
            self._open_last_ns,
            time.time_ns(),
        )
        self._closed += 1
        self._flip()
        self._announce_closed()

    def _announce_closed(self) -> None:
        self._bell.wake_all_workers()
        self._bell.wake_reducer()

    def _must_be_open(self) -> None:
        if self._opened == self._closed:
            raise RingError(f"no entry of ring {self.name} is open; events need one")

    # --- events ---------------------------------------------------------------------------------

    def reserve(self, limit: int) -> Slots | None:
        """Return free slots to fill: at least 1, at most ``limit``, never past the ring's end.

        Returns None when the ring is full. Reserving again gives the same slots again.
        """
        first = self._published
        start = first % self.slot_count
        wanted = min(limit, self.slot_count - start)
        if first + wanted > self._free_until:
            self._look_ahead(first, start, wanted)
            wanted = min(wanted, self._free_until - first)
        self._reserved = max(0, wanted)
        return self._state.slots(first, wanted) if wanted > 0 else None

    def _look_ahead(self, first: int, start: int, wanted: int) -> None:
        # A slot that is free stays so until it is published, so what was seen once need not be
        # looked at again: one look serves many small blocks.
        owner = self._state.owner[start : start + max(wanted, _LOOK_AHEAD)]
        free = 0
        # Workers commit meanwhile. So the first slot is looked at before: when it is free, argmax
        # (which stops at the first that is owned) is 0 only if none is.
        if owner.item(0) == at.FREE:
            free = int(owner.view(np.bool_).argmax()) or len(owner)
        self._free_until = first + free

    def publish(self, slots_written: int, *, position: int) -> None:
        """Make the first ``slots_written`` reserved slots events, and the input's place known.

        Args:
            position: number, in the input, of the next event that is not published yet.

        Raises:
            RingError: more than was reserved, or no entry is open.
        """
        self._must_be_open()
        if not 0 <= slots_written <= self._reserved:
            raise RingError(f"{slots_written} slots to publish, {self._reserved} were reserved")
        state, first = self._state, self._published
        if slots_written:
            start = first % self.slot_count
            stop = start + slots_written
            if self._words[at.ATTEMPTED]:
                state.attempts[start:stop] = 0
            state.owner[start:stop] = at.UNCLAIMED
            if self._words[self._row + at.ENTRY_FIRST] == first:
                self._words[self._row + at.ENTRY_FIRST_NS] = state.timestamps.item(start)
            self._open_last_ns = state.timestamps.item(stop - 1)
            self._published = first + slots_written
        self._reserved = 0
        self._position = position
        self._flip()
        self._bell.wake_a_worker()

    def drop(self, count: int, *, position: int) -> None:
        """Count events of the open entry that were not taken, and pass them in the input.

        Raises:
            RingError: no entry is open.
        """
        self._must_be_open()
        self._dropped += count
        self._open_dropped += count
        self._position = position
        self._flip()

    def wait_for_space(self, timeout_s: float) -> bool:
        """Wait until what was refused last, a slot or an entry, can be had."""
        return wait(self._has_space, self._bell.announce_source, self._segment.semaphore(".space"), timeout_s)

    def _has_space(self) -> bool:
        if self._table_full:
            return self._row_is_free()
        return self._state.owner.item(self._published % self.slot_count) == at.FREE

    def drained(self) -> bool:
        """Return whether every entry is closed and reduced (if there ever was a reducer), and every
        slot is committed."""
        return self._state.drained()

    # --- the end --------------------------------------------------------------------------------

    def close(self, *, unlink: bool) -> None:
        """Let go of the ring, so that another writer may continue it; or retire and remove it."""
        if unlink:
            self._segment.retire()
            self._segment.unlink()
        self._segment.close()

    def __enter__(self) -> RingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(unlink=False)


def _take_over(name: str) -> Segment | None:
    """Return the ring of this name with its writer's record locked, or None when there is none."""
    while True:
        try:
            segment = Segment.attach(name)
        except RingGone:
            return None
        try:
            segment.hold(at.WRITER_LOCK, at.WRITER_PID, "source")
        except BaseException:
            segment.close()
            raise
        if segment.is_current:
            segment.sign(at.WRITER_PID, at.WRITER_SINCE)
            return segment
        segment.close()  # replaced while we waited for its writer to die
