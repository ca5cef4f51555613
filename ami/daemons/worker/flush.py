"""Hold what a worker has run of one entry until it is stored."""

from __future__ import annotations

from ami.daemons.worker.large import LargeStates, Step
from ami.graph.execution.plan import WorkerPlan
from ami.messages.flush import Covered, Covers, EntryFacts, Flush
from ami.ring.block import Block


class Held:
    """A partial that is not stored yet, and the slots whose events are in it.

    Args:
        block: the first one.
        large: where large states go.
    """

    def __init__(self, block: Block, plan: WorkerPlan, large: LargeStates) -> None:
        self.entry = entry = block.entry
        self.flushed = block.flushed
        self.plan = plan
        self.partial = plan.partial(entry.interval)
        self.is_large = entry.span >= 0 and bool(plan.lanes.large)
        if self.is_large:
            large.begin(entry, plan, self.partial)
        self.runs: list[tuple[int, int]] = []
        self.events = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def takes(self, block: Block, plan: WorkerPlan) -> bool:
        """Whether a block's events belong to this partial, run by this plan."""
        mine = (self.entry.index, self.flushed)
        return self.plan is plan and (block.entry.index, block.flushed) == mine

    def add(self, block: Block) -> None:
        """Note that a block's events are in the partial."""
        first, count = block.sequence, block.slots.count
        if self.runs and sum(self.runs[-1]) == first:
            self.runs[-1] = (self.runs[-1][0], self.runs[-1][1] + count)
        else:
            self.runs.append((first, count))
        self.events += count
        # Within an entry the order of events is free, so neither end need be the extreme one.
        low, high = int(block.slots.timestamps.min()), int(block.slots.timestamps.max())
        self._first_ns = low if self._first_ns is None else min(self._first_ns, low)
        self._last_ns = high if self._last_ns is None else max(self._last_ns, high)

    def split(self) -> Step:
        """Take what goes to the large states out of the partial, and return it."""
        self.partial, part = self.plan.lanes.split(self.partial, self.entry.interval)
        return Step(self.entry, self.runs, self._covers, part)

    @property
    def _covers(self) -> Covers:
        return Covers(events=self.events, first_ns=self._first_ns, last_ns=self._last_ns)

    def to_flush(self, ring: int, number: int) -> tuple[Flush, Covered]:
        """Return what is to be stored, under this number, and the slots that are in it."""
        flush = Flush(entry=EntryFacts.of(ring, self.entry), covers=self._covers, partial=self.partial)
        return flush, Covered(ring=ring, flush=number, runs=self.runs)
