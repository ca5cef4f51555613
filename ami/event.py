"""What an event is: named fields of fixed dtype and shape, and where a stretch of events is kept.

Events are kept by column, not by record: one contiguous array for each field, the same row in
each for one event. A stretch of events is then one slice of each column, which numpy
works on at full speed; in a record layout every scalar would be a strided load, and a field
that nobody asks for would still be dragged through the caches.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from enum import IntEnum
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ami.errors import SourceError

Array = NDArray[Any]

# Each event has these without asking; a source may not have fields of these names.
TIMESTAMP = "timestamp"  # int64, ns since the Unix epoch
SEQUENCE = "sequence"  # int64, number of the event in the ring

MAX_FIELDS: Final = 16_384
MAX_LEFT_OUT: Final = 1000
WORD_BITS: Final = 63  # fields with a validity bit in one int64 word, which is never negative
_ALL: Final = slice(None)
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Field:
    """One named value of each event.

    A ``variable`` field has between 0 and ``shape[0]`` elements along its first axis. Their number
    is a field of its own, ``NAME.length`` (int64); what stands beyond it in a column means nothing.
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
    def length_name(self) -> str:
        """The field that has the lengths of this variable one."""
        return f"{self.name}.length"

    @property
    def event_bytes(self) -> int:
        """Bytes of one event's value, where it is longest."""
        return int(self.dtype.itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Schema:
    """The fields of every event of one configuration, in order.

    left_out: what else the input has, and why it can be no field, for who asks for it. It is no part of
        what a ring keeps, nor of what makes schemas equal.
    """

    fields: tuple[Field, ...] = ()
    left_out: Mapping[str, str] = attribute(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise SourceError(f"field names must differ, these stand twice: {', '.join(twice)}")
        if len(self.fields) > MAX_FIELDS:
            raise SourceError(f"{len(self.fields)} fields; at most {MAX_FIELDS} are possible")

    @classmethod
    def of(cls, fields: Iterable[Field], left_out: Mapping[str, str] = NOTHING) -> Schema:
        """Return the schema of ``fields``, with a length field behind each variable one."""
        complete: list[Field] = []
        for field in fields:
            complete.append(field)
            if field.variable:
                complete.append(Field(field.length_name, np.dtype(np.int64)))
        return cls(tuple(complete), left_out)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def __getitem__(self, name: str) -> Field:
        return self.fields[self._places[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def with_lengths(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of ``names`` that are fields; variable ones and their lengths go together."""
        found = {name for name in names if name in self}
        bases = {base for name in found if (base := name.removesuffix(".length")) in self}
        variable = [self[name] for name in found | bases if self[name].variable]
        return frozenset(found.union(*((field.name, field.length_name) for field in variable)))

    def select(self, names: Iterable[str]) -> Schema:
        """Return the schema of these of its fields, in its order.

        Raises:
            KeyError: one of them is none.
        """
        places = sorted({self._places[name] for name in names})
        return Schema(tuple(self.fields[place] for place in places))

    @property
    def word_count(self) -> int:
        """How many validity words an event has."""
        return -(-len(self.fields) // WORD_BITS)

    def bit(self, name: str) -> tuple[int, int]:
        """Return in which validity word a field has its bit, and that word with just this bit."""
        word, bit = divmod(self._places[name], WORD_BITS)
        return word, 1 << bit

    def words(self, names: Iterable[str]) -> list[int]:
        """Return the validity words of an event that has just these fields."""
        chosen = frozenset(names)
        if chosen == self.name_set:  # nearly always, and of thousands of fields quickly
            return self._full
        return self._words(chosen)

    @cached_property
    def name_set(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _full(self) -> list[int]:
        return self._words(self.names)

    def _words(self, names: Iterable[str]) -> list[int]:
        words = [0] * self.word_count
        for name in names:
            word, bit = self.bit(name)
            words[word] |= bit
        return words

    @cached_property
    def event_bytes(self) -> int:
        """Bytes of one event in a ring: its fields, its timestamp and its validity words."""
        return sum(field.event_bytes for field in self.fields) + 8 + 8 * max(1, self.word_count)

    def to_json(self, *, left_out: bool = False) -> str:
        """Return it as text, with what is ``left_out`` (the first thousand) if that is asked for."""
        plain: list[Mapping[str, Any]] = [
            {"name": f.name, "dtype": f.dtype.str, "shape": f.shape, "variable": f.variable, "unit": f.unit}
            for f in self.fields
        ]
        if left_out:
            told = islice(self.left_out.items(), MAX_LEFT_OUT)
            plain += [{"name": name, "left_out": reason} for name, reason in told]
        return json.dumps(plain, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Return the schema that :meth:`to_json` wrote.

        Raises:
            SourceError: the text is not such a schema.
        """
        try:
            plain = json.loads(text)
            left_out = {str(one["name"]): str(one["left_out"]) for one in plain if "left_out" in one}
            return cls(tuple(_field_of(one) for one in plain if "left_out" not in one), left_out)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"not the text of a schema: {error!r}") from error

    @property
    def fingerprint(self) -> str:
        """16 hex digits that are equal for equal schemas."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def _field_of(plain: Mapping[str, Any]) -> Field:
    name, dtype, unit = (str(plain[part]) for part in ("name", "dtype", "unit"))
    return Field(name, np.dtype(dtype), tuple(plain["shape"]), bool(plain["variable"]), unit)


@dataclass(slots=True)  # frozen, one takes three times as long to make, and each block has two
class Slots:
    """A stretch of events: one array ``(count, *shape)`` for each field, without a copy.

    ``schema`` has the fields that are kept, which may be fewer than the source has. ``valid`` says which
    event has which of them: row w is validity word w of each event. Who writes it says :meth:`set_valid`
    and :meth:`set_missing`, who reads it :meth:`has`. ``timestamps`` are ns. A reader's arrays are read-only.
    """

    schema: Schema
    count: int
    columns: Mapping[str, Array]
    valid: NDArray[np.int64]
    timestamps: NDArray[np.int64]

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    @classmethod
    def allocate(cls, schema: Schema, count: int) -> Slots:
        """Return private memory for ``count`` events, which have no field yet."""
        columns = {f.name: np.zeros((count, *f.shape), f.dtype) for f in schema.fields}
        valid = np.zeros((schema.word_count, count), np.int64)
        return cls(schema, count, columns, valid, np.zeros(count, np.int64))

    def part(self, start: int, stop: int) -> Slots:
        """Return the events ``start`` to ``stop`` of this run."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return Slots(
            self.schema, stop - start, columns, self.valid[:, start:stop], self.timestamps[start:stop]
        )

    def set_valid(self, names: Iterable[str], rows: slice = _ALL) -> None:
        """Say that the events ``rows`` have just these fields."""
        words = self.schema.words(names)
        if len(words) == 1 and rows is _ALL:
            self.valid.fill(words[0])
            return
        for word, bits in enumerate(words):
            self.valid[word, rows] = bits

    def set_missing(self, names: Iterable[str], rows: Array | Sequence[int] | slice = _ALL) -> None:
        """Say that the events ``rows`` (numbers, truths or a slice) lack these fields."""
        for word, bits in enumerate(self.schema.words(names)):
            if bits:
                self.valid[word, rows] &= ~bits

    def has(self, name: str) -> NDArray[np.bool_]:
        """Return which events have a field."""
        word, bit = self.schema.bit(name)
        there: NDArray[np.bool_] = (self.valid[word] & bit) != 0
        return there


class Transition(IntEnum):
    """What a data-acquisition system says between two events; each is a barrier."""

    BEGIN_RUN = 1
    END_RUN = 2
    BEGIN_STEP = 3
    END_STEP = 4
