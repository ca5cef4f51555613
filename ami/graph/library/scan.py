"""Mean of a value by key, such as the delay of a stage: what a scan shows while it runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    elements,
    integer,
    is_numeric,
    number,
    own,
    require_scalar,
)
from ami.graph.library.keys import group
from ami.graph.library.large import add_moments, is_large, merge_moments
from ami.values import Scan

MAX_KEYS = 10_000
# That anybody may ask for: a table of 100,000 takes 10 ms to merge an interval into; for one of a million
# everybody's results would wait.
MOST_KEYS = 100_000

# keys ascending (m,), events int64 (m,), sums and sums of squared deviations float64: of numbers arrays (m,),
# of arrays tuples of m arrays. (Not one array (m, *shape): each new key would copy all the images before it.)
Table = tuple[Array, Array, Any, Any]


class MeanVs(Reduction):
    """Count, mean and standard error of a value for each key; keys are numbers or truths.

    Float keys that agree to 12 digits (of 32 bits: to 6) are one; ``width`` gathers those that jitter.

    Only the ``max_keys`` smallest keys are kept; events of others are counted as overflow. (The
    smallest, and not the first: so it does not depend on how the events were shared out.)

    State: (table or None, overflow, nan): the table as :data:`Table`; events whose key is beyond
    the table, or NaN. Sums are kept, not means, so that sums of integers stay exact up to 2**53;
    spreads are merged as in :class:`ami.graph.library.accumulate.MomentsEvents`.
    """

    name = "mean_vs"
    example = "mean_vs(diode / monitor, key=delay)"
    inputs = ("value", "key")
    keyed = True
    lazy = True
    keeps_unit = True
    along = (1,)

    def __init__(self, max_keys: int = MAX_KEYS, width: float | None = None, window: str = "run") -> None:
        super().__init__(window)
        self._max_keys = integer(self.name, "max_keys", max_keys, at_least=1)
        if self._max_keys > MOST_KEYS:
            raise GraphError(f"mean_vs: max_keys may be {MOST_KEYS} at the most, got {max_keys}")
        self._width = None if width is None else number(self.name, "width", width)
        if self._width is not None and self._width <= 0:
            raise GraphError(f"mean_vs: width must be greater than 0, got {width}")

    def infer(self, *inputs: Kind) -> Kind:
        value, key = inputs
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
        keys = keys if rows is None else keys.take(rows)
        nan = 0
        if keys.dtype.kind == "f":
            numbers = keys == keys
            nan = len(keys) - int(np.count_nonzero(numbers))
            if nan:
                keys = keys[numbers]
                rows = np.flatnonzero(numbers) if rows is None else rows[numbers]
        if not len(keys):
            return (*state[:2], state[2] + nan)
        distinct, groups = group(keys, None if state[0] is None else state[0][0], self._width)
        if values.ndim == 1:
            values = values if rows is None else values.take(rows)
            return self.merge(state, (_table(distinct, groups, values), 0, nan))
        table = _with_arrays(state[0], distinct, groups, values, rows)
        return self._bounded(table, state[1], state[2] + nan)

    def merge(self, a: State, b: State) -> State:
        return self._bounded(_merged(a[0], b[0]), a[1] + b[1], a[2] + b[2])

    def _bounded(self, table: Table | None, overflow: int, nan: int) -> State:
        if table is not None and len(table[0]) > self._max_keys:
            overflow += int(table[1][self._max_keys :].sum())
            table = _rows(table, slice(self._max_keys))
        return (table, overflow, nan)

    def split(self, state: State) -> dict[Hashable, State]:
        table, overflow, nan = state
        states: dict[Hashable, State] = {}
        if table is not None:
            for place, key in enumerate(table[0].tolist()):
                states[key] = (_rows(table, slice(place, place + 1)), 0, 0)
        if overflow or nan:
            states[None] = (None, overflow, nan)
        return states

    def join(self, states: Mapping[Hashable, State]) -> State:
        tables = sorted(
            (state[0] for state in states.values() if state[0] is not None), key=lambda table: table[0][0]
        )
        overflow, nan = (sum(state[n] for state in states.values()) for n in (1, 2))
        return self._bounded(_chained(tables) if tables else None, overflow, nan)

    def state_bytes(self, *kinds: Kind) -> int:
        return 32 + 16 * elements(kinds[0])

    def result(self, state: State) -> Any:
        table, overflow, nan = state
        if table is None:
            return Scan(np.empty(0), np.empty(0, np.int64), np.empty(0), np.empty(0), overflow, nan)
        keys, counts, sums, squares = table
        means = np.array(sums)
        errors = np.array(squares)
        events = counts.reshape(-1, *(1,) * (means.ndim - 1))
        with np.errstate(all="ignore"):
            means /= events
            errors /= np.where(events > 1, events - 1, np.nan)
            errors /= events
            np.sqrt(errors, out=errors)
        return Scan(keys.copy(), counts.copy(), means, errors, overflow, nan)


def _table(keys: Array, groups: NDArray[np.int64], values: Array) -> Table:
    """Return the table of one block of numbers, without the keys that have no event."""
    counts = np.bincount(groups, minlength=len(keys))
    values = values.astype(np.float64, copy=False)
    sums = np.bincount(groups, values, len(keys))
    deviations = values - (sums / np.maximum(counts, 1)).take(groups)
    deviations *= deviations
    squares = np.bincount(groups, deviations, len(keys))
    there = np.flatnonzero(counts)
    if len(there) == len(keys):
        return keys, counts, sums, squares
    return keys[there], counts[there], sums[there], squares[there]


def _merged(a: Table | None, b: Table | None) -> Table | None:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a[2], tuple):
        return _merged_arrays(a, b)
    if np.array_equal(a[0], b[0]):
        keys, mine, theirs = a[0], a, b
    else:
        keys = np.union1d(a[0], b[0])
        mine, theirs = _spread(a, keys), _spread(b, keys)
    events = mine[1] + theirs[1]
    with np.errstate(all="ignore"):
        delta = theirs[2] / theirs[1] - mine[2] / mine[1]
        delta *= delta
        delta *= mine[1] * (theirs[1] / events)
        # A key that only one of them has: no mean to differ from.
        delta[(mine[1] == 0) | (theirs[1] == 0)] = 0
        return keys, events, mine[2] + theirs[2], mine[3] + theirs[3] + delta


def _rows(table: Table, rows: slice) -> Table:
    keys, counts, sums, squares = table
    return keys[rows], counts[rows], sums[rows], squares[rows]


def _chained(tables: Sequence[Table]) -> Table:
    """Return the table of tables whose keys ascend."""
    keys, counts, sums, squares = zip(*tables, strict=True)
    arrays = isinstance(sums[0], tuple)
    return (
        np.concatenate(keys),
        np.concatenate(counts),
        sum(sums, ()) if arrays else np.concatenate(sums),
        sum(squares, ()) if arrays else np.concatenate(squares),
    )


def _spread(table: Table, keys: Array) -> Table:
    """Return a table of numbers with a place for each of ``keys``, which contain its own."""
    places = np.searchsorted(keys, table[0])
    wider = [np.zeros(len(keys), column.dtype) for column in table[1:]]
    for column, old in zip(wider, table[1:], strict=True):
        column[places] = old
    return keys, wider[0], wider[1], wider[2]


def _with_arrays(
    table: Table | None, keys: Array, groups: NDArray[np.int64], values: Array, rows: Array | None
) -> Table:
    """Return the table with a block's arrays added, each to its key; what is there is changed in place."""
    large = is_large(values)
    there = np.flatnonzero(np.bincount(groups))
    events, new = np.zeros(len(there), np.int64), []
    for place, one in enumerate(there):
        chosen = np.flatnonzero(groups == one) if rows is None else rows[groups == one]
        known = _find(table, keys[one]) if large and table is not None else None
        if table is None or known is None:
            events[place] = len(chosen)
            new.append(_large_sums(values, chosen) if large else _sums(values[chosen]))
            continue
        mine = own(table[2][known]), own(table[3][known])
        add_moments(int(table[1][known]), *mine, values, chosen, summed=True)
        counts = table[1].copy()
        counts[known] += len(chosen)
        table = (table[0], counts, _put(table[2], known, mine[0]), _put(table[3], known, mine[1]))
    if not new:
        assert table is not None
        return table
    sums, squares = zip(*new, strict=True)
    added = (keys[there[events > 0]], events[events > 0], sums, squares)
    return added if table is None else _merged_arrays(table, added)


def _large_sums(values: Array, rows: Array) -> tuple[Array, Array]:
    total = values[rows[0]].astype(np.float64)
    squares = np.zeros(total.shape)
    if len(rows) > 1:
        add_moments(1, total, squares, values, rows[1:], summed=True)
    return total, squares


def _sums(values: Array) -> tuple[Array, Array]:
    some = values.astype(np.float64)
    total = some.sum(axis=0)
    some -= total / len(some)
    return total, np.einsum("i...,i...", some, some)


def _merged_arrays(a: Table, b: Table) -> Table:
    """Return the table of both: arrays of ``a`` are changed in place, those of new keys are of ``b``."""
    keys = a[0] if np.array_equal(a[0], b[0]) else np.union1d(a[0], b[0])
    events = np.zeros(len(keys), np.int64)
    both: list[tuple[Array, Array]] = [(a[2][0], a[3][0])] * len(keys)
    for table in (a, b):
        for place, count, *more in zip(np.searchsorted(keys, table[0]), *table[1:], strict=True):
            if events[place]:
                mine = own(both[place][0]), own(both[place][1])
                merge_moments((int(events[place]), int(count)), mine, (more[0], more[1]), summed=True)
                more = list(mine)
            both[place] = (more[0], more[1])
            events[place] += count
    sums, squares = zip(*both, strict=True)
    return keys, events, sums, squares


def _find(table: Table, key: Any) -> int | None:
    """Return the place of a key in a table, None if it is not there."""
    place = int(np.searchsorted(table[0], key))
    return place if place < len(table[0]) and table[0][place] == key else None


def _put(arrays: tuple[Array, ...], place: int, array: Array) -> tuple[Array, ...]:
    return (*arrays[:place], array, *arrays[place + 1 :])


OPERATIONS = (MeanVs,)
