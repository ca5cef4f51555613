"""Work along the own axes of an event's value: regions, projections, sums, means.

Integers are summed exactly in 64 bits, floats in float64; means are float64. A sum that leaves 64 bits is
an error of that event; a mean has none.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import Function, elements, is_numeric
from ami.graph.library.large import is_large, narrow_sum, small_buffers
from ami.graph.library.wide import distance, in_dtype, is_wide, join, split
from ami.ragged import Ragged

Slice = tuple[int | None, ...]


class Roi(Function):
    """Region of interest: rows and columns of an image, or samples of a waveform.

    ``rows`` counts along the last axis but one, ``cols`` and ``samples`` along the last; a value
    with one axis has only samples (which may be called rows too). A view; nothing is copied.
    """

    name = "roi"
    example = "last(roi(camera, rows=22:43, cols=30:51))"
    view = True
    keeps_unit = True

    def __init__(
        self, rows: Slice | None = None, cols: Slice | None = None, samples: Slice | None = None
    ) -> None:
        if cols is not None and samples is not None:
            raise GraphError("roi: cols and samples both mean the last axis; give one")
        self._rows = None if rows is None else _slice("rows", rows)
        last = cols if samples is None else samples
        self._last = None if last is None else _slice("cols" if samples is None else "samples", last)

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        if not is_numeric(value) or not value.shape:
            raise GraphError(f"roi needs a value with axes, got {value}")
        index = self._index(len(value.shape))
        shape = np.empty((1, *value.shape), np.bool_)[index].shape[1:]
        if 0 in shape:
            raise GraphError(f"roi: the region lies outside of the value's shape {value.shape}")
        return Kind(value.dtype, shape, value.reduced, most=value.most)

    def caution(self, *inputs: Kind) -> str:
        (value,) = inputs
        cuts = self._index(len(value.shape))[1:]
        for cut, length in zip(reversed(cuts), reversed(value.shape), strict=False):
            start, stop = cut.start or 0, cut.stop or 0
            if not value.variable and max(stop, -start, -stop) > length:
                return f"the region goes beyond the value's shape {value.shape}; it is cut there"
        return ""

    def __call__(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0][self._index(arrays[0].ndim - 1)])

    def _index(self, axes: int) -> tuple[Any, ...]:
        rows, last = self._rows, self._last
        if axes == 1:
            if rows is not None and last is not None:
                raise GraphError("roi: rows and cols are asked for, but the value has one axis")
            return (..., rows if last is None else last) if rows or last else (...,)
        return (..., rows or slice(None), last or slice(None))


class Length(Function):
    """Number of elements along a value's first axis."""

    name = "length"
    example = "mean_events(length(select(waveform, waveform > 0.5)))"
    variable = True

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        if not is_numeric(value) or not value.shape:
            raise GraphError(f"length counts the elements of a value with axes, got {value}")
        return Kind(np.dtype(np.int64), (), value.reduced)

    def __call__(self, *arrays: Array) -> Array:
        return np.full(len(arrays[0]), arrays[0].shape[1])

    def ragged(self, *arrays: Any) -> Array:
        return np.array(arrays[0].lengths)


class _OverAxes(Function):
    """A function that takes all of a value's own axes away, or those that ``axis`` names."""

    keeps_unit = True
    variable = True

    def __init__(self, axis: int | tuple[int, ...] | None = None) -> None:
        axes = (axis,) if isinstance(axis, int) and not isinstance(axis, bool) else axis
        if axes is not None and not (isinstance(axes, tuple) and axes and all(type(n) is int for n in axes)):
            raise GraphError(f"{self.name}: axis must be a number or a list of numbers, got {axis!r}")
        self._axes = axes
        self._fits = False  # whether any sum is known to fit into 64 bits

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        if not is_numeric(value):
            raise GraphError(f"{self.name} needs an array, got {value}")
        axes = len(value.shape)
        if self._axes is not None and not all(-axes <= n < axes for n in self._axes):
            raise GraphError(f"{self.name}: axis {self._axes} is not among the {axes} axes of {value.shape}")
        gone = {n % axes for n in (range(axes) if self._axes is None else self._axes)}
        if self._axes is not None and len(gone) < len(self._axes):
            raise GraphError(f"{self.name}: axis {self._axes} names an axis of {value.shape} twice")
        if value.variable and gone != {0} and len(gone) != axes:
            raise GraphError(f"{self.name}: of {value} either all axes or the first one can be taken away")
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in gone)
        self._fits = value.most is not None and value.most * elements(value) < 1 << 63
        return Kind(self._dtype(value.dtype), shape, value.reduced)

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        raise NotImplementedError

    def _elements(self, array: Ragged) -> Ragged:
        """Return what to go over, of a value of variable length."""
        one = self._axes is not None and len(self._axes) < array.ndim - 1
        return array if one else array.flattened()

    def _over(self, array: Array) -> tuple[int, ...]:
        """Return the axes to go over, of an array with the event axis in front."""
        if self._axes is None:
            return tuple(range(1, array.ndim))
        return tuple(n + 1 if n >= 0 else n for n in self._axes)

    def _sum(self, array: Array) -> Array:
        """Return the sum, exact for integers; those of 8 and 16 bits first line by line in 32.

        Of integers of 64 bits it may be another dtype than theirs, where they do not hold it.
        """
        axes, dtype = self._over(array), sum_dtype(array.dtype)
        if (
            is_wide(array.dtype)
            and not self._fits
            and not _holds_sum(array, math.prod(array.shape[n] for n in axes))
        ):
            return np.asarray(join(*(np.add.reduce(half, axis=axes) for half in split(array))))
        narrow, most = narrow_sum(array.dtype, 4)
        with small_buffers():
            if axes and array.shape[axes[-1]] <= most:  # of a number it is the number
                lines = np.add.reduce(array, axis=axes[-1], dtype=narrow, keepdims=True)
                return np.asarray(np.add.reduce(lines, axis=axes, dtype=dtype))
            return np.asarray(np.add.reduce(array, axis=axes, dtype=dtype))


class Sum(_OverAxes):
    """Sum over axes: int64 for integers and truths, uint64 for uint64, else float64."""

    name = "sum"
    example = "mean_events(sum(camera) / monitor)"

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def __call__(self, *arrays: Array) -> Array:
        return in_dtype(self._sum(arrays[0]), sum_dtype(arrays[0].dtype))

    def ragged(self, *arrays: Any) -> Array:
        array = self._elements(arrays[0])
        return in_dtype(_sum_of(array), sum_dtype(array.values.dtype))


class Projection(Sum):
    """Sum along one axis of an image: ``axis=0`` sums the rows up and leaves the columns."""

    name = "projection"
    example = "mean_events(projection(camera, 0))"
    variable = False

    def __init__(self, axis: int) -> None:
        super().__init__(axis)


class Mean(_OverAxes):
    """Mean over axes, float64."""

    name = "mean"
    example = "mean_events(mean(waveform))"
    needs_elements = True

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def __call__(self, *arrays: Array) -> Array:
        (array,) = arrays
        numbers = math.prod(array.shape[n] for n in self._over(array))
        return np.asarray(np.true_divide(self._sum(array), numbers))

    def ragged(self, *arrays: Any) -> Array:
        return _mean_of(self._elements(arrays[0]))


class Std(Mean):
    """Standard deviation over axes (divisor n), float64."""

    name = "std"
    example = "histogram(std(waveform), 100, 0, 1)"

    def __call__(self, *arrays: Array) -> Array:
        (array,) = arrays
        # One large event after the other, as numpy makes copies in float64 of what it is given.
        step = 1 if is_large(array) else max(1, len(array))
        parts = (array[start : start + step] for start in range(0, max(1, len(array)), step))
        return np.concatenate([self._std(part) for part in parts])

    def _std(self, array: Array) -> Array:
        over = self._over(array)
        if is_wide(array.dtype):
            gone = {n % array.ndim for n in over}
            array = distance(array, array[tuple(slice(1 if n in gone else None) for n in range(array.ndim))])
        return np.asarray(np.std(array, axis=over, dtype=np.float64))

    def ragged(self, *arrays: Any) -> Array:
        array = self._elements(arrays[0])
        if is_wide(array.values.dtype):  # of each event the first element: there is one
            firsts = array.values[np.cumsum(array.lengths) - array.lengths]
            apart = distance(array.values, np.repeat(firsts, array.lengths, axis=0))
            array = Ragged.of(apart, array.lengths)
        deviations = array.values - np.repeat(_mean_of(array), array.lengths, axis=0)
        return np.sqrt(_mean_of(Ragged.of(np.square(deviations, out=deviations), array.lengths)))


class _Extreme(_OverAxes):
    ufunc: ClassVar[np.ufunc]
    needs_elements = True

    def _dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def __call__(self, *arrays: Array) -> Array:
        return np.asarray(self.ufunc.reduce(arrays[0], axis=self._over(arrays[0])))

    def ragged(self, *arrays: Any) -> Array:
        return self._elements(arrays[0]).reduce(self.ufunc)


class Min(_Extreme):
    """Smallest value over axes; NaN if one is NaN."""

    name = "min"
    example = "last(min(camera))"
    ufunc = np.minimum


class Max(_Extreme):
    """Largest value over axes; NaN if one is NaN."""

    name = "max"
    example = "histogram(max(waveform), 100, 0, 2)"
    ufunc = np.maximum


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which numbers of ``dtype`` are summed."""
    if dtype.kind == "f":
        return np.dtype(np.float64)
    return np.dtype(np.uint64 if dtype == np.uint64 else np.int64)


def _holds_sum(values: Array, count: int) -> bool:
    """Whether so many of these integers have a sum in their 64 bits."""
    most = max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
    return most * count <= np.iinfo(values.dtype).max


def _sum_of(array: Ragged) -> Array:
    values = array.values
    if is_wide(values.dtype) and not _holds_sum(values, int(array.lengths.max())):
        halves = [Ragged.of(half, array.lengths).reduce(np.add) for half in split(values)]
        return np.asarray(join(*halves))
    return array.reduce(np.add, sum_dtype(array.values.dtype))


def _mean_of(array: Ragged) -> Array:
    total = _sum_of(array)
    return np.asarray(np.true_divide(total, array.lengths.reshape(-1, *(1,) * (total.ndim - 1))))


def _slice(parameter: str, value: object) -> slice:
    if (
        isinstance(value, tuple)
        and 2 <= len(value) <= 3
        and all(n is None or type(n) is int for n in value)
        and (len(value) == 2 or value[2] is None or value[2] > 0)
    ):
        return slice(*value)
    raise GraphError(f"roi: {parameter} must be a range such as 100:140 or ::2, got {value!r}")


OPERATIONS = (Roi, Length, Projection, Sum, Mean, Std, Min, Max)
