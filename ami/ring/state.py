"""Read a ring's state while others write it: cursor, entries, owners, columns.

Nothing here locks. Each fact has one writer, and is read in an order in which a value that is too
old only ever says "not yet". x86-64 keeps stores in program order; a weaker machine would need
barriers that Python cannot give.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ami.errors import RingError
from ami.event import Array, Slots
from ami.ring.layout import (
    CLAIMED,
    CURSORS,
    ENTRY_FIRST,
    ENTRY_WORDS,
    FREE,
    MAX_WORKERS,
    REDUCED,
    SELECTOR,
    UNCLAIMED,
    WORKER,
    WORKERS,
    Cursor,
    Entry,
)
from ami.ring.segment import Segment

# published, position, entries opened, entries closed, dropped, and of the open entry: dropped, last_ns.
CURSOR: Final = struct.Struct("@7q")
ROW: Final = struct.Struct("@4qd9q")

CursorWords = tuple[int, int, int, int, int, int, int]


class RingState:
    """The parts of one mapped ring, as arrays and words."""

    def __init__(self, segment: Segment, *, writable: bool = False) -> None:
        layout = segment.layout
        self.segment = segment
        self.memory = segment.memory
        self.words = segment.words
        self.slot_count = layout.slot_count
        self.entry_count = layout.entry_count
        self.entries_word = layout.offsets["entries"] // 8
        self.owner_offset = layout.offsets["owner"]
        self.owner: NDArray[np.uint8] = self._array("owner", np.uint8)
        self.attempts: NDArray[np.uint8] = self._array("attempts", np.uint8)
        self.workers: NDArray[Any] = np.ndarray((MAX_WORKERS,), WORKER, buffer=self.memory, offset=WORKERS)
        self.valid: NDArray[np.int64] = self._array("valid", np.int64)
        self.timestamps: NDArray[np.int64] = self._array("timestamps", np.int64)
        self.columns: dict[str, Array] = {
            field.name: np.ndarray(
                (self.slot_count, *field.shape),
                field.dtype,
                buffer=self.memory,
                offset=layout.columns[field.name],
            )
            for field in layout.schema.fields
        }
        for array in (self.valid, self.timestamps, *self.columns.values()):
            array.flags.writeable = writable

    def _array(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        offset = self.segment.layout.offsets[name]
        return np.ndarray((self.slot_count,), dtype, buffer=self.memory, offset=offset)

    def cursor_words(self) -> CursorWords:
        """Return a consistent copy of the cursor."""
        words = self.words
        while True:
            generation = words[SELECTOR]
            copy = CURSOR.unpack_from(self.memory, 8 * CURSORS[generation % 2])
            # The source writes this copy again only after it has selected the other one.
            if words[SELECTOR] == generation:
                return copy

    def cursor(self) -> Cursor:
        return Cursor(*self.cursor_words()[:5])

    def published(self) -> int:
        return self.cursor_words()[0]

    def entries_closed(self) -> int:
        return self.cursor_words()[3]

    def slots(self, first: int, count: int) -> Slots:
        """Return the slots of ``count`` events from ``first`` on; they do not cross the ring's end."""
        start = first % self.slot_count
        stop = start + count
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return Slots(count, columns, self.valid[start:stop], self.timestamps[start:stop])

    def pieces(self, first: int, stop: int) -> list[slice]:
        """Return where the slots of at most a ringful of events lie: one or two slices."""
        if first >= stop:
            return []
        start, end = first % self.slot_count, (stop - 1) % self.slot_count + 1
        if start < end:
            return [slice(start, end)]
        return [slice(start, self.slot_count), slice(0, end)]

    def owners(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the owners of at most a ringful of events."""
        parts = [self.owner[piece] for piece in self.pieces(first, stop)]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    def row_word(self, index: int) -> int:
        """Return the number of the first word of an entry's row."""
        return self.entries_word + index % self.entry_count * ENTRY_WORDS

    def first_sequence(self, index: int) -> int | None:
        """Return an entry's first sequence, or None when its row belongs to a later one."""
        word = self.row_word(index)
        first = self.words[word + ENTRY_FIRST]
        # The source invalidates the index before it writes a row, so the order of these two matters.
        return first if self.words[word] == index else None

    def oldest_entry(self) -> int:
        """Return the index of the oldest entry that still has its place in the table."""
        return max(0, self.cursor_words()[2] - self.entry_count)

    def entry(self, index: int) -> Entry:
        """Return what the table says of an entry.

        Raises:
            RingError: the entry was not opened yet, or its place was taken by a later one.
        """
        published, _, opened, closed, _, open_dropped, open_last_ns = self.cursor_words()
        if not 0 <= index < opened:
            raise RingError(f"entry {index} of ring {self.segment.name} does not exist; {opened} were opened")
        word = self.row_word(index)
        row = ROW.unpack_from(self.memory, 8 * word)
        if row[0] != index or self.words[word] != index:
            raise RingError(
                f"entry {index} of ring {self.segment.name} has left the table of {self.entry_count}"
            )
        is_closed = index < closed
        first = row[ENTRY_FIRST]
        count, dropped, last_ns, closed_wall_ns = row[10:14]
        if not is_closed:
            # It is the last one opened; its row has these only when it is closed.
            count, dropped, last_ns, closed_wall_ns = published - first, open_dropped, open_last_ns, 0
        return Entry(
            index=index,
            interval=row[1],
            run=row[2],
            step=row[3],
            step_value=row[4],
            graph_version=row[5],
            transition=row[6],
            first_sequence=first,
            count=count,
            dropped=dropped,
            first_ns=row[8] if count else 0,
            last_ns=last_ns,
            closed=is_closed,
            opened_wall_ns=row[9],
            closed_wall_ns=closed_wall_ns,
        )

    def entry_firsts(self) -> list[tuple[int, int]]:
        """Return (first sequence, index) of all entries that are in the table."""
        opened = self.cursor_words()[2]
        found = []
        for index in range(max(0, opened - self.entry_count), opened):
            first = self.first_sequence(index)
            if first is not None:
                found.append((first, index))
        return found

    def uncommitted(self, first: int, stop: int) -> int:
        """Return how many of the events from ``first`` up to ``stop`` are not committed.

        The order of the reads matters. ``claimed`` comes before the owners: below it, "unclaimed" is
        no state of an event, but a source that has begun to fill the slot anew (or died
        there). ``published`` is read again after the owners: whoever owns a slot of an event that
        has left the window by then owns it for a later event.
        """
        claimed = self.words[CLAIMED]
        first = max(first, self.published() - self.slot_count, 0)
        if first >= stop:
            return 0
        owners = self.owners(first, stop)
        owned: NDArray[np.bool_] = owners != FREE
        if not owned.any():
            return 0
        below = max(0, claimed - first)
        owned[:below] &= owners[:below] != UNCLAIMED
        left = max(0, self.published() - self.slot_count - first)
        return int(np.count_nonzero(owned[left:]))

    def outstanding(self, index: int) -> int:
        """Return how many events of an entry are not committed; 0 when it has left the table."""
        published, _, opened, closed, *_ = self.cursor_words()
        first = self.first_sequence(index)
        if first is None or not 0 <= index < opened:
            return 0
        stop = published
        if index < closed:
            count = self.words[self.row_word(index) + 10]
            if self.first_sequence(index) is None:
                return 0
            stop = first + count
        return self.uncommitted(first, stop)

    def complete(self, index: int) -> bool:
        """Return whether an entry is closed and all of its events are committed."""
        return 0 <= index < self.entries_closed() and self.outstanding(index) == 0

    def drained(self) -> bool:
        """Return whether nobody needs this ring any more, should the source stop now."""
        published, _, opened, closed, *_ = self.cursor_words()
        reduced = self.words[REDUCED]
        return (
            opened == closed
            and self.words[CLAIMED] >= published
            and (reduced < 0 or reduced >= closed)
            and self.uncommitted(published - self.slot_count, published) == 0
        )
