"""Map one ring and answer what writer, reader and observer all may ask.

Nothing here locks. Each fact has one writer, and is read in an order in which a value that is too
old only ever says "not yet". x86-64 keeps stores in program order; a weaker machine would need
barriers that Python cannot give.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ami.errors import RingError
from ami.event import Schema
from ami.ring.cursor import Cursor, CursorRecord
from ami.ring.entries import Entry, EntryTable
from ami.ring.layout import DEPTH, REDUCED, SPANS_CLOSED, TAKEN
from ami.ring.owners import Owners
from ami.ring.segment import Segment
from ami.ring.wake import Bell
from ami.ring.workers import WorkerTable


class Handle:
    """One process' view of one ring."""

    def __init__(self, segment: Segment, worker: int | None = None) -> None:
        layout = segment.layout
        self._segment = segment
        self._words = segment.words
        self._record = CursorRecord(segment)
        self._entries = EntryTable(segment)
        self._owners = Owners(segment, worker)
        self._timestamps: NDArray[np.int64] = np.ndarray(
            (layout.slot_count,), np.int64, buffer=segment.memory, offset=layout.offsets["timestamps"]
        )
        self._workers = WorkerTable(segment, worker)
        self._bell = Bell(segment)
        self.name = segment.name
        self.schema: Schema = layout.schema
        self.source_id = layout.source_id
        self.interval_ns = layout.interval_ns
        self.slot_count = layout.slot_count
        self.column_bytes = layout.column_bytes
        self.ring_id = segment.ring_id

    @property
    def depth(self) -> int:
        """How many events there is room for, with the fields that are kept now."""
        return self._words[DEPTH] or self.slot_count

    @property
    def cursor(self) -> Cursor:
        return self._record.read()

    @property
    def replaced(self) -> bool:
        """Whether this ring was retired: attach again when nothing is left to do here."""
        return self._segment.retired

    @property
    def taken(self) -> bool:
        """Whether its events were dealt to other nodes: it must be left, and none of them counts any more."""
        return self._words[TAKEN] != 0

    def entry(self, index: int) -> Entry:
        """Return an entry as it is now.

        Raises:
            RingError: it was not opened yet, or a later one has its row.
        """
        cursor = self._record.read()
        if not 0 <= index < cursor.entries_opened:
            raise RingError(
                f"entry {index} of ring {self.name} does not exist; {cursor.entries_opened} were opened"
            )
        row = self._entries.read(index)
        if row is None:
            raise RingError(
                f"entry {index} of ring {self.name} has left the table of {self._entries.row_count}"
            )
        if index >= cursor.entries_closed:
            # The last one opened: a source that was killed while it closed it left numbers in the row.
            row = row._replace(
                count=cursor.published - row.first_sequence,
                dropped=cursor.open_dropped,
                last_ns=cursor.open_last_ns,
                closed_wall_ns=0,
                position=cursor.position,
            )
        # A first event that was never published has left its time.
        return row if row.count else row._replace(first_ns=0)

    @property
    def oldest_entry(self) -> int:
        """Index of the oldest entry that still has its row in the table."""
        return self._entries.oldest(self._record.read().entries_opened)

    def keep_entries(self) -> None:
        """Let no row that is still in the table go before the reducer forgets it."""
        if self._words[REDUCED] < 0:
            self._words[REDUCED] = self.oldest_entry

    @property
    def released(self) -> int:
        """Up to which entry nobody needs anything any more: neither rows, nor spans that begin there."""
        return max(0, self._words[REDUCED])

    @property
    def spans_closed(self) -> int:
        """Up to which entry the spans are whole: no other entry is added to them."""
        return self._words[SPANS_CLOSED]

    def outstanding(self, index: int, *, but_flushed: bool = False) -> int:
        """Return how many events of an entry are not committed yet; 0 when it has left the table.

        ``but_flushed``: nor in a stored flush.
        """
        cursor = self._record.read()
        if not 0 <= index < cursor.entries_opened:
            return 0
        row = self._entries.read(index)
        if row is None:
            return 0
        first = row.first_sequence
        stop = first + row.count if index < cursor.entries_closed else cursor.published
        return self._owners.count_uncommitted(
            first, stop, self._record.read_published, but_flushed=but_flushed
        )

    def is_complete(self, index: int) -> bool:
        """Return whether an entry is closed and each of its events in a stored flush."""
        return 0 <= index < self._record.read_closed() and not self.outstanding(index, but_flushed=True)

    def is_over(self, index: int) -> bool:
        """Return whether an entry is closed and each of its events committed, large states and all."""
        return 0 <= index < self._record.read_closed() and not self.outstanding(index)

    def is_drained(self) -> bool:
        """Return whether nobody needs this ring any more, should the source stop now: every entry is
        closed, and reduced (if there ever was a reducer), and every slot is committed."""
        published, _, opened, closed, *_ = self._record.read()
        reduced = self._words[REDUCED]
        return (
            opened == closed
            and self._owners.count_claimed() >= published
            and (reduced < 0 or reduced >= closed)
            and self.is_committed(published)
        )

    def is_committed(self, stop: int) -> bool:
        """Return whether each published event up to ``stop`` is committed."""
        return self._owners.count_uncommitted(0, stop, self._record.read_published) == 0

    def close(self) -> None:
        """Let go of the ring."""
        self._segment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
