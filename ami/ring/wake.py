"""Wait for something in the ring, and wake who waits for it.

Semaphores only wake. A waiter sets its flag, looks again, then waits with a time-out; a poster posts
only for flags that are set, and clears them. So publishing and committing cost no system call
while everybody is busy.

A wake-up may be missed: x86-64 lets a load pass an earlier store to another address, so waiter and
poster may each look before they see the other's store; and a woken worker may be killed. That costs
one time-out. A fence, or a lock around each publish, would cost more than this ever does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import posix_ipc

from ami.ring.layout import MAX_WORKERS, REDUCER_WAITS, SLEEPERS, SLEEPING, SOURCE_WAITS
from ami.ring.segment import Segment


def wait(
    ready: Callable[[], bool],
    announce: Callable[[bool], None],
    semaphore: posix_ipc.Semaphore,
    timeout_s: float,
) -> bool:
    """Return whether ``ready()``, after at most ``timeout_s``, or sooner when a signal came."""
    if ready():
        return True
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            announce(True)
            if ready():
                return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            try:
                semaphore.acquire(left_s)
            except (posix_ipc.BusyError, posix_ipc.SignalError):
                return ready()
            # A post may be an old one that nobody took: look, and wait on.
            if ready():
                return True
    finally:
        announce(False)


class Bell:
    """Who waits in one ring, seen by one handle."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._words = segment.words
        self._sleeping = memoryview(segment.memory)[SLEEPING : SLEEPING + MAX_WORKERS]

    def announce_worker(self, worker: int) -> Callable[[bool], None]:
        def announce(waits: bool) -> None:
            self._sleeping[worker] = waits
            if waits:
                # After the byte: who sees this word set and clears it sees the byte, too.
                self._words[SLEEPERS] = 1

        return announce

    def announce_source(self, waits: bool) -> None:
        self._words[SOURCE_WAITS] = waits
        if waits:
            # Some may sleep on what they hold, the oldest slot perhaps, for which all others wait.
            self.wake_all_workers()

    def announce_reducer(self, waits: bool) -> None:
        self._words[REDUCER_WAITS] = waits

    def wake_a_worker(self) -> None:
        """Wake one: it wakes the next one if it leaves work. All at once would mostly find nothing."""
        if self._words[SLEEPERS]:
            self._wake_workers(1)

    def wake_all_workers(self) -> None:
        if self._words[SLEEPERS]:
            self._wake_workers(MAX_WORKERS)

    def _wake_workers(self, most: int) -> None:
        self._words[SLEEPERS] = 0
        flags = self._sleeping.tobytes()
        worker = flags.find(1)
        while worker >= 0 and most:
            self._sleeping[worker] = 0
            self._segment.semaphore(".work").release()
            most -= 1
            worker = flags.find(1, worker + 1)
        if worker >= 0:
            self._words[SLEEPERS] = 1

    def wake_source(self) -> None:
        if self._words[SOURCE_WAITS]:
            self._words[SOURCE_WAITS] = 0
            self._segment.semaphore(".space").release()

    def wake_reducer(self) -> None:
        if self._words[REDUCER_WAITS]:
            self._words[REDUCER_WAITS] = 0
            self._segment.semaphore(".done").release()
