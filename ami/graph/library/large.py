"""Go over blocks of large values, such as images, at the pace of the memory they lie in.

No float64 copy of an event is made, and nothing that is as large as a block. Where numpy computes with
two dtypes it casts into a buffer, by default of 8192 numbers: that and the numbers beside it are more than
a core's first cache holds, and cost half of the speed. 1024 of them stay in it.

Sums go through an image as a whole, event after event: memory that is read straight on is fetched ahead.
Only sums that are larger than a cache go a piece at a time, if there are some events: of 3 to 6 images of a
megapixel 5 to 20 % faster than to read and write all of the sum with each. What takes several steps a pixel
goes a piece at a time too, so that what one step leaves is there for the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ami.event import Array

LARGE_BYTES = 16 << 10  # of one event's value: from here on numpy's call costs less than the value
BUFFER = 1024  # numbers
PIECE = 1 << 17  # pixels that a step goes over at once, where several follow each other
CACHE_BYTES = 4 << 20  # of a sum: from here on it leaves the second cache, however the machine is made
SUM_PIECE = 1 << 15  # pixels of it: fewer cost calls, more leave the cache
# Pixels of a sum in a narrower dtype. It is read and written with each event, so it is long, as said above.
NARROW_PIECE = 1 << 18
FEW = 3  # events: of fewer a narrow sum costs what it saves

Rows = Sequence[int] | Array


def is_large(array: Array) -> bool:
    """Whether an event's value is so large that a block is gone through event by event."""
    return array.ndim > 1 and array.itemsize * array[:1].size >= LARGE_BYTES


@contextmanager
def small_buffers() -> Iterator[None]:
    """Let numpy cast into buffers that fit into the first cache."""
    before = np.setbufsize(BUFFER)
    try:
        yield
    finally:
        np.setbufsize(before)


def rows_of(array: Array, rows: Array | None) -> Rows:
    """Return the numbers of the events that count."""
    return range(len(array)) if rows is None else rows


def pieces(
    pixels: int, block: Array, *values: Array, scratch: Sequence[DTypeLike] = ()
) -> Iterator[tuple[Array, ...]]:
    """Yield a block ``(k, *shape)`` and values ``(*shape)`` about ``pixels`` pixels at a time; all are views.

    Args:
        scratch: dtypes of memory that is wanted beside them, of the shape of a value; the same each time.
    """
    arrays = [block, *(value[np.newaxis] for value in values)]
    if all(array[:1].flags.c_contiguous for array in arrays):
        arrays = [array.reshape(len(array), -1) for array in arrays]
    _, lines, *others = arrays[0].shape
    step = min(lines, max(1, pixels // math.prod(others)))
    beside = [np.empty((step, *others), dtype) for dtype in scratch]
    for start in range(0, lines, step):
        part, *parts = (array[:, start : start + step] for array in arrays)
        yield part, *(array[0] for array in parts), *(array[: part.shape[1]] for array in beside)


def narrow_sum(dtype: np.dtype[Any], itemsize: int) -> tuple[np.dtype[Any], int]:
    """Return an integer dtype, and how many of a smaller dtype are summed exactly in it; 0: it is no such."""
    if dtype.kind not in "biu" or dtype.itemsize > 2:
        return dtype, 0
    kind = "i" if dtype.kind == "i" else "u"
    return np.dtype(f"{kind}{itemsize}"), 1 << (8 * (itemsize - dtype.itemsize))


def add_up(total: Array, block: Array, rows: Rows) -> None:
    """Add events to their sum, which is of a dtype that holds it."""
    narrow, most = narrow_sum(block.dtype, 2 * block.itemsize)
    with small_buffers():
        if not most or len(rows) < FEW:
            whole = len(rows) < FEW or total.nbytes < CACHE_BYTES
            for events, part in pieces(total.size if whole else SUM_PIECE, block, total):
                for row in rows:
                    np.add(part, events[row], out=part)
            return
        for events, part, sums in pieces(NARROW_PIECE, block, total, scratch=[narrow]):
            for start in range(0, len(rows), most):
                np.copyto(sums, events[rows[start]])
                for row in rows[start + 1 : start + most]:
                    np.add(sums, events[row], out=sums)
                np.add(part, sums, out=part)


def add_halves(total: Array, block: Array, rows: Rows) -> None:
    """Add events of 64-bit integers to the sums of their upper and lower halves, int64 ``(2, *shape)``."""
    for events, upper, lower, half in pieces(PIECE, block, total[0], total[1], scratch=[block.dtype]):
        signed = half.view(np.int64)  # it fits; int64 + uint64 would be computed in float64
        for row in rows:
            np.right_shift(events[row], block.dtype.type(32), out=half)
            np.add(upper, signed, out=upper)
            np.bitwise_and(events[row], block.dtype.type(0xFFFFFFFF), out=half)
            np.add(lower, signed, out=lower)


def extend(extreme: Array, block: Array, rows: Rows, ufunc: np.ufunc) -> None:
    """Take events into their smallest or largest value."""
    for row in rows:
        ufunc(extreme, block[row], out=extreme)


def add_moments(
    count: int, centre: Array, squares: Array, block: Array, rows: Rows, *, summed: bool = False
) -> None:
    """Add events to the squared deviations of ``count`` >= 1 others, and to their mean, or sum if ``summed``.

    With d = value - mean of the events before, S the sum of d, n events in all: mean += S / n, and
    squares += sum of d**2 - S**2 / n. A pedestal cancels nothing in that, as those before are on it too: the
    difference is at least count / n of the sum. (Rejected: B. P. Welford, Technometrics 4, 419 (1962), which
    changes the mean with each event: twice as many steps.)
    """
    share = 1 / (count + len(rows))
    floats = [np.float64] * (3 if summed else 2)
    with small_buffers():
        for events, middle, spread, shift, delta, *means in pieces(
            PIECE, block, centre, squares, scratch=floats
        ):
            mean = np.multiply(middle, 1 / count, out=means[0]) if summed else middle
            np.subtract(events[rows[0]], mean, out=shift)
            if len(rows) > 1:
                np.multiply(shift, shift, out=delta)
                np.add(spread, delta, out=spread)
            for row in rows[1:]:
                np.subtract(events[row], mean, out=delta)
                np.add(shift, delta, out=shift)
                np.multiply(delta, delta, out=delta)
                np.add(spread, delta, out=spread)
            if summed:
                for row in rows:
                    np.add(middle, events[row], out=middle)
            np.multiply(shift, share, out=delta)
            if not summed:
                np.add(middle, delta, out=middle)
            if len(rows) > 1:
                np.multiply(delta, shift, out=delta)
                np.subtract(spread, delta, out=spread)
            else:  # one step less: d**2 - d**2 / n = d (d - d / n)
                np.subtract(shift, delta, out=delta)
                np.multiply(delta, shift, out=delta)
                np.add(spread, delta, out=spread)


def merge_moments(
    counts: tuple[int, int], a: tuple[Array, Array], b: tuple[Array, Array], *, summed: bool = False
) -> None:
    """Add to ``a``, mean (or sum) and squared deviations of the first events, those of the others.

    Source: Chan, Golub & LeVeque, as of :class:`ami.graph.library.accumulate.MomentsEvents`.
    """
    first, second = counts
    total = first + second
    block, floats = a[0][np.newaxis], [np.float64]
    for middle, spread, other, others_spread, delta in pieces(PIECE, block, a[1], *b, scratch=floats):
        mine = middle[0]
        if summed:
            np.multiply(other, first / second, out=delta)
            np.subtract(delta, mine, out=delta)
            np.add(mine, other, out=mine)
            factor = second / (first * total)
        else:
            np.subtract(other, mine, out=delta)
            mine += delta * (second / total)
            factor = first * second / total
        np.multiply(delta, delta, out=delta)
        np.multiply(delta, factor, out=delta)
        np.add(delta, others_spread, out=delta)
        np.add(spread, delta, out=spread)
