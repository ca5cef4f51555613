"""Find out which event of a block kills or hangs the process that runs it, without dying of it.

A worker that died may have been killed by anybody, so a child process runs the whole block first: if it
lives, the events are innocent. Otherwise another child runs them one by one and leaves a breadcrumb
in the ring before each; where it stops, there is the event, and the operation. (Rejected:
halving the block with a worker's death for each step; it takes a restart a step.)
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ami.daemons.plans import Plan
from ami.graph.partial import Partial
from ami.ring.block import Block
from ami.ring.reader import RingReader

LOOK_S = 0.02
PR_SET_PDEATHSIG = 1


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
    if _end_of_child(ring, plan, [block], timeout_s) is None:
        return None
    events = [block.part(index, index + 1) for index in range(block.slots.count)]
    how = _end_of_child(ring, plan, events, timeout_s)
    if how is None:
        return None
    sequence, _, number = ring.breadcrumb()
    operation = plan.operations[number - 1] if 0 < number <= len(plan.operations) else ""
    where = f"operation {operation!r}" if operation else "the graph"
    return Fatal(sequence - block.sequence, operation, f"event {sequence}: {where} {how}")


def _end_of_child(ring: RingReader, plan: Plan, blocks: Sequence[Block], timeout_s: float) -> str | None:
    """Run blocks in a child; return how it ended, None if it came through."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run_each(ring, plan, blocks, parent)
    alive = os.pidfd_open(pid)
    try:
        return _await(ring, pid, alive, timeout_s)
    finally:
        os.close(alive)


def _run_each(ring: RingReader, plan: Plan, blocks: Sequence[Block], parent: int) -> None:
    """Be the child. There is no way back into the parent's code: the child shares its sockets."""
    code = 1
    try:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        # A child that hangs must not outlive its worker, nor hold its place in the ring.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            for block in blocks:
                _run(ring, plan, block)
            code = 0
    finally:
        os._exit(code)


def _run(ring: RingReader, plan: Plan, block: Block) -> None:
    first, count = block.sequence, block.slots.count
    ring.running(first, count, 0)
    partial = Partial(block.entry.graph_version)
    plan.run(block.slots, first, partial, lambda number: ring.running(first, count, number))


def _await(ring: RingReader, pid: int, alive: int, timeout_s: float) -> str | None:
    """Wait for the child while it moves on; kill it when it stays where it is. None: it came through."""
    at, since = ring.breadcrumb(), time.monotonic()
    while not select.select([alive], [], [], LOOK_S)[0]:
        now = time.monotonic()
        if ring.breadcrumb() != at:
            at, since = ring.breadcrumb(), now
        elif now - since > timeout_s:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return f"runs for more than {timeout_s:g} s"
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"kills the process ({signal.Signals(os.WTERMSIG(status)).name})"
    code = os.waitstatus_to_exitcode(status)
    return None if code == 0 else f"ends the process with exit code {code}"
