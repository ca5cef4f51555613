"""Notice at once when a process dies, whoever's child it was."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable


class Deaths:
    """Watches processes by their pidfds, which the kernel makes readable when they end."""

    def __init__(self) -> None:
        self._watched: dict[int, int] = {}  # pid -> pidfd

    def watch(self, pids: Iterable[int]) -> None:
        """Watch these processes from now on, and no others."""
        wanted = set(pids)
        for pid in self._watched.keys() - wanted:
            os.close(self._watched.pop(pid))
        for pid in wanted - self._watched.keys():
            try:
                self._watched[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue

    def wait(self, timeout_s: float) -> bool:
        """Wait until one of them is dead; return whether one is."""
        dead, _, _ = select.select(self._watched.values(), [], [], timeout_s)
        for pid in [pid for pid, fd in self._watched.items() if fd in dead]:
            os.close(self._watched.pop(pid))
        return bool(dead)

    def close(self) -> None:
        self.watch(())
