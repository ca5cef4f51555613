"""Count events and accumulate their sums, means, moments and extremes.

Integers are summed exactly: those of up to 32 bits in one int64, those of 64 bits as two int64 of
their upper and lower halves, so that no sum of less than 2**31 events can overflow. Floats are
summed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.axes import sum_dtype
from ami.graph.library.base import (
    NO_STAMPS,
    Reduction,
    State,
    is_numeric,
    require_per_event,
)
from ami.values import Moments

# From this size of one event's value on it pays to go through a block event by event: the sum
# stays in the cache, and nothing is copied. Measured: 16 KiB and more are at memory bandwidth.
LARGE_BYTES = 16 << 10
CHUNK_BYTES = 1 << 20  # of float64 scratch memory


class _Numeric(Reduction):
    """A reduction of one value of numbers, of any shape."""

    keeps_unit = True
    structure: ClassVar[str] = "array"

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        require_per_event(self.name, value)
        if not is_numeric(value):
            raise GraphError(f"{self.name} needs numbers, got {value}")
        return Kind(self._dtype(value.dtype), value.shape, True, self.structure)

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def zero(self) -> State:
        return None


class Count(Reduction):
    """Number of events that have the value."""

    name = "count"
    lazy = True

    def infer(self, *inputs: Kind) -> Kind:
        require_per_event(self.name, *inputs)
        return Kind(np.dtype(np.int64), (), True)

    def zero(self) -> State:
        return 0

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        return state + len(arrays[0] if rows is None else rows)

    def merge(self, a: State, b: State) -> State:
        return a + b

    def result(self, state: State) -> Any:
        return state


class SumEvents(_Numeric):
    """Sum over events: of integers int64 where that holds it, else uint64, else float64.

    State: None, or (number of events, sum, whether the sum is in halves). A sum in halves is
    int64 ``(2, *shape)``: upper and lower 32 bits, summed apart.
    """

    name = "sum_events"
    lazy = True

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        (array,) = arrays
        count = len(array) if rows is None else len(rows)
        wide = array.dtype.itemsize == 8 and array.dtype.kind in "iu"
        if state is not None and array.shape[1:] == state[1].shape and not wide and _is_large(array):
            total = _own(state[1])
            for row in range(count) if rows is None else rows:
                np.add(total, array[row], out=total)
            return (state[0] + count, total, False)
        total = _sum_in_halves(array, rows) if wide else _sum(array, rows)
        return self.merge(state, (count, total, wide))

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        return (a[0] + b[0], _added(a[1], b[1]), a[2])

    def result(self, state: State) -> Any:
        if state is None:
            return None
        _, total, wide = state
        if not wide:
            return total.copy()  # the state goes on in its memory
        upper, lower = total[0] + (total[1] >> 32), total[1] & 0xFFFFFFFF
        if np.all((upper >= -(1 << 31)) & (upper < 1 << 31)):
            return (upper << 32) + lower
        if np.all((upper >= 0) & (upper < 1 << 32)):
            return (upper.astype(np.uint64) << np.uint64(32)) + lower.astype(np.uint64)
        return upper * 2.0**32 + lower


class MeanEvents(SumEvents):
    """Mean over events, float64, from the exact sum. State: as :class:`SumEvents`."""

    name = "mean_events"

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def result(self, state: State) -> Any:
        total = super().result(state)
        return None if state is None else np.true_divide(total, state[0])


class MomentsEvents(_Numeric):
    """Mean and variance of each element over events.

    State: None, or (number of events, mean, sum of squared deviations from the mean), float64.

    Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", Stanford report STAN-CS-79-773 (1979). The textbook form
    E[x**2] - E[x]**2 cancels: for 4, 7, 13, 16 on a pedestal of 10**9 it gives -128, not 22.5.
    """

    name = "moments"
    structure = "moments"
    lazy = True

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        (array,) = arrays
        if _is_large(array):
            return _moved(state, array, rows)
        block = None
        for values in _chunks(array, rows):
            mean = np.add.reduce(values, axis=0) / len(values)
            values -= mean
            squares = np.dot(values, values) if values.ndim == 1 else np.einsum("i...,i...", values, values)
            block = self.merge(block, (len(values), mean, squares))
        return self.merge(state, block)

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        count = a[0] + b[0]
        delta = b[1] - a[1]
        mean = _added(a[1], delta * (b[0] / count))
        squares = _added(a[2], b[2])
        return (count, mean, _added(squares, delta * delta * (a[0] * b[0] / count)))

    def result(self, state: State) -> Any:
        if state is None:
            return None
        count, mean, squares = state
        # Copies: the state goes on, and what a client sees must not change under its hands.
        return Moments(count, np.array(mean), np.array(squares))


class StdEvents(MomentsEvents):
    """Sample standard deviation of each element over events; NaN for one event."""

    name = "std_events"
    structure = "array"

    def result(self, state: State) -> Any:
        return None if state is None else super().result(state).std


class _ExtremeEvents(_Numeric):
    ufunc: ClassVar[np.ufunc]

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        return self.merge(state, np.asarray(self.ufunc.reduce(arrays[0], axis=0)))

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        return np.asarray(self.ufunc(a, b))

    def result(self, state: State) -> Any:
        return state


class MinEvents(_ExtremeEvents):
    """Smallest value of each element over events; NaN if one is NaN."""

    name = "min_events"
    ufunc = np.minimum


class MaxEvents(_ExtremeEvents):
    """Largest value of each element over events; NaN if one is NaN."""

    name = "max_events"
    ufunc = np.maximum


def _is_large(array: Array) -> bool:
    return array.ndim > 1 and array.itemsize * array[0].size >= LARGE_BYTES


def _sum(array: Array, rows: Array | None) -> Any:
    dtype = sum_dtype(array.dtype)
    if not _is_large(array):
        return np.add.reduce(array if rows is None else array.take(rows, axis=0), axis=0, dtype=dtype)
    total = np.zeros(array.shape[1:], dtype)
    for row in range(len(array)) if rows is None else rows:
        np.add(total, array[row], out=total)
    return total


def _moved(state: State, array: Array, rows: Array | None) -> State:
    """Return moments with large events added one by one, in place: no copy of the block is made.

    Source: B. P. Welford, Technometrics 4, 419 (1962): the case of one event of Chan et al.
    """
    shape = array.shape[1:]
    count, mean, squares = (0, np.zeros(shape), np.zeros(shape)) if state is None else state
    mean, squares = _own(mean), _own(squares)
    delta, square = np.empty(shape), np.empty(shape)
    for row in range(len(array)) if rows is None else rows:
        count += 1
        np.subtract(array[row], mean, out=delta)
        np.multiply(delta, delta, out=square)
        square *= (count - 1) / count
        squares += square
        delta /= count
        mean += delta
    return (count, mean, squares)


def _sum_in_halves(array: Array, rows: Array | None) -> Array:
    if _is_large(array):
        total = np.zeros((2, *array.shape[1:]), np.int64)
        half = np.empty(array.shape[1:], array.dtype)
        signed = half.view(np.int64)  # it fits; int64 + uint64 would be computed in float64
        for row in range(len(array)) if rows is None else rows:
            np.right_shift(array[row], array.dtype.type(32), out=half)
            np.add(total[0], signed, out=total[0])
            np.bitwise_and(array[row], array.dtype.type(0xFFFFFFFF), out=half)
            np.add(total[1], signed, out=total[1])
        return total
    values = array if rows is None else array.take(rows, axis=0)
    # An arithmetic shift rounds down, so upper * 2**32 + lower is the number, negative or not.
    upper = np.add.reduce(values >> values.dtype.type(32), axis=0, dtype=np.int64)
    lower = np.add.reduce(values & values.dtype.type(0xFFFFFFFF), axis=0, dtype=np.int64)
    return np.stack([upper, lower])


def _chunks(array: Array, rows: Array | None) -> Iterator[Array]:
    """Yield private float64 copies of the events, a few at a time where they are large."""
    count = len(array) if rows is None else len(rows)
    step = count if array.ndim == 1 else max(1, CHUNK_BYTES // (8 * max(1, array[:1].size)))
    for start in range(0, count, step):
        chosen = slice(start, start + step) if rows is None else rows[start : start + step]
        yield array[chosen].astype(np.float64)


def _added(a: Any, b: Any) -> Any:
    """Return a + b, in the memory of ``a`` if it is an array that may be written."""
    if isinstance(a, np.ndarray) and a.ndim and a.flags.writeable:
        return np.add(a, b, out=a)
    return a + b


def _own(a: Array) -> Array:
    return a if a.flags.writeable else a.copy()


OPERATIONS = (Count, SumEvents, MeanEvents, MomentsEvents, StdEvents, MinEvents, MaxEvents)
