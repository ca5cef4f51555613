"""Find out which event of a block kills or hangs the process that runs it, without dying of it.

A worker that died may have been killed by anybody, so a child process runs the whole block first: if it
lives, the events are innocent. Otherwise another child runs them one by one and leaves a breadcrumb
in the ring before each; where it stops, there is the event, and the operation. (Rejected:
halving the block with a worker's death for each step; it takes a restart a step.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ami.daemons.apart import call_apart
from ami.daemons.plans import Plan
from ami.graph.partial import Partial
from ami.ring.block import Block
from ami.ring.reader import RingReader


@dataclass(frozen=True, slots=True)
class Fatal:
    """An event that must not be run again: its index in the block, and what it did."""

    index: int
    operation: str
    text: str


def first_fatal(ring: RingReader, plan: Plan, block: Block, *, timeout_s: float) -> Fatal | None:
    """Return the first event that no process survives, if there is one.

    A process hangs when one event, or the block, takes longer than ``timeout_s`` in an operation.
    """
    if not _how_it_fails(ring, plan, [block], timeout_s):
        return None
    events = [block.part(index, index + 1) for index in range(block.slots.count)]
    how = _how_it_fails(ring, plan, events, timeout_s)
    if not how:
        return None
    sequence, _, number = ring.breadcrumb()
    operation = plan.operations[number - 1] if 0 < number <= len(plan.operations) else ""
    where = f"operation {operation!r}" if operation else "the graph"
    return Fatal(sequence - block.sequence, operation, f"event {sequence}: {where} {how}")


def _how_it_fails(ring: RingReader, plan: Plan, blocks: Sequence[Block], timeout_s: float) -> str:
    """Run blocks in a child; return how that failed, "" if it came through."""

    def run_all() -> str:
        for block in blocks:
            first, count = block.sequence, block.slots.count
            ring.running(first, count, 0)
            partial = Partial(block.entry.graph_version)
            plan.run(block.slots, first, partial, _breadcrumb(ring, first, count))
        return ""

    # The breadcrumb lies in shared memory: it is the child's that moves.
    return call_apart(run_all, timeout_s=timeout_s, moved=ring.breadcrumb)[1]


def _breadcrumb(ring: RingReader, first: int, count: int) -> Callable[[int], None]:
    return lambda number: ring.running(first, count, number)
