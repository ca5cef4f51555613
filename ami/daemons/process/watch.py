"""Watch over people's code where it runs: interrupt what takes too long, and let it start no processes.

A timer runs while such code does. Where the same event is still the one that runs, and has had its time,
the code is interrupted where it is, also in a sleep or a wait, and that is an error of this event: no worker
dies of a loop. Code that Python cannot interrupt (a library that computes) is left to the monitor, which
sees that the breadcrumb is not touched any more.
"""

from __future__ import annotations

import operator
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

from ami.cluster.proc import OwnTime
from ami.graph.execution.guest import Guest, TooLong
from ami.graph.library.user import CODE_FILE

LOOK_S: Final = 0.1
# A child would go on as a second worker with the first one's ring and connections; a thread, beside it.
REFUSED: Final = frozenset(
    (
        *("_thread.start_new_thread", "_thread.start_joinable_thread", "subprocess.Popen"),
        *("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system"),
        *("os.kill", "os.killpg", "signal.pthread_kill"),
    )
)


class Watch(Guest):
    """A timer of the main thread; there is one in a process.

    Args:
        limit_s: what an event may have, by the process' own time.
        alive: is called while code runs; ``touch``: when it got on to another event.
        told: is told of what is grave; returns whether the operation is not to be called any more.
    """

    faults = BaseException

    def __init__(
        self,
        limit_s: float,
        alive: Callable[[], None],
        touch: Callable[[], None],
        told: Callable[[Sequence[str], BaseException], bool],
    ) -> None:
        self._limit_s = limit_s
        self._alive = alive
        self._touch = touch
        self._told = told
        self._rows: Iterator[int] = iter(())
        self._inside = self._refuses = False
        self._own = OwnTime()
        self._at = -1
        self._since_s = 0.0
        signal.signal(signal.SIGALRM, self._look)
        _guard_threads(self._refuse)

    def enter(self, rows: Iterator[int]) -> None:
        if not self._refuses:
            # Not before it is needed: each id() of this process is told to it, and it cannot be removed.
            self._refuses = True
            sys.addaudithook(self._refuse)
        self._rows, self._at, self._inside = rows, -1, True
        signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)

    def leave(self) -> None:
        self._inside = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def alive(self) -> None:
        self._alive()

    def count(self, names: Sequence[str], error: BaseException) -> bool:
        return self._told(names, error)

    def _look(self, _signum: int, frame: FrameType | None) -> None:
        if not self._inside:
            return
        # As long as its time is counted here, nobody else need judge it by the clock.
        self.alive()
        now_s, at = self._own.read(), operator.length_hint(self._rows)
        if at != self._at:
            self._at, self._since_s = at, now_s
            self._touch()
        elif now_s - self._since_s > self._limit_s and _is_in_code(frame):
            self._since_s = now_s  # should it be caught
            raise TooLong(f"one call took more than {self._limit_s:g} s")

    def _refuse(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in REFUSED and self._inside and threading.current_thread() is threading.main_thread():
            raise PermissionError(f"a function may start and end neither processes nor threads ({event})")


def _guard_threads(refuse: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Ask before a thread is started: Python 3.11 tells nobody of it."""
    start = threading.Thread.start

    def ask_and_start(self: threading.Thread) -> None:
        refuse("_thread.start_new_thread", ())
        start(self)

    threading.Thread.start = ask_and_start  # type: ignore[method-assign]  # there is no other place to ask at


def _is_in_code(frame: FrameType | None) -> bool:
    """Whether people's code is running: nothing of ours may be interrupted half way."""
    while frame is not None:
        if frame.f_code.co_filename == CODE_FILE:
            return True
        frame = frame.f_back
    return False


def limit_memory(most_bytes: int) -> None:
    """Let an allocation fail that would give this process more private memory than this.

    What is shared, the ring and the arenas, does not count: so a worker that is well may map any of it.
    """
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
