"""Keep how far the source is: one record of seven words, of which two copies take turns.

The source writes the copy that is not selected, and one 8-byte store of the selector makes all of it
true. So whoever reads, and whoever follows a source that was killed, finds one whole cursor.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from ami.ring.layout import CURSORS, SELECTOR
from ami.ring.segment import Segment


class Cursor(NamedTuple):
    """How far the source is, word by word as in the ring; ``dropped`` is the total of this ring.

    ``open_dropped`` and ``open_last_ns`` are of the open entry.
    """

    published: int
    position: int
    entries_opened: int
    entries_closed: int
    dropped: int
    open_dropped: int = 0
    open_last_ns: int = 0


_CURSOR: Final = struct.Struct(f"@{len(Cursor._fields)}q")
_CLOSED: Final = Cursor._fields.index("entries_closed")


class CursorRecord:
    """The cursor of one ring, for who reads it."""

    def __init__(self, segment: Segment) -> None:
        self._memory = segment.memory
        self._words = segment.words

    def read(self) -> Cursor:
        words = self._words
        while True:
            generation = words[SELECTOR]
            copy = _CURSOR.unpack_from(self._memory, 8 * CURSORS[generation % 2])
            # The source writes this copy again only after it has selected the other one.
            if words[SELECTOR] == generation:
                return tuple.__new__(Cursor, copy)  # half as long as Cursor(*copy): this is on every claim

    def read_published(self) -> int:
        return self._word(0)

    def read_closed(self) -> int:
        return self._word(_CLOSED)

    def _word(self, number: int) -> int:
        words = self._words
        while True:
            generation = words[SELECTOR]
            word = words[CURSORS[generation % 2] + number]
            if words[SELECTOR] == generation:
                return word


class SourceCursor:
    """The source's own copy: it changes the fields, then :meth:`flip` makes all of them true at once."""

    def __init__(self, segment: Segment) -> None:
        self._memory = segment.memory
        self._words = segment.words
        (
            self.published,
            self.position,
            self.entries_opened,
            self.entries_closed,
            self.dropped,
            self.open_dropped,
            self.open_last_ns,
        ) = CursorRecord(segment).read()

    def flip(self) -> None:
        words = self._words
        generation = words[SELECTOR] + 1
        _CURSOR.pack_into(
            self._memory,
            8 * CURSORS[generation % 2],
            self.published,
            self.position,
            self.entries_opened,
            self.entries_closed,
            self.dropped,
            self.open_dropped,
            self.open_last_ns,
        )
        words[SELECTOR] = generation
