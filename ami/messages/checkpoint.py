"""What a global reducer leaves for its successor: its state, and which batches are in it."""

from __future__ import annotations

from typing import Any

from ami.graph.execution.bucket import Bucket
from ami.messages.batch import Batch
from ami.messages.flush import Covers
from ami.messages.message import message
from ami.stores import codec

codec.register(Bucket)


@message
class Totals:
    """The account of a run: ``expected`` = ``reduced`` + ``dropped`` + ``set_aside`` + what is under way."""

    expected: int = 0
    reduced: int = 0
    dropped: int = 0
    set_aside: int = 0

    def plus(self, batch: Batch) -> Totals:
        """Return the account with a batch."""
        partial = batch.partial
        return Totals(
            expected=self.expected + batch.expected,
            reduced=self.reduced + (partial.seen if partial else 0),
            dropped=self.dropped + batch.dropped,
            set_aside=self.set_aside + (partial.set_aside if partial else 0),
        )


@message
class Reach:
    """From when to when (ns), and through whose hands, the events of a window came."""

    first_ns: int | None = None
    last_ns: int | None = None
    nodes: frozenset[str] = frozenset()
    workers: frozenset[str] = frozenset()
    parts_to_come: int = 0

    def plus(self, batch: Batch) -> Reach:
        """Return the reach with a batch."""
        both = Covers(first_ns=self.first_ns, last_ns=self.last_ns).plus(batch.covers)
        return Reach(
            first_ns=both.first_ns,
            last_ns=both.last_ns,
            nodes=self.nodes | {batch.node},
            workers=self.workers | set(batch.workers),
            parts_to_come=self.parts_to_come + (not batch.complete) - batch.supplement,
        )


@message
class Checkpoint:
    """The whole of a global reducer. ``applied`` says by node which batches ``accumulator`` covers.

    ``newest``: run and interval of ``interval_reach``. ``published``: names of results.
    """

    applied: dict[str, int]
    accumulator: dict[str, Any]
    interval_ns: int
    run_reach: Reach
    interval_reach: Reach
    newest: tuple[int, int]
    published: frozenset[str]
    totals: Totals
    run: int
    intervals: int
