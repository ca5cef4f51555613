"""Write what must outlive the machine to files that are there whole or not at all, and read them back.

A file says what it holds, how long it is, and its checksum, so that one that was cut, or is not ours, is
passed over and never half believed.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from ami.config import NodeConfig
from ami.errors import Undecodable
from ami.stores import codec
from ami.stores.codec import Buffer, Value

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAGIC: Final = "ami-durable-1"
_HEAD_BYTES: Final = 128


def folder_of(node: NodeConfig) -> Path:
    """Return the folder of what must outlive the machine: a cluster's own."""
    return node.run_dir / "durable" / node.cluster


def store(path: Path, what: str, value: Value) -> None:
    """Write a value so that it outlives whatever happens after the return.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    write(path, what, codec.encode(value).buffers)


def write(path: Path, what: str, pieces: Iterable[Buffer]) -> None:
    """Write bytes, as :func:`store` does a value."""
    parts = [memoryview(piece).cast("B") for piece in pieces]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    length = sum(part.nbytes for part in parts)
    head = f"{MAGIC} {what} {length} {checksum:08x}".encode().ljust(_HEAD_BYTES - 1) + b"\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb", buffering=0) as file:
        for part in (memoryview(head), *parts):
            while part.nbytes:
                part = part[file.write(part) :]
        os.fsync(fd)
    new.rename(path)
    _sync(path.parent)


def read(path: Path, what: str) -> Value | None:
    """Return what :func:`store` wrote; None where there is nothing that can be used, which is logged.

    What can be used is whole, ours, and ``what`` is asked for.
    """
    return read_with(codec.decode, path, what)


def read_with(decode: Callable[[memoryview], T], path: Path, what: str) -> T | None:
    """Return what ``decode`` makes of the bytes, as :func:`read` does; it may raise Undecodable."""
    try:
        return decode(_check(path.read_bytes(), what))
    except FileNotFoundError:
        return None
    except (OSError, Undecodable) as error:
        logger.error("%s is passed over: %s", path, error)
        return None


def _check(content: bytes, what: str) -> memoryview:
    words = content[:_HEAD_BYTES].decode("ascii", "replace").split()
    if len(words) != 4 or words[:2] != [MAGIC, what]:
        said = " ".join(words[:2])[:60]
        raise Undecodable(f"it should begin with '{MAGIC} {what}', and begins with {said!r}")
    body = memoryview(content)[_HEAD_BYTES:]
    if words[2] != str(len(body)):
        raise Undecodable(f"it was cut: {len(body)} bytes of {words[2]}")
    if words[3] != f"{zlib.crc32(body):08x}":
        raise Undecodable(f"its {len(body)} bytes are not those that were written: the checksum differs")
    return body


def remove(paths: Iterable[Path]) -> None:
    """Remove files; those that are not there are no matter.

    Raises:
        OSError
    """
    for path in paths:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
