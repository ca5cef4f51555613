"""Keep a row for each worker that was ever attached: who it is, what it committed, what it runs.

Only the worker writes its row, but who follows it clears the breadcrumb. What changes with every block
has a cache line of its own.
"""

from __future__ import annotations

import struct
import time
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ami.ring.layout import MAX_WORKERS, WORKER_BYTES, WORKERS
from ami.ring.segment import Segment


class AttachedWorker(NamedTuple):
    """A worker that was ever attached to this ring; up to ``since_ns`` as in its row.

    ``commits`` and ``committed``: calls of commit, and events, since the ring was made. ``first``, ``count``,
    ``operation``, ``since_ns``: what it runs (``operation`` 0: nothing), since when (CLOCK_MONOTONIC).
    ``attached_ns`` is wall-clock time. ``owned``: events that it must still commit.
    """

    pid: int
    attached_ns: int
    commits: int
    committed: int
    first: int
    count: int  # type: ignore[assignment]  # hides tuple's own, which nobody needs here
    operation: int
    since_ns: int
    alive: bool = False
    owned: int = 0


_RUNNING_BYTE: Final = 64
_ROW: Final = struct.Struct(f"@4q{_RUNNING_BYTE - 4 * 8}x4q")
_RUNNING: Final = struct.Struct("@4q")  # from first on
_COMMITS: Final = 2  # word of the row
_OPERATION: Final = _RUNNING_BYTE // 8 + 2
_SINCE: Final = _OPERATION + 1


def pid_word(worker: int) -> int:
    """Return the number of the word that has a worker's process; it is the first of its row."""
    return (WORKERS + worker * WORKER_BYTES) // 8


class WorkerTable:
    """The rows of one ring.

    Args:
        worker: whose hands these are.
    """

    def __init__(self, segment: Segment, worker: int | None) -> None:
        self._memory = segment.memory
        self._words = segment.words
        self._pids = self._column(0)
        self._commits = self._column(_COMMITS)
        mine = pid_word(worker or 0)
        self._commits_word = mine + _COMMITS
        self._since_word = mine + _SINCE
        self._running_offset = 8 * mine + _RUNNING_BYTE

    def _column(self, word: int) -> NDArray[np.int64]:
        return np.ndarray(
            (MAX_WORKERS,), np.int64, buffer=self._memory, offset=WORKERS + 8 * word, strides=(WORKER_BYTES,)
        )

    def list_attached(self) -> list[int]:
        """Return the numbers of the workers that were ever attached, ascending."""
        numbers: list[int] = np.flatnonzero(self._pids).tolist()
        return numbers

    def count_commits(self) -> int:
        """Return how often anybody committed: each counts its own, as two could not in one word."""
        return int(self._commits.sum())

    def read(self, worker: int) -> AttachedWorker:
        return AttachedWorker(*_ROW.unpack_from(self._memory, 8 * pid_word(worker)))

    def count_commit(self, events: int) -> None:
        self._words[self._commits_word] += 1
        self._words[self._commits_word + 1] += events

    def leave_breadcrumb(self, first: int, count: int, operation: int) -> None:
        _RUNNING.pack_into(self._memory, self._running_offset, first, count, operation, time.monotonic_ns())

    def touch_breadcrumb(self) -> None:
        # One word: who left the others may be another process, which leaves the next ones meanwhile.
        self._words[self._since_word] = time.monotonic_ns()

    def clear_breadcrumb(self, worker: int) -> None:
        self._words[pid_word(worker) + _OPERATION] = 0
