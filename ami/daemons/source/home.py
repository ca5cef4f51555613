"""Tell a sender that keeps what it dealt how far that is safe, and fence other nodes on its behalf.

How far the ring is in the global store stands in the ring itself: the local reducer writes it there when the
store has accepted a batch. So nobody is asked. (Rejected: to read the node's mark a few times a second. It
says the same, later, for a round trip.)
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeVar

from ami.daemons.process.stage import Setup
from ami.messages.batch import Mark
from ami.messages.large import LargeMark
from ami.messages.message import read
from ami.ring.writer import RingWriter
from ami.stores import keys

logger = logging.getLogger(__name__)

M = TypeVar("M", Mark, LargeMark)


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
        self.last_run = setup.stores.cluster("source").counter(keys.RUNS)["last"]

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
        nothing = Mark(batch=0, ring=0, next_entry=0, late=(), flushes={})
        small = self._make_void(ring, keys.inbox(node), keys.mark(node), nothing)
        none = LargeMark(batch=0, places={})
        large = self._make_void(ring, keys.large_inbox(node), keys.large_mark(node), none)
        safe = small.positions.get(ring, 0)
        logger.warning(
            "node %s was fenced: of its ring %d the store has the first %d events", node, ring, safe
        )
        if ring in large.places:
            logger.warning("its large states are there up to entry %d", large.places[ring][0])
        return safe

    def _make_void(self, ring: int, inbox: str, name: str, first: M) -> M:
        """Take the next number of an inbox, and say with it that a ring counts no more; return the mark."""
        journal = self._store.journal(inbox)
        while True:
            # Fenced before the mark is read: so it is the last that this ring has; and again, together with
            # the new mark: so nobody has gone on meanwhile.
            last = journal.fence()
            mark = read(self._store, name, type(first)) or first
            void = replace(mark, void=max(mark.void, ring))
            if journal.fence(last=last, also={name: void}):
                return void
