"""Write log records to stdout, where supervisord and journald pick them up, rotate and keep them.

One line a record: time (UTC), level, process, message. What needs more lines, as a traceback does,
repeats time, level and process on each of them, before a ``|``: so a search for a process finds its
tracebacks, and a text from outside with a newline in it cannot pass for a record.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType

logger = logging.getLogger(__name__)


def printable(text: str) -> str:
    """Return ``text`` with its control characters spelt out: a terminal would obey them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Lines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        stamp = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        head = f"{stamp} {record.levelname:8s} {self._process}"
        first, *more = super().format(record).splitlines() or [""]
        return "\n".join(map(printable, [f"{head} {first}", *(f"{head} | {line}" for line in more)]))


def setup(process: str, level: str) -> None:
    """Send every record from ``level`` on to stdout, in the name of ``process``.

    Warnings of Python and exceptions that nobody catches, in any thread, become records too.
    """
    if hasattr(sys.stdout, "reconfigure"):
        # At boot there is no locale, so stdout may be ASCII: an odd character must not lose a record.
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Lines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logger.critical("stopped by a bug", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "unknown"
    logger.critical(
        "thread %s stopped by a bug", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )
