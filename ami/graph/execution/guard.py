"""Keep what an operation of another package does wrong within its own results.

Our own operations keep their contract, and pay nothing for this. One of another package may give too few
values, make a state that no store carries, or fail to merge two: in a worker or a reducer that would end
the process, again and again, and everybody's results with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.event import Array
from ami.graph.execution.frame import traceback_text
from ami.graph.kind import Kind
from ami.graph.library.base import NO_STAMPS, Function, Reduction, State
from ami.ragged import Ragged

SPOILED = "spoiled"  # a state (SPOILED, traceback) stands for those that could not be merged
PLAIN = (type(None), bool, int, float, str, bytes, np.generic)


def guard_kind(kind: type[Function] | type[Reduction]) -> type[Function] | type[Reduction]:
    """Return the same class, with a guard before what it does."""
    guard = _Reduction if issubclass(kind, Reduction) else _Function
    return type(kind.__name__, (guard, kind), {})


class _Function(Function):
    """Gives one value for each event, or fails for all of them."""

    narrows = False
    view = False  # the quick ways around a call trust what comes of it
    _gives: type[np.ndarray[Any, Any]] | type[Ragged] = np.ndarray

    def infer(self, *inputs: Kind) -> Kind:
        kind = super().infer(*inputs)
        self._gives = Ragged if kind.variable and not kind.reduced else np.ndarray
        return kind

    def __call__(self, *arrays: Array) -> Array:
        value: Array = self._checked(super().__call__(*arrays), arrays[0])
        return value

    def ragged(self, *arrays: Any) -> Array | Ragged:
        value: Array | Ragged = self._checked(super().ragged(*arrays), arrays[0])
        return value

    def _checked(self, value: Any, first: Any) -> Any:
        count = len(first) if isinstance(first, np.ndarray | Ragged) else None
        if count is not None and not (isinstance(value, self._gives) and value.ndim and len(value) == count):
            what = "an array" if self._gives is np.ndarray else "a Ragged"
            raise ValueError(f"it must give {what} of {count} values, gave {type(value)} {np.shape(value)}")
        return value


class _Reduction(Reduction):
    """Has states that can be stored, and one that says why there is none."""

    many = False  # it may inherit one, and add in another way

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        if _is_spoiled(state):
            return state
        state = super().add(state, *arrays, stamps=stamps, rows=rows)
        if not _can_be_stored(state):
            raise TypeError(f"a state may be of numbers, texts, arrays, tuples and dicts, not {state!r:.80}")
        return state

    def merge(self, a: State, b: State) -> State:
        return _unless_spoiled(super().merge, a, b)

    def fill(self, state: State, more: State) -> tuple[State, State]:
        both = _unless_spoiled(super().fill, state, more)
        return (None, both) if _is_spoiled(both) else both

    def result(self, state: State) -> Any:
        if _is_spoiled(state):
            raise GraphError(f"its states could not be merged: {state[1]}")
        return super().result(state)


def _unless_spoiled(merge: Callable[[State, State], Any], a: State, b: State) -> Any:
    for state in (a, b):
        if _is_spoiled(state):
            return state
    try:
        return merge(a, b)
    except FAULTS as error:
        # Neither may be gone on with: a merge that fails half way leaves anything in them.
        return (SPOILED, traceback_text(error))


def _is_spoiled(state: State) -> bool:
    return type(state) is tuple and len(state) == 2 and type(state[0]) is str and state[0] == SPOILED


def _can_be_stored(state: State) -> bool:
    if isinstance(state, np.ndarray):
        return not state.dtype.hasobject
    if isinstance(state, dict):
        return all(map(_can_be_stored, (*state, *state.values())))
    if isinstance(state, tuple | list):
        return all(map(_can_be_stored, state))
    return isinstance(state, PLAIN)
