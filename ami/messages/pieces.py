"""Put what is too large for one value of a store into several, and together again."""

from __future__ import annotations

import numpy as np

from ami.errors import Undecodable
from ami.messages.message import message
from ami.stores import Store, codec
from ami.stores.codec import Value
from ami.values import Scan

# A server refuses 512 MiB, and stands still for all others while it takes in a large value.
PIECE_BYTES = 16 << 20


@message
class Pieces:
    """Stands where a value should be: ``names`` are of pieces of its bytes, which are ``nbytes`` in all."""

    names: tuple[str, ...]
    nbytes: int


@message
class Keyed:
    """Stands in a result where a scan should be: ``names`` are of scans of one key each, ascending."""

    names: tuple[str, ...]


def cut(value: Value) -> list[Value]:
    """Return the pieces of a value's bytes; nothing is copied, so store them before it changes."""
    pieces = []
    for buffer in codec.encode(value).buffers:
        view = memoryview(buffer)
        for start in range(0, len(view), PIECE_BYTES):
            pieces.append(np.frombuffer(view[start : start + PIECE_BYTES], np.uint8))
    return pieces


def join(store: Store, pieces: Pieces) -> Value:
    """Return the value.

    Raises:
        KeyError: a piece is gone: there is a newer value, or none any more.
        Undecodable: the pieces are not those of a value.
    """
    raw, place = bytearray(pieces.nbytes), 0
    for name in pieces.names:
        piece = store[name]
        if not isinstance(piece, np.ndarray) or place + piece.nbytes > len(raw):
            raise Undecodable(f"{name} is no piece of a value")
        raw[place : place + piece.nbytes] = piece.data
        place += piece.nbytes
    return codec.decode(raw)


def chain(store: Store, keyed: Keyed, known: dict[str, Value]) -> Value:
    """Return the value; ``known`` are pieces that were read before, and afterwards those of this value.

    Raises:
        KeyError: a piece is gone: there is a newer value, or none any more.
        Undecodable: the pieces are not those of a scan.
    """
    read = {name: known[name] if name in known else store[name] for name in keyed.names}
    scans = [piece for piece in read.values() if isinstance(piece, Scan)]
    if len(scans) < len(read):
        raise Undecodable(f"not all of {', '.join(read)} are scans")
    known.clear()
    known.update(read)
    some = [scan for scan in scans if len(scan.keys)] or scans[:1]  # one without keys has no shape
    return Scan(
        np.concatenate([scan.keys for scan in some]),
        np.concatenate([scan.counts for scan in some]),
        np.concatenate([scan.means for scan in some]),
        np.concatenate([scan.errors for scan in some]),
        overflow=sum(scan.overflow for scan in scans),
        nan=sum(scan.nan for scan in scans),
    )
