"""Compute with integers of 64 bits what float64 and a sum in 64 bits would spoil: sums, means and spreads.

A sum is made of two, of the upper and of the lower 32 bits: neither can overflow before 2**31 numbers are
added. A spread is that of the distances from a *pivot*, one of the numbers: the difference of two timestamps
is small and exact, the timestamps themselves are neither in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.event import Array

LOW = 0xFFFFFFFF
NEAR = 2.0**62  # integers whose float64 values are nearer to each other have a difference in 64 bits


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether these are integers of 64 bits."""
    return dtype.itemsize == 8 and dtype.kind in "iu"


def split(values: Array) -> tuple[Array, Array]:
    """Return upper and lower 32 bits as int64: ``upper * 2**32 + lower`` is the number."""
    # An arithmetic shift rounds down, so that is true of negative ones too.
    upper = values >> values.dtype.type(32)
    return upper.astype(np.int64, copy=False), (values & values.dtype.type(LOW)).astype(np.int64, copy=False)


def join(upper: Array, lower: Array) -> Any:
    """Return sums from those of both halves: int64 where that holds all, else uint64, else float64."""
    upper, lower = upper + (lower >> 32), lower & LOW
    if np.all((upper >= -(1 << 31)) & (upper < 1 << 31)):
        return (upper << 32) + lower
    if np.all((upper >= 0) & (upper < 1 << 32)):
        return (upper.astype(np.uint64) << np.uint64(32)) + lower.astype(np.uint64)
    return upper * 2.0**32 + lower


def in_dtype(total: Any, dtype: np.dtype[Any]) -> Array:
    """Return sums as numbers of a dtype of 64 bits.

    Raises:
        OverflowError: some sum is none.
    """
    if total.dtype == dtype or (total.dtype == np.int64 and bool((total >= 0).all())):
        return np.asarray(total).astype(dtype, copy=False)
    raise OverflowError(f"a sum leaves the 64 bits of {dtype}; compute with floats: 1.0 * x")


def distance(values: Array, pivot: Any) -> NDArray[np.float64]:
    """Return ``values - pivot`` in float64, of integers exactly as far as float64 has the difference."""
    if not is_wide(values.dtype):
        if values.dtype == np.float64:
            return np.asarray(values - pivot)
        there = values.astype(np.float64)
        there -= pivot
        return there
    rough = np.asarray(values.astype(np.float64) - np.asarray(pivot, np.float64))
    near = np.abs(rough) < NEAR
    exact = np.asarray(values - pivot).view(np.int64).astype(np.float64)  # right, though it may wrap around
    return exact if near.all() else np.where(near, exact, rough)
