"""Keep the columns of a ring for its source: make the next ones, exchange them, remove what nobody needs.

What is needed can be read off the table of entries: an entry without its row is committed, and each row names
its configuration. So a source that was killed leaves nothing that its successor cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ami.errors import RingError
from ami.ring import configurations
from ami.ring.columns import Columns, Configuration
from ami.ring.configurations import Construction
from ami.ring.entries import EntryTable
from ami.ring.handle import Handle


class Keeper:
    """The configurations of one ring.

    Attributes:
        columns: those that entries are opened with, if any.
        first: no event before this one is in them.

    Args:
        entries: the ring's table.
        replaced: the ring that had this name before. Its workers may still map its columns.
    """

    def __init__(self, ring: Handle, entries: EntryTable, replaced: Handle | None) -> None:
        self._ring = ring
        self._replaced = replaced
        self._others = configurations.find(ring.name)  # of the ring before
        self._next = self._others[-1] + 1 if self._others else 1
        self._old: list[tuple[int, int]] = []  # number, and end of its events
        self._construction: Construction | None = None
        self._made: Columns | None = None
        self.columns: Columns | None = None
        self.first = 0
        self._take_up(entries)
        if replaced is None:
            self._remove_unknown()

    def _take_up(self, entries: EntryTable) -> None:
        opened = self._ring.cursor.entries_opened
        firsts: dict[int, int] = {}  # by number: first event of its oldest entry that has a row
        for index in range(entries.oldest(opened), opened):
            row = entries.read(index)
            if row is not None:
                firsts.setdefault(row.configuration, row.first_sequence)
        numbers = list(firsts)
        self._old = [(number, firsts[later]) for number, later in pairwise(numbers)]
        if numbers:
            self._next = max(self._next, numbers[-1] + 1)
            self.first = firsts[numbers[-1]]
            self.columns = self._map(numbers[-1])

    def _map(self, number: int) -> Columns | None:
        ring = self._ring
        try:
            return configurations.attach(ring.name, ring.ring_id, number, ring.schema, writable=True)
        except RingError:
            return None  # somebody removed or spoilt it: the next entry gets others

    def _remove_unknown(self) -> None:
        known = {number for number, _ in self._old}
        if self.columns is not None:
            known.add(self.columns.number)
        configurations.remove(self._ring.name, set(self._others) - known)
        self._others = []

    def prepare(self, names: Iterable[str]) -> bool:
        """Work on columns for these fields; see :meth:`ami.ring.writer.RingWriter.prepare`."""
        wanted = frozenset(names)
        if self.columns is not None and wanted == self.columns.schema.name_set:
            self._give_up()
            return True
        if self._made is not None and wanted == self._made.schema.name_set:
            return True
        if self._construction is None or wanted != self._construction.configuration.schema.name_set:
            self._give_up()
            self._construction = self._begin(wanted)
        self._made = self._construction.go_on()
        if self._made is not None:
            self._construction = None
        return self._made is not None

    def _begin(self, names: Iterable[str]) -> Construction:
        ring = self._ring
        wanted = Configuration.choose(
            self._next, ring.schema, names, bytes=ring.column_bytes, slot_count=ring.slot_count
        )
        self._next += 1
        return Construction(ring.name, ring.ring_id, wanted)

    def exchange(self, published: int) -> None:
        """Use what was prepared for the events from ``published`` on."""
        if self._made is not None:
            if self.columns is not None:
                self._old.append((self.columns.number, published))
            self.columns, self._made, self.first = self._made, None, published

    def tidy(self) -> None:
        """Remove columns of which every event is committed."""
        while self._old and self._ring.is_committed(self._old[0][1]):
            configurations.remove(self._ring.name, [self._old[0][0]])
            del self._old[0]
        if self._replaced is not None and self._replaced.is_drained():
            self._replaced.close()
            self._replaced = None
            self._remove_unknown()

    def close(self, *, unlink: bool) -> None:
        """Let go of what was prepared; with ``unlink`` remove all columns of this name."""
        self._give_up()
        if unlink:
            configurations.remove(self._ring.name, configurations.find(self._ring.name))
        if self._replaced is not None:
            self._replaced.close()

    def _give_up(self) -> None:
        if self._construction is not None:
            self._construction.give_up()
            self._construction = None
        if self._made is not None:
            configurations.remove(self._ring.name, [self._made.number])
            self._made = None
