"""Find the bin of each value, exactly at the edges, and count.

A value belongs to the bin [left, right): one that equals an edge belongs to the bin on its right,
as with numpy.histogram, except that the last edge is beyond the last bin. Multiplying by the
number of bins per unit alone puts some values that equal an edge into the bin on the left, because
the product is rounded. There are three ways out, each for the dtypes for which it is the fastest:

- Integers of 8 and 16 bits: count each integer, and add these counts to the bins of a table.
- Numbers that lie further apart than float64 rounds (float32, int32): add a little, so that each number
  that is an edge, or the next one right of it, is put into its bin, and the one before it is not. As
  rounding keeps the order, all other numbers are then right too; that it is so is tried for each edge.
- All others: the product finds the nearest edge, and a comparison with that decides.

boost-histogram was measured too: 20 against 37 microseconds for 8192 values, but it rounds at the
edges, and 2 ns an event do not pay for a dependency.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import GraphError
from ami.event import Array
from ami.graph.library.base import integer, number

MAX_BINS = 1 << 24  # 128 MiB of counts
DENSE = 4  # a count of all bins pays up to so many bins per value; beyond it, single ones
CHUNK = 1 << 17  # values at once: what is computed of them stays in the cache
LONG_CHUNK = 1 << 18  # of small integers, after each of which the counts of all integers go into bins
MANY = 1 << 14  # pairs
MOST_STRAYS = 4

Way = tuple[Callable[[Array, Array], None], int]

# Numbers [least, edge) that rounding puts into the bin ``place``, and that belong to the one before.
Stray = tuple[float, float, int]


class Binning:
    """Bins of equal width over [low, high); bin 0 is what lies below, bin ``bins + 1`` beyond."""

    def __init__(self, operation: str, bins: object, low: object, high: object) -> None:
        self.bins = integer(operation, "bins", bins, at_least=1)
        first, end = number(operation, "low", low), number(operation, "high", high)
        width = (end - first) / self.bins
        # Bins must be much wider than the distance of neighbouring floats, or edges coincide.
        if not (16 * np.spacing(max(abs(first), abs(end))) < width < np.inf) or self.bins > MAX_BINS:
            raise GraphError(f"{operation}: no {self.bins} bins are possible over [{first}, {end})")
        self._first, self._end = first, end
        self._scale = 1 / width
        self._origin = first - 1.5 * width
        # A few times what rounding can take away, and far less than the distance of two float32.
        little = 8 * np.spacing(max(abs(first), abs(end)) * self._scale + self.bins + 2)
        self._offset = float(1 - first * self._scale + little)
        self._ways: dict[np.dtype[Any], Way] = {}

    @property
    def told(self) -> tuple[int, float, float]:
        """How many bins, from where, to where."""
        return self.bins, self._first, self._end

    # When they are wanted: of a graph that is only looked at they would be all of its memory.
    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """The edges of the bins, ascending."""
        return np.linspace(self._first, self._end, self.bins + 1)

    @cached_property
    def _nearest(self) -> NDArray[np.float64]:
        return np.concatenate([[-np.inf], self.edges])

    def places(self, values: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Return the bin of each value, or None when one of them is NaN."""
        scaled = values - self._origin
        scaled *= self._scale
        lowest, highest = scaled.min(), scaled.max()
        if not (lowest >= 0.5 and highest < self.bins + 1.75):
            if np.isnan(lowest):
                return None
            np.clip(scaled, 0.5, self.bins + 1.75, out=scaled)
        # 1.5 bins left of the first edge is 0, so truncation gives 1 + the nearest edge.
        # By way of int32: twice as fast, and MAX_BINS fits.
        nearest = scaled.astype(np.int32).astype(np.int64)
        np.subtract(nearest, values < self._nearest.take(nearest), out=nearest)
        return nearest

    def count(self, values: Array, counts: Array) -> None:
        """Add numbers (n,) to ``counts``, int64 (bins + 3,): below, each bin, at or above the end, NaN."""
        way, chunk = self._ways.get(values.dtype) or self._way(values.dtype)
        if len(values) <= chunk:
            if len(values):
                way(values, counts)
            return
        for start in range(0, len(values), chunk):
            way(values[start : start + chunk], counts)

    def _way(self, dtype: np.dtype[Any]) -> Way:
        """Choose how to count numbers of a dtype, and how many at once."""
        way: Way = (self._count_any, CHUNK // 2)  # it has more steps, and leaves more behind
        if dtype.isnative and dtype.kind in "biu" and dtype.itemsize <= 2:
            way = (partial(self._count_small, self._table(dtype)), LONG_CHUNK)
        elif dtype.isnative and ((dtype.kind == "f" and dtype.itemsize <= 4) or dtype.itemsize == 4):
            strays = self._strays(dtype)
            if strays is not None:
                way = (partial(self._count_straight, strays), CHUNK)
        self._ways[dtype] = way
        return way

    # integers of 8 and 16 bits

    def _table(self, dtype: np.dtype[Any]) -> NDArray[np.int64]:
        """Return the bin of each number of a dtype, in the order of its bits."""
        bits = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
        numbers = bits.astype(np.float64) if dtype.kind == "b" else bits.view(dtype).astype(np.float64)
        places = self.places(numbers)
        assert places is not None  # no integer is NaN
        return places

    def _count_small(self, table: NDArray[np.int64], values: Array, counts: Array) -> None:
        bits = values.view(f"u{values.dtype.itemsize}")
        if 4 * len(bits) < len(table):
            add_counts(counts, table.take(bits))
            return
        found = np.bincount(bits)
        np.add.at(counts, table[: len(found)], found)

    # numbers that lie further apart than float64 rounds

    def _straight(self, numbers: NDArray[np.float64]) -> NDArray[np.int32]:
        scaled = numbers * self._scale
        scaled += self._offset
        return np.clip(scaled, 0, self.bins + 1.5).astype(np.int32)

    def _strays(self, dtype: np.dtype[Any]) -> list[Stray] | None:
        """Return which numbers of a dtype multiplying puts into a wrong bin, None if not just a few.

        They are those so near to 0 that adding makes them the same, if 0 is an edge.
        """
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                first = self.edges.astype(dtype)
            first = np.where(first < self.edges, np.nextafter(first, dtype.type(np.inf)), first)
            before = np.nextafter(first, dtype.type(-np.inf)).astype(np.float64)
        else:
            first = np.ceil(self.edges)
            before = first - 1
        places = np.arange(1, self.bins + 2)
        wrong = np.flatnonzero(self._straight(before) >= places)
        if not np.array_equal(self._straight(first.astype(np.float64)), places) or len(wrong) > MOST_STRAYS:
            return None
        if len(wrong) and dtype.kind != "f":
            return None
        return [(self._least(first[n], int(places[n])), float(first[n]), int(places[n])) for n in wrong]

    def _least(self, edge: Any, place: int) -> float:
        """Return the least number, of the dtype of ``edge``, that multiplying puts into its bin."""
        low, high = type(edge)(edge - 1 / self._scale), edge
        while (middle := type(edge)((float(low) + float(high)) / 2)) not in (low, high):
            if self._straight(np.array([middle], np.float64))[0] < place:
                low = middle
            else:
                high = middle
        return float(high)

    def _count_straight(self, strays: list[Stray], values: Array, counts: Array) -> None:
        lowest, highest = values.min(), values.max()
        if lowest != lowest:
            there = values[values == values]
            counts[-1] += len(values) - len(there)
            if len(there):
                self._count_straight(strays, there, counts)
            return
        scaled = values.astype(np.float64)
        scaled *= self._scale
        scaled += self._offset
        ends = (float(lowest) * self._scale + self._offset, float(highest) * self._scale + self._offset)
        if not (ends[0] >= 0 and ends[1] < self.bins + 2):
            np.clip(scaled, 0, self.bins + 1.5, out=scaled)
        add_counts(counts, scaled.astype(np.int32))
        for least, edge, place in strays:
            if lowest < edge and highest >= least:
                moved = np.count_nonzero(values >= least) - np.count_nonzero(values >= edge)
                counts[place] -= moved
                counts[place - 1] += moved

    # all others

    def _count_any(self, values: Array, counts: Array) -> None:
        values = values.astype(np.float64, copy=False)
        places = self.places(values)
        if places is None:
            there = values[~np.isnan(values)]
            counts[-1] += len(values) - len(there)
            places = self.places(there) if len(there) else None
        if places is not None:
            add_counts(counts, places)


def add_counts(counts: Array, places: Array) -> None:
    """Add one at each of ``places``."""
    bins, half = len(counts), len(places) // 2
    if bins > DENSE * len(places):
        np.add.at(counts, places, 1)
    elif half < MANY or bins * bins > half:
        counts += np.bincount(places, minlength=bins)
    else:
        # Counting takes the longest, so what is counted is pairs: half as many.
        pairs = places[:half] * bins
        pairs += places[half : 2 * half]
        found = np.bincount(pairs, minlength=bins * bins).reshape(bins, bins)
        counts += found.sum(axis=0) + found.sum(axis=1)
        counts += np.bincount(places[2 * half :], minlength=bins)
