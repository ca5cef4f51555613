"""Find out which event of a block kills or hangs the process that runs it, without dying of it.

A child process runs the events one by one and leaves a breadcrumb in the ring before each. Where
it stops, there is the event, and the operation. (Rejected: halving the block with a worker's
death for each step; it takes a restart a step, and seconds for code that hangs.)
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
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
    """Run the events of a block in a child; return the first that it does not survive, if any.

    An event that takes longer than ``timeout_s`` hangs.
    """
    ring.running(block.sequence, 1, 0)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run_each(ring, plan, block, parent)
    alive = os.pidfd_open(pid)
    try:
        how = _await(ring, pid, alive, timeout_s)
    finally:
        os.close(alive)
    if how is None:
        return None
    sequence, _, number = ring.breadcrumb()
    operation = plan.operations[number - 1] if 0 < number <= len(plan.operations) else ""
    where = f"operation {operation!r}" if operation else "the graph"
    return Fatal(sequence - block.sequence, operation, f"event {sequence}: {where} {how}")


def _run_each(ring: RingReader, plan: Plan, block: Block, parent: int) -> None:
    """Be the child. There is no way back into the parent's code: the child shares its sockets."""
    code = 1
    try:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        # A child that hangs must not outlive its worker, nor hold its place in the ring.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            for index in range(block.slots.count):
                _run_one(ring, plan, block, index)
            code = 0
    finally:
        os._exit(code)


def _run_one(ring: RingReader, plan: Plan, block: Block, index: int) -> None:
    sequence = block.sequence + index
    ring.running(sequence, 1, 0)
    plan.run(
        block.slots.part(index, index + 1),
        sequence,
        Partial(block.entry.graph_version),
        lambda number: ring.running(sequence, 1, number),
    )


def _await(ring: RingReader, pid: int, alive: int, timeout_s: float) -> str | None:
    """Wait for the child while it moves on; kill it when it stays at one event. None: it came through."""
    at, since = ring.breadcrumb()[0], time.monotonic()
    while not select.select([alive], [], [], LOOK_S)[0]:
        now = time.monotonic()
        if ring.breadcrumb()[0] != at:
            at, since = ring.breadcrumb()[0], now
        elif now - since > timeout_s:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return f"runs for more than {timeout_s:g} s"
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"kills the process ({signal.Signals(os.WTERMSIG(status)).name})"
    code = os.waitstatus_to_exitcode(status)
    return None if code == 0 else f"ends the process with exit code {code}"
