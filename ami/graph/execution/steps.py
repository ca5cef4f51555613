"""Make the steps of a worker's plan: closures over registers, one for each operation.

A step that fails on a block is tried again on ever smaller pieces, so that one bad event costs
itself only: it is left out of this operation and of what depends on it, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ami.errors import FAULTS
from ami.event import Array
from ami.graph.execution.frame import Frame, Index, bisect
from ami.graph.expression.elementary import is_true
from ami.graph.kind import Kind
from ami.graph.library.base import NO_STAMPS, Function, Reduction, State, add_elements
from ami.graph.library.user import gather_arrays
from ami.ragged import concatenate

Step = Callable[[], None]


def function_step(
    frame: Frame, function: Callable[..., Any], names: Sequence[str], inputs: Sequence[int], output: int,
    kind: Kind, *, variable: bool = False,
) -> Step:  # fmt: skip
    """Return the step that calls a block-wise function on the events that have all its inputs."""
    call = function.ragged if variable and isinstance(function, Function) else function

    def step() -> None:
        index, arrays = frame.join(inputs)
        if index is not None and not len(index):
            frame.set(output, _nothing(kind), index)
            return
        try:
            value = call(*arrays)
        except FAULTS:
            _function_in_pieces(frame, call, names, index, arrays, output, kind)
        else:
            frame.set(output, value, index)

    return step


def view_step(
    frame: Frame, function: Function, names: Sequence[str], inputs: Sequence[int], output: int, kind: Kind,
    *, variable: bool = False,
) -> Step:  # fmt: skip
    """Return the step of a function that only gives a view: of the whole block, without a copy."""
    (register,) = inputs

    def step() -> None:
        value = function(frame.arrays[register])
        frame.set(output, value, frame.indices[register], whole=frame.whole[register])

    return step


def select_step(frame: Frame, condition: int, output: int) -> Step:
    """Return the step that finds the events for which a condition is true.

    It is a step of its own, so that all filters with one condition share one index.
    """

    def step() -> None:
        truth = frame.select(condition)
        if truth.dtype != np.bool_:
            truth = is_true(truth)
        chosen = np.flatnonzero(truth)
        index = frame.indices[condition]
        frame.set(output, None, index if len(chosen) == len(truth) else narrow(index, chosen))

    return step


def filled_step(frame: Frame, value: int, output: int) -> Step:
    """Return the step that leaves out the events whose value of variable length has no elements."""

    def step() -> None:
        array, index = frame.select(value), frame.indices[value]
        some = np.flatnonzero(array.lengths)
        if len(some) == len(array):
            frame.set(output, array, index)
        else:
            frame.set(output, array.take(some), narrow(index, some))

    return step


def where_step(frame: Frame, value: int, selection: int, output: int) -> Step:
    """Return the step that narrows a value to selected events; rows are copied later, if at all."""

    def step() -> None:
        mine = frame.indices[value]
        index = frame.common(mine, frame.indices[selection])
        array = frame.arrays[value]
        if index is None or mine is None or frame.whole[value]:
            frame.set(output, array, index, whole=True)
        elif index is mine:
            frame.set(output, array, index)
        else:
            frame.set(output, array.take(np.searchsorted(mine, index), axis=0), index)

    return step


def reduction_step(
    frame: Frame, reduction: Reduction, names: Sequence[str], inputs: Sequence[int], fingerprint: str,
    *, variable: bool = False,
) -> Step:  # fmt: skip
    """Return the step that adds a block's events to a reduction's state in the partial."""
    lazy, stamped = reduction.lazy, reduction.stamped
    add = partial(add_elements, reduction) if variable and reduction.elementwise else None

    def gather() -> tuple[Index, list[Any], Array, Index]:
        """Return index, arrays, stamps and rows, as :meth:`Reduction.add` wants them."""
        if lazy and all(frame.indices[r] is None or frame.whole[r] for r in inputs):
            index: Index = None
            for register in inputs:
                index = frame.common(index, frame.indices[register])
            return index, [frame.arrays[r] for r in inputs], frame.stamps() if stamped else NO_STAMPS, index
        index, arrays = frame.join(inputs)
        if not stamped:
            return index, arrays, NO_STAMPS, None
        return index, arrays, frame.stamps() if index is None else frame.stamps()[index], None

    def step() -> None:
        states, used = frame.partial.states, frame.partial.used
        if fingerprint not in states:
            states[fingerprint], used[fingerprint] = reduction.zero(), 0
        index, arrays, stamps, rows = gather()
        count = frame.count if index is None else len(index)
        if not count:
            return
        try:
            states[fingerprint] = (add or reduction.add)(
                states[fingerprint], *arrays, stamps=stamps, rows=rows
            )
        except FAULTS:
            count -= _reduction_in_pieces(frame, add or reduction.add, names, fingerprint, index, inputs)
        used[fingerprint] += count

    return step


def _function_in_pieces(
    frame: Frame, function: Callable[..., Any], names: Sequence[str], index: Index, arrays: list[Any],
    output: int, kind: Kind,
) -> None:  # fmt: skip
    good: list[Any] = []

    def run(start: int, stop: int) -> None:
        good.append(function(*(array[start:stop] for array in arrays)))

    bad, text = bisect(run, len(arrays[0]))
    if len(bad):
        frame.error(names, bad, index, text)
    kept = np.delete(np.arange(len(arrays[0])), bad)
    together = concatenate if kind.variable else np.concatenate
    value = together(good) if good else _nothing(kind)
    frame.set(output, value, narrow(index, kept) if len(bad) else index)


def _reduction_in_pieces(
    frame: Frame, add: Callable[..., State], names: Sequence[str], fingerprint: str, index: Index,
    inputs: Sequence[int],
) -> int:  # fmt: skip
    """Add what can be added; return the number of events that cannot."""
    states = frame.partial.states
    _, arrays = frame.join(inputs)
    stamps = frame.stamps() if index is None else frame.stamps()[index]

    def run(start: int, stop: int) -> None:
        pieces = (array[start:stop] for array in arrays)
        states[fingerprint] = add(states[fingerprint], *pieces, stamps=stamps[start:stop])

    bad, text = bisect(run, len(arrays[0]))
    if len(bad):
        frame.error(names, bad, index, text)
    return len(bad)


def narrow(index: Index, rows: Array) -> Index:
    return rows if index is None else index[rows]


def _nothing(kind: Kind) -> Any:
    return gather_arrays([], kind) if kind.variable else np.empty((0, *kind.shape), kind.dtype)
