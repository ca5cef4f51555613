"""Keep the table of entries: one row each, which only the source writes.

A row is an :class:`Entry`, field by field. Its index is made invalid before anything of it is written and
set last, so a reader that finds the same index before and after its look has read one whole row.
"""

from __future__ import annotations

import struct
import time
from typing import Final, NamedTuple

from ami.ring.layout import ENTRY_BYTES
from ami.ring.segment import Segment


class Entry(NamedTuple):
    """A stretch of events of one interval, run, step and graph version.

    ``count``, ``dropped`` and ``last_ns`` are those so far while the entry is open, and
    ``closed_wall_ns`` is 0. ``transition`` is 0 or an :class:`ami.event.Transition`; such an entry has no
    events.
    """

    index: int  # type: ignore[assignment]  # hides tuple's own, which nobody needs of an entry
    interval: int
    run: int
    step: int
    step_value: float
    graph_version: int
    transition: int
    first_sequence: int
    first_ns: int = 0
    opened_wall_ns: int = 0
    configuration: int = 0  # number of the columns that have its events
    span: int = -1  # index of the first entry of its span; -1: its graph has no large results
    # In the ring these five are valid when the entry is closed; until then the cursor has them.
    count: int = 0  # type: ignore[assignment]  # as index
    dropped: int = 0
    last_ns: int = 0
    closed_wall_ns: int = 0
    position: int = 0  # in the input, of what comes behind its last event

    @property
    def closed(self) -> bool:
        return self.closed_wall_ns != 0


_ROW: Final = struct.Struct("@4qd12q")
_END: Final = struct.Struct("@5q")  # from count on
_FIRST_SEQUENCE: Final = Entry._fields.index("first_sequence")
_FIRST_NS: Final = Entry._fields.index("first_ns")
_COUNT: Final = Entry._fields.index("count")
_NONE: Final = -1  # the index of a row that is being written


class EntryTable:
    """The rows of the entries that were opened last."""

    def __init__(self, segment: Segment) -> None:
        self._memory = segment.memory
        self._words = segment.words
        self._first_word = segment.layout.offsets["entries"] // 8
        self.row_count = segment.layout.entry_count

    def _word(self, index: int) -> int:
        """Return the number of the first word of an entry's row."""
        return self._first_word + index % self.row_count * (ENTRY_BYTES // 8)

    def oldest(self, opened: int) -> int:
        """Return the index of the oldest entry that still has its row."""
        return max(0, opened - self.row_count)

    def first_sequence(self, index: int) -> int | None:
        """Return an entry's first sequence, or None when its row belongs to a later one."""
        word = self._word(index)
        first = self._words[word + _FIRST_SEQUENCE]
        # The source invalidates the index before it writes a row, so the order of these two matters.
        return first if self._words[word] == index else None

    def first_sequences(self, opened: int) -> list[tuple[int, int]]:
        """Return (first sequence, index) of all entries that are in the table."""
        found = ((self.first_sequence(index), index) for index in range(self.oldest(opened), opened))
        return [(first, index) for first, index in found if first is not None]

    def read(self, index: int) -> Entry | None:
        """Return an entry's row, or None when it belongs to a later one."""
        word = self._word(index)
        row = Entry._make(_ROW.unpack_from(self._memory, 8 * word))
        return row if row.index == index == self._words[word] else None

    # --- the source -----------------------------------------------------------------------------

    def write(self, entry: Entry) -> None:
        word = self._word(entry.index)
        self._words[word] = _NONE  # readers of the entry that had this row see that it is gone
        _ROW.pack_into(self._memory, 8 * word, *entry._replace(index=_NONE))
        self._words[word] = entry.index

    def begin(self, index: int, first_ns: int) -> None:
        """Write down when an entry's first event was."""
        self._words[self._word(index) + _FIRST_NS] = first_ns

    def finish(self, index: int, count: int, dropped: int, last_ns: int, position: int) -> None:
        _END.pack_into(
            self._memory, 8 * (self._word(index) + _COUNT), count, dropped, last_ns, time.time_ns(), position
        )
