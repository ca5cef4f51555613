"""What a worker has run of one entry: held until it is stored, then on its way as a numbered flush."""

from __future__ import annotations

from typing import Any

from ami.graph.execution.partial import Partial
from ami.ring.block import Block
from ami.ring.entries import Entry

Runs = list[tuple[int, int]]


class Held:
    """A partial that is not stored yet, and the slots whose events are in it."""

    def __init__(self, entry: Entry, partial: Partial) -> None:
        self.entry = entry
        self.partial = partial
        self.runs: Runs = []
        self.events = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def takes(self, block: Block) -> bool:
        """Whether a block's events belong to this partial."""
        return block.entry.index == self.entry.index

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
        self.first_ns = low if self.first_ns is None else min(self.first_ns, low)
        self.last_ns = high if self.last_ns is None else max(self.last_ns, high)


class Flush:
    """One numbered step into the local store: a partial, and the slots that may be freed after it."""

    def __init__(self, number: int, ring_id: int, held: Held) -> None:
        entry = held.entry
        self.number = number
        self.runs = held.runs
        self.covered: dict[str, Any] = {"ring": ring_id, "flush": number, "runs": held.runs}
        # The entry's facts go along, so that a flush still means something when its ring is gone.
        self.payload: dict[str, Any] = {
            "ring": ring_id,
            "entry": entry.index,
            "interval": entry.interval,
            "run": entry.run,
            "step": entry.step,
            "step_value": entry.step_value,
            "graph_version": entry.graph_version,
            "events": held.events,
            "first_ns": held.first_ns,
            "last_ns": held.last_ns,
            "partial": held.partial.to_plain(),
        }
