"""Group a block's events by the key of a scan: numbers that people set.

A float is not what somebody set, but what some rounding made of it: 0.1 * 3 here, 0.3 there. So float
keys are rounded to a number of decimal digits, each by itself, and what is equal then is one key. (Rejected:
a distance below which keys are equal. What is one key would depend on which of several came first.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ami.event import Array

FEW_KEYS = 64  # up to here a search among the keys that are known beats sorting the block's
MANY_KEYS = 10_000
DIGITS = {2: 3, 4: 6}  # significant ones, by the bytes of a float; 12 of all others

# Powers of ten that float64 has exactly, and some that it nearly has, to tell a number's size.
_LEAST, _MOST = -10, 22
_POWERS = np.array([float(f"1e{n}") for n in range(_LEAST, _MOST + 1)])

Groups = tuple[Array, NDArray[np.int64]]


def group(keys: Array, known: Array | None, width: float | None) -> Groups:
    """Return ascending candidates for keys, and for each event the place of its key among them.

    Float keys are float64 then.

    Args:
        keys: without NaN, at least one.
        known: those that there are already.
        width: of the bins that gather keys; a bin's key is the middle of it, a multiple of ``width``.
    """
    if width is not None:
        bins = np.rint(keys.astype(np.float64, copy=False) / width)
        middles = bins * width
        if np.isfinite(middles).all():
            bins, places = group(bins, None, None)
            return _joined(round_digits(bins * width, 12), places)
        # What is so far from 0 that its bin has no number, or the bin no middle, stays itself.
        distinct, places = _unique(np.where(np.isfinite(middles), middles, keys))
        return _joined(round_digits(distinct, 12), places)
    if keys.dtype.kind == "f":
        return _group_floats(keys, known, DIGITS.get(keys.dtype.itemsize, 12))
    if keys.dtype.kind == "b":
        return np.array([False, True]), keys.astype(np.int64)
    first, last = keys.min(), keys.max()
    if first == last:
        return np.array([first]), np.zeros(len(keys), np.int64)
    if int(last) - int(first) <= 4 * len(keys) + 1024:
        # Narrow integers could wrap in the subtraction; of wide ones the difference fits.
        wide = keys if keys.dtype.itemsize == 8 else keys.astype(np.int64)
        places = (wide - wide.dtype.type(first)).astype(np.int64, copy=False)
        steps = np.arange(int(last) - int(first) + 1).astype(wide.dtype)
        return (steps + wide.dtype.type(first)).astype(keys.dtype), places
    found = None if known is None else _find_places(known, keys, 0.0)
    if known is not None and found is not None:
        return known, found
    return _unique(keys)


def _group_floats(keys: Array, known: Array | None, digits: int) -> Groups:
    first, last = float(keys.min()), float(keys.max())
    if first == last:
        return np.array([_round_one(first, digits)]), np.zeros(len(keys), np.int64)
    if last - first <= 4 * len(keys) + 1024 and first.is_integer() and max(-first, last) < 10.0**digits:
        places = (keys - keys.dtype.type(first)).astype(np.int64)
        if np.array_equal(places + first, keys):
            return np.arange(int(places.max()) + 1) + first, places
    keys = keys.astype(np.float64, copy=False)
    # What is so near to a known key is rounded to it: half a unit of the last digit is five times as far.
    found = None if known is None else _find_places(known, keys, 10.0 ** -(digits + 1))
    if known is not None and found is not None:
        return known, found
    distinct, places = _unique(keys)
    return _joined(round_digits(distinct, digits), places)


def _unique(keys: Array) -> Groups:
    distinct, places = np.unique(keys, return_inverse=True)
    return distinct, places


def _joined(keys: Array, places: NDArray[np.int64]) -> Groups:
    """Return ascending keys as one where they are equal."""
    if (keys[1:] > keys[:-1]).all():
        return keys, places
    distinct, again = _unique(keys)
    return distinct, again.take(places)


@lru_cache(1024)
def _round_one(number: float, digits: int) -> float:
    # Most blocks of a scan have one key, and the same one as the block before.
    return float(round_digits(np.array([number]), digits)[0])


def round_digits(numbers: Array, digits: int) -> NDArray[np.float64]:
    """Return floats rounded to significant decimal digits."""
    sizes = np.abs(numbers)
    exponents = _LEAST - 1 + np.searchsorted(_POWERS, sizes, side="right")
    usual = (exponents >= _LEAST) & (exponents < _MOST) & (digits - 1 - exponents <= _MOST)
    shifts = np.where(usual, digits - 1 - exponents, 0)
    scales = 10.0 ** np.abs(shifts)
    up = shifts >= 0
    whole = np.rint(np.where(up, numbers * scales, numbers / scales))
    rounded: NDArray[np.float64] = np.where(up, whole / scales, whole * scales) + 0.0  # no -0.0
    for place in np.flatnonzero(~usual & np.isfinite(numbers)):
        rounded[place] = float(f"{numbers[place]:.{digits - 1}e}") + 0.0
    rounded[np.isinf(numbers)] = numbers[np.isinf(numbers)]
    return rounded


def _find_places(known: Array, keys: Array, tolerance: float) -> NDArray[np.int64] | None:
    """Return the place of each key among the ascending ``known`` ones, None if one is not there."""
    if 1 < len(known) <= MANY_KEYS:
        # Most scans go in equal steps; then the place of a key is computed, and only checked:
        # 29 against 85 microseconds for a search among 11 keys, 8192 events.
        scaled = (keys - known[0]) * ((len(known) - 1) / (known[-1] - known[0]))
        scaled += 0.5
        if scaled.min() >= 0 and scaled.max() < len(known):
            places: NDArray[np.int64] = scaled.astype(np.int64)
            if _are_there(known, places, keys, tolerance):
                return places
    if len(known) <= FEW_KEYS:
        # With a tolerance the key before may be the one: it is a little smaller.
        places = np.searchsorted(known, keys - np.abs(keys) * tolerance if tolerance else keys)
        np.minimum(places, len(known) - 1, out=places)
        if _are_there(known, places, keys, tolerance):
            return places
    return None


def _are_there(known: Array, places: NDArray[np.int64], keys: Array, tolerance: float) -> bool:
    found = known.take(places)
    if np.array_equal(found, keys):
        return True
    if not tolerance:
        return False
    found -= keys
    np.abs(found, out=found)
    tolerances = np.where(np.isfinite(known), np.abs(known) * tolerance, 0.0)  # all is far from infinity
    return bool(found.max() <= tolerances.min() or (found <= tolerances.take(places)).all())
