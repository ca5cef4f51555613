"""Tell a sender that keeps what it dealt how far that is safe, and fence other nodes on its behalf.

How far the ring is in the global store stands in the ring itself: the local reducer writes it there when the
store has accepted a batch. So nobody is asked. (Rejected: to read the node's mark a few times a second. It
says the same, later, for a round trip.)
"""

from __future__ import annotations

import logging
from dataclasses import replace

from ami.daemons.process.stage import Setup
from ami.graph.execution.partial import Partial
from ami.messages.batch import Mark
from ami.messages.flush import Covers
from ami.messages.large import IntervalPart, LargeBatch, LargeMark, SpanEnd
from ami.messages.message import read
from ami.messages.run_book import RunBook
from ami.ring.writer import RingWriter
from ami.stores import keys

logger = logging.getLogger(__name__)

NOTHING = Mark(batch=0, ring=0, next_entry=0, late=(), flushes={})
NOTHING_LARGE = LargeMark(batch=0, places={})


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
        safe = self._make_void(node, ring).positions.get(ring, 0)
        missing = self._make_large_void(node, ring, safe)
        logger.warning(
            "node %s was fenced: of its ring %d the store has the first %d events, but %d in no large result",
            node, ring, safe, missing,
        )  # fmt: skip
        return safe

    def _make_void(self, node: str, ring: int) -> Mark:
        """Take the next number of an inbox, and say with it that a ring counts no more; return the mark."""
        inbox, name = self._store.journal(keys.inbox(node)), keys.mark(node)
        while True:
            # Fenced before the mark is read: so it is the last that this ring has; and again, together with
            # the new mark: so nobody has gone on meanwhile.
            last = inbox.fence()
            mark = read(self._store, name, Mark) or NOTHING
            void = replace(mark, void=max(mark.void, ring))
            if inbox.fence(last=last, also={name: void}):
                return void

    def _make_large_void(self, node: str, ring: int, safe: int) -> int:
        """Do the same for the large lane, which may lack what the small one has; return how many events.

        They are not dealt again, or they would count twice in small results: they are counted as dropped.
        """
        inbox, name = self._store.journal(keys.large_inbox(node)), keys.large_mark(node)
        while True:
            last = inbox.fence()
            mark = read(self._store, name, LargeMark) or NOTHING_LARGE
            void = replace(mark, batch=last + 1, void=max(mark.void, ring))
            end = mark.ends.get(ring)
            missing = 0 if end is None else max(0, safe - end.position)
            if not missing or mark.void >= ring:
                done = bool(inbox.fence(last=last, also={name: void}))
            else:
                assert end is not None
                done = inbox.append(last + 1, _lost(node, ring, end, missing), also={name: void})
            if done:
                return missing


def _lost(node: str, ring: int, end: SpanEnd, missing: int) -> LargeBatch:
    """Return what says that some events will be in no large result."""
    part = IntervalPart(
        interval=end.interval, covers=Covers(), expected=missing, dropped=missing,
        partial=Partial(end.graph_version),
    )  # fmt: skip
    return LargeBatch(
        node=node, ring=ring, span=0, run=end.run, graph_version=end.graph_version,
        interval_ns=end.interval_ns, workers=(), intervals=[part], last=True, complete=True,
    )  # fmt: skip
