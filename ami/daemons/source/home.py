"""Tell a sender that keeps what it dealt how far that is safe, and fence other nodes on its behalf.

How far the ring is in the global store stands in the ring itself: the local reducer writes it there when the
store has accepted a batch. So nobody is asked. (Rejected: to read the node's mark a few times a second. It
says the same, later, for a round trip.)
"""

from __future__ import annotations

from ami.daemons.process.fencing import fence_ring
from ami.daemons.process.stage import Setup
from ami.messages.message import read
from ami.messages.run_book import RunBook
from ami.ring.writer import RingWriter
from ami.stores import keys


class RingHome:
    """The :class:`~ami.sources.base.Home` that a node's ring is.

    Raises:
        StoreUnavailable
    """

    def __init__(self, setup: Setup, ring: RingWriter) -> None:
        self._ring = ring
        self._store = setup.stores.cluster("global-reducer")
        self.node = setup.config.node.host
        self.ring = ring.ring_id
        book = read(setup.stores.cluster("source"), keys.RUN_BOOK, RunBook)
        self.last_run = 0 if book is None else book.last

    @property
    def position(self) -> int:
        return self._ring.cursor.position

    def find_safe(self) -> int:
        """See :class:`~ami.sources.base.Home`."""
        index = self._ring.released
        if index >= self._ring.cursor.entries_opened:
            return self.position
        entry = self._ring.entry(index)
        return entry.position - entry.count - entry.dropped

    def fence(self, node: str, ring: int) -> int:
        """See :class:`~ami.sources.base.Home`."""
        return fence_ring(self._store, node, ring)
