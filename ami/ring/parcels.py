"""Leave bytes in shared memory for another process of this machine: parcels, a file each, ``RING.pN-ID``.

A parcel has a number, and the ID of who left it. It is written whole and never changed; a record elsewhere
names it, and nobody looks for one that no record names. So a death at any instruction leaves at most a file
that is found and removed. Whoever looks at a parcel keeps its memory, also when its name is gone.
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
from ami.ring.segment import FOLDER, NEW, shm_path

Buffer = bytes | bytearray | memoryview
SUFFIX: Final = re.compile(r"\.p([0-9a-f]{1,16})-([0-9a-f]{16})\Z")
_MOST_BUFFERS: Final = os.sysconf("SC_IOV_MAX")


class Parcels:
    """The parcels of one ring's name, for the one process that leaves them."""

    def __init__(self, ring: str) -> None:
        self._ring = ring
        self._id = secrets.token_hex(8)

    def leave(self, number: int, buffers: Sequence[Buffer]) -> str:
        """Leave a parcel and return its name. One of this number that was left before stays as it is.

        Raises:
            OSError: there is no shared memory for it.
        """
        name = f"{self._ring}.p{number:x}-{self._id}"
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
        """Return the numbers of all parcels of this ring's name, whoever left them, by name."""
        return {name: number for name, number in _find(self._ring) if not name.endswith(NEW)}

    def measure(self) -> int:
        """Return how many bytes they have."""
        total = 0
        for name, _ in _find(self._ring):
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


def look(name: str) -> memoryview:
    """Return what is in a parcel, read-only.

    Raises:
        FileNotFoundError: it is not on this machine.
        RingError: this is no name of a parcel.
    """
    if "/" in name[1:] or not SUFFIX.search(name):
        raise RingError(f"{name!r} is no name of a parcel")
    fd = os.open(shm_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        return memoryview(mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ))
    finally:
        os.close(fd)


def remove(names: Iterable[str]) -> None:
    """Take the names away."""
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(shm_path(name))


def remove_all(ring: str) -> bool:
    """Remove every parcel of this ring's name, half-written ones too; return whether there was any."""
    found = [name for name, _ in _find(ring)]
    remove(found)
    return bool(found)


def _find(ring: str) -> list[tuple[str, int]]:
    found = []
    for file in FOLDER.iterdir():
        name = "/" + file.name
        if name.startswith(ring) and (match := SUFFIX.match(name.removesuffix(NEW), len(ring))):
            found.append((name, int(match[1], 16)))
    return found
