"""Keep what the events are: the fields that the graph asks for, one array each, in a segment of their own.

    NAME.cN   offset 0   header: magic, version, checksum, which ring, number N, depth (never changes)
              64         description: the names of the fields as JSON (never changes)
              ...        validity words, one behind the other, then one column per field

A *configuration* is the fields that are kept from some entry on. So a field that nobody asks for costs
neither memory nor places, and those that are asked for share what the ring may take. Event s is at place
``s % depth`` of each column, which is free when event ``s - depth`` is committed. (Rejected: more places for
small columns than for large ones. An event has all of its fields, so it waits for the scarcest place, and
the others were never used.)
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ami.errors import RingError
from ami.event import Array, Schema, Slots
from ami.ring.layout import MIN_SLOTS, align, checksum

_MAGIC: Final = b"ami-cols"
_VERSION: Final = 1
_HEADER: Final = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("checksum", "<u4"),  # CRC-32 of what follows here and of the description
        ("total_bytes", "<i8"),
        ("ring_id", "<i8"),
        ("number", "<i8"),
        ("depth", "<i8"),
        ("description_bytes", "<i8"),
    ]
)
_DESCRIPTION: Final = 64


@dataclass(frozen=True, slots=True)
class Configuration:
    """The fields that a ring keeps from some entry on, and for how many events."""

    number: int
    schema: Schema
    depth: int

    @classmethod
    def choose(
        cls, number: int, schema: Schema, names: Iterable[str], *, bytes: int, slot_count: int
    ) -> Configuration:
        """Return the one that keeps these fields for as many events as ``bytes`` allow: at least 8."""
        chosen = schema.select(names)
        return cls(number, chosen, max(MIN_SLOTS, min(slot_count, bytes // chosen.event_bytes)))

    def offsets(self) -> list[int]:
        """Return where the validity words and each column begin, and where all ends."""
        sizes = [8 * self.schema.word_count, *(field.event_bytes for field in self.schema.fields)]
        found = []
        offset = _DESCRIPTION + len(self.description())
        for size in sizes:
            offset = align(offset, size * self.depth)
            found.append(offset)
            offset += size * self.depth
        return [*found, align(offset, mmap.PAGESIZE)]

    def description(self) -> bytes:
        return json.dumps(self.schema.names).encode()

    def head(self, ring_id: int) -> bytes:
        """Return the first bytes of its segment: header and description."""
        header, description = np.zeros((), _HEADER), self.description()
        header["magic"] = _MAGIC
        header["version"] = _VERSION
        header["total_bytes"] = self.offsets()[-1]
        header["ring_id"] = ring_id
        header["number"] = self.number
        header["depth"] = self.depth
        header["description_bytes"] = len(description)
        header["checksum"] = checksum(header.tobytes(), description)
        return header.tobytes().ljust(_DESCRIPTION, b"\0") + description


def parse(name: str, memory: mmap.mmap, ring_id: int, number: int, schema: Schema) -> Configuration:
    """Return the configuration that a segment of columns has.

    Args:
        schema: the ring's.

    Raises:
        RingError: it is none, or another one.
    """
    wrong = f"segment {name} does not have the columns of configuration {number} of its ring"
    if len(memory) < _DESCRIPTION:
        raise RingError(f"{wrong}: it has {len(memory)} bytes; restart the source")
    header: Any = np.frombuffer(memory[: _HEADER.itemsize], _HEADER)[0]
    description = memory[_DESCRIPTION : _DESCRIPTION + max(0, int(header["description_bytes"]))]
    seen = (header["magic"], int(header["version"]), int(header["ring_id"]), int(header["number"]))
    if seen != (_MAGIC, _VERSION, ring_id, number):
        raise RingError(f"{wrong}: its header says {seen}; restart the source")
    if header["checksum"] != checksum(header.tobytes(), description):
        raise RingError(f"{wrong}: it is damaged; restart the source")
    try:
        found = Configuration(number, schema.select(json.loads(description)), int(header["depth"]))
    except (ValueError, TypeError, KeyError) as error:
        raise RingError(f"{wrong}: {error!r}; restart the source") from error
    if not found.offsets()[-1] == header["total_bytes"] == len(memory):
        raise RingError(f"{wrong}: it has {len(memory)} bytes, its fields need {found.offsets()[-1]}")
    return found


class Columns:
    """The arrays of one configuration; only the source writes them."""

    def __init__(self, configuration: Configuration, memory: mmap.mmap) -> None:
        self.configuration = configuration
        self.number = configuration.number
        self.schema = configuration.schema
        self.depth = configuration.depth
        self.event_bytes = self.schema.event_bytes
        valid_at, *columns_at, _ = configuration.offsets()

        def array(shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> NDArray[Any]:
            return np.ndarray(shape, dtype, buffer=memory, offset=offset)

        words = (self.schema.word_count, self.depth)
        self._valid: NDArray[np.int64] = array(words, np.dtype(np.int64), valid_at)
        self._columns: dict[str, Array] = {
            field.name: array((self.depth, *field.shape), field.dtype, offset)
            for field, offset in zip(self.schema.fields, columns_at, strict=True)
        }

    def room(self, sequence: int) -> int:
        """Return how many events from this one on lie side by side."""
        return self.depth - sequence % self.depth

    def fit(self, bytes: int) -> int:
        """Return how many events take so many bytes, but not less than one."""
        return bytes // self.event_bytes or 1

    def slots(self, first: int, count: int, timestamps: NDArray[np.int64]) -> Slots:
        """Return the slots of ``count`` events from ``first`` on, which lie side by side."""
        start = first % self.depth
        here = slice(start, start + count)
        columns = {name: column[here] for name, column in self._columns.items()}
        return Slots(self.schema, count, columns, self._valid[:, here], timestamps)
