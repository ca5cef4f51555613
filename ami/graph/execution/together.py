"""Run equal steps on numbers as one step on an array: a row for each of them.

A step costs some microseconds, however short the block is. A thousand means of single intervals at 10 kHz
are a thousand steps on a few dozen events each, nearly all of it such costs. So reductions of one sort, and
expressions that differ in inputs and constants only, are computed as arrays ``(steps, events)``. Each row
is what the step by itself would give, to the last bit: only operations go together of which that is true.

What an array cannot do, the steps do, each for itself: rows of different events, a fault, a long block.
States stay one for each reduction. Nobody but this knows that some of them were computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ami.errors import FAULTS
from ami.event import Array
from ami.graph.execution.frame import Frame
from ami.graph.execution.steps import Step
from ami.graph.kind import Kind
from ami.graph.library.base import Function, Reduction
from ami.graph.library.expressions import Expression

FEWEST = 4  # steps; an array of fewer costs what they do
MOST = 64  # steps
# Events. In a longer block each runs by itself: a value is then reduced while it is in the first cache, which
# counts for more than a call. (Above 8192, numpy would also cast in pieces, and round otherwise.)
LONGEST = 4096
# In an array: 256 KiB. Of more, memory is had from the system each time, and costs ten times the sum.
NUMBERS = 1 << 15
EXACT = 2**53  # integers up to here are the same number in float64


@dataclass(frozen=True, slots=True)
class Likeness:
    """What makes steps one: ``computing`` of one of them serves all that have the same ``key``."""

    key: Hashable
    computing: Reduction | Expression
    dtype: np.dtype[Any]  # of the inputs, and of the constants where they stand in an array
    constants: tuple[int | float, ...] = ()


class Planned(NamedTuple):
    """A step with its breadcrumb number, the registers that it reads, and what it gives.

    That is a register, or the fingerprint of a reduction.
    """

    step: Step
    number: int
    read: tuple[int, ...]
    gives: int | str
    likeness: Likeness | None = None


def find_likeness(computing: Function | Reduction, kinds: Sequence[Kind]) -> Likeness | None:
    """Return what others must have to be computed with this one; None: it is computed by itself."""
    if any(kind.shape or kind.variable or kind.structure != "array" for kind in kinds):
        return None
    dtypes = tuple(kind.dtype for kind in kinds)
    if isinstance(computing, Reduction):
        if not computing.many or len(kinds) != 1:
            return None
        return Likeness((type(computing), dtypes), computing, dtypes[0])
    return _likeness_of_text(computing, dtypes) if type(computing) is Expression else None


def _likeness_of_text(expression: Expression, dtypes: tuple[np.dtype[Any], ...]) -> Likeness | None:
    """Return the likeness of an expression of floats, whose constants may stand in an array.

    Of integers there is none: how they are computed depends on what their constants are.
    """
    if dtypes[0] not in (np.float32, np.float64) or len(set(dtypes)) > 1:
        return None
    lifted = expression.lift_constants()
    if lifted is None or any(isinstance(one, int) and abs(one) > EXACT for one in lifted[1]):
        return None
    text, constants = lifted
    return Likeness((text, dtypes), _read(text), dtypes[0], constants)


_read = lru_cache(256)(Expression)  # a thousand have one text between them


def gather(steps: Iterable[Planned]) -> list[list[Planned]]:
    """Return the steps in running order, those that are alike together.

    An expression comes as early as the first one like it, if what it reads is there by then. Nobody reads
    what a reduction gives, so it waits for others.
    """
    groups: list[list[Planned]] = []
    made: dict[int | str, int] = {}  # in which group, by what it gives
    places: dict[Hashable, int] = {}
    waiting: dict[Hashable, list[Planned]] = {}
    for one in steps:
        key = None if one.likeness is None else one.likeness.key
        if key is not None and isinstance(one.gives, str):
            waiting.setdefault(key, []).append(one)
            if len(waiting[key]) == MOST:
                groups.append(waiting.pop(key))
            continue
        ready = max((made.get(register, -1) for register in one.read), default=-1)
        place = -1 if key is None else places.get(key, -1)
        if place <= ready or len(groups[place]) >= MOST:
            place = len(groups)
            groups.append([])
            if key is not None:
                places[key] = place
        groups[place].append(one)
        made[one.gives] = place
    return groups + list(waiting.values())


def step_of_many(frame: Frame, steps: Sequence[Planned], fewest: int) -> Step:
    """Return one step for steps that are alike."""
    likeness = steps[0].likeness
    assert likeness is not None
    run = _add if isinstance(likeness.computing, Reduction) else _compute
    read = list({register for one in steps for register in one.read})

    def step() -> None:
        most = max(fewest, NUMBERS // max(1, frame.count))
        for alike in [steps] if _are_of_same_events(frame, read) else _sort(frame, steps):
            for start in range(0, len(alike), most):
                some = alike[start : start + most]
                if len(some) < fewest or not run(frame, likeness, some):
                    _run_each(some)

    return step


def _run_each(steps: Iterable[Planned]) -> None:
    for one in steps:
        one.step()


def _are_of_same_events(frame: Frame, registers: Sequence[int]) -> bool:
    indices, whole = frame.indices, frame.whole
    return len({id(indices[r]) for r in registers}) == 1 and len({whole[r] for r in registers}) == 1


def _sort(frame: Frame, steps: Sequence[Planned]) -> Iterable[Sequence[Planned]]:
    """Return the steps in groups, all of whose inputs are of the same events; one that mixes them alone."""
    sorts: dict[Hashable, list[Planned]] = {}
    for one in steps:
        same = _are_of_same_events(frame, one.read)
        index, is_whole = frame.indices[one.read[0]], frame.whole[one.read[0]]
        sorts.setdefault((id(index), is_whole) if same else one.number, []).append(one)
    return sorts.values()


def _add(frame: Frame, likeness: Likeness, steps: Sequence[Planned]) -> bool:
    """Add the block to the states of reductions; False: nothing was done."""
    reduction = likeness.computing
    assert isinstance(reduction, Reduction)
    states, used = frame.partial.states, frame.partial.used
    keys: list[Any] = [one.gives for one in steps]
    try:
        before = [states[key] for key in keys]
        rows = _rows(frame, [one.read[0] for one in steps], likeness.dtype)
        count = rows.shape[1]
        after = reduction.add_many(before, rows) if count else before
    except FAULTS:
        return False
    states.update(zip(keys, after, strict=True))
    for key in keys:
        used[key] += count
    return True


def _compute(frame: Frame, likeness: Likeness, steps: Sequence[Planned]) -> bool:
    """Put the values of expressions into their registers; False: nothing was done."""
    expression: Callable[..., Array] = likeness.computing  # type: ignore[assignment]  # by the key
    first = steps[0].read
    try:
        arrays = []
        for place in range(len(first)):
            registers = [one.read[place] for one in steps]
            # One that all read is one row, which numpy takes for each of theirs.
            registers = registers[: len(steps) if len(set(registers)) > 1 else 1]
            arrays.append(_rows(frame, registers, likeness.dtype))
        constants = [one.likeness.constants for one in steps if one.likeness is not None]
        columns = zip(*constants, strict=True)
        arrays += [np.array(column, likeness.dtype)[:, np.newaxis] for column in columns]
        value = expression(*arrays)
        values = dict(zip([one.gives for one in steps], value, strict=True))
    except FAULTS:
        return False
    index = frame.indices[first[0]]
    for register, array in values.items():
        frame.set(register, array, index)  # type: ignore[arg-type]  # an expression gives a register
    return True


def _rows(frame: Frame, registers: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Return the values of registers of the same events as rows."""
    # "no": an operation of another package may give another dtype than it said.
    arrays = [frame.arrays[one] for one in registers]
    rows = np.concatenate(arrays, dtype=dtype, casting="no").reshape(len(arrays), -1)
    index = frame.indices[registers[0]]
    return rows if index is None or not frame.whole[registers[0]] else rows.take(index, axis=1)
