"""Let signals end what runs in the foreground, so that what was started is stopped.

A daemon's signals set a flag instead: nothing of it may be torn in two (``ami/daemons/process/runtime.py``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handle_signals(signums: Iterable[int], handler: Handler) -> Iterator[None]:
    """Handle these signals so for a while."""
    before = {signum: signal.signal(signum, handler) for signum in signums}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


def stoppable() -> AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, once."""
    return handle_signals(_ENDING, _interrupt)


def ignore_signals() -> AbstractContextManager[None]:
    """Let no signal end what is done here: it is bounded, and a node half stopped would stay."""
    return handle_signals((*_ENDING, signal.SIGALRM), signal.SIG_IGN)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Let what ends this process come after the block: a child that is just made would be left behind.

    The child takes over what is held; see :func:`let_signals_come`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_signals_come() -> None:
    """Hold no signals back, in a child of who does."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    # Asking once more while it stops changes nothing.
    for signum in _ENDING:
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt
