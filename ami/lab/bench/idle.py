"""Measure what a node takes that has nothing to do: CPU, and memory."""

from __future__ import annotations

import subprocess
import sys
import time

from ami.errors import AmiError
from ami.lab.bench import busy, graphs, private
from ami.lab.bench.figure import Measured
from ami.lab.bench.measure import Bench

# A few events and then no more: everybody is attached to everything, and waits.
SOURCE = "sim://pump-probe?rate=1000&stop=200&policy=wait"
WORKERS = 2
SETTLE_S = 3.0
MEGA = 1e6
_BARE = "import sys, numpy; print(flush=True); sys.stdin.read()"


def idle(bench: Bench) -> dict[str, Measured]:
    """Measure CPU and memory of a node after its last event."""
    with private.running(SOURCE, workers=WORKERS) as (node, client):
        private.set_graph(node, client, graphs.SHOTS)
        private.wait_for("the last event", lambda: client.get("level", wait_s=20).events.expected == 200)
        time.sleep(SETTLE_S)
        processes = busy.pids(node)
        shares = []
        for _ in range(bench.times(4, 2)):
            before = busy.usage(processes)
            time.sleep(bench.seconds(5.0, 3.0))
            shares.append(busy.between(before, busy.usage(processes)))
        memory = {name: busy.memory_bytes(pid) / MEGA for name, pid in processes.items()}
    python = [name for name in processes if "redis" not in name]
    limit = _bare_memory(len(python))
    largest = max(memory, key=lambda name: memory[name])
    busiest = max(shares[-1].shares, key=lambda name: shares[-1].shares[name])
    about = (f"{len(processes)} processes: {', '.join(sorted(processes))}",)
    return {
        "idle_cpu": Measured(
            samples=[100 * share.sum for share in shares],
            limited_by=f"busiest: {busiest}, {100 * shares[-1].shares[busiest]:.1f} % of a core",
            busy=shares[-1].to_plain(),
            notes=(*about, "no limit: an idle machine takes nothing"),
        ),
        "resident_memory": Measured(
            samples=[sum(memory.values())],
            limit=limit,
            limit_is=f"{len(python)} bare Python processes that import numpy",
            limited_by=f"largest: {largest}, {memory[largest]:.0f} MB",
            notes=(", ".join(f"{name} {size:.0f} MB" for name, size in sorted(memory.items())),),
        ),
    }


def _bare_memory(processes: int) -> float:
    """Return the memory, in MB, of so many Python processes that have numpy and nothing else."""
    children = [
        subprocess.Popen([sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise AmiError("a bare Python with numpy does not start")
        return sum(busy.memory_bytes(child.pid) for child in children) / MEGA
    finally:
        for child in children:
            child.kill()
            child.communicate()
