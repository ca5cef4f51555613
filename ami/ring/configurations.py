"""Make, map and remove the segments that have a ring's columns: ``NAME.c1``, ``NAME.c2`` and so on.

The source makes the next one beside the one in use, and names it in an entry only when it is whole, so
whoever finds its number in an entry can map it. It removes one when all of its events are committed. What
a killed source left half-made is in no entry; its successor removes it.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from collections.abc import Collection
from typing import Final

from ami.errors import RingError, RingFull
from ami.event import Schema
from ami.ring.columns import Columns, Configuration, parse
from ami.ring.segment import allocate, free_bytes, list_shared, shm_path, show_shortage

SUFFIX: Final = re.compile(r"\.c([0-9]{1,18})\Z")
# Shared memory is allocated, and so zeroed, by the piece: 16 MiB take 4 ms.
_PIECE_BYTES: Final = 4 << 20
_TURN_S: Final = 0.01


def name_of(ring: str, number: int) -> str:
    return f"{ring}.c{number}"


def find(ring: str) -> list[int]:
    """Return the numbers of all configurations of this name that there are, ascending."""
    numbers = []
    for name in list_shared():
        if name.startswith(ring) and (match := SUFFIX.match(name, len(ring))):
            numbers.append(int(match[1]))
    return sorted(numbers)


def remove(ring: str, numbers: Collection[int]) -> bool:
    """Take the names away; who has one mapped keeps it. Return whether there was any."""
    found = False
    for number in numbers:
        try:
            os.unlink(shm_path(name_of(ring, number)))
            found = True
        except FileNotFoundError:
            pass
    return found


def attach(ring: str, ring_id: int, number: int, schema: Schema, *, writable: bool = False) -> Columns:
    """Map the columns of a configuration.

    Raises:
        RingError: there are none, or they are of another ring.
    """
    name = name_of(ring, number)
    try:
        fd = os.open(shm_path(name), (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError as error:
        raise RingError(
            f"segment {name} with columns of ring {ring} cannot be opened: {error.strerror}"
        ) from error
    try:
        if not os.fstat(fd).st_size:
            raise RingError(f"segment {name} is empty; restart the source")
        memory = mmap.mmap(fd, 0, access=mmap.ACCESS_DEFAULT if writable else mmap.ACCESS_READ)
    finally:
        os.close(fd)
    return Columns(parse(name, memory, ring_id, number, schema), memory)


class Construction:
    """A configuration's segment on its way: allocated by and by, so that the source goes on meanwhile.

    Memory is allocated before it is written: a write into what cannot be had is no error, but a SIGBUS.
    """

    def __init__(self, ring: str, ring_id: int, configuration: Configuration) -> None:
        self.configuration = configuration
        self._ring = ring
        self._ring_id = ring_id
        self._total_bytes = configuration.offsets()[-1]
        self._allocated = 0
        self._fd = -1

    def go_on(self) -> Columns | None:
        """Allocate for some milliseconds; return the columns when they are whole.

        Raises:
            RingFull: there is not enough shared memory; what was allocated is given back.
        """
        if self._fd < 0:
            self._begin()
        end = time.monotonic() + _TURN_S
        while self._allocated < self._total_bytes:
            piece = min(_PIECE_BYTES, self._total_bytes - self._allocated)
            if not allocate(self._fd, self._allocated, piece):
                self.give_up()
                raise RingFull(show_shortage(f"ring {self._ring}", self._total_bytes))
            self._allocated += piece
            if time.monotonic() > end and self._allocated < self._total_bytes:
                return None
        memory = mmap.mmap(self._fd, self._total_bytes)
        head = self.configuration.head(self._ring_id)
        memory[: len(head)] = head
        self._close()
        return Columns(self.configuration, memory)

    def _begin(self) -> None:
        if free_bytes() < self._total_bytes:  # else it would take from others what it cannot use
            raise RingFull(show_shortage(f"ring {self._ring}", self._total_bytes))
        path = shm_path(name_of(self._ring, self.configuration.number))
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def give_up(self) -> None:
        """Remove what there is of it."""
        if self._fd >= 0:
            remove(self._ring, [self.configuration.number])
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._allocated = -1, 0
