"""Measure what a node takes that has nothing to do: CPU, and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

from ami.cluster import proc
from ami.errors import AmiError
from ami.lab import arena, graphs
from ami.lab.figures import Bench, Measured
from ami.lab.machine import Busy

# A few events and then no more: everybody is attached to everything, and waits.
EVENTS = 200
SOURCE = f"sim://pump-probe?rate=1000&stop={EVENTS}&policy=wait"
SETTLE_S = 3.0
PAGE = {"AMI_WEB_HOST": "127.0.0.1"}  # as a node has it that is not private
_BARE = "import sys, numpy; print(flush=True); sys.stdin.read()"


def idle(bench: Bench) -> Mapping[str, Measured]:
    """Measure CPU and memory of a node after its last event."""
    with arena.running(SOURCE, graphs.SHOTS, first="level", workers=2, settings=PAGE) as place:
        place.wait_for("the last event", lambda: place.client.get("level").events.expected == EVENTS)
        time.sleep(SETTLE_S)
        processes = place.pids()
        shares = []
        for _ in range(bench.choose(4, 2)):
            with Busy(processes) as busy:
                time.sleep(bench.choose(5.0, 3.0))
            shares.append(100 * busy.sum)
        memory = {name: proc.proportional_bytes(pid) / 1e6 for name, pid in sorted(processes.items())}
    python = sum("redis" not in name for name in processes)
    largest = max(memory, key=memory.__getitem__)
    busiest = max(busy.shares, key=busy.shares.__getitem__)
    return {
        "idle_cpu": Measured(
            samples=shares,
            limited_by=f"busiest: {busiest}, {100 * busy.shares[busiest]:.1f} % of a core",
            busy=busy.to_plain(),
            notes=(
                f"{len(memory)} processes: {', '.join(memory)}",
                "no limit: an idle machine takes nothing",
            ),
        ),
        "resident_memory": Measured(
            samples=[sum(memory.values())],
            limit=_bare_memory(python),
            limit_is=f"{python} bare Python processes that import numpy",
            limited_by=f"largest: {largest}, {memory[largest]:.0f} MB",
            notes=(", ".join(f"{name} {size:.0f} MB" for name, size in memory.items()),),
        ),
    }


def _bare_memory(processes: int) -> float:
    """Return the memory, in MB, of so many Python processes that have numpy and nothing else."""
    command = [sys.executable, "-c", _BARE]
    with ExitStack() as stack:
        # They end when nobody holds their input open.
        children = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(processes)
        ]
        if not all(child.stdout and child.stdout.readline() for child in children):
            raise AmiError("a bare Python with numpy does not start")
        return sum(proc.proportional_bytes(child.pid) for child in children) / 1e6
