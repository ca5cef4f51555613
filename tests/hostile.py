"""Bytes that are no values of ours, by what is wrong with them. Each decoder is run over all of them.

``spoiled(good)`` makes more of any good ones: cut at each place, and with each of the first bytes changed.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from ami.stores import codec


class Bomb:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/ami-was-here",)


def wrapped(body: bytes, buffers: tuple[bytes, ...] = (), version: int = codec.VERSION) -> bytes:
    """Return ``body`` as the pickle of a value, with the head that belongs to it."""
    data = struct.pack("<BBHI", codec.MAGIC, version, len(buffers), len(body))
    data += b"".join(struct.pack("<Q", len(one)) for one in buffers) + body
    for one in buffers:
        data += bytes(-len(data) % codec.ALIGN) + one
    return data


def calling(*arguments: Any, then: bytes = b"") -> bytes:
    """Return a pickle that calls the one thing that a pickle may call, with ``arguments``."""
    body = b"\x80\x05cami.stores.codec\n_MAKE\n"
    return body + pickle.dumps(arguments, 5)[2:-1] + b"R" + then + b"."


def bare(dtype: bytes, *shape: int, data: bytes = b"", version: int = codec.VERSION, zero: int = 0) -> bytes:
    """Return a bare array."""
    head = struct.pack("<BBBB4s", codec.BARE_MAGIC, version, len(shape) % 256, zero, dtype)
    head += struct.pack(f"<{len(shape)}q", *shape)
    return head + bytes(-len(head) % codec.ALIGN) + data


_MAKE = b"\x80\x05cami.stores.codec\n_MAKE\n"

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"\xa3",
    "text": b"not ours at all, but longer than a head",
    "json": b'{"id": 1, "value": 2}',
    "a plain pickle": pickle.dumps([1, 2], 5),
    "a pickle of an array": pickle.dumps(np.arange(3), 5),
    "another version": wrapped(pickle.dumps(1, 5), version=2),
    "version 0": wrapped(pickle.dumps(1, 5), version=0),
    "more than announced": bytes(codec.encode(1)) + b"\0",
    "an absurd length of the pickle": struct.pack("<BBHI", codec.MAGIC, 1, 0, 0xFFFFFFFF),
    "an absurd length of a buffer": struct.pack("<BBHIQ", codec.MAGIC, 1, 1, 0, 1 << 63),
    "many buffers that are not there": struct.pack("<BBHI", codec.MAGIC, 1, 0xFFFF, 0),
    "os.system": wrapped(pickle.dumps(Bomb(), 5)),
    "os.system, protocol 0": wrapped(b"cos\nsystem\n(S'touch /tmp/ami-was-here'\ntR."),
    "builtins.eval": wrapped(b"cbuiltins\neval\n(S'1'\ntR."),
    "builtins.getattr": wrapped(pickle.dumps(getattr, 5)),
    "a class of numpy": wrapped(pickle.dumps(np.ndarray, 5)),
    "numpy's reconstruction": wrapped(pickle.dumps(np.arange(3), 4)),
    "an object array": wrapped(pickle.dumps(np.array([Bomb()]), 5)),
    "a dotted name": wrapped(b"\x80\x04\x8c\x10ami.stores.codec\x8c\x0a_MAKE.__call__\x93."[:-1] + b"."),
    "the decoder's own module": wrapped(b"cami.stores.codec\npickle\n."),
    "INST of a class": wrapped(b"(S'x'\nios\nsystem\n."),
    "OBJ of a class": wrapped(b"(cos\nsystem\nS'x'\no."),
    "an extension": wrapped(b"\x80\x02\x82\x01."),
    "a persistent id": wrapped(b"Psomewhere\n."),
    "an empty pickle": wrapped(b""),
    "a stop without a value": wrapped(b"."),
    "an opcode that is none": wrapped(b"\x80\x05\xff."),
    "a frame longer than the pickle": wrapped(b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7fN."),
    "a string longer than the pickle": wrapped(b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7fN."),
    "a buffer that is not there": wrapped(b"\x80\x05\x97."),
    "a memo that is not there": wrapped(b"\x80\x05h\x07."),
    "an attribute for the maker": wrapped(_MAKE + b"}\x8c\x01x\x8c\x01ys" + b"b."),
    "a slot for the maker": wrapped(_MAKE + b"N}\x8c\x08__call__K\x01s\x86b."),
    "a class for the maker": wrapped(_MAKE + b"N}\x8c\x09__class__K\x01s\x86b."),
    "__new__ of the maker": wrapped(_MAKE + b")\x81."),
    "a type that is not registered": wrapped(calling("Unknown", 1)),
    "no type": wrapped(calling()),
    "a type that is no text": wrapped(calling(b"array", b"", "<f8", (0,))),
    "an array of objects": wrapped(calling("array", bytes(8), "|O", (1,))),
    "a structured array of objects": wrapped(calling("array", bytes(8), [("a", "|O")], (1,))),
    "an array of an unknown dtype": wrapped(calling("array", bytes(8), "wat", (1,))),
    "an array of a dtype that is no text": wrapped(calling("array", bytes(8), 8, (1,))),
    "a long dtype": wrapped(calling("array", bytes(8), "f8," * 1000, (1,))),
    "a dtype with a shape": wrapped(calling("array", bytes(8), "(1000000000,)f8", (1,))),
    "an array larger than its bytes": wrapped(calling("array", bytes(8), "<f8", (2,))),
    "an array smaller than its bytes": wrapped(calling("array", bytes(16), "<f8", (1,))),
    "an absurd shape": wrapped(calling("array", b"", "<f8", (1 << 62, 1 << 62))),
    "a shape that overflows to 0": wrapped(calling("array", b"", "<f8", (1 << 32, 1 << 29))),
    "an empty array of absurd axes": wrapped(calling("array", b"", "<f8", (0, 1 << 47, 1 << 47))),
    "a negative shape": wrapped(calling("array", bytes(8), "<f8", (-1,))),
    "a shape of floats": wrapped(calling("array", bytes(8), "<f8", (1.0,))),
    "a shape of bools": wrapped(calling("array", bytes(8), "<f8", (True,))),
    "a shape that is a list": wrapped(calling("array", bytes(8), "<f8", [1])),
    "a hundred axes": wrapped(calling("array", bytes(8), "<f8", (1,) * 100)),
    "an odd order": wrapped(calling("array", bytes(8), "<f8", (1,), "K")),
    "an array of text": wrapped(calling("array", "12345678", "<f8", (1,))),
    "a scalar of text": wrapped(calling("scalar", "12345678", "<f8")),
    "a scalar of two": wrapped(calling("scalar", bytes(16), "<f8")),
    "a complex of text": wrapped(calling("complex", "1", "2")),
    "a deque of a number": wrapped(calling("deque", 5, None)),
    "a deque of a negative length": wrapped(calling("deque", [1], -5)),
    "a Counter of text": wrapped(calling("Counter", "abc")),
    "an array with a state": wrapped(calling("array", bytes(8), "<f8", (1,), then=b"(K\x01K\x02tb")),
    "bare: another version": bare(b"<f8\0", 1, data=bytes(8), version=2),
    "bare: a flag": bare(b"<f8\0", 1, data=bytes(8), zero=1),
    "bare: objects": bare(b"|O\0\0", 1, data=bytes(8)),
    "bare: an unknown dtype": bare(b"\xff\xff\xff\xff", 1, data=bytes(8)),
    "bare: no dtype": bare(bytes(4), 1, data=bytes(8)),
    "bare: too few bytes": bare(b"<f8\0", 2, data=bytes(8)),
    "bare: too many bytes": bare(b"<f8\0", 1, data=bytes(9)),
    "bare: a negative length": bare(b"<f8\0", -1, data=bytes(8)),
    "bare: an absurd shape": bare(b"<f8\0", 1 << 62, 1 << 62),
    "bare: 255 axes": bare(b"<f8\0", *[1] * 255, data=bytes(8)),
    "bare: a shape that was cut": struct.pack("<BBBB4s", codec.BARE_MAGIC, 1, 2, 0, b"<f8\0"),
}


def spoiled(good: bytes) -> Iterator[bytes]:
    """Yield ``good`` cut at each place, and with each bit of its first 200 bytes turned."""
    for end in range(len(good)):
        yield good[:end]
    for place in range(min(len(good), 200)):
        for bit in range(8):
            yield good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]
