"""Count values, or pairs of them, in bins of equal width; :mod:`ami.graph.library.binning` finds the bin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import (
    NO_STAMPS,
    Reduction,
    State,
    is_numeric,
    own,
)
from ami.graph.library.binning import CHUNK, MAX_BINS, Binning, add_counts
from ami.graph.library.large import is_large, pieces, rows_of
from ami.values import Histogram as HistogramValue
from ami.values import Histogram2D as Histogram2DValue


class Histogram(Reduction):
    """Numbers of values in bins of equal width over [low, high); of an array, all its elements.

    State: int64 (bins + 3,): below, each bin, at or above ``high``, NaN.
    """

    name = "histogram"
    example = "histogram(monitor, 100, 0, 2)"
    along = (0,)
    lazy = True
    variable = elementwise = True

    def __init__(self, bins: int, low: float, high: float, window: str = "run") -> None:
        super().__init__(window)
        self._axis = Binning(self.name, bins, low, high)

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        if not is_numeric(value):
            raise GraphError(f"histogram needs numbers, got {value}")
        return Kind(np.dtype(np.int64), (self._axis.bins,), True, "histogram", bins=self._axis.told)

    def zero(self) -> State:
        return np.zeros(self._axis.bins + 3, np.int64)

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        state = own(state)
        if rows is None and arrays[0].ndim == 1:
            self._axis.count(arrays[0], state)
            return state
        for (values,) in _flat(rows, *arrays):
            self._axis.count(values, state)
        return state

    def merge(self, a: State, b: State) -> State:
        return np.add(a, b, out=a if a.flags.writeable else None)

    def state_bytes(self, *kinds: Kind) -> int:
        return 8 * (self._axis.bins + 3)

    def result(self, state: State) -> Any:
        below, over, nan = (int(state[n]) for n in (0, -2, -1))
        return HistogramValue(state[1:-2].copy(), self._axis.edges, below, over, nan)


class Histogram2D(Reduction):
    """Numbers of pairs (x, y), one pair per event, in rectangles of equal size.

    State: int64 ((x_bins + 2) * (y_bins + 2) + 1,): the rectangles row by row with a border of
    what lies outside, then the pairs of which one is NaN.
    """

    name = "histogram2d"
    example = "histogram2d(monitor, energy, 50, 0, 2, 50, 9000, 10000)"
    inputs = ("x", "y")
    along = (0, 1)
    lazy = True
    variable = elementwise = True

    def __init__(
        self, x_bins: int, x_low: float, x_high: float, y_bins: int, y_low: float, y_high: float,
        window: str = "run",
    ) -> None:  # fmt: skip
        super().__init__(window)
        self._x = Binning(self.name, x_bins, x_low, x_high)
        self._y = Binning(self.name, y_bins, y_low, y_high)
        if self._x.bins * self._y.bins > MAX_BINS:
            raise GraphError(f"histogram2d: {x_bins} x {y_bins} bins; at most {MAX_BINS} are possible")

    def infer(self, *inputs: Kind) -> Kind:
        x, y = inputs
        suit = x.shape == y.shape
        if x.variable or y.variable:  # lengths are compared in each event; a number goes with all elements
            suit = x.shape[1:] == y.shape[1:] and all(kind.variable or not kind.shape for kind in inputs)
        if not is_numeric(x) or not is_numeric(y) or not suit:
            raise GraphError(f"histogram2d needs two values of one shape, got {x} and {y}")
        return Kind(np.dtype(np.int64), (self._x.bins, self._y.bins), True, "histogram2d")

    def zero(self) -> State:
        return np.zeros((self._x.bins + 2) * (self._y.bins + 2) + 1, np.int64)

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        state = own(state)
        for x, y in _flat(rows, *arrays):
            if len(x) != len(y):
                raise ValueError(f"histogram2d got {len(x)} x and {len(y)} y")
            for start in range(0, len(x), CHUNK):
                self._count(state, *(v[start : start + CHUNK].astype(np.float64, copy=False) for v in (x, y)))
        return state

    def _count(self, state: Array, x: Array, y: Array) -> None:
        bad = np.isnan(x) | np.isnan(y)
        missing = int(np.count_nonzero(bad))
        if missing:
            x, y = x[~bad], y[~bad]
        if len(x):
            columns, lines = self._x.places(x), self._y.places(y)
            assert columns is not None  # no NaN is left
            assert lines is not None
            columns *= self._y.bins + 2
            columns += lines
            add_counts(state, columns)
        state[-1] += missing

    def merge(self, a: State, b: State) -> State:
        return np.add(a, b, out=a if a.flags.writeable else None)

    def state_bytes(self, *kinds: Kind) -> int:
        return 8 * ((self._x.bins + 2) * (self._y.bins + 2) + 1)

    def result(self, state: State) -> Any:
        counts = state[:-1].reshape(self._x.bins + 2, self._y.bins + 2)
        inside = counts[1:-1, 1:-1].copy()
        outside = int(counts.sum() - inside.sum())
        return Histogram2DValue(inside, self._x.edges, self._y.edges, outside, int(state[-1]))


def _flat(rows: Array | None, *arrays: Array) -> Iterator[Sequence[Array]]:
    """Yield all the elements of values, 1-D: of large values that would be copied for it, some at a time."""
    if not any(map(is_large, arrays)):
        yield [np.ravel(array if rows is None else array.take(rows, axis=0)) for array in arrays]
    elif rows is None and all(array.flags.c_contiguous for array in arrays):
        yield [array.reshape(-1) for array in arrays]
    else:
        for row in rows_of(arrays[0], rows):
            first, *others = (array[row] for array in arrays)
            for parts in pieces(CHUNK, first[np.newaxis], *others):
                yield [np.ravel(part) for part in parts]


OPERATIONS = (Histogram, Histogram2D)
