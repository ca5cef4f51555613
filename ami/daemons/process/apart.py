"""Call something that may crash or hang in a child process, so that this one does neither."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from ami.cluster.proc import OwnTime

PR_SET_PDEATHSIG = 1
LOOK_S = 0.02
HANGS = "runs for more than"  # how it is told of a child that had to be killed
EXIT_SPOILED = 86  # of a process that people's code left in a state that cannot be put right
PIPE_BYTES = 1 << 16  # what an empty pipe of Linux takes without a reader


def call_apart(
    function: Callable[[], str],
    *,
    timeout_s: float,
    moved: Callable[[], object] = lambda: None,
    alive: Callable[[], None] = lambda: None,
    most_s: float = float("inf"),
) -> tuple[str, str]:
    """Call ``function`` in a forked child; return what it returned, and how the child failed ("" if not).

    The child shares this process' sockets and locks, so ``function`` must only compute.

    Args:
        timeout_s: how long the child may take, by its own time (:class:`ami.cluster.proc.OwnTime`), which is
            longer by the clock where the machine is loaded; with ``moved``, without a change of that.
        alive: is called while the child runs, about 50 times a second; what it raises ends the child.
        most_s: how long it may take by the clock.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_the_child(function, writer, parent)
    os.close(writer)
    try:
        how = _end(pid, timeout_s, moved, alive, time.monotonic() + most_s)
        answer = b"" if how else _all_of(reader)
    finally:
        os.close(reader)
    return answer.decode(errors="replace"), how


def _be_the_child(function: Callable[[], str], writer: int, parent: int) -> NoReturn:
    """Call the function, write what it returns, and end here: never in the parent's code."""
    code = 1
    try:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        # A child that hangs must not outlive its parent.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            os.write(writer, function().encode()[:PIPE_BYTES])
            code = 0
    finally:
        os._exit(code)


def _end(
    pid: int, timeout_s: float, moved: Callable[[], object], alive: Callable[[], None], until: float
) -> str:
    """Wait for the child; kill it when it hangs. Returns how it failed, "" if it did not."""
    ended = os.pidfd_open(pid)
    try:
        own = OwnTime(pid)
        at, since = moved(), own.read()
        while not select.select([ended], [], [], LOOK_S)[0]:
            alive()
            now = own.read()
            if moved() != at:
                at, since = moved(), now
            elif now - since > timeout_s or time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return f"{HANGS} {timeout_s:g} s"
        _, status = os.waitpid(pid, 0)
    except BaseException:  # of ``alive``: nobody waits for the child any more
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(ended)
    return tell_end(status)


def tell_end(status: int) -> str:
    """Return how a process ended of which this is the status; "": well."""
    if os.WIFSIGNALED(status):
        return f"kills the process ({signal.Signals(os.WTERMSIG(status)).name})"
    code = os.waitstatus_to_exitcode(status)
    if code == EXIT_SPOILED:
        return "closes files of the process, or leaves it so that it cannot be put right"
    return f"ends the process with exit code {code}" if code else ""


def _all_of(reader: int) -> bytes:
    # The child wrote at most what a pipe takes at once, and has ended.
    return os.read(reader, PIPE_BYTES)
