"""Let nothing more of a node's ring into the global store, and count what of it will never come."""

from __future__ import annotations

import logging
from dataclasses import replace

from ami.graph.execution.partial import Partial
from ami.graph.graph import Graph
from ami.messages.batch import Batch, Mark
from ami.messages.checkpoint import Checkpoint
from ami.messages.flush import Covers, EntryFacts
from ami.messages.large import IntervalPart, LargeBatch, LargeMark, SpanEnd
from ami.messages.message import read
from ami.stores import Store, keys

logger = logging.getLogger(__name__)

NOTHING = Mark(batch=0, ring=0, next_entry=0, late=(), flushes={})
NOTHING_LARGE = LargeMark(batch=0, places={})


def fence_ring(reducer: Store, node: str, ring: int) -> int:
    """Make a ring void; return up to which position its events are in the store.

    Args:
        reducer: what belongs to the cluster's global reducer.

    Raises:
        StoreUnavailable: call again.
    """
    safe = _make_void(reducer, node, ring).positions.get(ring, 0)
    missing = _make_large_void(reducer, node, ring, safe)
    logger.warning(
        "node %s was fenced: of its ring %d the store has the first %d events, but %d in no large result",
        node, ring, safe, missing,
    )  # fmt: skip
    return safe


def give_up(reducer: Store, node: str, position: int) -> int:
    """Make the last ring of a node void, which is gone with it; return how many events that loses.

    They are counted as dropped, in the interval of which something came from it last.

    Args:
        position: up to which its source had read its input.

    Raises:
        StoreUnavailable: call again; what was counted is not counted again.
    """
    mark = read(reducer, keys.mark(node), Mark) or NOTHING
    checkpoint = read(reducer, keys.CHECKPOINT, Checkpoint)
    ring, lost = mark.ring, position - mark.positions.get(mark.ring, 0)
    if lost <= 0 or mark.void >= ring or checkpoint is None or node not in checkpoint.nodes:
        _make_void(reducer, node, ring)
        _make_large_void(reducer, node, ring, mark.positions.get(ring, 0))
        return 0
    inbox = reducer.journal(keys.inbox(node))
    while True:
        last = inbox.fence()
        mark = read(reducer, keys.mark(node), Mark) or NOTHING
        void = replace(mark, batch=last + 1, void=max(mark.void, ring))
        batch = _tell_lost(node, ring, checkpoint, lost)
        if mark.void >= ring or inbox.append(last + 1, batch, also={keys.mark(node): void}):
            break
    _make_large_void(reducer, node, ring, position)
    return lost


def _tell_lost(node: str, ring: int, checkpoint: Checkpoint, lost: int) -> Batch:
    run, interval = checkpoint.nodes[node]
    entry = EntryFacts(
        ring=ring, index=0, interval=interval, run=run, step=0, step_value=0.0,
        graph_version=Graph.from_plain(checkpoint.graph).version,
    )  # fmt: skip
    return Batch(
        node=node, entry=entry, interval_ns=checkpoint.interval_ns, transition=0, covers=Covers(),
        expected=lost, dropped=lost, complete=True, supplement=False, workers=(), partial=None,
    )  # fmt: skip


def _make_void(reducer: Store, node: str, ring: int) -> Mark:
    """Take the next number of an inbox, and say with it that a ring counts no more; return the mark."""
    inbox, name = reducer.journal(keys.inbox(node)), keys.mark(node)
    while True:
        # Fenced before the mark is read: so it is the last that this ring has; and again, together with
        # the new mark: so nobody has gone on meanwhile.
        last = inbox.fence()
        mark = read(reducer, name, Mark) or NOTHING
        void = replace(mark, void=max(mark.void, ring))
        if inbox.fence(last=last, also={name: void}):
            return void


def _make_large_void(reducer: Store, node: str, ring: int, safe: int) -> int:
    """Do the same for the large lane, which may lack what the small one has; return how many events.

    They are not dealt again, or they would count twice in small results: they are counted as dropped.
    """
    inbox, name = reducer.journal(keys.large_inbox(node)), keys.large_mark(node)
    while True:
        last = inbox.fence()
        mark = read(reducer, name, LargeMark) or NOTHING_LARGE
        void = replace(mark, batch=last + 1, void=max(mark.void, ring))
        end = mark.ends.get(ring)
        missing = 0 if end is None else max(0, safe - end.position)
        if not missing or mark.void >= ring:
            done = bool(inbox.fence(last=last, also={name: void}))
        else:
            assert end is not None
            done = inbox.append(last + 1, _tell_large_lost(node, ring, end, missing), also={name: void})
        if done:
            return missing


def _tell_large_lost(node: str, ring: int, end: SpanEnd, missing: int) -> LargeBatch:
    """Return what says that some events will be in no large result."""
    part = IntervalPart(
        interval=end.interval, covers=Covers(), expected=missing, dropped=missing,
        partial=Partial(end.graph_version),
    )  # fmt: skip
    return LargeBatch(
        node=node, ring=ring, span=0, run=end.run, graph_version=end.graph_version,
        interval_ns=end.interval_ns, workers=(), intervals=[part], last=True, complete=True,
    )  # fmt: skip
