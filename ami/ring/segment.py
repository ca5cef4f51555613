"""Create, attach, check and unlink the shared memory of a ring.

A segment is made under ``NAME.new`` and renamed when it is whole, so nobody ever attaches to a
half-made ring, and the lock on its writer's record is held before anyone can see it.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import posix_ipc

from ami.errors import RingBusy, RingError, RingFull, RingGone, RingUnfit
from ami.ring.layout import (
    DESCRIPTION,
    MAX_WORKERS,
    POLICY,
    REDUCED,
    RETIRED,
    SEMAPHORES,
    SLEEPING,
    STATIC,
    WORK_SEMAPHORES,
    WRITER_LOCK,
    WRITER_PID,
    Layout,
    parse,
)
from ami.ring.locks import RecordLocks

FOLDER: Final = Path("/dev/shm")  # where Linux keeps POSIX shared memory
NEW: Final = ".new"

# How long the record of a process that was just killed may stay locked, and how long a worker's
# record may be held by another one that adopts its slots.
PATIENCE_S: Final = 0.5


def shm_path(name: str) -> Path:
    return FOLDER / name.lstrip("/")


def list_shared() -> Iterator[str]:
    """Yield the names of all shared memory and semaphores; folders and pipes may lie there, too."""
    for file in os.scandir(FOLDER):
        if file.is_file(follow_symlinks=False):
            yield f"/{file.name}"


def open_shared(name: str, *, create: bool = False) -> int:
    """Return a descriptor of shared memory, to read and to write.

    Raises:
        RingGone: there is none.
        RingUnfit: it is another user's, or no shared memory.
    """
    try:
        fd: int = posix_ipc.SharedMemory(name, posix_ipc.O_CREAT if create else 0, mode=0o600).fd
    except posix_ipc.ExistentialError as error:
        raise RingGone(f"there is no shared memory {name}") from error
    except posix_ipc.PermissionsError as error:
        raise RingUnfit(f"ring {name} belongs to another user; set another ring.name") from error
    except (ValueError, OSError) as error:
        raise _unfit(name) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unfit(name)
    return fd


def _unfit(name: str) -> RingUnfit:
    return RingUnfit(f"{shm_path(name)} is no shared memory: remove it, or set another ring.name")


def inode(name: str) -> int | None:
    """Return what tells this segment from a later one of the same name, or None."""
    try:
        return os.stat(shm_path(name)).st_ino
    except FileNotFoundError:
        return None


@contextmanager
def making(name: str) -> Iterator[int]:
    """Be the only one to make or remove the ring ``name``; gives a descriptor of ``NAME.new``.

    At the end that segment is removed, unless it was renamed. Its locks are those of the descriptor.

    Raises:
        RingBusy: another process does it.
        RingUnfit: something else has its name.
    """
    while True:
        fd = open_shared(name + NEW, create=True)
        try:
            if not RecordLocks(fd).take(WRITER_LOCK, within_s=PATIENCE_S):
                raise RingBusy(f"another process is making the ring {name} just now")
            if inode(name + NEW) != os.fstat(fd).st_ino:
                continue  # it was renamed or removed while we waited
            try:
                yield fd
            finally:
                if inode(name + NEW) == os.fstat(fd).st_ino:
                    posix_ipc.unlink_shared_memory(name + NEW)
            return
        finally:
            os.close(fd)


def check_name(name: str) -> None:
    if not name.startswith("/") or "/" in name[1:] or len(name) < 2:
        raise RingError(f"a ring's name is a slash and a word, like '/ami-events'; got {name!r}")


class Segment:
    """One mapping of a ring, with descriptors and semaphores of its own."""

    def __init__(self, name: str, fd: int, size: int) -> None:
        self.name = name
        self.inode = os.fstat(fd).st_ino
        self.locks = RecordLocks(fd)
        # The mapping duplicates its descriptor and keeps it as long as any array lives. Locks must
        # not live that long, so it gets an open file description of its own.
        mapped = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            self.memory = mmap.mmap(mapped, size)
        finally:
            os.close(mapped)
        self.words = memoryview(self.memory).cast("q")
        self.ring_id = 0
        self._semaphores: dict[str, posix_ipc.Semaphore] = {}
        _open_segments.add(self)

    layout: Layout

    @classmethod
    def attach(cls, name: str) -> Segment:
        """Map an existing ring.

        Raises:
            RingGone: there is none.
            RingError: the segment is not a whole ring of this layout version.
        """
        check_name(name)
        for _ in range(100):
            segment = cls._attach_once(name)
            if segment is not None:
                return segment
        raise RingError(f"ring {name} is replaced faster than one can attach to it")

    @classmethod
    def join(cls, name: str, record: int, pid_word: int, what: str) -> Segment:
        """Map an existing ring and hold one of its records.

        Raises:
            RingGone: there is none, or it is being replaced.
            RingBusy: a living process has the record.
        """
        segment = cls.attach(name)
        try:
            segment.hold(record, pid_word, what)
            if segment.retired:
                raise RingGone(f"ring {name} is being replaced")
        except BaseException:
            segment.close()
            raise
        return segment

    @classmethod
    def _attach_once(cls, name: str) -> Segment | None:
        try:
            fd = open_shared(name)
        except RingGone as error:
            raise RingGone(f"there is no ring {name}: the source has not made one yet") from error
        try:
            size = os.fstat(fd).st_size
            head = os.pread(fd, DESCRIPTION, 0)
            length = _description_bytes(head)
            if 0 < length < size:
                head += os.pread(fd, length, DESCRIPTION)
            layout, ring_id = parse(name, head, size)
            segment = cls(name, fd, size)
        except BaseException:
            os.close(fd)
            raise
        segment.layout = layout
        segment.ring_id = ring_id
        try:
            for suffix in SEMAPHORES:
                segment._semaphores[suffix] = posix_ipc.Semaphore(name + suffix)
        except posix_ipc.ExistentialError as error:
            current = segment.is_current
            segment.close()
            if current:
                raise RingUnfit(f"ring {name} has lost its semaphores; remove the segment") from error
            return None
        if segment.is_current:
            return segment
        segment.close()  # replaced meanwhile: the semaphores may belong to the next one
        return None

    @classmethod
    def create(cls, name: str, layout: Layout, *, policy: int, replacing: Segment | None) -> Segment | None:
        """Make a ring and hold its writer's record; None when another process was faster.

        Args:
            replacing: the segment that has this name now; it is retired when the new one is whole.

        Raises:
            RingBusy: another process is making this ring just now.
            RingFull: there is not enough shared memory.
        """
        with making(name) as fd:
            # From here on nobody else gets this far, so the name's owner does not change either.
            if inode(name) != (None if replacing is None else replacing.inode):
                return None
            os.ftruncate(fd, 0)
            if not allocate(fd, 0, layout.total_bytes):
                raise RingFull(show_shortage(f"ring {name}", layout.total_bytes))
            segment = cls(name, os.dup(fd), layout.total_bytes)
            segment._fill(layout, policy)
            # A process that attaches between these steps finds the old ring with the new semaphores;
            # it looks once more whether the ring is still the same.
            for suffix in SEMAPHORES:
                unlink_semaphore(name + suffix)
                semaphore = posix_ipc.Semaphore(name + suffix, posix_ipc.O_CREX, mode=0o600)
                segment._semaphores[suffix] = semaphore
            if replacing is not None:
                replacing.retire()
            os.rename(shm_path(name + NEW), shm_path(name))
        return segment

    def _fill(self, layout: Layout, policy: int) -> None:
        self.layout = layout
        self.ring_id = time.time_ns()
        static = layout.static(self.ring_id)
        self.memory[: len(static)] = static
        self.memory[DESCRIPTION : DESCRIPTION + len(layout.description)] = layout.description
        self.words[REDUCED] = -1
        self.words[POLICY] = policy
        self._sign(WRITER_PID)

    def _sign(self, pid_word: int) -> None:
        """Write down who this is and since when, for people: whether it lives is told by its lock."""
        self.words[pid_word] = os.getpid()
        self.words[pid_word + 1] = time.time_ns()

    @property
    def is_current(self) -> bool:
        """Whether the name still means this segment."""
        return inode(self.name) == self.inode

    @property
    def retired(self) -> bool:
        return self.words[RETIRED] != 0

    def semaphore(self, suffix: str) -> posix_ipc.Semaphore:
        return self._semaphores[suffix]

    def hold(self, record: int, pid_word: int, what: str) -> None:
        """Lock a record for as long as this handle is open, and sign it.

        Raises:
            RingBusy: a living process has it.
        """
        if not self.locks.take(record, within_s=PATIENCE_S):
            raise RingBusy(
                f"process {self.words[pid_word]} is the {what} of ring {self.name} already; stop it first"
            )
        self._sign(pid_word)

    def retire(self) -> None:
        """Mark the ring as replaced, and wake everyone to see it."""
        self.words[RETIRED] = 1
        asleep = [n for n, state in enumerate(self.memory[SLEEPING : SLEEPING + MAX_WORKERS]) if state]
        for suffix in (*(WORK_SEMAPHORES[n % len(WORK_SEMAPHORES)] for n in asleep), ".space", ".done"):
            if suffix in self._semaphores:
                self._semaphores[suffix].release()

    def unlink(self) -> None:
        """Take the name away. Processes that have the ring mapped keep it until they close."""
        if self.is_current:
            posix_ipc.unlink_shared_memory(self.name)
            for suffix in SEMAPHORES:
                unlink_semaphore(self.name + suffix)

    def close(self) -> None:
        """Give locks and semaphores back; the memory goes with the last array that looks at it."""
        self.locks.close()
        for semaphore in self._semaphores.values():
            semaphore.close()
        self._semaphores = {}


# A forked child shares the open file description, and with it the locks: a worker's record would
# stay locked after the worker's death for as long as its child lives. So the child lets go.
_open_segments: weakref.WeakSet[Segment] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for segment in _open_segments:
        segment.locks.close()


os.register_at_fork(after_in_child=_let_go_in_child)


def unlink_semaphore(name: str) -> bool:
    try:
        posix_ipc.unlink_semaphore(name)
    except posix_ipc.ExistentialError:
        return False
    return True


def _description_bytes(head: bytes) -> int:
    if len(head) < DESCRIPTION:
        return 0
    return int(np.frombuffer(head, STATIC, 1)[0]["description_bytes"])


def free_bytes() -> int:
    """Return how much shared memory can still be had."""
    facts = os.statvfs(FOLDER)
    # A file system without a limit says that it has no blocks.
    return facts.f_bavail * facts.f_frsize if facts.f_blocks else 1 << 62


def show_shortage(what: str, wanted_bytes: int) -> str:
    return (
        f"{FOLDER} has {free_bytes() >> 20} MiB free, {-(-wanted_bytes >> 20)} MiB wanted for {what}: "
        f"make room there, lower ring.bytes, or make {FOLDER} larger"
    )


def allocate(fd: int, offset: int, bytes: int) -> bool:
    """Allocate shared memory; return whether it could be had. A write to what could not is a SIGBUS."""
    if bytes > free_bytes():  # asked before: the kernel would take all that there is, and then fail
        return False
    try:
        os.posix_fallocate(fd, offset, bytes)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG):
            raise
        return False
    return True
