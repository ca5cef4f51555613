"""Make of a two-dimensional array a picture at the size of a tile: codes of 8 bits, and what they mean.

Code 0 is "no value". Code c from 1 on is the value at ``t = (c - 1) / 254`` of the way from ``low`` to
``high``, on a line or along an asinh, which spreads what is small. So colours and levels are the viewer's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ami.event import Array

SIZES: Final = (256, 512, 1024)
POOLS: Final = ("mean", "max")
SCALES: Final = ("linear", "asinh")
MOST_CODE: Final = 254
# Of asinh: below this share of the range it is a line. 254 codes then tell apart 0.02 % of the range.
SOFT_SHARE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Showing:
    """How a viewer wants an image: the most pixels along a side, how pixels fall together, and the scale.

    ``key``: which image of a stack, by the number at its first axis; the nearest is taken.
    """

    size: int = 512
    pool: str = "mean"
    scale: str = "linear"
    key: float = 0.0

    def __post_init__(self) -> None:
        if (
            isinstance(self.key, bool)
            or not isinstance(self.key, int | float)
            or not abs(self.key) < math.inf
        ):
            raise ValueError(f"the key of an image is a number, not {self.key!r}")
        if self.size not in SIZES or self.pool not in POOLS or self.scale not in SCALES:
            raise ValueError(
                f"an image is shown with size {', '.join(map(str, SIZES))}, pool {' or '.join(POOLS)} "
                f"and scale {' or '.join(SCALES)}, not {self.size!r}, {self.pool!r}, {self.scale!r}"
            )


def draw(image: Array, showing: Showing) -> tuple[Array, dict[str, Any]]:
    """Return the codes (uint8, at most ``size`` along each side) and what turns them into values.

    Args:
        image: ``(rows, columns)`` of real numbers. Infinite ones show as the greatest or the least.
    """
    step = tuple(-(-length // showing.size) for length in image.shape)
    shown = pool(np.asarray(image), (step[0], step[1]), showing.pool)
    finite = shown[np.isfinite(shown)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    soft = (high - low) * SOFT_SHARE
    facts = {
        "whole": list(image.shape),
        "step": list(step),
        "pool": showing.pool,
        "scale": showing.scale,
        "low": low,
        "high": high,
        "soft": soft,
    }
    return _code(shown, low, high, soft if showing.scale == "asinh" else 0.0), facts


def find_image(value: Array, points: Array | None, key: float) -> int:
    """Return where in a stack ``(n, rows, columns)`` the image of a key is: the nearest of ``points``.

    Args:
        points: numbers at the first axis; None: they are 0, 1, 2 and so on.
    """
    places = np.arange(len(value)) if points is None or len(points) != len(value) else np.asarray(points)
    far = np.abs(places.astype(np.float64) - key)
    return int(np.argmin(np.where(np.isnan(far), np.inf, far)))


def pool(image: Array, step: tuple[int, int], how: str) -> Array:
    """Return the mean or the greatest of each ``step`` of pixels that is a number; NaN where none is.

    At the lower and the right edge fewer pixels fall together.
    """
    values = image if image.dtype in (np.float32, np.float64) else image.astype(np.float64)
    if step == (1, 1):
        return values
    starts = [np.arange(0, length, each) for length, each in zip(image.shape, step, strict=True)]
    if how == "max":
        # fmax passes over NaN.
        return np.asarray(np.fmax.reduceat(np.fmax.reduceat(values, starts[0], 0), starts[1], 1))
    there = ~np.isnan(values)
    if there.all():
        sums = _sum(values, starts)
        counts: Any = np.multiply.outer(
            *(np.diff(s, append=n) for s, n in zip(starts, image.shape, strict=True))
        )
    else:
        sums, counts = _sum(np.where(there, values, 0), starts), _sum(there, starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums / counts)


def _sum(values: Array, starts: list[Array]) -> Array:
    rows = np.add.reduceat(values, starts[0], 0, dtype=np.float64)
    return np.asarray(np.add.reduceat(rows, starts[1], 1))


def _code(shown: Array, low: float, high: float, soft: float) -> Array:
    nan = np.isnan(shown)
    if not high > low:
        codes = np.ones(shown.shape, np.uint8)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            share = np.clip((np.clip(shown, low, high) - low) / (high - low), 0, 1)
            if soft:
                reach = (high - low) / soft
                share = np.arcsinh(share * reach) / np.arcsinh(reach)
            codes = (np.nan_to_num(share) * MOST_CODE + 1.5).astype(np.uint8)
    codes[nan] = 0
    return codes
