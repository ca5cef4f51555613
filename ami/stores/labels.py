"""Turn dict keys and set members into bytes so that equal ones give equal bytes.

A pickle will not do: equal values can have different pickles. Here everything that Python calls equal
has one form, so that Redis, which compares bytes, agrees with Python: ``1``, ``True`` and ``1.0`` are one
key and come back as ``1``; ``np.int64(3)`` is ``3``. A label is None, a bool, int, float (not NaN,
which is not equal to itself), str, bytes, or a tuple or frozenset of labels.

    n   i12   f0.5   stext   b<bytes>   t<length>:<label><length>:<label>…   z (the same, sorted)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ami.errors import Undecodable

Label: TypeAlias = Any


def encode(label: Label) -> bytes:
    """Return the one form of ``label``.

    Raises:
        TypeError: it is unhashable, or of a type that is no label.
        ValueError: it is NaN.
    """
    if isinstance(label, np.generic):
        label = label.item()
    if label is None:
        return b"n"
    if isinstance(label, str):
        return b"s" + label.encode("utf-8", "surrogatepass")
    if isinstance(label, int):
        return b"i%d" % label
    if isinstance(label, float):
        if math.isnan(label):
            raise ValueError("NaN is not equal to itself and cannot be a key or a member")
        return b"i%d" % int(label) if label.is_integer() else b"f" + repr(label).encode()
    if isinstance(label, bytes):
        return b"b" + label
    if isinstance(label, tuple):
        return b"t" + _join(map(encode, label))
    if isinstance(label, frozenset):
        return b"z" + _join(sorted(map(encode, label)))
    raise TypeError(f"a {type(label).__name__} cannot be a key or a member")


def decode(data: bytes) -> Label:
    """Return the label of :func:`encode`'s bytes.

    Raises:
        Undecodable: the bytes are not those of a label.
    """
    if data == b"n":
        return None
    if (read := _READERS.get(data[:1])) is None:
        raise Undecodable(f"{data[:40]!r} is no key or member of ours")
    try:
        return read(data[1:])
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"{data[:40]!r} is no key or member: {error}") from error


def _join(parts: Iterable[bytes]) -> bytes:
    return b"".join([b"%d:%s" % (len(part), part) for part in parts])


def _parts(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        colon = data.index(b":", place)
        end = colon + 1 + int(data[place:colon])
        if not colon < end <= len(data):
            raise ValueError(f"a part of a tuple or set would end at {end} of {len(data)} bytes")
        yield data[colon + 1 : end]
        place = end


_READERS: dict[bytes, Callable[[bytes], Label]] = {
    b"s": lambda rest: rest.decode("utf-8", "surrogatepass"),
    b"i": int,
    b"f": float,
    b"b": bytes,
    b"t": lambda rest: tuple(map(decode, _parts(rest))),
    b"z": lambda rest: frozenset(map(decode, _parts(rest))),
}
