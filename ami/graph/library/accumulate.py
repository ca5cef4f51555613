"""Count events and accumulate their sums, means, moments and extremes.

Integers are summed exactly: those of up to 32 bits in one int64, those of 64 bits as two int64 of
their upper and lower halves, so that no sum of less than 2**31 events can overflow. Floats are
summed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    elements,
    is_numeric,
    own,
)
from ami.graph.library.large import (
    LARGE_BYTES,
    PIECE,
    Rows,
    add_halves,
    add_moments,
    add_up,
    extend,
    is_large,
    merge_moments,
    pieces,
    rows_of,
)
from ami.graph.library.wide import distance, is_wide, join, split
from ami.values import Moments

CHUNK_BYTES = 1 << 20  # of float64 scratch memory


class _Numeric(Reduction):
    """A reduction of one value of numbers, of any shape."""

    keeps_unit = True
    structure: ClassVar[str] = "array"

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
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
    example = "count(monitor where laser == 1)"
    lazy = True
    many = True
    variable = True

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(np.dtype(np.int64), (), True)

    def zero(self) -> State:
        return 0

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        return state + len(arrays[0] if rows is None else rows)

    def add_many(self, states: Sequence[State], rows: Array) -> list[State]:
        count = rows.shape[1]
        return [state + count for state in states]

    def merge(self, a: State, b: State) -> State:
        return a + b

    def result(self, state: State) -> Any:
        return state

    def state_bytes(self, *kinds: Kind) -> int:
        return 8


class SumEvents(_Numeric):
    """Sum over events: of integers int64 where that holds it, else uint64, else float64.

    State: None, or (number of events, sum, whether the sum is in halves). A sum in halves is
    int64 ``(2, *shape)``: upper and lower 32 bits, summed apart.
    """

    name = "sum_events"
    example = "sum_events(camera)"
    lazy = True
    many = True

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        (array,) = arrays
        wide = is_wide(array.dtype)
        if not is_large(array):
            values = array if rows is None else array.take(rows, axis=0)
            return self.merge(state, (len(values), _halves(values) if wide else _sum(values), wide))
        chosen = rows_of(array, rows)
        if state is None and wide:
            state = (0, np.zeros((2, *array.shape[1:]), np.int64), wide)
        elif state is None:
            state, chosen = (1, array[chosen[0]].astype(sum_dtype(array.dtype)), wide), chosen[1:]
        total = own(state[1])
        (add_halves if wide else add_up)(total, array, chosen)
        return (state[0] + len(chosen), total, wide)

    def add_many(self, states: Sequence[State], rows: Array) -> list[State]:
        count, wide = rows.shape[1], is_wide(rows.dtype)
        # Cast first: numpy would do that in pieces that do not end where the rows do, and so round otherwise.
        values = rows.astype(np.float64, copy=False) if rows.dtype.kind == "f" else rows
        totals = _halves(values.T).T.copy() if wide else np.add.reduce(values, 1, sum_dtype(values.dtype))
        return [
            (count, total, wide) if state is None else (state[0] + count, state[1] + total, wide)
            for state, total in zip(states, totals, strict=True)
        ]

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        return (a[0] + b[0], _added(a[1], b[1]), a[2])

    def result(self, state: State) -> Any:
        if state is None:
            return None
        total = self._total(state)
        return total.copy() if total is state[1] else total  # the state goes on in its memory

    def _total(self, state: State) -> Any:
        _, total, wide = state
        return join(total[0], total[1]) if wide else total

    def state_bytes(self, *kinds: Kind) -> int:
        (kind,) = kinds
        halves = 2 if is_wide(kind.dtype) else 1
        return 16 + 8 * halves * elements(kind)


class MeanEvents(SumEvents):
    """Mean over events, float64, from the exact sum. State: as :class:`SumEvents`."""

    name = "mean_events"
    example = "mean_events(sum(camera) / monitor)"

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def result(self, state: State) -> Any:
        return None if state is None else np.true_divide(self._total(state), state[0])

    def results(self, states: Sequence[State]) -> list[Any]:
        totals = [state[1] for state in states]
        if set(map(type, totals)) != {np.float64}:
            return super().results(states)
        return list(np.array(totals) / np.array([state[0] for state in states]))


class MomentsEvents(_Numeric):
    """Mean and variance of each element over events.

    State: None, or (number of events, mean, sum of squared deviations from the mean, pivot): the mean,
    float64, is that of the distances from the pivot, a value of some event in its own dtype. So a constant
    has no spread, however events were shared out, and timestamps have theirs. Large values, but for integers
    of 64 bits, have no pivot: they would be gone through once more.

    Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", Stanford report STAN-CS-79-773 (1979). The textbook form
    E[x**2] - E[x]**2 cancels: for 4, 7, 13, 16 on a pedestal of 10**9 it gives -128, not 22.5.
    """

    name = "moments"
    example = "moments(monitor)"
    structure = "moments"
    lazy = True
    many = True

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        (array,) = arrays
        if is_large(array):
            add_large = self._add_large_integers if is_wide(array.dtype) else self._add_large
            return add_large(state, array, rows_of(array, rows))
        values = array if rows is None else array.take(rows, axis=0)
        step = len(values) if values.ndim == 1 else max(1, CHUNK_BYTES // (8 * max(1, values[:1].size)))
        block = None
        for start in range(0, len(values), step):
            some = values[start : start + step]
            pivot = _pivot(some[0]) if some.ndim > 1 or not math.isfinite(some[0]) else some[0]
            some = distance(some, pivot)
            mean = np.add.reduce(some, axis=0) / len(some)
            some -= mean
            if some.ndim == 1:
                one = (len(some), float(mean), float(np.dot(some, some)), pivot)
            else:
                one = (len(some), mean, np.einsum("i...,i...", some, some), pivot)
            block = self.merge(block, one)
        return self.merge(state, block)

    def add_many(self, states: Sequence[State], rows: Array) -> list[State]:
        count, pivots = rows.shape[1], _pivot(rows[:, 0])
        some = distance(rows, pivots[:, np.newaxis])
        means = np.add.reduce(some, axis=1) / count
        some -= means[:, np.newaxis]
        squares = np.matmul(some[:, np.newaxis], some[:, :, np.newaxis])[:, 0, 0]
        blocks = zip(states, means.tolist(), squares.tolist(), pivots, strict=True)
        return [self.merge(state, (count, *block)) for state, *block in blocks]

    def _add_large(self, state: State, array: Array, rows: Rows) -> State:
        if state is None:
            mean = array[rows[0]].astype(np.float64)
            state, rows = (1, mean, np.zeros(mean.shape)), rows[1:]
        count, mean, squares = state[0], own(state[1]), own(state[2])
        if len(rows):
            add_moments(count, mean, squares, array, rows)
        return (count + len(rows), mean, squares)

    def _add_large_integers(self, state: State, array: Array, rows: Rows) -> State:
        if state is None:
            nothing = np.zeros(array.shape[1:])
            state, rows = (1, nothing, nothing.copy(), array[rows[0]].copy()), rows[1:]
        count, mean, squares, pivot = state[0], own(state[1]), own(state[2]), state[3]
        for events, middle, spread, origin in pieces(PIECE >> 3, array, mean, squares, pivot):
            for number, row in enumerate(rows, start=count + 1):
                there = distance(events[row], origin)
                delta = there - middle
                middle += delta / number
                there -= middle
                spread += delta * there
        return (count + len(rows), mean, squares, pivot)

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        count = a[0] + b[0]
        if np.ndim(a[1]):
            return self._merge_arrays(a, b)
        apart = b[3].item() - a[3].item() if len(a) == 4 == len(b) else _apart(a, b)
        delta = float(b[1] - a[1]) + apart  # as Python's numbers: no integer overflows, and no float warns
        # Of infinities there is no difference; their sum is what one block would give.
        mean = a[1] + (delta * (b[0] / count) if math.isfinite(delta) else b[1])
        return (count, mean, a[2] + b[2] + delta * delta * (a[0] * b[0] / count), *a[3:])

    def _merge_arrays(self, a: State, b: State) -> State:
        count, mean, squares = a[0] + b[0], own(a[1]), own(a[2])
        if len(a) == 3 == len(b):
            merge_moments((a[0], b[0]), (mean, squares), b[1:])
            return (count, mean, squares)
        with np.errstate(all="ignore"):
            delta = (b[1] - mean) + _apart(a, b)
            mean += np.where(np.isfinite(delta), delta * (b[0] / count), b[1])
            squares += b[2] + delta * delta * (a[0] * b[0] / count)
        return (count, mean, squares, *a[3:])

    def result(self, state: State) -> Any:
        if state is None:
            return None
        # Copies: the state goes on, and what a client sees must not change under its hands.
        return Moments(
            state[0],
            np.add(state[1], state[3] if len(state) == 4 else 0.0, dtype=np.float64),
            np.array(state[2]),
        )

    def state_bytes(self, *kinds: Kind) -> int:
        (kind,) = kinds
        bare = kind.dtype.itemsize * elements(kind) >= LARGE_BYTES and not is_wide(kind.dtype)
        return 8 + (16 + (0 if bare else kind.dtype.itemsize)) * elements(kind)


def _pivot(values: Any) -> Any:
    """Return values from which distances can be taken: 0 in place of what is not finite."""
    if values.dtype.kind != "f":
        return values.copy()
    return np.where(np.isfinite(values), values, values.dtype.type(0))[()]


def _apart(a: State, b: State) -> Any:
    """Return how far the pivot of ``b`` is from that of ``a``; earlier versions stored none, which is 0."""
    mine, other = (np.asarray(state[3] if len(state) == 4 else 0.0) for state in (a, b))
    return distance(other, mine)


class StdEvents(MomentsEvents):
    """Sample standard deviation of each element over events; NaN for one event."""

    name = "std_events"
    example = "std_events(monitor)"
    structure = "array"

    def result(self, state: State) -> Any:
        return None if state is None else Moments(state[0], state[1], np.asarray(state[2])).std


class _ExtremeEvents(_Numeric):
    """State: None, or the extreme of each element, in the value's dtype."""

    ufunc: ClassVar[np.ufunc]
    lazy = True
    many = True

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        (array,) = arrays
        if not is_large(array):
            values = array if rows is None else array.take(rows, axis=0)
            return self.merge(state, np.asarray(self.ufunc.reduce(values, axis=0)))
        chosen = rows_of(array, rows)
        if state is None:
            state, chosen = array[chosen[0]].copy(), chosen[1:]
        extreme = own(state)
        extend(extreme, array, chosen, self.ufunc)
        return extreme

    def add_many(self, states: Sequence[State], rows: Array) -> list[State]:
        found = self.ufunc.reduce(rows, axis=1)
        return [self.merge(state, np.asarray(one)) for state, one in zip(states, found, strict=True)]

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        return np.asarray(self.ufunc(a, b, out=a if a.ndim and a.flags.writeable else None))

    def result(self, state: State) -> Any:
        return None if state is None else state.copy()  # the state goes on in its memory

    def state_bytes(self, *kinds: Kind) -> int:
        return kinds[0].dtype.itemsize * elements(kinds[0])


class MinEvents(_ExtremeEvents):
    """Smallest value of each element over events; NaN if one is NaN."""

    name = "min_events"
    example = "min_events(min(waveform))"
    ufunc = np.minimum


class MaxEvents(_ExtremeEvents):
    """Largest value of each element over events; NaN if one is NaN."""

    name = "max_events"
    example = "max_events(max(camera))"
    ufunc = np.maximum


def _sum(values: Array) -> Any:
    return np.add.reduce(values, axis=0, dtype=sum_dtype(values.dtype))


def _halves(values: Array) -> Array:
    return np.stack([np.add.reduce(half, axis=0) for half in split(values)])


def _added(a: Any, b: Any) -> Any:
    """Return a + b, in the memory of ``a`` if it is an array that may be written."""
    if isinstance(a, np.ndarray) and a.ndim and a.flags.writeable:
        return np.add(a, b, out=a)
    return a + b


OPERATIONS = (Count, SumEvents, MeanEvents, MomentsEvents, StdEvents, MinEvents, MaxEvents)
