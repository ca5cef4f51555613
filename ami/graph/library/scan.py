"""Mean of a value by key, such as the delay of a stage: what a scan shows while it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import (
    NO_STAMPS,
    Reduction,
    State,
    integer,
    is_numeric,
    require_per_event,
    require_scalar,
)
from ami.values import Scan

MAX_KEYS = 10_000
FEW_KEYS = 64  # up to here a search among the keys that are known beats sorting the block's

# keys ascending (m,), events int64 (m,), sums and sums of squared deviations float64 (m, *shape)
Table = tuple[Array, Array, Array, Array]


class MeanVs(Reduction):
    """Count, mean and standard error of a value for each key; keys are numbers or truths.

    Only the ``max_keys`` smallest keys are kept; events of others are counted as overflow. (The
    smallest, and not the first: so it does not depend on how the events were shared out.)

    State: (table or None, overflow, nan): the table as :data:`Table`; events whose key is beyond
    the table, or NaN. Sums are kept, not means, so that sums of integers stay exact up to 2**53;
    spreads are merged as in :class:`ami.graph.library.accumulate.MomentsEvents`.
    """

    name = "mean_vs"
    inputs = ("value", "key")
    keeps_unit = True
    along = (1,)

    def __init__(self, max_keys: int = MAX_KEYS, window: str = "run") -> None:
        super().__init__(window)
        self._max_keys = integer(self.name, "max_keys", max_keys, at_least=1)

    def infer(self, *inputs: Kind) -> Kind:
        value, key = inputs
        require_per_event(self.name, value, key)
        if not is_numeric(value):
            raise GraphError(f"mean_vs needs numbers, got {value}")
        require_scalar("the key of mean_vs", key)
        return Kind(np.dtype(np.float64), value.shape, True, "scan")

    def zero(self) -> State:
        return (None, 0, 0)

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        values, keys = arrays
        if keys.ndim != 1 or len(values) != len(keys):
            raise ValueError(f"mean_vs got {len(values)} values and keys of shape {keys.shape}")
        nan = 0
        if keys.dtype.kind == "f":
            numbers = keys == keys
            nan = len(keys) - int(np.count_nonzero(numbers))
            if nan:
                keys, values = keys[numbers], values[numbers]
        if not len(keys):
            return (*state[:2], state[2] + nan)
        distinct, groups = _grouped(keys, None if state[0] is None else state[0][0])
        return self.merge(state, (_table(distinct, groups, values), 0, nan))

    def merge(self, a: State, b: State) -> State:
        table, overflow = _merged(a[0], b[0]), a[1] + b[1]
        if table is not None and len(table[0]) > self._max_keys:
            overflow += int(table[1][self._max_keys :].sum())
            table = _rows(table, slice(self._max_keys))
        return (table, overflow, a[2] + b[2])

    def result(self, state: State) -> Any:
        table, overflow, nan = state
        if table is None:
            return Scan(np.empty(0), np.empty(0, np.int64), np.empty(0), np.empty(0), overflow, nan)
        keys, counts, sums, squares = table
        events = _along(counts, sums)
        with np.errstate(all="ignore"):
            errors = np.sqrt(squares / np.where(events > 1, events - 1, np.nan) / events)
        return Scan(keys.copy(), counts.copy(), sums / events, errors, overflow, nan)


def _grouped(keys: Array, known: Array | None) -> tuple[Array, NDArray[np.int64]]:
    """Return ascending candidates for keys, and for each event the place of its key among them."""
    if keys.dtype.kind == "b":
        return np.array([False, True]), keys.astype(np.int64)
    first, last = keys.min(), keys.max()
    if first == last:
        return np.array([first]), np.zeros(len(keys), np.int64)
    if float(last) - float(first) <= 4 * len(keys) + 1024:
        if keys.dtype.kind != "f":
            # Narrow integers could wrap in the subtraction; of wide ones the difference fits.
            wide = keys if keys.dtype.itemsize == 8 else keys.astype(np.int64)
            places = (wide - wide.dtype.type(first)).astype(np.int64, copy=False)
            return (np.arange(int(last) - int(first) + 1) + int(first)).astype(keys.dtype), places
        places = (keys - first).astype(np.int64)
        if np.array_equal(places + first, keys):
            return np.arange(places.max() + 1) + first, places
    if known is not None:
        found = _places_among(known, keys)
        if found is not None:
            return known, found
    distinct, places = np.unique(keys, return_inverse=True)
    return distinct, places


def _places_among(known: Array, keys: Array) -> NDArray[np.int64] | None:
    """Return the place of each key among the ascending ``known`` ones, None if one is not there."""
    if 1 < len(known) <= MAX_KEYS:
        # Most scans go in equal steps; then the place of a key is computed, and only checked:
        # 29 against 85 microseconds for a search among 11 keys, 8192 events.
        scaled = (keys - known[0]) * ((len(known) - 1) / (known[-1] - known[0]))
        scaled += 0.5
        if scaled.min() >= 0 and scaled.max() < len(known):
            places: NDArray[np.int64] = scaled.astype(np.int64)
            if np.array_equal(known.take(places), keys):
                return places
    if len(known) <= FEW_KEYS:
        places = np.searchsorted(known, keys)
        np.minimum(places, len(known) - 1, out=places)
        if np.array_equal(known.take(places), keys):
            return places
    return None


def _table(keys: Array, groups: NDArray[np.int64], values: Array) -> Table:
    """Return the table of one block, without the keys that have no event."""
    counts = np.bincount(groups, minlength=len(keys))
    if values.ndim == 1:
        values = values.astype(np.float64, copy=False)
        sums = np.bincount(groups, values, len(keys))
        deviations = values - (sums / np.maximum(counts, 1)).take(groups)
        deviations *= deviations
        squares = np.bincount(groups, deviations, len(keys))
        table = (keys, counts, sums, squares)
        there = np.flatnonzero(counts)
        return table if len(there) == len(keys) else _rows(table, there)
    there = np.flatnonzero(counts)
    sums = np.empty((len(there), *values.shape[1:]))
    squares = np.empty_like(sums)
    for place, group in enumerate(there):
        chosen = values[groups == group].astype(np.float64)
        sums[place] = chosen.sum(axis=0)
        chosen -= sums[place] / len(chosen)
        squares[place] = np.einsum("i...,i...", chosen, chosen)
    return keys[there], counts[there], sums, squares


def _merged(a: Table | None, b: Table | None) -> Table | None:
    if a is None or b is None:
        return b if a is None else a
    if np.array_equal(a[0], b[0]):
        keys, mine, theirs = a[0], a, b
    else:
        keys = np.union1d(a[0], b[0])
        mine, theirs = _spread(a, keys), _spread(b, keys)
    events = mine[1] + theirs[1]
    with np.errstate(all="ignore"):
        delta = theirs[2] / _along(theirs[1], theirs[2]) - mine[2] / _along(mine[1], mine[2])
        delta *= delta
        delta *= _along(mine[1] * (theirs[1] / events), delta)
    # A key that only one of them has: no mean to differ from.
    delta[(mine[1] == 0) | (theirs[1] == 0)] = 0
    return keys, events, mine[2] + theirs[2], mine[3] + theirs[3] + delta


def _rows(table: Table, rows: slice | Array) -> Table:
    keys, counts, sums, squares = table
    return keys[rows].copy(), counts[rows].copy(), sums[rows].copy(), squares[rows].copy()


def _spread(table: Table, keys: Array) -> Table:
    """Return the table with a place for each of ``keys``, which contain its own."""
    places = np.searchsorted(keys, table[0])
    wider = [np.zeros((len(keys), *column.shape[1:]), column.dtype) for column in table[1:]]
    for column, old in zip(wider, table[1:], strict=True):
        column[places] = old
    return keys, wider[0], wider[1], wider[2]


def _along(counts: Array, values: Array) -> Array:
    """Return counts (m,) in a shape that goes with values (m, *shape)."""
    return counts.reshape(-1, *(1,) * (values.ndim - 1))


OPERATIONS = (MeanVs,)
