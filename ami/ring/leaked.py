"""Find and remove rings whose every process is dead."""

from __future__ import annotations

import os
from typing import Final

import posix_ipc

from ami.errors import RingBusy, RingError, RingGone
from ami.ring import arena, configurations, parcels
from ami.ring import layout as at
from ami.ring.locks import RecordLocks
from ami.ring.segment import (
    NEW,
    PATIENCE_S,
    check_name,
    inode,
    list_shared,
    making,
    open_shared,
    unlink_semaphore,
)
from ami.ring.workers import pid_word

_SEMAPHORE_FILE: Final = "sem."  # glibc keeps semaphore NAME in the file sem.NAME


def find_leaked(prefix: str = "/ami-") -> list[str]:
    """Return the names of rings under ``prefix`` to which no living source, worker or reducer is attached.

    A ring of a node that is down counts as leaked, although it may still hold events that its next
    source would continue with.
    """
    names: set[str] = set()
    for file in list_shared():
        name = "/" + file[1:].removeprefix(_SEMAPHORE_FILE)
        for suffix in (*at.SEMAPHORES, NEW):
            name = name.removesuffix(suffix)
        for part in (arena.SUFFIX, configurations.SUFFIX, parcels.SUFFIX):
            name = part.sub("", name)
        if name.startswith(prefix):
            names.add(name)
    return sorted(name for name in names if _is_dead(name))


def _is_dead(name: str) -> bool:
    try:
        for part in (name, name + NEW):
            fd = _open(part)
            if fd is not None:
                try:
                    if not RecordLocks(fd).is_free(0, at.LOCKS):
                        return False
                finally:
                    os.close(fd)
    except RingError:
        return False  # another program's, or another user's
    return True


def reclaim(name: str) -> bool:
    """Remove a ring whose processes are all dead, with all that belongs to it; False when there is none.

    Raises:
        RingBusy: a living process is attached to it.
        RingError: the segment is not a ring of ours.
    """
    check_name(name)
    unfinished = inode(name + NEW) is not None
    with making(name):
        fd = _open(name)
        if fd is not None:
            try:
                # All records at once, and kept until the name is gone: nobody attaches in between.
                if not RecordLocks(fd).take(0, at.LOCKS, within_s=PATIENCE_S):
                    raise RingBusy(f"ring {name} is in use by {_users(fd)}; stop them first")
                _retire(fd)
                columns = _remove_columns(name)
                posix_ipc.unlink_shared_memory(name)
            finally:
                os.close(fd)
        else:
            columns = _remove_columns(name)
        semaphores = [unlink_semaphore(name + suffix) for suffix in at.SEMAPHORES]
    return unfinished or fd is not None or columns or any(semaphores)


def _remove_columns(name: str) -> bool:
    removed = [
        configurations.remove(name, configurations.find(name)),
        arena.remove_all(name),
        parcels.remove_all(name),
    ]
    return any(removed)


def _open(name: str) -> int | None:
    """Return a descriptor of a segment of ours, or None when there is none.

    Raises:
        RingError: it is not ours.
    """
    try:
        fd = open_shared(name)
    except RingGone:
        return None
    magic = os.pread(fd, len(at.MAGIC), 0)
    # One that was being made may have no header yet.
    if magic == at.MAGIC or (name.endswith(NEW) and not magic.strip(b"\0")):
        return fd
    os.close(fd)
    raise RingError(f"segment {name} begins with {magic!r}, a ring with {at.MAGIC!r}: not touched")


def _retire(fd: int) -> None:
    if os.fstat(fd).st_size >= 8 * at.RETIRED + 8:
        os.pwrite(fd, (1).to_bytes(8, "little"), 8 * at.RETIRED)


def _users(fd: int) -> str:
    """Return who is attached, in words, from the header."""
    locks = RecordLocks(fd)
    users = []
    for record, word, what in (
        (at.WRITER_LOCK, at.WRITER_PID, "source"),
        (at.REDUCER_LOCK, at.REDUCER_PID, "local reducer"),
    ):
        if not locks.is_free(record):
            users.append(f"{what} (process {_word(fd, 8 * word)})")
    for number in range(at.MAX_WORKERS):
        if not locks.is_free(at.WORKER_LOCK + number):
            pid = _word(fd, 8 * pid_word(number))
            users.append(f"worker {number} (process {pid})")
    return ", ".join(users) or "a process that has just gone"


def _word(fd: int, offset: int) -> int:
    return int.from_bytes(os.pread(fd, 8, offset), "little")
