"""Read from /proc what processes take, and which belong to a node. One that is gone takes nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_TICKS_HZ = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process since it began."""
    # The name of a process may contain blanks and brackets; what follows the last bracket does not.
    fields = _text(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_HZ if fields else 0.0


class OwnTime:
    """The time of a process' main thread, in which waiting for a core does not count, and sleep half.

    So of a process that computes, what this took, however many others want the cores. To be read often.
    Without a number it is that of whichever process reads it.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self._read = list(self._look()[:3])
        self._own_s = 0.0

    def read(self) -> float:
        """Return it in seconds, since this was made."""
        *now, runs = self._look()
        clock_s, core_s, waited_s = (new - old for new, old in zip(now, self._read, strict=True))
        self._read = now
        # A wait is in the kernel's account only when it is over; until then it looks like sleep, but for the
        # state. A kernel without this account gives zeros: then all that does not run sleeps.
        self._own_s += core_s + (0.0 if runs else max(0.0, clock_s - core_s - waited_s) / 2)
        return self._own_s

    def _look(self) -> tuple[float, float, float, bool]:
        pid = os.getpid() if self._pid is None else self._pid
        fields = _text(pid, "schedstat").split() or ["0", "0"]
        # Who looks at itself runs now, and waits for nothing.
        runs = self._pid is not None and _text(pid, "stat").rpartition(")")[2].split()[:1] == ["R"]
        return time.monotonic(), int(fields[0]) * 1e-9, int(fields[1]) * 1e-9, runs


def machine_s() -> float:
    """Return the CPU time of the whole machine since it began."""
    # user nice system idle iowait irq softirq steal: what other guests of the host took is busy, too.
    with Path("/proc/stat").open() as lines:
        ticks = [int(field) for field in lines.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS_HZ


def resident_bytes(pid: int) -> int:
    """Return the memory of a process without the ring, which would count in each that maps it."""
    return 1024 * _sum(_text(pid, "status"), "RssAnon:", "RssFile:")


def proportional_bytes(pid: int) -> int:
    """Return the proportional set size: what is private, and a fair share of what is not."""
    return 1024 * _sum(_text(pid, "smaps_rollup"), "Pss:")


def private_bytes(pid: int) -> int:
    """Return the private memory that a process has asked for, used or not: what RLIMIT_DATA limits."""
    return 1024 * _sum(_text(pid, "status"), "VmData:")


def written_bytes(pid: int) -> int:
    """Return what a process has written to disks since it began; files in memory are none."""
    return _sum(_text(pid, "io"), "write_bytes:")


def command(pid: int) -> str:
    """Return the command line of a process."""
    return _text(pid, "cmdline").replace("\0", " ").strip()


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that ended, and whose parent has not noticed, does not."""
    return _text(pid, "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])


def with_variable(name: str) -> dict[int, str]:
    """Return the value of a variable in the environment of each process, other than this one, that has it."""
    mine, head = os.getpid(), f"{name}="
    found = {}
    for pid in _pids():
        for assignment in _text(pid, "environ").split("\0") if pid != mine else ():
            if assignment.startswith(head):
                found[pid] = assignment.removeprefix(head)
    return found


def with_folder() -> Iterator[tuple[int, str]]:
    """Yield each process that we may look at, with its current folder."""
    for pid in _pids():
        with contextlib.suppress(OSError):  # gone, or another user's
            yield pid, os.readlink(f"/proc/{pid}/cwd")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # gone, or another user's
        return ""


def _sum(text: str, *labels: str) -> int:
    """Return the sum of lines like ``Pss:  12 kB``."""
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(labels))
