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
from collections.abc import Callable, Sequence

import posix_ipc

from ami.ring.layout import (
    HOLDING,
    IDLE,
    MAX_WORKERS,
    REDUCER_WAITS,
    SLEEPERS,
    SLEEPING,
    SOURCE_WAITS,
    WORK_SEMAPHORES,
)
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

    def announce_worker(self, worker: int, *, holding: bool) -> Callable[[bool], None]:
        state = HOLDING if holding else IDLE

        def announce(waits: bool) -> None:
            self._sleeping[worker] = state if waits else 0
            if waits:
                # After the byte: who sees this word set and clears it sees the byte, too.
                self._words[SLEEPERS] = 1

        return announce

    def announce_source(self, waits: bool) -> None:
        self._words[SOURCE_WAITS] = waits
        if waits:
            # Some may sleep on what they hold, the oldest slot perhaps, for which all others wait.
            self.wake_holders()

    def announce_reducer(self, waits: bool) -> None:
        self._words[REDUCER_WAITS] = waits

    def wake_a_worker(self) -> None:
        """Wake one: it wakes the next one if it leaves work. All at once would mostly find nothing.

        It is one that holds something already, if there is one, else the first: what a few can do is not
        spread over all, each with a state of its own that has to be stored and merged.
        """
        if self._words[SLEEPERS]:
            flags = self._sleeping.tobytes()
            worker = flags.find(HOLDING)
            worker = flags.find(IDLE) if worker < 0 else worker
            self._wake([] if worker < 0 else [worker])

    def wake_holders(self) -> None:
        """Wake those workers that hold something, when it may be time to store it."""
        if self._words[SLEEPERS]:
            self._wake([worker for worker, state in enumerate(self._sleeping.tobytes()) if state == HOLDING])

    def _wake(self, workers: Sequence[int]) -> None:
        # Before the bytes: who sets one meanwhile sets this word after it.
        self._words[SLEEPERS] = 0
        for worker in workers:
            self._sleeping[worker] = 0
            self._segment.semaphore(WORK_SEMAPHORES[worker % len(WORK_SEMAPHORES)]).release()
        if any(self._sleeping):
            self._words[SLEEPERS] = 1

    def wake_source(self) -> None:
        if self._words[SOURCE_WAITS]:
            self._words[SOURCE_WAITS] = 0
            self._segment.semaphore(".space").release()

    def wake_reducer(self, is_of_use: Callable[[], bool] | None = None) -> None:
        """Wake the local reducer, if it waits and that ``is_of_use``: else it would look, and wait on."""
        if self._words[REDUCER_WAITS] and (is_of_use is None or is_of_use()):
            self._words[REDUCER_WAITS] = 0
            self._segment.semaphore(".done").release()
