"""Keep what a server appends in shared memory, where it outlives the server, but not the machine.

Both stores append every change, which with images is a hundred times what they hold, and of no use a second
later. In a folder of ``/dev/shm`` it costs no disk, and whatever happens to processes it is found again:
the server's own folder has a link to it. An orderly end brings the files to the disk, from where the next
start takes them. (Rejected: only a link at the place of the files. The server makes the next file beside
that folder, and cannot rename it to another file system.)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ami.config import NodeConfig

FOLDER: Final = Path("/dev/shm")
HEAD: Final = "ami.store-"  # not the rings' "ami-", which are files
TIERS: Final = ("local", "global", "replica")
ROOM_BYTES: Final = 64 << 20  # what must be free when a server starts; below it, `ami status` warns
DISK_BYTES: Final = 64 << 20  # the same of the disk of node.run_dir
FILES: Final = "appendonlydir"
_LINK: Final = "memory"
_NOTE: Final = "belongs-to"
# A folder without a note is just being made, or whoever made it died of it.
_MAKING_S: Final = 3600.0
_PATIENCE_S: Final = 5.0  # with what a killed server leaves running: a child that rewrites the file


def folder_of(node: NodeConfig, tier: str) -> Path:
    """Return the folder of a tier's server on the disk."""
    return node.run_dir / f"{tier}-store"


def find(folder: Path) -> Path | None:
    """Return the folder in memory that belongs to a server's ``folder``; None where there is none."""
    with suppress(OSError):
        place = Path(os.readlink(folder / _LINK))
        if place.parent == FOLDER and _is_ours(place) and _owner(place) == os.path.realpath(folder):
            return place
    return None


def used_bytes(folder: Path) -> int:
    """Return how much shared memory belongs to a server's ``folder``."""
    place = find(folder)
    return 0 if place is None else _taken_bytes(place.rglob("*"))


def ring_bytes(name: str) -> int:
    """Return how much shared memory the segments of a ring take."""
    head = name.lstrip("/")
    return _taken_bytes(path for path in FOLDER.glob(f"{head}*") if path.name.partition(".")[0] == head)


def _taken_bytes(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with suppress(OSError):  # just rewritten
            total += os.lstat(path).st_blocks * 512
    return total


def free_bytes() -> int:
    """Return how much shared memory this machine has left."""
    facts = os.statvfs(FOLDER)
    return facts.f_bavail * facts.f_frsize


def disk_problem(node: NodeConfig) -> str:
    """Say what stands still because the disk of ``node.run_dir`` is full or read-only; "" if it is not."""
    try:
        facts = os.statvfs(node.run_dir)
    except OSError as error:
        return f"{node.run_dir}: {error.strerror}; logs, versions and checkpoints cannot be written"
    free = facts.f_bavail * facts.f_frsize
    if facts.f_flag & os.ST_RDONLY or not os.access(node.run_dir, os.W_OK):
        return f"{node.run_dir} cannot be written to: logs, versions and checkpoints are lost"
    if free < DISK_BYTES and facts.f_blocks:
        return (
            f"{free >> 20} MiB left on the disk of {node.run_dir}: when it is full, logs, versions and "
            f"checkpoints cannot be written; make room there, or set another node.run_dir"
        )
    return ""


def to_memory(folder: Path) -> Path:
    """Return the folder in memory for ``folder``: as it was left, or with the files that are on the disk.

    Raises:
        OSError: there is no room.
    """
    _reclaim_lost()
    place = find(folder)
    if place is None:
        place = Path(tempfile.mkdtemp(prefix=HEAD, dir=FOLDER))  # of mode 0700
        held = _hold(place)
        try:
            os.write(held, os.path.realpath(folder).encode())
            if (folder / FILES).exists():
                shutil.copytree(folder / FILES, place / FILES)
            new = folder / f"{_LINK}.new"
            new.unlink(missing_ok=True)
            new.symlink_to(place)
            new.rename(folder / _LINK)
        except BaseException:
            shutil.rmtree(place)
            raise
        finally:
            os.close(held)
    _remove_files(folder)
    return place


def hold(folder: Path) -> None:
    """Say that a server runs there, until this process, or the server that it becomes, has ended.

    Raises:
        OSError: its files were just brought to the disk.
    """
    place = find(folder)
    if place is not None:
        os.set_inheritable(_hold(place), True)
        os.stat(place)


def to_disk(folder: Path) -> bool:
    """Bring the files of a server that has ended to the disk; return whether there were some in memory.

    Raises:
        OSError: they cannot be, and stay in memory.
    """
    place = find(folder)
    if place is None:
        return False
    held = _take(place)
    try:
        new = folder / f"{FILES}.new"
        shutil.rmtree(new, ignore_errors=True)
        if (place / FILES).exists():
            shutil.copytree(place / FILES, new)
            for path in (*new.iterdir(), new):
                _sync(path)
            _remove_files(folder)
            new.rename(folder / FILES)
            _sync(folder)
        _remove(folder, place)
    finally:
        os.close(held)
    return True


def discard(folder: Path) -> None:
    """Remove the folder in memory with what is in it, of a server that has ended.

    Raises:
        OSError: a server runs in it.
    """
    place = find(folder)
    if place is not None:
        held = _take(place)
        _remove(folder, place)
        os.close(held)


def _remove(folder: Path, place: Path) -> None:
    (folder / _LINK).unlink()
    shutil.rmtree(place)


def _reclaim_lost() -> None:
    """Remove folders of ours to which no link leads any more, and in which no server runs."""
    for place in FOLDER.glob(f"{HEAD}*"):
        with suppress(OSError):
            owner = _owner(place) if _is_ours(place) else None
            if owner is None or (not owner and time.time() - place.stat().st_mtime < _MAKING_S):
                continue
            if not owner or find(Path(owner)) != place:
                held = _take(place, within_s=0)
                # It may have been finished just now.
                if _owner(place) == owner and (not owner or find(Path(owner)) != place):
                    shutil.rmtree(place)
                os.close(held)


def _is_ours(place: Path) -> bool:
    facts = os.lstat(place)
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and place.name.startswith(HEAD)


def _owner(place: Path) -> str:
    """Return the server's folder; "" while that is not written down."""
    try:
        return (place / _NOTE).read_text()
    except FileNotFoundError:
        return ""


def _hold(place: Path) -> int:
    """Return a descriptor that keeps others from removing the folder."""
    fd = os.open(place / _NOTE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _take(place: Path, within_s: float = _PATIENCE_S) -> int:
    """Return a descriptor that keeps servers out.

    Raises:
        OSError: one runs here.
    """
    fd = os.open(place / _NOTE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(fd)
                raise BlockingIOError(error.errno, f"a server still runs in {place}") from error
            time.sleep(0.02)


def _remove_files(folder: Path) -> None:
    """Remove files on the disk: they are older than others, so they must not be found after a power cut."""
    old = folder / f"{FILES}.old"
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        (folder / FILES).rename(old)
        _sync(folder)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
