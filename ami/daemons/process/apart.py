"""Call something that may crash or hang in a child process, so that this one does neither."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn

PR_SET_PDEATHSIG = 1
LOOK_S = 0.02
PIPE_BYTES = 1 << 16  # what an empty pipe of Linux takes without a reader


def call_apart(
    function: Callable[[], str], *, timeout_s: float, moved: Callable[[], object] | None = None
) -> tuple[str, str]:
    """Call ``function`` in a forked child; return what it returned, and how the child failed ("" if not).

    The child shares this process' sockets and locks, so ``function`` must only compute.

    Args:
        timeout_s: how long the child may take; with ``moved``, how long it may take without a change of
            what ``moved`` returns.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_the_child(function, writer, parent)
    os.close(writer)
    try:
        how = _end(pid, reader, timeout_s, moved or (lambda: None))
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


def _end(pid: int, reader: int, timeout_s: float, moved: Callable[[], object]) -> str:
    """Wait for the child; kill it when it hangs. Returns how it failed, "" if it did not."""
    alive = os.pidfd_open(pid)
    try:
        at, since = moved(), time.monotonic()
        while not select.select([alive], [], [], LOOK_S)[0]:
            now = time.monotonic()
            if moved() != at:
                at, since = moved(), now
            elif now - since > timeout_s:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return f"runs for more than {timeout_s:g} s"
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(alive)
    if os.WIFSIGNALED(status):
        return f"kills the process ({signal.Signals(os.WTERMSIG(status)).name})"
    code = os.waitstatus_to_exitcode(status)
    return f"ends the process with exit code {code}" if code else ""


def _all_of(reader: int) -> bytes:
    # The child wrote at most what a pipe takes at once, and has ended.
    return os.read(reader, PIPE_BYTES)
