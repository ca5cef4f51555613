"""Watch over people's code where it runs: interrupt what takes too long, let it start no processes, and look
after it whether what all share is as it was.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from signal import ITIMER_REAL, setitimer
from types import FrameType
from typing import Any, Final

from ami.cluster.proc import OwnTime
from ami.daemons.process.bindings import Bindings
from ami.daemons.process.sentry import Sentry, give_up
from ami.graph.execution.guest import Guest, TooLong
from ami.graph.library.user import CODE_FILE

Anything = BaseException  # by a name of this module: the builtins may be gone
LOOK_S: Final = 0.1
# A child would go on as a second worker with the first one's ring and connections; a thread, beside it.
REFUSED: Final = frozenset(
    (
        *("_thread.start_new_thread", "_thread.start_joinable_thread", "subprocess.Popen"),
        *("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system"),
        *("os.kill", "os.killpg", "signal.pthread_kill"),
    )
)
# What all in this process share, and what cannot be put back quietly, or not at all.
SHARED: Final = frozenset(
    (
        *("os.chdir", "resource.setrlimit", "resource.prlimit"),
        *("sys.settrace", "sys.setprofile", "sys.addaudithook"),
    )
)


class Watch(Guest):
    """A timer of the main thread; there is one in a process.

    Args:
        limit_s: what an event may have, by the process' own time.
        alive: is called while code runs; ``touch``: when it got on to another event.
        told: is told of what is grave; returns whether the operation is not to be called any more.
        files: returns the descriptors of shared memory without which this process cannot be.
        bindings: what names mean here; None: that is looked at when people's code first comes.
    """

    faults = BaseException

    def __init__(
        self,
        limit_s: float,
        alive: Callable[[], None],
        touch: Callable[[], None],
        told: Callable[[Sequence[str], BaseException], bool],
        files: Callable[[], Iterable[int]] = tuple,
        bindings: Bindings | None = None,
    ) -> None:
        self._limit_s = limit_s
        self._alive = alive
        self._touch = touch
        self._told = told
        self._rows: Iterator[int] = iter(())
        self._files = files
        self._bindings = bindings
        self._sentry: Sentry | None = None
        self._name = ""  # of the operation that is called
        self._inside = False
        self._own = OwnTime()
        self._at = -1
        self._since_s = 0.0
        _guard_threads(self._refuse)
        if bindings is not None:
            bindings.learn()

    def prepare(self) -> Sentry:
        if self._sentry is None:
            signal.signal(signal.SIGALRM, self._look)
            self._sentry = Sentry(self._files, self._bindings or Bindings())
            # Each id() of this process is told to the hook, and it cannot be removed.
            sys.addaudithook(self._refuse)
        return self._sentry

    def enter(
        self, names: Sequence[str], rows: Iterator[int], *, is_new: bool = False, seeds: bool = False
    ) -> None:
        sentry = self.prepare()
        self._name = names[0]
        sentry.begin(self._name, is_new=is_new, seeds=seeds)
        self._rows, self._at, self._inside = rows, -1, True
        setitimer(ITIMER_REAL, LOOK_S, LOOK_S)

    def leave(self) -> str:
        # What this is made of may be what was changed: then the process ends, as that is the safe side.
        try:
            self._inside = False
            setitimer(ITIMER_REAL, 0)
            assert self._sentry is not None
            return self._sentry.end(self._name)
        except Anything as error:
            give_up(self._name, error)

    def mend(self) -> None:
        if self._sentry is not None:
            self._sentry.mend()

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
        if not self._inside or (event not in REFUSED and event not in SHARED):
            return
        if threading.current_thread() is threading.main_thread():
            what = (
                "start and end neither processes nor threads"
                if event in REFUSED
                else "not change what all share"
            )
            raise PermissionError(f"a function may {what} ({event})")


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
