"""Lock records of a segment, in a way that no lock outlives its holder.

These are "open file description" locks (Linux, fcntl(2)): the kernel drops them when the last
descriptor of that one ``open`` goes, so also at kill -9. Plain POSIX record locks belong to the
process: two handles in one process would not exclude each other, and closing any descriptor of
the file would drop all locks. Semaphores and mutexes in shared memory survive their holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from typing import Final

# struct flock: l_type, l_whence, l_start, l_len, l_pid (must be 0 for these locks).
_FLOCK: Final = struct.Struct("@hhqqi4x")
_TRY: Final = fcntl.F_OFD_SETLK
_WAIT: Final = fcntl.F_OFD_SETLKW
_ASK: Final = fcntl.F_OFD_GETLK


def _flock(kind: int, first: int, count: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, first, count, 0)


class RecordLocks:
    """The locks of one open file description; only one thread may use it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def fd(self) -> int:
        """The descriptor with which they go."""
        return self._fd

    def take(self, first: int, count: int = 1, *, within_s: float = 0.0) -> bool:
        """Lock records, if no other description has one of them; try for ``within_s``."""
        wanted = _flock(fcntl.F_WRLCK, first, count)
        deadline = time.monotonic() + within_s
        while True:
            try:
                fcntl.fcntl(self._fd, _TRY, wanted)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            else:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)

    def release(self, first: int, count: int = 1) -> None:
        fcntl.fcntl(self._fd, _TRY, _flock(fcntl.F_UNLCK, first, count))

    def is_free(self, first: int, count: int = 1) -> bool:
        """Return whether no other description has a lock there."""
        answer = fcntl.fcntl(self._fd, _ASK, _flock(fcntl.F_WRLCK, first, count))
        return bool(_FLOCK.unpack(answer)[0] == fcntl.F_UNLCK)

    def critical(self, record: int) -> CriticalSection:
        """Return a ``with`` block in which this description alone has ``record``."""
        return CriticalSection(self._fd, record)

    def close(self) -> None:
        """Give all locks back. (In a forked child: leave them to the parent.)"""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class CriticalSection:
    """Wait for a record and hold it for a few microseconds."""

    def __init__(self, fd: int, record: int) -> None:
        self._fd = fd
        # Made once: this is on the path of every claim.
        self._lock = _flock(fcntl.F_WRLCK, record, 1)
        self._unlock = _flock(fcntl.F_UNLCK, record, 1)

    def __enter__(self) -> None:
        fcntl.fcntl(self._fd, _WAIT, self._lock)

    def __exit__(self, *_: object) -> None:
        fcntl.fcntl(self._fd, _TRY, self._unlock)
