"""Find out which event of a block kills or hangs the process that runs it, without dying of it.

A worker that died may have been killed by anybody, so a child process runs the whole block first: if it
lives, the events are innocent. Otherwise another child runs them one by one and leaves a breadcrumb
in the ring before each; where it stops, there is the event, and the operation. (Rejected:
halving the block with a worker's death for each step; it takes a restart a step.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ami.daemons.process.apart import HANGS, call_apart
from ami.graph.execution.guest import NOBODY, Guest
from ami.graph.execution.partial import Partial
from ami.graph.execution.plan import WorkerPlan
from ami.ring.block import Block
from ami.ring.offences import DEATH, HANG
from ami.ring.reader import RingReader

# Events are tried one by one for so long at a time: the worker must be seen to come round.
ENOUGH_S = 1.0


@dataclass(frozen=True, slots=True)
class Fatal:
    """An event that must not be run again: which operation did what with it, and how much that weighs."""

    operation: str
    text: str
    weight: int = DEATH


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first ``innocent`` events of a block may be run, and take ``elapsed_s`` in all.

    ``fatal`` is about the event behind them. Events that are neither were not tried yet.
    """

    innocent: int
    elapsed_s: float
    fatal: Fatal | None = None


def try_apart(
    ring: RingReader, plan: WorkerPlan, block: Block, *, timeout_s: float, load_s: float = 0.0,
    guest: Guest = NOBODY,
) -> Verdict:  # fmt: skip
    """Run a block in child processes and say what is known of its events.

    A child hangs when one operation, on the block or on one event, takes longer than ``timeout_s``, or than
    ``load_s`` where it first has to load people's code.
    """
    if not plan.is_loaded:
        timeout_s = max(timeout_s, load_s)
    began = time.monotonic()
    _, how = _run_apart(ring, plan, [block], timeout_s, guest)
    if not how:
        return Verdict(block.count, time.monotonic() - began)
    began = time.monotonic()
    events = [block.part(index, index + 1) for index in range(block.count)]
    run, how = _run_apart(ring, plan, events, timeout_s, guest)
    elapsed_s = time.monotonic() - began
    if not how:
        return Verdict(run, elapsed_s)
    sequence, _, number = ring.read_breadcrumb()
    operation = plan.operations[number - 1] if 0 < number <= len(plan.operations) else ""
    where = "" if operation else "the graph "
    fatal = Fatal(operation, f"{where}{how} (event {sequence})", HANG if how.startswith(HANGS) else DEATH)
    return Verdict(sequence - block.sequence, elapsed_s, fatal)


def _run_apart(
    ring: RingReader, plan: WorkerPlan, blocks: Sequence[Block], timeout_s: float, guest: Guest
) -> tuple[int, str]:
    """Run blocks in a child until it was enough; return how many it ran, and how it failed ("": not)."""

    def run_on() -> str:
        began = time.monotonic()
        for number, block in enumerate(blocks):
            if time.monotonic() - began > ENOUGH_S:
                return str(number)
            first, count = block.sequence, block.count
            ring.leave_breadcrumb(first, count, 0)
            partial = Partial(block.entry.graph_version)
            breadcrumb = _breadcrumb(ring, first, count)
            plan.run(block.slots, first, partial, breadcrumb, interval=block.entry.interval, guest=guest)
        return str(len(blocks))

    def alive() -> None:
        ring.touch_breadcrumb()
        guest.alive()

    # The breadcrumb lies in shared memory: it is the child's that moves.
    answer, how = call_apart(run_on, timeout_s=timeout_s, moved=ring.read_breadcrumb, alive=alive)
    return int(answer or 0), how


def _breadcrumb(ring: RingReader, first: int, count: int) -> Callable[[int], None]:
    return lambda number: ring.leave_breadcrumb(first, count, number)
