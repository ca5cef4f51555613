"""Make the steps that call people's own functions: somebody stands beside them while they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ami.errors import FAULTS
from ami.graph.execution.frame import Frame, reason_of, traceback_text
from ami.graph.execution.guest import GRAVE, Spoiled
from ami.graph.execution.steps import Step, function_step, narrow
from ami.graph.kind import Kind
from ami.graph.library.base import Function, infer
from ami.graph.library.user import (
    UserFunction,
    column,
    explain_rows,
    fitting,
    gather_arrays,
    plain,
    read_only,
    seeds_draws,
)

# Returns the kind of what a function gives, from its fingerprint and the kinds of its inputs.
FindKind = Callable[[str, UserFunction, Sequence[Kind]], Kind]

ROWS_TRIED = 3  # blocks of real events on which a function of blocks is tried with other borders


def find_kind_here(_key: str, function: UserFunction, inputs: Sequence[Kind]) -> Kind:
    """Find it by calls in this process, which is the person's own."""
    return infer(function, *inputs)


def block_step(
    frame: Frame, function: Function, names: Sequence[str], inputs: Sequence[int], output: int, kind: Kind,
    *, variable: bool = False,
) -> Step:  # fmt: skip
    """Return the step that calls a user's function on a block."""
    grave: list[str] = []
    seeds = seeds_draws(function)
    unfit: list[str] = []  # for good
    trials = iter(range(ROWS_TRIED))

    def call(*arrays: Any) -> Any:
        if grave:  # what took too long is not tried on each half, and each half of that
            raise RuntimeError(grave[0])
        if why := _load(frame, function, names):
            grave.append(why.partition("\n")[0])
            raise RuntimeError(grave[0])

        def check_and_call() -> Any:
            if len(arrays[0]) > 1 and next(trials, None) is not None:
                unfit.append(explain_rows(function, arrays))
            if any(unfit):
                raise ValueError("".join(unfit))
            # It may write into the same array for the next piece.
            return np.array(function(*arrays))

        return _call_watched(frame, names, check_and_call, grave, seeds=seeds)

    whole = function_step(frame, call, names, inputs, output, kind)

    def step() -> None:
        grave.clear()
        whole()

    return step


def _call_watched(
    frame: Frame, names: Sequence[str], call: Callable[[], Any], grave: list[str], *, seeds: bool
) -> Any:
    """Return what a call gives; what is an error of its events is put among what is ``grave``, if it is."""
    guest, spoiled = frame.guest, ""
    guest.enter(names, iter(()), seeds=seeds)
    try:
        with np.errstate(all="ignore"):
            value = call()
    except guest.faults as error:
        guest.mend()
        if isinstance(error, GRAVE):
            grave.append(reason_of(error))
            guest.count(names, error)
        if isinstance(error, FAULTS):
            raise
        raise RuntimeError(reason_of(error)) from error
    finally:
        spoiled = guest.leave()
        if spoiled:
            grave.append(_count_spoiled(frame, names, spoiled))
    if spoiled:
        raise RuntimeError(grave[-1])
    return value


def event_step(
    frame: Frame, function: Function, names: Sequence[str], inputs: Sequence[int], output: int, kind: Kind,
    *, variable: bool = False,
) -> Step:  # fmt: skip
    """Return the step that calls a user's function for one event after the other."""

    def step() -> None:
        index, arrays = frame.join(inputs)
        values, kept, bad, text = _call_each(frame, function, names, arrays, kind)
        numbers, unfit = column([] if kind.shape else values, kind.dtype)
        if unfit:
            text = text or traceback_text(next(iter(unfit.values())))
            bad += [kept[place] for place in unfit]
            kept = [row for place, row in enumerate(kept) if place not in unfit]
        if bad:
            frame.error(names, np.array(sorted(bad)), index, text)
        narrowed = index if len(kept) == len(arrays[0]) else narrow(index, np.array(kept, np.int64))
        if kind.variable:
            frame.set(output, gather_arrays(values, kind), narrowed)
        elif not kind.shape:
            frame.set(output, numbers, narrowed)
        else:
            frame.set(output, np.asarray(values, kind.dtype).reshape(-1, *kind.shape), narrowed)

    return step


def _call_each(
    frame: Frame, function: Function, names: Sequence[str], arrays: Sequence[Any], kind: Kind
) -> tuple[list[Any], list[int], list[int], str]:
    """Return the values, the rows that have one, those that failed, and how the first of these did."""
    one, guest, rows = function.one, frame.guest, iter(range(len(arrays[0])))
    values: list[Any] = []
    kept: list[int] = []
    bad: list[int] = []
    text = _load(frame, function, names)
    if text:
        return values, kept, list(rows), text
    events = zip(*(plain(read_only(array)) for array in arrays), strict=True)
    guest.enter(names, rows, seeds=seeds_draws(function))
    try:
        # Whatever it sets of numpy's, the next operation is not to have it.
        with np.errstate(all="ignore"):
            for row, event in zip(rows, events, strict=False):
                try:
                    value = one(*event)
                    if value is not None:
                        if kind.shape or type(value) not in (int, float, bool):
                            # It may write into the same array at the next event.
                            value = fitting(value, kind).copy()
                        values.append(value)
                        kept.append(row)
                except guest.faults as error:
                    guest.mend()
                    bad.append(row)
                    text = text or traceback_text(error)
                    if isinstance(error, GRAVE) and guest.count(names, error):
                        bad += rows
    finally:
        spoiled = guest.leave()
    if spoiled:
        # Nobody knows from which event on.
        return [], [], list(range(len(arrays[0]))), _count_spoiled(frame, names, spoiled)
    return values, kept, bad, text


def _count_spoiled(frame: Frame, names: Sequence[str], spoiled: str) -> str:
    """Count that an operation changed what all share; return the error of its events."""
    error = Spoiled(spoiled)
    frame.guest.count(names, error)
    return reason_of(error)


def _load(frame: Frame, function: Function, names: Sequence[str]) -> str:
    """Load people's code before it is first called; return how that failed, "" if it did not."""
    if not isinstance(function, UserFunction) or function.is_loaded:
        return ""
    guest, told = frame.guest, ""
    guest.enter(names, iter(()), is_new=True, seeds=function.seeds)
    try:
        with np.errstate(all="ignore"):
            function.load()
    except guest.faults as error:
        guest.mend()
        if isinstance(error, GRAVE):
            guest.count(names, error)
        told = traceback_text(error)
    finally:
        spoiled = guest.leave()
    return _count_spoiled(frame, names, spoiled) if spoiled else told
