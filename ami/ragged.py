"""Hold arrays of another length in each event, one behind the other, and compute on all of them at once.

A column of the ring has room for the longest array in each row. What is behind an array's end is
neither read nor copied: events are chosen by where their elements begin, and those are gathered when needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.event import Array

Lengths = NDArray[np.int64]


class Ragged:
    """One array ``(length, *shape)`` for each of some events; ``lengths`` has the length of each.

    Rows are chosen as of an array, by the same names, so that who chooses them need not know which of
    the two it has. Choosing costs nothing for an event's elements.
    """

    __slots__ = ("_buffer", "_starts", "_values", "lengths")

    def __init__(self, buffer: Array, starts: Lengths, lengths: Lengths) -> None:
        self._buffer = buffer
        self._starts = starts
        self.lengths = lengths
        self._values: Array | None = None

    @classmethod
    def of(cls, values: Array, lengths: Lengths) -> Ragged:
        """Return the arrays whose elements stand one behind the other in ``values``."""
        made = cls(values, np.cumsum(lengths) - lengths, lengths)
        made._values = values
        return made

    @classmethod
    def padded(cls, column: Array, lengths: Lengths) -> Ragged:
        """Return the first ``lengths[i]`` elements of each row of a column, without a copy."""
        count, room = column.shape[:2]
        return cls(_flat(column), np.arange(count) * room, lengths)

    @property
    def values(self) -> Array:
        """The elements of all events, one behind the other: ``(sum of lengths, *shape)``."""
        if self._values is None:
            ends = np.cumsum(self.lengths)
            shifts = self._starts - (ends - self.lengths)
            total = int(ends[-1]) if len(ends) else 0
            if not total or (shifts == shifts[0]).all():
                first = int(shifts[0]) if total else 0
                self._values = self._buffer[first : first + total]
            else:
                self._values = self._buffer.take(_places(shifts, self.lengths, total), axis=0)
        return self._values

    def read_only(self) -> Ragged:
        """Return the same arrays, which cannot be written to."""
        return Ragged(lock(self._buffer), self._starts, self.lengths)

    @property
    def ndim(self) -> int:
        """Number of axes, that of the events included."""
        return self._buffer.ndim + 1

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Array]:
        for start, length in zip(self._starts.tolist(), self.lengths.tolist(), strict=True):
            yield self._buffer[start : start + length]

    def __getitem__(self, rows: Any) -> Any:
        """Return one event's array, or the arrays of the events that a slice or an index chooses."""
        if isinstance(rows, int | np.integer):
            start = self._starts[rows]
            return self._buffer[start : start + self.lengths[rows]]
        return Ragged(self._buffer, self._starts[rows], self.lengths[rows])

    def take(self, rows: Array, axis: int = 0) -> Ragged:
        """Return the arrays of the events that an index chooses."""
        return Ragged(self._buffer, self._starts.take(rows), self.lengths.take(rows))

    def flattened(self) -> Ragged:
        """Return the same with all numbers of an element as elements of their own."""
        values = self.values
        per_element = int(np.prod(values.shape[1:], dtype=np.int64))
        return self if values.ndim == 1 else Ragged.of(values.reshape(-1), self.lengths * per_element)

    def reduce(self, ufunc: np.ufunc, dtype: np.dtype[Any] | None = None) -> Array:
        """Return ``ufunc`` over the elements of each event, ``(k, *shape)``; 0 for none."""
        values = self.values
        some = np.flatnonzero(self.lengths)
        starts = (np.cumsum(self.lengths) - self.lengths)[some]
        if len(some) == len(self) and len(some):
            return np.asarray(ufunc.reduceat(values, starts, axis=0, dtype=dtype))
        total: Array = np.zeros((len(self), *values.shape[1:]), dtype or values.dtype)
        if len(some):
            total[some] = ufunc.reduceat(values, starts, axis=0, dtype=dtype)
        return total


def lock(array: Array) -> Array:
    """Return the same numbers, which cannot be written to; nor can they be made so by ``setflags``."""
    return np.asarray(array.data.toreadonly())


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """Return the arrays of all parts, copied."""
    values = np.concatenate([part.values for part in parts])
    return Ragged.of(values, np.concatenate([part.lengths for part in parts]))


def align(arrays: Sequence[Array | Ragged]) -> tuple[list[Array], Lengths]:
    """Return all elements of each value, those of one event side by side, and how many each event has.

    A value that has no elements of its own stands beside each element of its event.

    Raises:
        ValueError: values have different lengths in some event.
    """
    lengths = next(array.lengths for array in arrays if isinstance(array, Ragged))
    flat: list[Array] = []
    for array in arrays:
        if not isinstance(array, Ragged):
            flat.append(np.repeat(array, lengths, axis=0))
            continue
        if array.lengths is not lengths and not np.array_equal(array.lengths, lengths):
            row = np.flatnonzero(array.lengths != lengths)[0]
            raise ValueError(
                f"values of {lengths[row]} and of {array.lengths[row]} elements in one event do not fit"
                f" each other"
            )
        flat.append(array.values)
    return flat, lengths


def fill(column: Array, values: Array, lengths: Lengths) -> None:
    """Write the elements of ``values`` into the first ``lengths[i]`` places of each row of a column."""
    starts = np.arange(len(column)) * column.shape[1]
    _flat(column)[_places(starts - (np.cumsum(lengths) - lengths), lengths, len(values))] = values


def _flat(column: Array) -> Array:
    assert column.flags.c_contiguous  # as every run of slots is: what is written to it must not go to a copy
    flat: Array = column.reshape(-1, *column.shape[2:])
    return flat


def _places(shifts: Lengths, lengths: Lengths, total: int) -> Lengths:
    places = np.repeat(shifts, lengths)
    places += np.arange(total)
    return places
