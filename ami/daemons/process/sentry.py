"""Look after people's code has run whether what all of this process share is as it was.

Names of modules and classes, and settings of the process, are put back. What cannot be put back, a file
that is not ours any more, ends the process: the one that follows begins with all of it, and finds out
whose deed it was as of any other death (see :mod:`ami.daemons.worker.trial`).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's own functions make an enum of each handler
import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from os import _exit
from time import monotonic, thread_time
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from ami.daemons.process.apart import EXIT_SPOILED
from ami.daemons.process.bindings import Bindings

logger = logging.getLogger(__name__)

Anything = BaseException  # by a name of this module: the builtins may be gone
FIRST_CALLS: Final = 3  # of an operation, after each of which all is looked at
SHARE: Final = 1 / 200  # of the time, that looking at all may take after that
SUSPECT_CALLS: Final = 200  # after so many more all is looked at, where it is not known who did it
MOST_FILES: Final = 400  # that this process may have open
SIGNALS: Final = tuple(range(1, 32))

Draws = tuple[Any, Any]


class Broken(BaseException):
    """This process is not what it was, and cannot be made so."""


class Setting(NamedTuple):
    """Something of the process that code can set. ``put`` takes what ``read`` returned."""

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], object]


class Sentry:
    """Looks after each call.

    Args:
        files: returns the descriptors of shared memory without which this process cannot be.
        bindings: what names mean.
    """

    def __init__(self, files: Callable[[], Iterable[int]], bindings: Bindings) -> None:
        self._files = files
        # In a child, where it is tried what somebody does, those are let go: it has one that it can miss.
        self._own_file = os.memfd_create("sentry")
        self._known: dict[int, tuple[int, int]] = {}
        self._pid = os.getpid()
        self._bindings = bindings
        self._kept = [(one, one.read()) for one in SETTINGS]
        self._outer: list[tuple[Setting, Any]] = []
        self._name = ""  # of the operation that is called
        self._cost_s = 0.0
        self._at = 0.0
        self._suspect = 0  # how many calls more all is looked at after
        self._found: dict[str, list[str]] = {}  # what each did, that it was not told yet
        self._calls: dict[str, int] = {}  # of each operation, that are still its first
        self._since: set[str] = set()  # who was called since all was looked at
        self._said: set[tuple[str, str]] = set()
        self._draws: dict[str, Draws] = {}
        self._common: Draws | None = None

    def begin(self, name: str, *, is_new: bool = False, seeds: bool = False) -> None:
        """Be told that code of an operation is called next; ``is_new``: loaded. ``seeds``: it may seed what
        all draw from, and then draws from its own."""
        self._name = name
        if is_new:
            self._calls[name] = FIRST_CALLS + 1
        if self._since and self._is_due(name):
            self._settle()
        self._since.add(name)
        if os.getpid() != self._pid:  # it is tried in a child, which has other settings
            self._pid, self._kept = os.getpid(), [(one, one.read()) for one in SETTINGS]
        self._outer = [(one, one.read()) for one in OUTER]
        files = {*self._files(), self._own_file, 1, 2}
        self._known = {fd: _identify(fd) for fd in files}
        if self._is_due(name):
            self._known |= _list_beside(files)
        if seeds:
            self._common = read_draws()
            put_draws(self._draws.get(name, self._common))

    def end(self, name: str) -> str:
        """Put back what that call changed; return what it spoiled, "" for nothing.

        Raises:
            BaseException: it cannot be put back.
        """
        try:
            return self._look_after(name)
        except Broken:
            raise
        except Anything:  # of what this is made of something is another thing now
            self._found.setdefault(name, []).extend(self._bindings.look_at_all())
            return self._look_after(name)

    def _look_after(self, name: str) -> str:
        self.mend()
        if self._common is not None:
            self._draws[name] = read_draws()
            put_draws(self._common)
            self._common = None
        for fd, identity in self._known.items():
            if _identify(fd) != identity:
                raise Broken(f"file {fd} is not what it was")
        self._put_settings(name)
        if self._is_due(name) or monotonic() - self._at > self._cost_s / SHARE:
            self._settle()
            self._calls[name] = max(0, self._calls.get(name, 0) - 1)
            self._suspect = max(0, self._suspect - 1)
        told = self._found.pop(name, [])
        if told:
            return f"changed what others use, which was put back: {_list(told)}"
        return self._count_files()

    def mend(self) -> None:
        """Put back, while an operation is called, what everybody uses; it is told at the end."""
        self._found.setdefault(self._name, []).extend(self._bindings.look())

    def _is_due(self, name: str) -> bool:
        """Whether all is looked at before and after this call, so that what is found is its deed."""
        return self._calls.get(name, 0) > 0 or self._suspect > 0

    def _settle(self) -> None:
        """Look at all, and find who it was: of several that were called since the last time nobody knows."""
        began = thread_time()
        told = self._bindings.look_at_all()
        self._cost_s, self._at = thread_time() - began, monotonic()
        since, self._since = self._since, set()
        if told and len(since) == 1:
            self._found.setdefault(since.pop(), []).extend(told)
        elif told:
            logger.error("one of the operations %s changed %s: put back", _list(sorted(since)), _list(told))
            self._suspect = SUSPECT_CALLS

    def _put_settings(self, name: str) -> None:
        for one, was in (*self._kept, *self._outer):
            if one.read() != was:
                one.put(was)
                if (name, one.name) not in self._said:
                    self._said.add((name, one.name))
                    logger.warning("operation %r set %s: put back", name, one.name)

    def _count_files(self) -> str:
        lowest = os.dup(1)
        os.close(lowest)
        return f"leaves more than {MOST_FILES} files open" if lowest > MOST_FILES else ""


def give_up(name: str, error: BaseException) -> NoReturn:
    """End this process, which an operation has left in a state that cannot be put right."""
    try:
        logger.critical("operation %r: %s; this process ends", name, error)
    finally:
        _exit(EXIT_SPOILED)


def read_draws() -> Draws:
    return random.getstate(), np.random.get_state()


def put_draws(draws: Draws) -> None:
    random.setstate(draws[0])
    np.random.set_state(draws[1])


def _identify(fd: int) -> tuple[int, int]:
    try:
        there = os.fstat(fd)
    except OSError:
        return -1, -1
    return there.st_dev, there.st_ino


def _list_beside(files: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return the open files of the device on which these are: of shared memory, which no thread opens."""
    devices = {_identify(fd)[0] for fd in files} - {_identify(fd)[0] for fd in (1, 2)}
    there = {int(fd): _identify(int(fd)) for fd in os.listdir("/proc/self/fd")}
    return {fd: identity for fd, identity in there.items() if identity[0] in devices}


def _list(names: Iterable[str], most: int = 3) -> str:
    there = list(names)
    return ", ".join(there[:most]) + (f" and {len(there) - most} more" if len(there) > most else "")


# What was there stays; what is new hurts nobody.
_ENVIRON, _DATA, _ENVIRONED = os.environ, os.environ._data, dict(os.environ._data)  # type: ignore[attr-defined]
_DECIMAL = (28, "ROUND_HALF_EVEN")  # if nobody has imported it
_PATH = list(sys.path)


def _has_environ(_nothing: Any = None) -> bool:
    return os.environ is _ENVIRON and _ENVIRONED.items() <= _DATA.items()


def _put_environ(_was: bool) -> None:
    os.environ = _ENVIRON  # noqa: B003  # it is the same again
    _ENVIRON.update({os.fsdecode(name): os.fsdecode(value) for name, value in _ENVIRONED.items()})


def _has_path() -> bool:
    return set(_PATH) <= set(sys.path)


def _put_path(_was: bool) -> None:
    sys.path[:] = _PATH + [one for one in sys.path if one not in _PATH]


def _put_handlers(was: list[Any]) -> None:
    for signum, handler in zip(SIGNALS, was, strict=True):
        if _signal.getsignal(signum) is not handler and handler is not None:
            signal.signal(signum, handler)


def _read_timers() -> tuple[bool, bool]:
    """Whether timers run that end the process where nobody listens."""
    return any(signal.getitimer(signal.ITIMER_VIRTUAL)), any(signal.getitimer(signal.ITIMER_PROF))


def _put_timers(_was: Any) -> None:
    for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)


def _read_streams() -> list[Any]:
    return [sys.stdin, sys.stdout, sys.stderr]


def _put_streams(was: list[Any]) -> None:
    sys.stdin, sys.stdout, sys.stderr = was


def _put_warnings(was: list[Any]) -> None:
    warnings.filters[:] = was  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


_SELF = (os.PRIO_PROCESS, 0)


def _read_decimal() -> tuple[int, str]:
    known = sys.modules.get("decimal")
    return _DECIMAL if known is None else (known.getcontext().prec, known.getcontext().rounding)


def _put_decimal(was: tuple[int, str]) -> None:
    context = sys.modules["decimal"].getcontext()
    context.prec, context.rounding = was


def _read_log() -> tuple[Any, ...]:
    return logging.root.level, logging.root.manager.disable, list(logging.root.handlers)


def _put_log(was: tuple[Any, ...]) -> None:
    logging.root.level, logging.root.manager.disable, logging.root.handlers[:] = was


# An operator may change these from outside.
OUTER: Final = (
    Setting("the priority", partial(os.getpriority, *_SELF), partial(os.setpriority, *_SELF)),
    Setting("the cores", partial(os.sched_getaffinity, 0), partial(os.sched_setaffinity, 0)),
)
SETTINGS: Final = (
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Setting("garbage collection", gc.isenabled, lambda was: gc.enable() if was else gc.disable()),
    Setting("its thresholds", gc.get_threshold, lambda was: gc.set_threshold(*was)),
    Setting("the tracing of threads", threading.gettrace, threading.settrace),
    Setting("the profiling of threads", threading.getprofile, threading.setprofile),
    Setting("signal handlers", lambda: list(map(_signal.getsignal, SIGNALS)), _put_handlers),
    Setting(
        "the signal mask",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda was: signal.pthread_sigmask(signal.SIG_SETMASK, was),
    ),
    Setting("timers", _read_timers, _put_timers),
    Setting("the umask", lambda: os.umask(os.umask(0o077)), os.umask),
    Setting("the locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    Setting("the environment", _has_environ, _put_environ),
    Setting("where modules are found", _has_path, _put_path),
    Setting("the standard streams", _read_streams, _put_streams),
    Setting("warning filters", lambda: list(warnings.filters), _put_warnings),
    Setting("the log", _read_log, _put_log),
    Setting("how numpy prints", np.get_printoptions, lambda was: np.set_printoptions(**was)),
    Setting("decimal numbers", _read_decimal, _put_decimal),
    Setting("numpy's buffer", np.getbufsize, np.setbufsize),
)  # fmt: skip
