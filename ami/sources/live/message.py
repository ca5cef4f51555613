"""Read one message of ``zmq://``: a header that says what follows, and one raw frame a field.

``docs/sources.md`` has the bytes. A message comes from a stranger: each number is checked before it is
believed, nothing is allocated by its word, and nothing in it is code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np

from ami.errors import SourceError
from ami.event import MAX_FIELDS, TIMESTAMP, Array, Field, Schema, Slots, Transition
from ami.ragged import fill
from ami.sources.base import Timestamps

HEADER_BYTES = 1 << 21  # some 16,000 fields
MAX_EVENTS = 1 << 20  # of one message
MAX_SEQUENCE = 2**53  # what JSON's numbers hold everywhere
MAX_TIME_NS = 2**63 - 1  # whether a time is plausible is not asked here
KNOWN_LAYOUTS = 8  # events that lack a field have another one
FIELD_NAME = re.compile(r"\w[\w.:-]{0,99}")
TRANSITIONS: Mapping[str, Transition] = {t.name.lower(): t for t in Transition}


class Malformed(Exception):
    """A message cannot be read; says what was seen and what is wanted."""


class Described(NamedTuple):
    """What the header says of one frame: ``field`` as it is in the ring, ``dtype`` as it is in the bytes."""

    field: Field
    dtype: np.dtype[Any]
    event_bytes: int


class Layout(dict[str, Described]):
    """The fields of a message by name. Who received it remembers here why it cannot take it ("": it can)."""

    __slots__ = ("unfit",)

    def __init__(self) -> None:
        super().__init__()
        self.unfit: str | None = None


class Message:
    """One message: ``count`` events, or a transition before event ``sequence``."""

    __slots__ = (
        "count", "frames", "header", "lacking", "layout", "lengths", "sequence", "session", "skip",
        "timestamps", "transition",
    )  # fmt: skip

    def __init__(
        self,
        sequence: int,
        session: str | None,
        *,
        count: int = 0,
        timestamps: int | Timestamps = 0,
        transition: tuple[Transition, float] | None = None,
        layout: Layout | None = None,
        frames: Mapping[str, Any] | None = None,
    ) -> None:
        self.sequence = sequence
        self.session = session
        self.count = count
        self.timestamps = timestamps
        self.transition = transition
        self.layout = Layout() if layout is None else layout
        self.frames = frames or {}
        self.lengths: dict[str, Array] = {}  # of the fields of variable length
        self.lacking: dict[str, Array] = {}  # by field, which events have it not
        self.header: Mapping[str, Any] = {}
        self.skip = 0  # events at its begin that are not for who received it

    def __contains__(self, name: str) -> bool:
        return name in self.frames

    def column(self, name: str) -> Array:
        """Return the values of a field, one row an event, without a copy; of variable length the elements."""
        described = self.layout[name]
        if described.dtype.kind == "b":  # a byte of 2 would be no bool of numpy's
            column: Array = np.frombuffer(self.frames[name], np.uint8) != 0
        else:
            column = np.frombuffer(self.frames[name], described.dtype)
        field = described.field
        shaped: Array = column.reshape(-1 if field.variable else self.count, *field.shape[field.variable :])
        return shaped

    def write(self, name: str, start: int, stop: int, into: Slots, here: slice) -> None:
        """Write a field's values of the events ``start`` to ``stop`` into the slots ``here``."""
        field = self.layout[name].field
        if not field.variable:
            into.columns[name][here] = self.column(name)[start:stop]
            return
        lengths = self.lengths[name][start:stop]
        first = int(self.lengths[name][:start].sum())
        fill(into.columns[name][here], self.column(name)[first : first + int(lengths.sum())], lengths)
        into.columns[field.length_name][here] = lengths

    @property
    def bytes(self) -> int:
        return sum(len(frame) for frame in self.frames.values())


class Reader:
    """Reads the messages of one stream. Their headers are mostly alike: what they say of the fields is looked
    at once, and compared afterwards."""

    def __init__(self) -> None:
        self._known: list[tuple[object, Layout]] = []  # what was said, and what it means; the last first

    def read(self, frames: Sequence[Any]) -> Message:
        """Return the message of these frames (of bytes, or of what has a buffer and a length).

        Raises:
            Malformed: it is none.
        """
        return self.understand(parse_header(frames), frames)

    def understand(self, header: Mapping[str, Any], frames: Sequence[Any]) -> Message:
        """Return the message of these frames, of which the first says what ``header`` does.

        Raises:
            Malformed: it is none.
        """
        sequence = integer(header, "sequence", most=MAX_SEQUENCE)
        session = header.get("session")
        if session is not None and not isinstance(session, str | int):
            raise Malformed(f"its session is a {type(session).__name__}; a text or an integer is wanted")
        session = None if session is None else str(session)
        if "transition" in header:
            message = Message(sequence, session, transition=_transition(header))
            message.header = header
            return message
        layout = self._layout(header.get("fields"))
        count = integer(header, "events", 1, least=1, most=MAX_EVENTS)
        if len(frames) - 1 != len(layout):
            raise Malformed(
                f"it has {len(frames) - 1} frames behind its header, which describes {len(layout)} fields"
            )
        message = Message(
            sequence, session, count=count, layout=layout, frames=dict(zip(layout, frames[1:], strict=True))
        )
        for (name, described), frame in zip(layout.items(), frames[1:], strict=True):
            wanted = count * described.event_bytes
            if described.field.variable:
                lengths = message.lengths[name] = _lengths(header, described.field, count)
                wanted = int(lengths.sum()) * described.event_bytes // described.field.shape[0]
            if len(frame) != wanted:
                raise Malformed(
                    f"field {name!r} has {len(frame)} bytes; {count} events of {described.field.dtype} "
                    f"{described.field.shape} are {wanted}"
                )
        message.timestamps = _timestamps(header, message)
        message.header, message.lacking = header, _lacking(header, layout, count)
        return message

    def _layout(self, raw: object) -> Layout:
        for known, layout in self._known:
            if known == raw:
                return layout
        layout = describe(raw)
        self._known = [(raw, layout), *self._known[: KNOWN_LAYOUTS - 1]]
        return layout


def describe(raw: object) -> Layout:
    """Return what a list of ``{"name", "dtype", "shape", "unit", "variable"}`` says, by name.

    Raises:
        Malformed: it says no such thing.
    """
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_FIELDS + 1:
        raise Malformed(f"its fields are no list of 1 to {MAX_FIELDS + 1}")
    found = Layout()
    for entry in raw:
        name, described = _describe(entry)
        if name in found:
            raise Malformed(f"field {name!r} stands twice")
        found[name] = described
    return found


def schema(layout: Mapping[str, Described]) -> Schema:
    """Return the schema of events of this layout.

    Raises:
        Malformed: it has no field, or one of a name that no field can have.
    """
    fields = tuple(described.field for name, described in layout.items() if name != TIMESTAMP)
    if not fields:
        raise Malformed("it has no field")
    try:
        return Schema.of(fields)
    except SourceError as error:
        raise Malformed(str(error)) from error


def parse_header(frames: Sequence[Any]) -> Mapping[str, Any]:
    """Return what the first frame says.

    Raises:
        Malformed: there is none, or it is no map.
    """
    if not frames:
        raise Malformed("it has no frame")
    if not 0 < len(frames[0]) <= HEADER_BYTES:
        raise Malformed(f"its header has {len(frames[0])} bytes; 1 to {HEADER_BYTES} are possible")
    first = bytes(frames[0])
    try:
        header = json.loads(first) if first[:1] == b"{" else msgpack.unpackb(first)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise Malformed(f"its header is not JSON or msgpack; a map is wanted: {str(error)[:80]}") from error
    if not isinstance(header, dict):
        raise Malformed(f"its header is a {type(header).__name__}; a map is wanted")
    return header


def integer(
    header: Mapping[str, Any], name: str, default: int | None = None, *, least: int = 0, most: int
) -> int:
    """Return an integer of a header.

    Raises:
        Malformed: it is none, or out of range.
    """
    value = header.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"its {name} is {str(value)[:40]!r}; an integer is wanted")
    if not least <= value <= most:
        raise Malformed(f"its {name} is {str(value)[:40]}; {least} to {most} are possible")
    return value


def _transition(header: Mapping[str, Any]) -> tuple[Transition, float]:
    name, value = header["transition"], header.get("value", 0)
    if not isinstance(name, str) or name not in TRANSITIONS:
        raise Malformed(f"its transition is {str(name)[:40]!r}; known: {', '.join(TRANSITIONS)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Malformed(f"the value of its transition is {str(value)[:40]!r}; a finite number is wanted")
    return TRANSITIONS[name], float(value)


def _is_length(value: object) -> bool:
    return type(value) is int and 1 <= value < 2**31


def _describe(entry: object) -> tuple[str, Described]:
    if not isinstance(entry, dict):
        raise Malformed(f"a field is described by a {type(entry).__name__}; a map is wanted")
    name, code, shape, unit = (entry.get(key) for key in ("name", "dtype", "shape", "unit"))
    if not isinstance(name, str) or not FIELD_NAME.fullmatch(name):
        raise Malformed(
            f"a field is called {str(name)[:40]!r}; letters, digits, '_', '.', ':' and '-' are possible"
        )
    shape = [] if shape is None else shape
    if not isinstance(shape, list) or len(shape) > 8 or not all(map(_is_length, shape)):
        raise Malformed(
            f"field {name!r} has the shape {str(shape)[:40]}; up to 8 integers above 0 are possible"
        )
    try:
        dtype = np.dtype(code) if isinstance(code, str) and len(code) <= 8 else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.shape:
        raise Malformed(
            f"field {name!r} has the dtype {str(code)[:40]!r}; as '<f8', 'uint16', '|b1' is wanted"
        )
    native = dtype.newbyteorder("=")
    if name == TIMESTAMP:
        if shape or native != np.int64:
            raise Malformed(f"field {TIMESTAMP!r} is {dtype} {shape}; int64 of shape [] is wanted")
        # A field cannot have this name; this one only says where the times are.
        return name, Described(Field("time", native), dtype, 8)
    try:
        unit = unit if isinstance(unit, str) else ""
        field = Field(name, native, tuple(shape), entry.get("variable") is True, unit)
    except SourceError as error:
        raise Malformed(str(error)) from error
    return name, Described(field, dtype, math.prod(shape) * dtype.itemsize)


def _lacking(header: Mapping[str, Any], layout: Layout, count: int) -> dict[str, Array]:
    raw = header.get("lacking")
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not raw.keys() <= layout.keys():
        raise Malformed("lacking is no map from names of its fields to lists of events")
    found: dict[str, Array] = {}
    for name, rows in raw.items():
        if not isinstance(rows, list) or not all(type(n) is int and 0 <= n < count for n in rows):
            raise Malformed(f"lacking of field {name!r} is no list of integers from 0 to {count - 1}")
        found[name] = np.array(rows, np.int64)
    return found


def _lengths(header: Mapping[str, Any], field: Field, count: int) -> Array:
    raw = header.get("lengths")
    lengths = raw.get(field.name) if isinstance(raw, dict) else None
    if not isinstance(lengths, list) or len(lengths) != count or not all(type(n) is int for n in lengths):
        raise Malformed(
            f"field {field.name!r} is of variable length; lengths must have a list of {count} integers for it"
        )
    if not 0 <= min(lengths) <= max(lengths) <= field.shape[0]:
        raise Malformed(
            f"field {field.name!r} has {min(lengths)} to {max(lengths)} elements; its shape says 0 to"
            f" {field.shape[0]}"
        )
    return np.array(lengths, np.int64)


def _timestamps(header: Mapping[str, Any], message: Message) -> int | Timestamps:
    if TIMESTAMP in message:
        times = message.column(TIMESTAMP).astype(np.int64, copy=False)
        return times if message.count > 1 else int(times[0])
    if message.count > 1:
        raise Malformed(f"it has {message.count} events and no field {TIMESTAMP!r}")
    return integer(header, TIMESTAMP, least=-MAX_TIME_NS, most=MAX_TIME_NS)
