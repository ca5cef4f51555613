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

    Each partial keeps its first ``count`` events by (timestamp, sequence). The global reducer
    pools them and, when ``count`` are there, publishes the first and begins the next batch with
    what is left over. Each event comes through exactly one partial, so none is picked twice.

    State: None, or (stamps int64 (n, 2), values: tuple of arrays (n, *shape)), oldest first; those of
    variable length are :class:`~ami.values.Arrays`.
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
        if rows is None:
            rows = np.arange(len(stamps))
        if state is not None and len(state[0]) == self.count:
            # The usual case: the batch is full, and this block is younger than all of it.
            rows = rows[stamps[rows, 0] <= state[0][-1, 0]]
            if not len(rows):
                return state
        rows = rows[_order(stamps[rows])[: self.count]]
        new = (stamps[rows], tuple(_rows(array, rows) for array in arrays))
        return self.merge(state, new)

    def merge(self, a: State, b: State) -> State:
        first, _ = self._split(self._pool(a, b))
        return first

    def fill(self, state: State, more: State) -> tuple[State, State]:
        # All that is left over begins the next batch, which may so be full as well.
        full, rest = None, self._pool(state, more)
        while rest is not None and len(rest[0]) >= self.count:
            full, rest = self._split(rest)
        return full, rest

    def state_bytes(self, *kinds: Kind) -> int:
        """Return the bytes of a full batch; the global reducer may hold as much again for the next one."""
        values = sum(kind.dtype.itemsize * elements(kind) + 8 * kind.variable for kind in kinds)
        return self.count * (16 + values)

    def result(self, state: State) -> Any:
        if state is None or len(state[0]) < self.count:
            return None
        stamps, values = state
        return PickedEvents(stamps[:, 0].copy(), stamps[:, 1].copy(), values)

    def _pool(self, a: State, b: State) -> State:
        """Return all the events of both, oldest first."""
        if a is None or b is None:
            return b if a is None else a
        stamps = np.concatenate([a[0], b[0]])
        order = _order(stamps)
        values = (_rows(_together(*pair), order) for pair in zip(a[1], b[1], strict=True))
        return (stamps[order], tuple(values))

    def _split(self, state: State) -> tuple[State, State]:
        """Return the first ``count`` events, and the rest."""
        if state is None or len(state[0]) <= self.count:
            return state, None
        stamps, values = state
        here, rest = slice(self.count), slice(self.count, None)
        first = (stamps[here], tuple(_rows(array, here) for array in values))
        return first, (stamps[rest], tuple(_rows(array, rest) for array in values))


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
        stamps, values = state
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
    return Arrays(np.array(some.values), np.array(some.lengths)) if isinstance(some, Ragged) else some


def _together(a: Any, b: Any) -> Any:
    if isinstance(a, Arrays):
        return concatenate([_ragged(a), _ragged(b)])
    return np.concatenate([a, b])


def _takes(place: Array, value: Any) -> bool:
    """Whether a value can be put into the memory of another."""
    return place.flags.writeable and (place.shape, place.dtype) == (value.shape, value.dtype)


def _put(place: Array, value: Any) -> Array:
    np.copyto(place, value)
    return place


def _order(stamps: Array) -> Array:
    return np.lexsort((stamps[:, 1], stamps[:, 0]))


OPERATIONS = (Last, Pick)
