"""Leave bytes in shared memory for another process of this machine: parcels, a file each.

A parcel has a kind, a number, and the ID of who left it: ``RING.pN-ID`` is a batch on its way, ``RING.kN-ID``
a part of a checkpoint. It is written whole and never changed; a record elsewhere names it, and nobody looks
for one that no record names. So a death at any instruction leaves at most a file that is found and removed.
Whoever looks at a parcel keeps its memory, also when its name is gone.
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from ami.errors import RingError
from ami.ring.segment import NEW, list_shared, shm_path

Buffer = bytes | bytearray | memoryview
BATCH, PART = "p", "k"
SUFFIX: Final = re.compile(r"\.([pk])([0-9a-f]{1,16})-([0-9a-f]{1,16})\Z")
_MOST_BUFFERS: Final = os.sysconf("SC_IOV_MAX")
_MADV_POPULATE_READ: Final = 22  # Python has no name for it
_ADVISED_BYTES: Final = 2 << 20


class Parcels:
    """The parcels of one ring's name and of one kind, for the one process that leaves them.

    Args:
        identity: of who leaves them, up to 16 hexadecimal digits; "": one that nobody else has.
    """

    def __init__(self, ring: str, kind: str = BATCH, identity: str = "") -> None:
        self._ring = ring
        self._kind = kind
        self._id = identity or secrets.token_hex(8)

    def name(self, number: int) -> str:
        """Return the name of the parcel of this number."""
        return f"{self._ring}.{self._kind}{number:x}-{self._id}"

    def leave(self, number: int, buffers: Sequence[Buffer]) -> str:
        """Leave a parcel and return its name. One of this number that was left before stays as it is.

        Raises:
            OSError: there is no shared memory for it.
        """
        name = self.name(number)
        path, new = shm_path(name), shm_path(name + NEW)
        if path.exists():
            return name
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, buffers)
            os.rename(new, path)
        except BaseException:
            os.unlink(new)
            raise
        finally:
            os.close(fd)
        return name

    def find(self) -> dict[str, int]:
        """Return the numbers of all parcels of this ring's name and kind, whoever left them, by name."""
        return {name: number for name, number in _find(self._ring, self._kind) if not name.endswith(NEW)}

    def measure(self) -> int:
        """Return how many bytes they have."""
        total = 0
        for name, _ in _find(self._ring, self._kind):
            with suppress(FileNotFoundError):
                total += os.stat(shm_path(name)).st_size
        return total


def _write(fd: int, buffers: Sequence[Buffer]) -> None:
    left = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    while left:
        written = os.writev(fd, left[:_MOST_BUFFERS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def look(name: str, *, whole: bool = True) -> memoryview:
    """Return what is in a parcel, read-only.

    Args:
        whole: all of it is read now, so its memory is mapped at once.

    Raises:
        FileNotFoundError: it is not on this machine.
        RingError: this is no name of a parcel.
    """
    if "/" in name[1:] or not SUFFIX.search(name):
        raise RingError(f"{name!r} is no name of a parcel")
    fd = os.open(shm_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        memory = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
    if whole:
        with suppress(OSError):  # of a kernel before 5.14: then it is mapped where it is read
            _advise(memory, _MADV_POPULATE_READ)
    return memoryview(memory)


def _advise(memory: mmap.mmap, advice: int) -> None:
    """Advise a piece at a time: Python keeps its lock meanwhile, and small results wait in another thread.

    (Rejected: MAP_POPULATE, which holds the lock for all of it, 0.3 s for a span of a scan of images.)
    """
    for start in range(0, len(memory), _ADVISED_BYTES):
        memory.madvise(advice, start, min(_ADVISED_BYTES, len(memory) - start))


def put_aside(raw: memoryview) -> None:
    """Let this process' tables forget a parcel that it goes on looking at: who reads in it meets it again.

    Of what was merged nobody reads any more, and of what is kept only as often as it is published.
    """
    if isinstance(raw.obj, mmap.mmap):
        _advise(raw.obj, mmap.MADV_DONTNEED)


def remove(names: Iterable[str]) -> None:
    """Take the names away."""
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(shm_path(name))


def remove_all(ring: str, kinds: str = BATCH + PART) -> bool:
    """Remove every parcel of this ring's name, half-written ones too; return whether there was any."""
    found = [name for kind in kinds for name, _ in _find(ring, kind)]
    remove(found)
    return bool(found)


def _find(ring: str, kind: str) -> list[tuple[str, int]]:
    found = []
    for name in list_shared():
        match = SUFFIX.match(name.removesuffix(NEW), len(ring)) if name.startswith(ring) else None
        if match is not None and match[1] == kind:
            found.append((name, int(match[2], 16)))
    return found
