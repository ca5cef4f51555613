"""Run equal steps on numbers as one step on an array: a row for each of them.

A step costs some microseconds, however short the block is. A thousand means of single intervals at 10 kHz
are a thousand steps on a few dozen events each, nearly all of it such costs. So reductions of one sort, and
expressions that differ in inputs and constants only, are computed as arrays ``(steps, events)``. Each row
is what the step by itself would give, to the last bit: only operations go together of which that is true.

What an expression gives stays one array, a *stack*, where all who read it do so in this way; its rows are put
into their registers for who reads one of them alone.

What an array cannot do, the steps do, each for itself: rows of different events, a fault, a long block.
States stay one for each reduction. Nobody but this knows that some of them were computed together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ami.errors import FAULTS
from ami.event import Array
from ami.graph.execution.frame import Frame, Index
from ami.graph.execution.steps import Step
from ami.graph.kind import Kind
from ami.graph.library.base import Function, Reduction
from ami.graph.library.expressions import Expression

FEWEST = 4  # steps; an array of fewer costs what they do
# Events. In a longer block each runs by itself: a value is then reduced while it is in the first cache, which
# counts for more than a call. (Above 8192, numpy would also cast in pieces, and round otherwise.)
LONGEST = 4096
# In an array: 256 KiB. Of more, memory is had from the system each time, and costs ten times the sum.
NUMBERS = 1 << 15
LENGTHS = (32, 128, 512, 2048, LONGEST)  # of blocks: steps are joined as the longest of each sort allows
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


class Joined(NamedTuple):
    """Steps that run as one, or one alone, with the registers that may be freed when they were read last."""

    steps: Sequence[Planned]
    step: Step
    read: frozenset[int]


@dataclass(frozen=True, slots=True)
class Stack:
    """A register whose array has a row for each of some other registers."""

    register: int
    rows: Mapping[int, int]  # by register

    def spread(self, frame: Frame) -> None:
        """Put each row into the register whose it is, if this was not done already."""
        array, index = frame.arrays[self.register], frame.indices[self.register]
        if array is not None:
            for register, row in zip(self.rows, array, strict=True):
                frame.set(register, row, index)


def count_most(events: int, fewest: int = FEWEST) -> int:
    """Return how many steps may be one for a block of so many events; 0: each runs by itself."""
    longest = next((length for length in LENGTHS if events <= length), 0)
    return max(fewest, NUMBERS // longest) if longest else 0


def join(frame: Frame, steps: Iterable[Planned], fewest: int, most: int) -> list[Joined]:
    """Return the steps in running order, of ``fewest`` to ``most`` that are alike one."""
    groups = gather(steps, fewest, most)
    stacks: dict[int, Stack] = {}  # by register whose row is in it
    for group in groups:
        if len(group) >= fewest and isinstance(group[0].gives, int):
            stack = Stack(frame.register(), {int(one.gives): row for row, one in enumerate(group)})
            stacks.update(dict.fromkeys(stack.rows, stack))
    inputs = [_list_inputs(group, stacks) if len(group) >= fewest else () for group in groups]
    alone = {
        register
        for group, found in zip(groups, inputs, strict=True)
        for one in group
        for place, register in enumerate(one.read)
        if not found or found[place].stack is None
    }
    joined = []
    for group, found in zip(groups, inputs, strict=True):
        if not found:
            joined += [Joined((one,), one.step, frozenset(one.read)) for one in group]
            continue
        together = _Together(frame, group, found, stacks.get(group[0].gives), alone, fewest)  # type: ignore[arg-type]  # of a fingerprint there is none
        joined.append(Joined(group, together.run, together.read))
    return joined


def gather(steps: Iterable[Planned], fewest: int, most: int) -> list[list[Planned]]:
    """Return the steps in running order, those that are alike together.

    An expression comes as early as the first one like it, if what it reads is there by then. Nobody reads
    what a reduction gives, so it waits for others: for those of the same stack, if it reads one.
    """
    groups: list[list[Planned]] = []
    made: dict[int | str, int] = {}  # in which group, by what it gives
    places: dict[Hashable, int] = {}
    reducing: list[tuple[int, Planned]] = []
    for one in steps:
        key = None if one.likeness is None else one.likeness.key
        ready = max((made.get(register, -1) for register in one.read), default=-1)
        if key is not None and isinstance(one.gives, str):
            reducing.append((ready, one))
            continue
        place = -1 if key is None else places.get(key, -1)
        if place <= ready or len(groups[place]) >= most:
            place = len(groups)
            groups.append([])
            if key is not None:
                places[key] = place
        groups[place].append(one)
        made[one.gives] = place
    behind: dict[int, list[list[Planned]]] = defaultdict(list)  # the groups after each
    waiting: dict[tuple[Hashable, int], list[Planned]] = {}
    # In the order of what they read, so that it is free soon.
    for ready, one in sorted(reducing, key=lambda found: found[0]):
        assert one.likeness is not None
        of_stack = ready >= 0 and len(groups[ready]) >= fewest
        key = (one.likeness.key, ready if of_stack else -1)
        if key not in waiting or len(waiting[key]) == most:
            waiting[key] = []
            if of_stack:
                behind[ready].append(waiting[key])
        waiting[key].append(one)
        if not of_stack and len(waiting[key]) == most:
            behind[ready].append(waiting.pop(key))
    left = [group for (_, place), group in waiting.items() if place < 0]
    ordered = behind.pop(-1, [])
    for place, group in enumerate(groups):
        ordered += [group, *behind.get(place, ())]
    return ordered + left


class _Input(NamedTuple):
    """Where steps that are alike find one of their inputs.

    In rows of a stack, ``chosen`` or, None, all of them in order; or in registers, one for all or one each.
    """

    registers: tuple[int, ...]
    stack: Stack | None = None
    chosen: Array | None = None

    def find_index(self, frame: Frame) -> tuple[bool, Index]:
        """Return the events that have it, if all steps find it, and find it for the same ones."""
        if self.stack is not None:
            register = self.stack.register
            return frame.arrays[register] is not None, frame.indices[register]
        index, whole = frame.indices[self.registers[0]], frame.whole[self.registers[0]]
        if len(self.registers) > 1:
            for register in self.registers:
                if frame.indices[register] is not index:
                    return False, None
                if index is not None and frame.whole[register] is not whole:
                    return False, None
        return True, index

    def read(self, frame: Frame, dtype: np.dtype[Any]) -> Array:
        """Return its values: a row for each step, or one for all."""
        if self.stack is not None:
            array: Array = frame.arrays[self.stack.register]
            rows = array if self.chosen is None else array.take(self.chosen, axis=0)
        elif len(self.registers) == 1:
            rows = np.asarray(frame.select(self.registers[0])).reshape(1, -1)
        else:
            arrays = [frame.arrays[one] for one in self.registers]
            rows = np.concatenate(arrays, casting="no", dtype=dtype).reshape(len(arrays), -1)
            index = frame.indices[self.registers[0]]
            if index is not None and frame.whole[self.registers[0]]:
                rows = rows.take(index, axis=1)
        if rows.dtype != dtype:
            # An operation of another package may give another dtype than it said.
            raise TypeError(f"{rows.dtype} where {dtype} was announced")
        return rows


def _list_inputs(steps: Sequence[Planned], stacks: Mapping[int, Stack]) -> tuple[_Input, ...]:
    """Return where steps that are alike find each of their inputs."""
    inputs = []
    for registers in zip(*(one.read for one in steps), strict=True):
        stack = stacks.get(registers[0])
        if len(set(registers)) == 1:
            # One that all read is one row, which numpy takes for each of theirs.
            inputs.append(_Input(registers if len(steps) == 1 else registers[:1]))
        elif stack is not None and all(register in stack.rows for register in registers):
            chosen = [stack.rows[register] for register in registers]
            everything = chosen == list(range(len(stack.rows)))
            inputs.append(_Input(registers, stack, None if everything else np.array(chosen)))
        else:
            inputs.append(_Input(registers))
    return tuple(inputs)


class _Together:
    """Runs steps that are alike as one.

    Args:
        stack: where what they give is put; None: they are reductions, or each has its own register.
        alone: registers that somebody reads by themselves.
    """

    def __init__(
        self, frame: Frame, steps: Sequence[Planned], inputs: Sequence[_Input], stack: Stack | None,
        alone: Collection[int], fewest: int,
    ) -> None:  # fmt: skip
        first = steps[0].likeness
        assert first is not None
        self._frame = frame
        self._steps = steps
        self._likeness = first
        self._inputs = inputs
        self._stack = stack
        self._fewest = fewest
        self._gives: list[Any] = [one.gives for one in steps]
        self._alone = [(row, one) for row, one in enumerate(self._gives) if one in alone]
        constants = zip(*(one.likeness.constants for one in steps if one.likeness is not None), strict=True)
        self._constants = [np.array(column, first.dtype)[:, np.newaxis] for column in constants]
        own = [(one.stack.register,) if one.stack is not None else one.registers for one in inputs]
        self.read = frozenset(register for registers in own for register in registers)

    def run(self) -> None:
        """Run all of them, as one if that can be."""
        if self._try():
            return
        for one in self._inputs:
            if one.stack is not None:
                one.stack.spread(self._frame)
        for alike in _sort(self._frame, self._steps):
            group = _Together(self._frame, alike, _list_inputs(alike, {}), None, (), self._fewest)
            if len(alike) < self._fewest or not group._try():
                for each in alike:
                    each.step()

    def _try(self) -> bool:
        """Run them as one; False: nothing was done."""
        frame, dtype = self._frame, self._likeness.dtype
        found, index = self._inputs[0].find_index(frame)
        for other in self._inputs[1:]:
            is_there, its = other.find_index(frame)
            found = found and is_there and its is index
        if not found:
            return False
        try:
            arrays = [one.read(frame, dtype) for one in self._inputs]
            if isinstance(self._likeness.computing, Reduction):
                return self._add(self._likeness.computing, arrays[0])
            return self._give(self._likeness.computing(*arrays, *self._constants), index)
        except FAULTS:
            return False

    def _add(self, reduction: Reduction, rows: Array) -> bool:
        """Add the block to the states of reductions."""
        states, used, keys = self._frame.partial.states, self._frame.partial.used, self._gives
        if len(rows) < len(keys):
            rows = rows.repeat(len(keys), axis=0)  # and no view: sums of one would round otherwise
        count = rows.shape[1]
        before = [states[key] for key in keys]
        if count:
            states.update(zip(keys, reduction.add_many(before, rows), strict=True))
            for key in keys:
                used[key] += count
        return True

    def _give(self, value: Array, index: Index) -> bool:
        """Put the values of expressions where they are read."""
        frame, gives = self._frame, self._gives
        if self._stack is None:
            values = dict(zip(gives, value, strict=True))
            for register, array in values.items():
                frame.set(register, array, index)
            return True
        if len(value) != len(gives):
            return False
        frame.set(self._stack.register, value, index)
        if index is not None:
            # Whoever counts events looks there.
            for register in gives:
                frame.set(register, None, index)
        for row, register in self._alone:
            frame.set(register, value[row], index)
        return True


def _sort(frame: Frame, steps: Sequence[Planned]) -> Iterable[Sequence[Planned]]:
    """Return the steps in groups, all of whose inputs are of the same events; one that mixes them alone."""
    sorts: dict[Hashable, list[Planned]] = {}
    for one in steps:
        facts = {(id(index := frame.indices[r]), index is not None and frame.whole[r]) for r in one.read}
        sorts.setdefault(facts.pop() if len(facts) == 1 else one.number, []).append(one)
    return sorts.values()
