"""Keep events as they are: the last one, or exactly N distinct ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import (
    NO_STAMPS,
    Reduction,
    State,
    add_elements,
    elements,
    integer,
    is_numeric,
)
from ami.ragged import Ragged, concatenate
from ami.values import Arrays, PickedEvents

# Of splitmix64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
LAST, HALF = np.uint64(31), np.uint64(1)
# Of the 63 bits of a lot, those that the sequence decides: the last, so that it decides among events of one
# time only. (That two times have the same others has a chance of 1 in 2000 among a million events.)
TIED = np.uint64(13)


class Last(Reduction):
    """The value of the newest event by (timestamp, sequence).

    State: None, or (timestamp, sequence, value).
    """

    name = "last"
    example = "last(camera)"
    keeps_unit = True
    stamped = True
    lazy = True
    variable = True

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        return replace(value, reduced=True)

    def zero(self) -> State:
        return None

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        times = stamps[:, 0] if rows is None else stamps[rows, 0]
        newest = np.flatnonzero(times == times.max())
        row = newest[-1] if rows is None else rows[newest[-1]]
        if len(newest) > 1:  # sequences ascend within a block, but not across nodes
            chosen = newest if rows is None else rows[newest]
            row = chosen[np.argmax(stamps[chosen, 1])]
        stamp = (int(stamps[row, 0]), int(stamps[row, 1]))
        if state is not None and state[:2] >= stamp:
            return state
        value = arrays[0][row]
        there = state is not None and _takes(state[2], value)
        return (*stamp, _put(state[2], value) if there else np.array(value))

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        if a[:2] >= b[:2]:
            return a
        return (*b[:2], _put(a[2], b[2])) if _takes(a[2], b[2]) else b

    def result(self, state: State) -> Any:
        return None if state is None else state[2].copy()  # the state goes on in its memory

    def state_bytes(self, *kinds: Kind) -> int:
        return 16 + kinds[0].dtype.itemsize * elements(kinds[0])


class Pick(Reduction):
    """Exactly ``count`` distinct events with one or more values, as one batch after the other.

    Of each interval those are picked whose *lot* is smallest, a number made of the timestamp: all if it has
    no more than ``count``, else a sample that is spread over it, the same whoever had which event. Among
    events of one time the sequence decides, too. That is of a ring, so where several nodes have some of them
    it depends on who had which; those of other times are the same.
    They are pooled, and when ``count`` are there, the oldest are published and the next batch begins with
    what is left. Each event comes through exactly one partial, so none is picked twice.
    (Rejected: the first of each interval, which tell nothing of the rest of it; and every k-th, which meets
    a beam with patterns of its own at the same place of the pattern always.)

    State: None, or (int64 (n, 3): timestamp, sequence and lot; values: tuple of arrays (n, *shape)), smallest
    lot first; values of variable length are :class:`~ami.values.Arrays`.
    """

    name = "pick"
    example = "pick(monitor, energy, count=100)"
    inputs = None
    stamped = True
    lazy = True
    picks = True
    variable = True

    def __init__(self, count: int) -> None:
        super().__init__(f"{integer(self.name, 'count', count, at_least=1)} events")
        self.count = count

    def unit(self, *inputs: str) -> str:
        return inputs[0] if len(set(inputs)) == 1 else ""

    def infer(self, *inputs: Kind) -> Kind:
        if not inputs or not all(map(is_numeric, inputs)):
            raise GraphError(f"pick needs one or more numbers or arrays, got {', '.join(map(str, inputs))}")
        return Kind(inputs[0].dtype, inputs[0].shape, True, "events")

    def zero(self) -> State:
        return None

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        some = stamps if rows is None else stamps[rows]
        lots = _lots(some)
        if state is not None and len(state[0]) == self.count:
            # The usual case: few events or none have a lot that is smaller than the largest of those.
            chosen = np.flatnonzero(lots <= state[0][-1, 2])
            if not len(chosen):
                return state
            some, lots = some[chosen], lots[chosen]
            rows = chosen if rows is None else rows[chosen]
        drawn = _draw(some, lots, self.count)
        rows = drawn if rows is None else rows[drawn]
        events = np.empty((len(rows), 3), np.int64)
        events[:, :2], events[:, 2] = some[drawn], lots[drawn]
        return self.merge(state, (events, tuple(_rows(array, rows) for array in arrays)))

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        both = _pooled(a, b)
        return _take(both, _draw(both[0], both[0][:, 2], self.count))

    def fill(self, state: State, more: State) -> tuple[State, State]:
        # Behind those that wait, whatever their time: where it goes back, they would wait for ever.
        rest = state
        if more is not None:
            new = _take(more, _order(more[0]))
            rest = new if state is None else _pooled(state, new)
        there = 0 if rest is None else len(rest[0])
        if there <= self.count:
            return (None, rest) if there < self.count else (rest, None)
        return _take(rest, slice(self.count)), _take(rest, slice(self.count, None))

    def times(self, state: State) -> tuple[int, int]:
        return int(state[0][:, 0].min()), int(state[0][:, 0].max())

    def state_bytes(self, *kinds: Kind) -> int:
        """Return the bytes of a full batch; the global reducer may hold as much again for the next one."""
        values = sum(kind.dtype.itemsize * elements(kind) + 8 * kind.variable for kind in kinds)
        return self.count * (24 + values)

    def result(self, state: State) -> Any:
        if state is None or len(state[0]) < self.count:
            return None
        stamps, values = _take(state, _order(state[0]))
        return PickedEvents(stamps[:, 0].copy(), stamps[:, 1].copy(), values)


class OverEvents(Pick):
    """Any reduction over exactly ``count`` distinct events: window "N events".

    The events are picked as by :class:`Pick`, and the reduction is applied to a full batch.
    """

    def __init__(self, inner: Reduction) -> None:
        super().__init__(int(inner.window.split()[0]))
        self._inner = inner
        self.along = inner.along
        self.variable = inner.variable

    def unit(self, *inputs: str) -> str:
        return self._inner.unit(*inputs)

    def infer(self, *inputs: Kind) -> Kind:
        return self._inner.infer(*inputs)

    def result(self, state: State) -> Any:
        if state is None or len(state[0]) < self.count:
            return None
        stamps, values = _take(state, _order(state[0]))
        inner = self._inner
        arrays = [_ragged(value) for value in values]
        if inner.elementwise and any(isinstance(array, Ragged) for array in arrays):
            return inner.result(add_elements(inner, inner.zero(), *arrays))
        return inner.result(inner.add(inner.zero(), *arrays, stamps=stamps))


def _ragged(array: Any) -> Any:
    return Ragged.of(array.values, array.lengths) if isinstance(array, Arrays) else array


def _rows(array: Any, rows: Array | slice) -> Any:
    """Return some events' values, of variable length as a state can keep them: nothing of the block."""
    some = _ragged(array)[rows]
    return _arrays(some) if isinstance(some, Ragged) else some


def _arrays(some: Ragged) -> Arrays:
    return Arrays(np.array(some.values), np.array(some.lengths))


def _together(a: Any, b: Any) -> Any:
    if isinstance(a, Arrays):
        return _arrays(concatenate([_ragged(a), _ragged(b)]))
    return np.concatenate([a, b])


def _pooled(a: State, b: State) -> State:
    values = (_together(*pair) for pair in zip(a[1], b[1], strict=True))
    return (np.concatenate([a[0], b[0]]), tuple(values))


def _take(state: State, rows: Array | slice) -> State:
    stamps, values = state
    return (stamps[rows], tuple(_rows(array, rows) for array in values))


def _lots(stamps: Array) -> Array:
    """Return a number for each event that only its stamp decides, and that follows no pattern of theirs.

    Source: the finalizer of splitmix64; G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014. To keep the smallest of such numbers is to draw without putting back:
    E. Cohen, H. Kaplan, "Summarizing data using bottom-k sketches", PODC 2007.
    """
    lots = stamps[:, 0].astype(np.uint64)
    _mix(lots)
    ties = stamps[:, 1].astype(np.uint64)
    ties *= GOLDEN
    ties += lots
    _mix(ties)
    lots >>= HALF + TIED  # so that a signed integer has it
    lots <<= TIED
    ties >>= np.uint64(64) - TIED
    lots |= ties
    return lots.view(np.int64)


def _mix(numbers: Array) -> None:
    for shift, factor in ROUNDS:
        numbers ^= numbers >> shift
        numbers *= factor
    numbers ^= numbers >> LAST


def _draw(stamps: Array, lots: Array, count: int) -> Array:
    """Return the events that have the smallest lots, smallest first; of equal ones the oldest."""
    if len(lots) <= 2 * count:
        return np.lexsort((stamps[:, 1], stamps[:, 0], lots))[:count]
    # To sort all of them would cost more than all else.
    rows = np.flatnonzero(lots <= np.partition(lots, count - 1)[count - 1])
    return rows[np.lexsort((stamps[rows, 1], stamps[rows, 0], lots[rows]))[:count]]


def _takes(place: Array, value: Any) -> bool:
    """Whether a value can be put into the memory of another."""
    return place.flags.writeable and (place.shape, place.dtype) == (value.shape, value.dtype)


def _put(place: Array, value: Any) -> Array:
    np.copyto(place, value)
    return place


def _order(stamps: Array) -> Array:
    return np.lexsort((stamps[:, 1], stamps[:, 0]))


OPERATIONS = (Last, Pick)
