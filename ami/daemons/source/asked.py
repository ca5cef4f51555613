"""Choose the graph of the next entry: the newest one whose fields the ring keeps and the source can read.

Columns for other fields are allocated, and a field is read for the first time, a few milliseconds at a time.
Meanwhile entries go on with the graph that they had: nobody waits for what somebody else asks for. What was
begun is finished, also when a newer graph comes, or many edits at once would hold up each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ami.errors import RingFull
from ami.event import Slots
from ami.graph.graph import Graph
from ami.ring.writer import RingWriter
from ami.sources.base import Source

# Published at once: enough to forget the cost of a block, small enough to be still in the cache
# when the worker reads it, and, of images, soon enough in its hands.
BLOCK_EVENTS = 8192
BLOCK_BYTES = 16 << 20
TURN_S = 0.01


class Asked:
    """What the graph of the entries asks for.

    Attributes:
        graph: what entries are stamped with; None before the first.
        fields: those that it asks for and the source has, with the lengths of variable ones.
        block: events to publish at once.
        reading: the field that is read for the first time just now, which may take seconds; "" if none is.
        shortage: why a newer graph must wait, "" when it need not.

    Args:
        newest: returns the newest graph.
    """

    def __init__(self, source: Source, ring: RingWriter, newest: Callable[[], Graph]) -> None:
        self._source = source
        self._ring = ring
        self._newest = newest
        self._coming: tuple[Graph, frozenset[str]] | None = None
        self._read: set[str] = set()
        self.graph: Graph | None = None
        self.fields: frozenset[str] = frozenset()
        self.block = 1
        self.shortage = ""
        self.reading = ""

    def choose(self, position: int) -> Graph | None:
        """Return the graph for the next entry, which begins at ``position`` or behind it; None: not yet."""
        if self._coming is None:
            graph = self._newest()
            self._coming = graph, self._source.schema.with_lengths(graph.fields)
        graph, fields = self._coming
        if self._prepare(fields, position):
            self._ring.configure(fields)
            kept = self._ring.configuration
            assert kept is not None
            self.block = max(1, min(BLOCK_EVENTS, BLOCK_BYTES // kept.schema.event_bytes))
            self.graph, self.fields, self._coming = graph, fields, None
        return self.graph

    def go_on(self, position: int) -> None:
        """Work for a moment on what a newer graph asks for, if there is one."""
        if self._coming is not None:
            self._prepare(self._coming[1], position)

    def _prepare(self, fields: frozenset[str], position: int) -> bool:
        try:
            whole = self._ring.prepare(fields)
        except RingFull as error:
            # Perhaps nobody asks for it any more when there is room.
            self._coming, self.shortage = None, str(error)
            return False
        self.shortage = ""
        return whole and self._read_first(fields - self._read, position)

    def _read_first(self, fields: Iterable[str], position: int) -> bool:
        """Read one event of each field that was never read: a simulation draws it, a file looks for it.

        Of ten cameras in one step that may take seconds, and of one large camera, too: the monitor is patient
        with who says so.
        """
        source = self._source
        if source.live or (source.length is not None and position >= source.length):
            return True
        end = time.monotonic() + TURN_S
        for name in fields:
            if time.monotonic() > end:
                return False
            field = source.schema.with_lengths([name])
            self.reading = name
            source.read(position, Slots.allocate(source.schema.select(field), 1), field)
            self.reading = ""
            self._read |= field
        return True
