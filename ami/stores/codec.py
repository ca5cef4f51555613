"""Turn values into bytes and back, without copying arrays and without running anybody's code.

A value is None, a bool, int, float, complex, str or bytes, a numpy array or scalar (any dtype but
object), a tuple, list, dict, set, frozenset, deque or Counter of these, or a registered
dataclass; those of other packages are entry points of the group ``ami.values``. Anything else is refused
when it is written, with a TypeError: what could not be read back must not get into a store.

The bytes, little-endian:

    0xA3  version (1)  count of buffers (uint16)  bytes of the pickle (uint32)
    bytes of each buffer (uint64 each)
    the pickle, protocol 5
    the buffers, each padded in front to a multiple of 16 bytes

A bare array of plain numbers, which is what most large values are, has no pickle (a quarter of the time):

    0xA4  version (1)  count of axes (uint8)  0  dtype (4 characters)  shape (int64 each)
    padding to a multiple of 16 bytes, the array's bytes in C order

A pickle is a program, so it may name one single thing here: ``_MAKE``, an object without attributes
that makes arrays, scalars and registered types from checked parts. Classes, and numpy's own
reconstruction functions, are out of a pickle's reach, because the opcode BUILD would let a hostile one
set their attributes or call their ``__setstate__``.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np

from ami.errors import Undecodable
from ami.stores import packaged

# What a store can hold; the module's first paragraph says what that is. Python's types cannot say it
# in a way that would help a reader: arrays, nested containers and registered types are all in it.
Value: TypeAlias = Any
Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = 0xA3
VERSION = 1
ALIGN = 16  # what malloc gives; numpy needs no more for any dtype
ARRAY_KINDS = frozenset("biufcmMSUV")  # no objects

BARE_MAGIC = 0xA4
BARE_DTYPES = {np.dtype(c): np.dtype(c).str.encode() for c in "?bBhHiIlLqQefd"}
_BARE_NAMES = {name.ljust(4, b"\0"): dtype for dtype, name in BARE_DTYPES.items()}
# What array.dtype.str says. np.dtype understands far more: it evaluates what stands before a comma.
_DTYPE = re.compile(r"[<>|=][biufcmMSUV][0-9]{0,9}(\[[0-9a-zA-Z/]{1,20}\])?")

_HEAD = struct.Struct("<BBHI")
_BARE = struct.Struct("<BBBB4s")
_LENGTH = struct.Struct("<Q")

_T = TypeVar("_T")
Packing: TypeAlias = tuple[Callable[[Any], Value], Callable[[Any], Any]]


class Chunks:
    """Bytes in pieces: what :func:`encode` returns, sent without being joined."""

    __slots__ = ("buffers", "nbytes")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers = buffers
        self.nbytes = sum(len(buffer) for buffer in buffers)

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)

    def __len__(self) -> int:
        return self.nbytes


def encode(value: Value) -> Chunks:
    """Return the bytes of ``value``; arrays are viewed, not copied, so send them before they change.

    Raises:
        TypeError: ``value`` is, or contains, something that is no value.
    """
    if type(value) is np.ndarray and value.dtype in BARE_DTYPES and value.size and value.flags.c_contiguous:
        return _encode_bare(value)
    out_of_band: list[pickle.PickleBuffer] = []
    keep: Any = out_of_band.append  # the stubs want it to return; pickle takes None for "kept"
    stream = io.BytesIO()
    try:
        _Pickler(stream, 5, buffer_callback=keep).dump(value)
    except (RecursionError, pickle.PicklingError) as error:
        raise TypeError(f"this value cannot be stored: {error}") from error
    body = stream.getbuffer()
    if not out_of_band:
        return Chunks((_HEAD.pack(MAGIC, VERSION, 0, len(body)) + body,))
    if len(out_of_band) > 0xFFFF:
        raise TypeError(f"{len(out_of_band)} arrays in one value; at most 65535 are possible")
    views = [buffer.raw() for buffer in out_of_band]
    lengths = b"".join([_LENGTH.pack(len(view)) for view in views])
    pending = _HEAD.pack(MAGIC, VERSION, len(views), len(body)) + lengths + body
    chunks: list[Buffer] = []
    place = len(pending)
    for view in views:
        padding = -place % ALIGN
        chunks += [pending + bytes(padding), view]
        place += padding + len(view)
        pending = b""
    return Chunks(chunks)


def decode(data: Buffer) -> Value:
    """Return what :func:`encode` stored. Arrays are views of ``data``: read-only, of no cost.

    Raises:
        Undecodable: the bytes are cut, of another version, or name a foreign type.
    """
    view = memoryview(data)
    if view and view[0] == BARE_MAGIC:
        return _decode_bare(view)
    buffers, body = _split(view)
    try:
        return _Unpickler(io.BytesIO(body), buffers=buffers).load()
    except Undecodable:
        raise
    except Exception as error:
        # Broken pickles raise nearly anything: UnpicklingError, EOFError, ValueError, MemoryError …
        raise Undecodable(f"a stored value of {len(view)} bytes is broken: {error!r}") from error


def _encode_bare(array: np.ndarray[Any, Any]) -> Chunks:
    axes = array.ndim
    head = _BARE.pack(BARE_MAGIC, VERSION, axes, 0, BARE_DTYPES[array.dtype])
    head += struct.pack(f"<{axes}q", *array.shape) + (bytes(8) if axes % 2 == 0 else b"")
    return Chunks((head, array.data.cast("B")))


def _decode_bare(view: memoryview) -> Value:
    total = len(view)
    if total < _BARE.size:
        raise Undecodable(f"a stored array has {total} bytes; its head alone has {_BARE.size}")
    _, version, axes, zero, name = _BARE.unpack_from(view)
    if version != VERSION or zero:
        raise Undecodable(f"a stored array has codec version {version}, this program knows {VERSION}")
    start = _BARE.size * (1 + axes)
    start += -start % ALIGN
    if axes > 32 or start > total:
        raise Undecodable(f"a stored array of {total} bytes was cut: its {axes} lengths need {start}")
    dtype = _BARE_NAMES.get(name)
    if dtype is None:
        raise Undecodable(f"a stored array has the dtype {name!r}")
    shape = struct.unpack_from(f"<{axes}q", view, _BARE.size)
    if axes == 1 and shape[0] * dtype.itemsize == total - start:
        return np.ndarray(shape, dtype, view.toreadonly(), start)
    return _shape(view[start:], dtype, shape, "C")


def _split(view: memoryview) -> tuple[list[memoryview], memoryview]:
    """Return the buffers and the pickle of an encoded value, all lengths checked."""
    total = len(view)
    if total < _HEAD.size:
        raise Undecodable(f"a stored value has {total} bytes; its head alone has {_HEAD.size}")
    magic, version, count, body_bytes = _HEAD.unpack_from(view)
    if magic != MAGIC:
        raise Undecodable(f"a stored value starts with byte {magic:#04x}, ours start with {MAGIC:#04x}")
    if version != VERSION:
        raise Undecodable(f"a stored value has codec version {version}, this program knows {VERSION}")
    place = _HEAD.size + count * _LENGTH.size
    end = place + body_bytes
    if end > total:
        raise Undecodable(f"a stored value of {total} bytes was cut: its pickle would end at {end}")
    body = view[place:end]
    buffers = []
    for number in range(count):
        (length,) = _LENGTH.unpack_from(view, _HEAD.size + number * _LENGTH.size)
        start = end + (-end % ALIGN)
        end = start + length
        if end > total:
            raise Undecodable(f"a stored value of {total} bytes was cut: array {number} would end at {end}")
        buffers.append(view[start:end])
    if end != total:
        raise Undecodable(f"a stored value has {total} bytes, its head announces {end}")
    return buffers, body


# Registered types, and how they are taken apart and made. -----------------------------------------

_TYPES: dict[str, tuple[type, tuple[str, ...], str]] = {}  # with its fields, and how their bytes begin
_NAMES: dict[type, str] = {}
_PACKED: dict[type, dict[str, Packing]] = {}


def register(cls: type[_T], packed: Mapping[str, Packing] | None = None) -> type[_T]:
    """Let values of a dataclass be stored; returns ``cls``, so it can decorate.

    ``packed``: by field, how its value is brought into the form that is stored, and back.

    A value is stored with the names of its type and fields, and the type's ``FORMAT``, if it has one; one of
    other fields or of another format is refused. It is made again by the type's own constructor, whose
    ``__post_init__`` so sees whatever a hostile writer put there.

    Raises:
        TypeError: not a dataclass whose fields all belong to the constructor, or another class has this name.
    """
    if not is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is no dataclass")
    if not all(field.init for field in fields(cls)):
        raise TypeError(f"{cls.__name__} has fields that its constructor does not take")
    name = cls.__name__
    known = _TYPES.get(name)
    if name in _MAKERS or (known is not None and known[0].__module__ != cls.__module__):
        raise TypeError(f"another value type is called {name!r}")
    names = tuple(field.name for field in fields(cls))
    _TYPES[name] = (cls, names, f"format {getattr(cls, 'FORMAT', 1)}: {', '.join(names)}")
    _NAMES[cls] = name
    if packed:
        _PACKED[cls] = dict(packed)
    return cls


def _look_for(name: str) -> None:
    found = packaged.value_type(name)
    if found is not None:
        register(found)


def _refuse(text: str) -> NoReturn:
    raise Undecodable(f"a stored value {text}")


def _dtype_of(description: object) -> np.dtype[Any]:
    if isinstance(description, str):
        if not _DTYPE.fullmatch(description):
            _refuse(f"has an array of dtype {description[:32]!r}")
        dtype = np.dtype(description)
    elif isinstance(description, list):
        dtype = np.lib.format.descr_to_dtype(description)
    else:
        _refuse(f"has an array of dtype {description!r:.80}")
    if dtype.hasobject or dtype.kind not in ARRAY_KINDS:
        _refuse(f"has an array of dtype {dtype}, which could hold anything")
    return dtype


def _make_array(buffer: object, description: object, shape: object, order: object = "C") -> Value:
    return _shape(buffer, _dtype_of(description), shape, order)


def _shape(buffer: object, dtype: np.dtype[Any], shape: object, order: object) -> Value:
    if not isinstance(buffer, (memoryview, bytes, bytearray, pickle.PickleBuffer)):
        _refuse(f"has an array made of {type(buffer).__name__}")
    if (
        not isinstance(shape, tuple)
        or len(shape) > 32
        or not all(type(length) is int and 0 <= length < 1 << 48 for length in shape)
        or order not in ("C", "F")
    ):
        _refuse(f"has an array of shape {shape!r:.80}")
    raw = memoryview(buffer)
    wanted = math.prod((dtype.itemsize, *shape))
    if raw.nbytes != wanted:
        _refuse(f"has an array of shape {shape} and dtype {dtype}, {wanted} bytes, in {raw.nbytes} bytes")
    try:
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, raw, order="F" if order == "F" else "C")
    except (TypeError, ValueError) as error:
        raise Undecodable(f"a stored array of {shape} and dtype {dtype} is impossible: {error}") from error
    array.flags.writeable = False
    return array


def _make_scalar(raw: object, description: object) -> Value:
    if not isinstance(raw, bytes):
        _refuse(f"has a scalar made of {type(raw).__name__}")
    return _make_array(raw, description, ())[()]


_MAKERS: dict[str, Callable[..., Value]] = {
    "array": _make_array,
    "scalar": _make_scalar,
    # Whatever these do not take, they raise on, which decode makes Undecodable.
    "complex": complex,
    "deque": deque,
    "Counter": lambda counts: Counter(dict(counts)),
}


class _Make:
    """What a pickle calls. Without a ``__dict__``, so that a pickle can change nothing about it."""

    __slots__ = ()
    __module__ = "ami.stores.codec"

    def __call__(self, name: object, *parts: object) -> Value:
        maker = _MAKERS.get(name) if isinstance(name, str) else None
        if maker is not None:
            return maker(*parts)
        if isinstance(name, str) and name not in _TYPES:
            _look_for(name)
        if not isinstance(name, str) or name not in _TYPES:
            _refuse(f"names {name!r:.80}, which is no value type; known: {', '.join(sorted(_TYPES))}")
        cls, names, described = _TYPES[name]
        if parts[:1] != (described,):
            seen = parts[0] if parts and isinstance(parts[0], str) else "an unknown form"
            _refuse(f"has a {name} of {seen:.500}, and this program's is of {described}")
        found = dict(zip(names, parts[1:], strict=True))
        for field, (_, unpack) in _PACKED.get(cls, {}).items():
            found[field] = unpack(found[field])
        return cls(**found)


_MAKE = _Make()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # Called for whatever is not None, bool, int, float, str, bytes, tuple, list, dict or set.
        cls = type(value)
        if cls is np.ndarray or cls is np.memmap:
            return _MAKE, _array_parts(value)
        if cls is _Make:
            return "_MAKE"
        if cls not in _NAMES and is_dataclass(cls):
            _look_for(cls.__name__)
        if cls in _NAMES:
            return _MAKE, _registered_parts(value)
        if isinstance(value, np.generic):
            return _MAKE, ("scalar", value.tobytes(), _description(value.dtype))
        if cls is complex:
            return _MAKE, ("complex", value.real, value.imag)
        if cls is deque:
            return _MAKE, ("deque", list(value), value.maxlen)
        if cls is Counter:
            return _MAKE, ("Counter", dict(value))
        if cls is frozenset or cls is bytearray or cls is pickle.PickleBuffer:
            return NotImplemented
        raise TypeError(
            f"a {cls.__module__}.{cls.__qualname__} cannot be stored; values are plain Python types, "
            f"numpy arrays and scalars, and {', '.join(sorted(_TYPES)) or 'no registered types'}"
        )


def _registered_parts(value: Any) -> tuple[object, ...]:
    cls = type(value)
    _, names, described = _TYPES[_NAMES[cls]]
    found = [getattr(value, field) for field in names]
    for field, (pack, _) in _PACKED.get(cls, {}).items():
        place = names.index(field)
        found[place] = pack(found[place])
    return (_NAMES[cls], described, *found)


def _description(dtype: np.dtype[Any]) -> object:
    if dtype.hasobject or dtype.kind not in ARRAY_KINDS:
        raise TypeError(f"an array of dtype {dtype} cannot be stored")
    if dtype.kind == "V":
        return np.lib.format.dtype_to_descr(dtype)
    return dtype.str


def _array_parts(array: np.ndarray[Any, Any]) -> tuple[object, ...]:
    description = _description(array.dtype)
    shape = array.shape
    is_turned = array.flags.f_contiguous and not array.flags.c_contiguous
    flat = array.T if is_turned else np.ascontiguousarray(array)
    # numpy refuses a buffer of some dtypes (datetime64), never of bytes.
    raw: Any = flat.reshape(-1).view(np.uint8) if flat.size and flat.itemsize else b""
    buffer = pickle.PickleBuffer(raw)
    parts = ("array", buffer, description, shape)
    return (*parts, "F") if is_turned else parts


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("ami.stores.codec", "_MAKE"):
            return _MAKE
        raise Undecodable(f"a stored value names {module:.80}.{name:.80}, which is no value type")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise Undecodable("a stored value refers to something outside of it")


def equal(one: Value, other: Value) -> bool:
    """Return whether two values are equal, as ``==`` says, but with one answer for arrays too."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
            return False
        return one.dtype == other.dtype and one.shape == other.shape and bool(np.all(one == other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    for sequence in (list, tuple, deque):
        if isinstance(one, sequence) and isinstance(other, sequence):
            return len(one) == len(other) and all(map(equal, one, other))
    if type(one) in _NAMES and type(one) is type(other):
        return all(equal(getattr(one, name), getattr(other, name)) for name in _TYPES[_NAMES[type(one)]][1])
    return bool(one == other)
