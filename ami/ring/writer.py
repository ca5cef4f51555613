"""Publish events and entries: the source's hands on the ring.

Everything that the source knows of the stream is in its cursor. What lies beyond the selected cursor
(slots, owners, rows of the table) never counted, so a source killed at any instruction leaves a
consistent ring, and the next one goes on at ``cursor.position``.

Which fields are kept is changed between two entries (:meth:`RingWriter.configure`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from ami.errors import RingError, RingGone
from ami.event import Schema, Slots
from ami.ring import layout as at
from ami.ring.columns import Columns, Configuration
from ami.ring.cursor import SourceCursor
from ami.ring.entries import Entry
from ami.ring.handle import Handle
from ami.ring.keeper import Keeper
from ami.ring.layout import Layout
from ami.ring.observer import RingObserver
from ami.ring.segment import Segment
from ami.ring.wake import wait


class RingWriter(Handle):
    """The one writer of a ring; not for several threads. Made by :meth:`create`."""

    def __init__(
        self, segment: Segment, *, resumed: bool, reduced: bool = False, replaced: Segment | None = None
    ) -> None:
        super().__init__(segment)
        if reduced:
            self.keep_entries()
        self._own = SourceCursor(segment)
        self._table_full = False
        self._reserved = 0
        self._free_until = self._own.published
        self._entry_first = self.open.first_sequence if self.open is not None else -1
        self.resumed = resumed
        if resumed:
            with segment.locks.critical(at.CLAIM_LOCK):
                self._owners.withdraw(self._own.published)
        self._keeper = Keeper(self, self._entries, None if replaced is None else Handle(replaced))
        self._use(self._keeper.columns)

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
        reduced: bool = False,
        share: Callable[[], int] = lambda: 0,
    ) -> RingWriter:
        """Continue the ring of a dead writer, or make a new one.

        A ring is continued when schema, source, geometry and interval are equal. Any other
        ring of this name is retired at once, whatever is still in it (see :meth:`leftover`).

        Args:
            bytes: what events may take, of at least 8 and at most ``max_slots``; 0: as much as in the ring
                that is continued, and in a new one what ``share`` returns.
            entries: rows in the table of entries.
            policy: "wait" or "drop", for others to read; the caller keeps to it.
            reduced: a local reducer is to see every entry, also those of before it first came.

        Raises:
            RingBusy: a living process writes to this ring.
            RingFull: there is not enough shared memory.
            RingError: the name belongs to something else.
        """
        _check(policy, entries, interval_ns)
        lay_out = partial(Layout.fit, schema, source_id, max_slots, entries, interval_ns)
        policy_number = at.POLICIES.index(policy)
        while True:
            old = _take_over(name)
            known = old if old is not None and not old.retired else None
            if known is not None and known.layout == lay_out(bytes or known.layout.column_bytes):
                known.words[at.POLICY] = policy_number
                return cls(known, resumed=True, reduced=reduced)
            segment = None
            try:
                wanted = lay_out(bytes or share())
                segment = Segment.create(name, wanted, policy=policy_number, replacing=old)
            finally:
                if old is not None and segment is None:
                    old.close()
            if segment is not None:
                return cls(segment, resumed=False, reduced=reduced, replaced=old)

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
            writer.end_span()
            return None if writer.is_drained() else RingObserver(name)

    # --- which fields are kept ------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration | None:
        """What the events of the next entry are kept in; None before the first :meth:`configure`."""
        return None if self._columns is None else self._columns.configuration

    def prepare(self, names: Iterable[str]) -> bool:
        """Work for some milliseconds on columns for just these fields; return whether they are whole.

        Raises:
            RingFull: there is not enough shared memory.
        """
        return self._keeper.prepare(names)

    def configure(self, names: Iterable[str]) -> bool:
        """Keep just these fields from the next entry on; False: their columns are not whole yet, call again.

        Raises:
            RingFull: there is not enough shared memory.
            RingError: an entry is open.
        """
        self._refuse_open()
        if not self._keeper.prepare(names):
            return False
        self._keeper.exchange(self._own.published)
        self._use(self._keeper.columns)
        return True

    def _use(self, columns: Columns | None) -> None:
        self._columns = columns
        self._free_until = self._own.published
        self._words[at.DEPTH] = 0 if columns is None else columns.depth

    def tidy(self) -> None:
        """Remove columns of which every event is committed."""
        self._keeper.tidy()

    # --- entries --------------------------------------------------------------------------------

    @property
    def open(self) -> Entry | None:
        """The entry to which events are published now."""
        own = self._own
        return self.entry(own.entries_closed) if own.entries_opened > own.entries_closed else None

    def open_entry(
        self,
        *,
        interval: int,
        run: int,
        step: int,
        step_value: float,
        graph_version: int,
        transition: int = 0,
        large: bool = False,
    ) -> bool:
        """Begin an entry; one of a transition is closed at once.

        ``large``: it is in the span of the entry before, or in a new one if that was ended. Returns False
        when the table is full, because the local reducer is behind.

        Raises:
            RingError: an entry is open, or it is not known which fields to keep.
        """
        self._refuse_open()
        if (columns := self._columns) is None:
            raise RingError(f"ring {self.name} has no columns yet; configure it first")
        if self._table_is_full():
            return False
        own, now_ns = self._own, time.time_ns()
        entry = Entry(
            index=own.entries_opened,
            interval=interval,
            run=run,
            step=step,
            step_value=step_value,
            graph_version=graph_version,
            transition=transition,
            first_sequence=own.published,
            opened_wall_ns=now_ns,
            configuration=columns.number,
            span=-1 if not large else own.entries_opened if self.open_span is None else self.open_span,
            closed_wall_ns=now_ns if transition else 0,
            position=own.position,
        )
        self._entries.write(entry)
        self._entry_first = own.published
        own.entries_opened += 1
        own.open_dropped = own.open_last_ns = 0
        own.entries_closed += entry.closed
        own.flip()
        if entry.closed:
            self._announce_closed()
        self._keeper.tidy()
        return True

    def _refuse_open(self) -> None:
        own = self._own
        if own.entries_opened > own.entries_closed:
            raise RingError(f"entry {own.entries_closed} of ring {self.name} is still open; close it first")

    @property
    def open_span(self) -> int | None:
        """The span to which the next entry would be added; None: none is open."""
        index = self._own.entries_opened
        span = -1 if self._words[at.SPANS_CLOSED] == index else self.entry(index - 1).span
        return None if span < 0 else span

    def end_span(self) -> None:
        """Let the next entry begin a span.

        Raises:
            RingError: an entry is open.
        """
        self._refuse_open()
        own = self._own
        if self._words[at.SPANS_CLOSED] != own.entries_opened:
            self._words[at.SPANS_CLOSED] = own.entries_opened
            self._bell.wake_holders()
            self._bell.wake_reducer(lambda: self.is_over(own.entries_opened - 1))

    def _table_is_full(self) -> bool:
        self._table_full = not self._row_is_free()
        return self._table_full

    def _row_is_free(self) -> bool:
        old = self._own.entries_opened - self._entries.row_count
        if old < 0:
            return True
        reduced = self._words[at.REDUCED]
        return (reduced < 0 or old < reduced) and self.outstanding(old) == 0

    def close_entry(self) -> None:
        """End the open entry.

        Raises:
            RingError: no entry is open.
        """
        self._must_be_open()
        own = self._own
        self._entries.finish(
            own.entries_closed, own.published - self._entry_first, own.open_dropped, own.open_last_ns,
            own.position,
        )  # fmt: skip
        own.entries_closed += 1
        own.flip()
        self._announce_closed()

    def _announce_closed(self) -> None:
        self._bell.wake_holders()
        self._bell.wake_reducer(lambda: self.is_complete(self._own.entries_closed - 1))

    def _must_be_open(self) -> None:
        if self._own.entries_opened == self._own.entries_closed:
            raise RingError(f"no entry of ring {self.name} is open; events need one")

    # --- events ---------------------------------------------------------------------------------

    def reserve(self, limit: int) -> Slots | None:
        """Return free slots to fill: at least 1, at most ``limit``, side by side in every column.

        Returns None when the ring is full. Reserving again gives the same slots again.
        """
        columns = self._columns
        if columns is None:
            return None
        first = self._own.published
        start = first % self.slot_count
        wanted = min(limit, self.slot_count - start, columns.room(first))
        if first + wanted > self._free_until:
            self._free_until = self._look(columns, first, wanted)
            wanted = min(wanted, self._free_until - first)
        self._reserved = wanted
        if wanted <= 0:
            return None
        return columns.slots(first, wanted, self._timestamps[start : start + wanted])

    def _look(self, columns: Columns, first: int, wanted: int) -> int:
        """Return up to which event there are free slots with free places, from the next one on."""
        until = self._owners.free_from(first, wanted)
        depth = columns.depth
        if depth < self.slot_count and until > first:
            # A place is free when nobody was there yet, or who was there is committed.
            earlier = max(first - depth, self._keeper.first)
            if earlier < first:
                committed = min(first, self._owners.free_from(earlier, wanted))
                until = min(until, committed + depth)
            else:
                until = min(until, first + depth)
        return until

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
        own = self._own
        first = own.published
        if slots_written:
            start = first % self.slot_count
            stop = start + slots_written
            timestamps = self._timestamps
            self._owners.offer(start, stop)
            if first == self._entry_first:
                self._entries.begin(own.entries_closed, timestamps.item(start))
            own.open_last_ns = timestamps.item(stop - 1)
            own.published = first + slots_written
        self._reserved = 0
        own.position = position
        own.flip()
        self._bell.wake_a_worker()

    def drop(self, count: int, *, position: int) -> None:
        """Count events of the open entry that were not taken, and pass them in the input.

        Raises:
            RingError: no entry is open.
        """
        self._must_be_open()
        self._own.dropped += count
        self._own.open_dropped += count
        self._own.position = position
        self._own.flip()

    def wait_for_space(self, timeout_s: float) -> bool:
        """Wait until what was refused last, a slot or an entry, can be had."""
        return wait(self._has_space, self._bell.announce_source, self._segment.semaphore(".space"), timeout_s)

    def _has_space(self) -> bool:
        if self._table_full:
            return self._row_is_free()
        first, columns = self._own.published, self._columns
        return columns is not None and self._look(columns, first, 1) > first

    # --- the end --------------------------------------------------------------------------------

    def close(self, *, unlink: bool = False) -> None:
        """Let go of the ring, so that another writer may continue it; or retire and remove it."""
        if unlink:
            self._segment.retire()
        # Before the name is free: who makes the next ring of this name has columns of this name, too.
        self._keeper.close(unlink=unlink)
        if unlink:
            self._segment.unlink()
        super().close()


def _check(policy: str, entries: int, interval_ns: int) -> None:
    if policy not in at.POLICIES:
        raise RingError(f"ring policy {policy!r} is unknown; known: {', '.join(at.POLICIES)}")
    if entries < 2 or interval_ns < 1:
        raise RingError(f"a ring needs at least 2 entries and 1 ns, got {entries} and {interval_ns}")


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
            return segment
        segment.close()  # replaced while we waited for its writer to die
