"""Keep a worker's large states in shared memory, which outlives the worker as the ring does.

An arena is a file of one worker and one ring, ``RING.aID-N``. States lie in it as bytes, and a *record*
says which lie where. The record is kept twice: the worker writes states only where none lies that the
selected record names, writes the copy that is not selected, and one 8-byte store of the selector makes
all of it true. So a worker killed at any instruction leaves the states of its last whole step.

What a record says is the business of who writes and reads it; here it is bytes.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Self

from ami.errors import RingError, RingFull
from ami.ring.layout import PAGE
from ami.ring.locks import RecordLocks
from ami.ring.segment import NEW, allocate, list_shared, shm_path, show_shortage

SUFFIX: Final = re.compile(r"\.a([0-9a-f]{1,16})-([0-9]{1,3})\Z")
MAGIC: Final = b"ami-aren"
VERSION: Final = 1
RECORD_BYTES: Final = 4 << 20  # of one copy; a record of more finds no room
SELECTOR: Final = 8  # word: generation g; copy g % 2 is the valid one
_HEAD: Final = struct.Struct("@8sqq")
_LENGTH: Final = struct.Struct("@q")
DATA: Final = PAGE + 2 * RECORD_BYTES
# Room that was had is kept for what comes, up to this or as much again as is in use.
SPARE_BYTES: Final = 32 << 20
_LOCK: Final = 0

Place = tuple[int, int]  # offset in the arena, and bytes


def name_of(ring: str, ring_id: int, worker: int) -> str:
    return f"{ring}.a{ring_id:x}-{worker}"


def find(ring: str) -> list[tuple[int, int]]:
    """Return ring id and worker of each arena of rings of this name, ascending."""
    found = []
    for name in list_shared():
        if name.startswith(ring) and (match := SUFFIX.match(name, len(ring))):
            found.append((int(match[1], 16), int(match[2])))
    return sorted(found)


def remove(ring: str, arenas: Iterable[tuple[int, int]]) -> bool:
    """Take the names away, those of half-made ones too; return whether there was any."""
    found = False
    for ring_id, worker in arenas:
        for suffix in ("", NEW):
            try:
                os.unlink(shm_path(name_of(ring, ring_id, worker) + suffix))
                found = True
            except FileNotFoundError:
                pass
    return found


def remove_all(ring: str) -> bool:
    """Remove every arena of rings of this name."""
    found = False
    for name in list_shared():
        if name.startswith(ring) and SUFFIX.match(name.removesuffix(NEW), len(ring)):
            os.unlink(shm_path(name))
            found = True
    return found


class ArenaView:
    """An arena, for who reads it.

    Raises:
        FileNotFoundError: there is none.
        RingError: it is no arena, or of another version.
    """

    def __init__(self, ring: str, ring_id: int, worker: int) -> None:
        self.name = name_of(ring, ring_id, worker)
        self.ring_id, self.worker = ring_id, worker
        self._open(os.O_RDONLY, mmap.ACCESS_READ)

    def _open(self, flags: int, access: int) -> None:
        fd = os.open(shm_path(self.name), flags | os.O_CLOEXEC)
        try:
            self._memory = mmap.mmap(fd, 0, access=access)
            self._bytes = memoryview(self._memory)
            self._words = self._bytes[:PAGE].cast("q")
            head = _HEAD.unpack_from(self._memory)
            if head != (MAGIC, VERSION, self.ring_id):
                raise RingError(
                    f"segment {self.name} is no arena of its ring: it begins with {head}; remove it"
                )
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self._locks = RecordLocks(fd)

    @property
    def is_free(self) -> bool:
        """Whether no living worker writes to it."""
        return self._locks.is_free(_LOCK)

    def read(self) -> bytes:
        """Return the selected record; b"" before the first."""
        while True:
            generation = self._words[SELECTOR]
            offset = PAGE + generation % 2 * RECORD_BYTES
            (length,) = _LENGTH.unpack_from(self._memory, offset)
            start = offset + _LENGTH.size
            record = bytes(self._bytes[start : start + length]) if 0 <= length <= RECORD_BYTES else b""
            # The worker writes this copy again only after it has selected the other one.
            if self._words[SELECTOR] == generation:
                return record

    def view(self, place: Place) -> memoryview:
        """Return what lies somewhere, read-only."""
        offset, length = place
        return self._bytes[offset : offset + length].toreadonly()

    def close(self) -> None:
        """Let go of it; the memory goes with the last array that looks at it."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Arena(ArenaView):
    """An arena, for its worker, who holds its number in the ring: made, or continued.

    Args:
        bytes: that states may take at once.

    Raises:
        RingError: another process writes to it, or there is no shared memory for it.
    """

    def __init__(self, ring: str, ring_id: int, worker: int, bytes: int) -> None:
        self.name = name_of(ring, ring_id, worker)
        self.ring_id, self.worker = ring_id, worker
        if not os.path.exists(shm_path(self.name)):
            self._make(DATA + -(-bytes // PAGE) * PAGE)
        self._open(os.O_RDWR, mmap.ACCESS_WRITE)
        if not self._locks.take(_LOCK):
            self.close()
            raise RingError(f"another process writes to the arena {self.name}")
        self._size = len(self._memory)
        self._free: list[Place] = [(DATA, self._size - DATA)]
        self._backed = DATA  # below it all memory is there

    def _make(self, size: int) -> None:
        new = shm_path(self.name + NEW)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
            if not allocate(fd, 0, DATA):
                os.unlink(new)
                raise RingFull(show_shortage(f"arena {self.name}", DATA))
            os.pwrite(fd, _HEAD.pack(MAGIC, VERSION, self.ring_id), 0)
        finally:
            os.close(fd)
        os.rename(new, shm_path(self.name))

    def keep_only(self, places: Collection[Place]) -> None:
        """Take all but these for free: what is not in a record that still counts."""
        free, end = [], DATA
        for offset, length in sorted(places):
            if offset > end:
                free.append((end, offset - end))
            end = max(end, offset + _padded(length))
        # What is in use was allocated; what lies behind it is asked for again, at no cost where it is there.
        if end > self._backed:
            self._backed = end
        spare = max(SPARE_BYTES, end - DATA)
        if self._backed > end + spare:
            self._memory.madvise(mmap.MADV_REMOVE, end + spare, self._backed - end - spare)
            self._backed = end + spare
        free.append((end, self._size - end))
        self._free = free

    def take(self, lengths: Sequence[int]) -> list[Place] | None:
        """Return free places of these lengths, all or, when there is no room, none."""
        free, found = self._free.copy(), []
        for length in lengths:
            wanted = _padded(length)
            slot = next((n for n, (_, there) in enumerate(free) if there >= wanted), None)
            if slot is None:
                return None
            offset, there = free[slot]
            free[slot : slot + 1] = [(offset + wanted, there - wanted)] if there > wanted else []
            found.append((offset, length))
        end = max((offset + _padded(length) for offset, length in found), default=0)
        if end > self._backed:
            if not allocate(self._fd, self._backed, end - self._backed):
                return None
            self._backed = end
        self._free = free
        return found

    def write(self, place: Place, buffers: Iterable[bytes | bytearray | memoryview]) -> None:
        """Fill a place that was taken."""
        offset, _ = place
        for buffer in buffers:
            size = len(buffer)
            self._bytes[offset : offset + size] = buffer
            offset += size

    def select(self, record: bytes) -> None:
        """Make this the record, and so all of it true."""
        generation = self._words[SELECTOR] + 1
        offset = PAGE + generation % 2 * RECORD_BYTES
        start = offset + _LENGTH.size
        self._bytes[start : start + len(record)] = record
        _LENGTH.pack_into(self._memory, offset, len(record))
        self._words[SELECTOR] = generation


def _padded(length: int) -> int:
    return -(-length // PAGE) * PAGE
