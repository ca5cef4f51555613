"""Run people's functions of results in a child process, which they may end, fill or stop: it is no loss."""

from __future__ import annotations

import ctypes
import functools
import gc
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from ami.cluster import proc
from ami.cluster.proc import OwnTime
from ami.config import WorkerConfig
from ami.daemons.process.apart import HANGS, PR_SET_PDEATHSIG, tell_end
from ami.daemons.process.bindings import Bindings
from ami.daemons.process.watch import Watch, limit_memory
from ami.graph.execution.frame import reason_of, traceback_text
from ami.graph.execution.guest import GRAVE, Spoiled, TooLong
from ami.graph.execution.results import apply
from ami.graph.library.user import UserFunction
from ami.graph.operation import Operation
from ami.ring.offences import DEATH, HANG
from ami.stores import codec

PATIENCE_S = 0.1  # of the child's own time, in which an answer is waited for
MOST_S = 0.25  # by the clock
LOOK_S = 0.02
FUNCTIONS_KEPT = 1000


class Child:
    """A process that is asked one thing at a time.

    It is forked, because a new Python would take a second to load numpy on a busy machine; it only computes.
    """

    def __init__(self, config: WorkerConfig, bindings: Bindings) -> None:
        self._hang_s = config.hang_s
        self._line, theirs = multiprocessing.Pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _be_the_child(theirs, config, parent, bindings)
        theirs.close()
        self._own = OwnTime(self._pid)

    def ask(self, question: bytes) -> None:
        """Send a :func:`question_of` an operation.

        Raises:
            OSError: the child is not there any more.
        """
        self._own = OwnTime(self._pid)
        self._line.send_bytes(question)

    def wait(self) -> None:
        """Wait for the answer, for as long as others can wait for it."""
        until = time.monotonic() + MOST_S
        while not self._line.poll(LOOK_S):
            if self._own.read() > PATIENCE_S or time.monotonic() > until:
                return

    def is_due(self) -> bool:
        """Whether :meth:`take` has something."""
        return self._line.poll() or self._own.read() > 2 * self._hang_s

    def take(self) -> tuple[bytes, str] | None:
        """Return the answer and "", or how the child failed, and then it is no more; None: neither yet."""
        if not self.is_due():
            return None
        if not self._line.poll():
            # What swallows its interruption, or computes where Python cannot interrupt it.
            self.end()
            return b"", f"{HANGS} {2 * self._hang_s:g} s"
        try:
            return self._line.recv_bytes(), ""
        except (EOFError, OSError):
            return b"", self.end() or "ends the process"

    def end(self) -> str:
        """End the process, if it has not ended; return how it did."""
        self._line.close()
        os.kill(self._pid, signal.SIGKILL)
        return tell_end(os.waitpid(self._pid, 0)[1])


def question_of(operation: Operation, inputs: list[Any]) -> bytes:
    """Return what asks for the value of an operation on results."""
    return bytes(codec.encode((operation.parameters, inputs)))


def _be_the_child(line: Connection, config: WorkerConfig, parent: int, bindings: Bindings) -> NoReturn:
    """Answer until the parent ends: never go on in its code."""
    try:
        # Who stops a node may tell all of its processes; this one is ended by its parent, or with it.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        gc.freeze()  # the parent's objects are nobody's here, and to look at them copies their pages
        limit_memory(proc.private_bytes(os.getpid()) + config.memory_bytes)
        watch = Watch(
            config.hang_s, lambda: None, lambda: None, lambda _names, _error: False, bindings=bindings
        )
        while os.getppid() == parent:
            line.send_bytes(_answer(line.recv_bytes(), watch))
    finally:
        os._exit(1)


def _answer(question: bytes, watch: Watch) -> bytes:
    """Return the value and 0, or how it failed and what that weighs; and how long it took, in s."""
    parameters, inputs = codec.decode(question)
    function, began = _make(parameters), time.monotonic()
    value, text, weight = None, "", 0
    watch.enter([hex(id(function))], iter(()), is_new=not function.is_loaded, seeds=function.seeds)
    try:
        value = apply(function, inputs)
    except BaseException as error:  # its exit is none of this process
        watch.mend()
        weight = HANG if isinstance(error, TooLong) else DEATH if isinstance(error, GRAVE) else 0
        text = traceback_text(error)
    finally:
        spoiled = watch.leave()
    if spoiled:
        value, text, weight = None, reason_of(Spoiled(spoiled)), DEATH
    took_s = time.monotonic() - began
    try:
        return bytes(codec.encode((value, text, weight, took_s)))
    except Exception as error:  # what it gave is nothing that a store takes
        weight = DEATH if isinstance(error, GRAVE) else 0
        return bytes(codec.encode((None, traceback_text(error), weight, took_s)))


@functools.lru_cache(FUNCTIONS_KEPT)
def _make(parameters: tuple[tuple[str, Any], ...]) -> UserFunction:
    return UserFunction(**dict(parameters))
