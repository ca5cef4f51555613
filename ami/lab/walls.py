"""Put walls around this process and what it starts: a /dev/shm and a folder of its own, that can be full.

A mount namespace: nothing outside sees what fills up in it. This process stays in it until it ends.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ami.errors import AmiError

SHM = Path("/dev/shm")
SHM_BYTES = 4 << 30
FOLDER_BYTES = 512 << 20
_NEW_NAMESPACE = 0x0002_0000  # CLONE_NEWNS; os.unshare comes with Python 3.12
_PRIVATE = 0x4000 | 0x4_0000  # MS_REC | MS_PRIVATE: what is mounted here is not seen outside
_DETACH = 2  # MNT_DETACH
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def put_up() -> Iterator[Path]:
    """Enter a namespace with a /dev/shm of its own; yield a folder on a small disk. Before threads start.

    Raises:
        AmiError: this process may not do that.
    """
    with tempfile.TemporaryDirectory(prefix="ami-disk-", dir="/tmp") as folder:
        _do("a mount namespace", _LIBC.unshare(_NEW_NAMESPACE))
        _do("private mounts", _LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None))
        for path, most in ((SHM, SHM_BYTES), (Path(folder), FOLDER_BYTES)):
            _mount(path, most)
        try:
            yield Path(folder)
        finally:
            _LIBC.umount2(os.fsencode(folder), _DETACH)


def filler(folder: Path) -> Path:
    """Return the file in which :func:`fill` puts what was free."""
    return folder / "filler"


def fill(folder: Path) -> None:
    """Leave not one byte free on the file system of a folder."""
    with filler(folder).open("wb", buffering=0) as file:
        size = 1 << 24
        end = 0
        while size >= 1:
            try:
                os.posix_fallocate(file.fileno(), end, size)
                end += size
            except OSError:
                size //= 2


def _mount(path: Path, most: int) -> None:
    options = f"size={most},mode=1777".encode()
    done = _LIBC.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), options)
    _do(f"a file system at {path}", done)


def _do(what: str, result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise AmiError(f"{what}: {os.strerror(number)}; only root, or who has CAP_SYS_ADMIN, may do that")
