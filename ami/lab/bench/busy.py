"""See from /proc what each process of a node takes: share of a core, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ami.cluster.node import Node
from ami.lab.bench.machine import cores

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# From here on a process counts as busy all the time; the rest goes to the kernel's scheduling.
FULL = 0.9
# From here on the cores are full: who is not busy then, is perhaps so because it gets none.
CORES_FULL = 0.93


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time so far, in seconds: of each process by name, and of the whole machine."""

    at_s: float
    process_s: Mapping[str, float]
    machine_s: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Shares of one core between two looks; ``others`` are all processes that are not the node's."""

    shares: Mapping[str, float]
    others: float
    duration_s: float

    @property
    def sum(self) -> float:
        return sum(self.shares.values())

    def to_plain(self) -> dict[str, float]:
        return {**self.shares, "everybody else": self.others}


def pids(node: Node) -> dict[str, int]:
    """Return the process numbers of a node by name, supervisord's included."""
    found = {"supervisord": node.supervisor_pid}
    for info in node.supervisor.getAllProcessInfo():
        if info["pid"]:
            one = info["group"] == info["name"]
            found[info["name"] if one else f"{info['group']}:{info['name']}"] = int(info["pid"])
    return found


def usage(processes: Mapping[str, int]) -> Usage:
    """Return what these processes used so far; one that is gone has used nothing."""
    used = {name: _cpu_s(pid) for name, pid in processes.items()}
    return Usage(time.monotonic(), used, _machine_s())


def between(before: Usage, after: Usage) -> Busy:
    """Return the shares of a core between two looks at the same processes."""
    duration_s = max(after.at_s - before.at_s, 1e-9)
    shares = {
        name: max(0.0, used - before.process_s.get(name, 0.0)) / duration_s
        for name, used in after.process_s.items()
    }
    others = (after.machine_s - before.machine_s) / duration_s - sum(shares.values())
    return Busy(shares, max(0.0, others), duration_s)


def what_limits(busy: Busy, core_count: int | None = None) -> str:
    """Return in words which stage limits, as far as shares of a core tell."""
    available = cores() if core_count is None else core_count
    name, most = max(busy.shares.items(), key=lambda item: item[1])
    others = f"; everybody else took {busy.others:.2f} cores" if busy.others > 0.1 else ""
    if most >= FULL:
        return f"{name}, busy {most:.0%} of a core{others}"
    if busy.sum + busy.others >= CORES_FULL * available:
        return (
            f"the {available} cores, of which {busy.sum:.2f} went to the node; busiest: {name}, "
            f"{most:.0%} of a core{others}"
        )
    return (
        f"nobody all the time: processes wait for each other; busiest: {name}, {most:.0%} of a core{others}"
    )


def memory_bytes(pid: int) -> int:
    """Return the proportional set size: what is private, and a fair share of what is not; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _cpu_s(pid: int) -> float:
    try:
        # The name of a process may contain blanks and brackets; what follows the last bracket does not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _machine_s() -> float:
    # user nice system idle iowait irq softirq steal: what other guests of the host took is busy, too.
    with Path("/proc/stat").open() as lines:
        ticks = [int(field) for field in lines.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) * _TICK_S
