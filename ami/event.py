"""What an event is: named fields of fixed dtype and shape, and where a stretch of events is kept.

Events are kept by column, not by record: one contiguous array for each field, the same row in
each for one event. A stretch of events is then one slice of each column, which numpy
works on at full speed; in a record layout every scalar would be a strided load, and a field
that nobody asks for would still be dragged through the caches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import SourceError

Array = NDArray[Any]

# Each event has these without asking; a source may not have fields of these names.
TIMESTAMP = "timestamp"  # int64, ns since the Unix epoch
SEQUENCE = "sequence"  # int64, number of the event in the ring

MAX_FIELDS = 63  # one validity bit each, in one int64 word that is never negative


@dataclass(frozen=True, slots=True)
class Field:
    """One named value of each event.

    A ``variable`` field has between 0 and ``shape[0]`` entries along its first axis. Its
    number of entries is a field of its own, ``NAME.length`` (int64); entries beyond it are 0.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    variable: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if self.name in (TIMESTAMP, SEQUENCE):
            raise SourceError(f"a field cannot be called {self.name!r}: every event has one already")
        if self.dtype.kind not in "biuf":
            raise SourceError(
                f"field {self.name!r} has dtype {self.dtype}; bool, integers and floats are possible"
            )
        if any(n < 1 for n in self.shape):
            raise SourceError(f"field {self.name!r} has the empty shape {self.shape}")
        if self.variable and not self.shape:
            raise SourceError(f"field {self.name!r} is variable but has no axis to vary along")

    @property
    def event_bytes(self) -> int:
        """Bytes of one event's value."""
        return int(self.dtype.itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of every event of one configuration, in order."""

    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(f"field names must differ, these stand twice: {', '.join(twice)}")
        if len(names) > MAX_FIELDS:
            raise SourceError(f"{len(names)} fields; at most {MAX_FIELDS} are possible")

    @classmethod
    def of(cls, fields: Iterable[Field]) -> Schema:
        """Return the schema of ``fields``, with a length field behind each variable one."""
        complete: list[Field] = []
        for field in fields:
            complete.append(field)
            if field.variable:
                complete.append(Field(f"{field.name}.length", np.dtype(np.int64)))
        return cls(tuple(complete))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    def bit(self, name: str) -> int:
        """Return the validity bit of a field, as a mask."""
        return 1 << self.names.index(name)

    def mask(self, names: Iterable[str]) -> int:
        """Return the validity word of an event that has just these fields."""
        return sum(self.bit(name) for name in set(names))

    @property
    def event_bytes(self) -> int:
        """Bytes of one event in a ring: its fields, its timestamp and its validity word."""
        return sum(field.event_bytes for field in self.fields) + 16

    def to_json(self) -> str:
        return json.dumps(
            [
                {
                    "name": f.name,
                    "dtype": f.dtype.str,
                    "shape": list(f.shape),
                    "variable": f.variable,
                    "unit": f.unit,
                }
                for f in self.fields
            ],
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Return the schema that :meth:`to_json` wrote.

        Raises:
            SourceError: the text is not such a schema.
        """
        try:
            return cls(
                tuple(
                    Field(
                        str(f["name"]),
                        np.dtype(str(f["dtype"])),
                        tuple(f["shape"]),
                        bool(f["variable"]),
                        str(f["unit"]),
                    )
                    for f in json.loads(text)
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"not the text of a schema: {error!r}") from error

    @property
    def fingerprint(self) -> str:
        """16 hex digits that are equal for equal schemas."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Slots:
    """A stretch of events: one array ``(count, *shape)`` for each field, without a copy.

    ``valid[i]`` has the field's bit (:meth:`Schema.bit`) set where event i has that field.
    ``timestamps`` are ns. A reader's arrays are read-only.
    """

    count: int
    columns: Mapping[str, Array]
    valid: NDArray[np.int64]
    timestamps: NDArray[np.int64]

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    @classmethod
    def allocate(cls, schema: Schema, count: int) -> Slots:
        """Return private memory for ``count`` events."""
        columns = {f.name: np.zeros((count, *f.shape), f.dtype) for f in schema.fields}
        zeros = np.zeros(count, np.int64)
        return cls(count, columns, zeros, zeros.copy())

    def part(self, start: int, stop: int) -> Slots:
        """Return the events ``start`` to ``stop`` of this run."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return Slots(stop - start, columns, self.valid[start:stop], self.timestamps[start:stop])


class Transition(IntEnum):
    """What a data-acquisition system says between two events; each is a barrier."""

    BEGIN_RUN = 1
    END_RUN = 2
    BEGIN_STEP = 3
    END_STEP = 4
