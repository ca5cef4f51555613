"""Hold the values of one block while a plan runs over it.

A value stands in a register: an array, or a :class:`~ami.ragged.Ragged`, and the index of the events
that have it. Index None means all events of the block, else it is int64, ascending. Two registers with
the same index *object* have the same events, so a join of values behind the same filter costs nothing.

Where an index is there, the array may still be the whole block's (``whole``): a filter only
narrows the index, and rows are copied when an operation needs just these rows. An image that is
filtered, cut and summed is so never copied as a whole.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import FAULTS
from ami.event import Array, Slots
from ami.graph.execution.guest import NOBODY, Guest
from ami.graph.execution.partial import ErrorRecord, Partial, merge_errors
from ami.graph.library.user import CODE_FILE
from ami.ragged import Ragged

Index = NDArray[np.int64] | None
CALLS = 20  # of a traceback that are kept: the last
MAX_REASON = 300  # characters of an error's own text
MAX_TEXT = 4000  # characters of a traceback that are kept: its end


class Frame:
    """Registers of a plan, which it hands out while the plan is made, and the block that it runs on."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.indices: list[Index] = []
        self.whole: list[bool] = []
        self.count = 0
        self.sequence = 0
        self.partial = Partial(0)
        self.guest = NOBODY  # who stands beside people's code
        self._timestamps: NDArray[np.int64] = np.empty(0, np.int64)
        self._stamps: NDArray[np.int64] | None = None
        self._common: dict[tuple[int, int], tuple[Index, Index, Index]] = {}

    def register(self) -> int:
        """Return a new register."""
        self.arrays.append(None)
        self.indices.append(None)
        self.whole.append(True)
        return len(self.arrays) - 1

    def begin(self, slots: Slots, sequence: int, partial: Partial, guest: Guest = NOBODY) -> None:
        """Take up a block."""
        self.count, self.sequence, self.partial, self.guest = slots.count, sequence, partial, guest
        self._timestamps, self._stamps = slots.timestamps, None

    def end(self) -> None:
        """Let go of everything of the block: the ring will be written again."""
        self.arrays[:] = self.indices[:] = [None] * len(self.arrays)
        self._timestamps, self._stamps = np.empty(0, np.int64), None
        self._common.clear()

    def free(self, registers: Sequence[int]) -> None:
        """Let go of values that no later step needs."""
        for register in registers:
            self.arrays[register] = None
            self.indices[register] = None

    def set(self, register: int, array: Array | Ragged | None, index: Index, *, whole: bool = False) -> None:
        """Put a value into a register."""
        self.arrays[register] = array
        self.indices[register] = index
        self.whole[register] = whole

    def stamps(self) -> NDArray[np.int64]:
        """Return timestamps and sequences of the whole block, ``(count, 2)``."""
        if self._stamps is None:
            self._stamps = np.empty((self.count, 2), np.int64)
            self._stamps[:, 0] = self._timestamps
            self._stamps[:, 1] = np.arange(self.sequence, self.sequence + self.count)
        return self._stamps

    def select(self, register: int) -> Any:
        """Return the rows of a value that its index names, and keep them so."""
        index = self.indices[register]
        if index is not None and self.whole[register]:
            self.arrays[register] = self.arrays[register].take(index, axis=0)
            self.whole[register] = False
        return self.arrays[register]

    def common(self, a: Index, b: Index) -> Index:
        """Return the index of the events that are in both; the same object wherever it is equal."""
        if a is b or b is None:
            return a
        if a is None:
            return b
        key = (id(a), id(b))
        if key not in self._common:
            there = np.zeros(self.count, np.bool_)
            there[a] = True
            both = b[there[b]]
            # One of the two objects, if it can be: then the next join sees that it is the same.
            both = a if len(both) == len(a) else b if len(both) == len(b) else both
            self._common[key] = (both, a, b)  # keeps a and b alive, and so their ids taken
        return self._common[key][0]

    def events_of(self, registers: Sequence[int]) -> int:
        """Return how many events have all these values; costs nothing once they were joined."""
        index = self.indices[registers[0]]
        for register in registers[1:]:
            index = self.common(index, self.indices[register])
        return self.count if index is None else len(index)

    def join(self, registers: Sequence[int]) -> tuple[Index, list[Any]]:
        """Return the index of the events that have all the values, and their rows of each."""
        indices = self.indices
        index = indices[registers[0]]
        for register in registers[1:]:
            index = self.common(index, indices[register])
        return index, [self._rows(register, index) for register in registers]

    def _rows(self, register: int, index: Index) -> Any:
        mine = self.indices[register]
        if mine is index:
            return self.select(register)
        if index is None or mine is None or self.whole[register]:
            return self.arrays[register].take(index, axis=0)
        return self.arrays[register].take(np.searchsorted(mine, index), axis=0)

    def error(self, names: Sequence[str], bad: Array, index: Index, text: str) -> None:
        """Count an operation's failure for the rows ``bad`` of ``index``."""
        first = int(bad[0] if index is None else index[bad[0]])
        record = ErrorRecord(len(bad), text, self.sequence + first)
        for name in names:
            merge_errors(self.partial.errors, {name: record})


def bisect(run: Callable[[int, int], None], count: int) -> tuple[Array, str]:
    """Run pieces of a block that fails as a whole; return the bad rows and the first's traceback.

    ``run(start, stop)`` is called for pieces in order, halved until what fails is one event.
    """
    bad: list[int] = []
    text = ""
    pieces = [(0, count)]
    while pieces:
        start, stop = pieces.pop()
        try:
            run(start, stop)
        except FAULTS as error:
            if stop - start == 1:
                bad.append(start)
                text = text or traceback_text(error)
            else:
                middle = (start + stop) // 2
                pieces += [(middle, stop), (start, middle)]
    return np.array(bad, np.int64), text


def traceback_text(error: BaseException) -> str:
    """Return why something failed, and in lines of its own the way there; the end of it, if it is long."""

    def tell() -> str:
        return "".join(traceback.format_exception(type(error), error, _last_calls(error)))[-MAX_TEXT:]

    return f"{reason_of(error)}\n{_if_it_can(tell)}"


def reason_of(error: BaseException) -> str:
    """Return an error in one line, with the line of people's code in which it was raised."""
    said = _if_it_can(lambda: " ".join(str(error).split())[:MAX_REASON])
    calls = traceback.extract_tb(_last_calls(error))
    lines = [call.lineno for call in calls if call.filename == CODE_FILE]
    where = f", in line {lines[-1]} of its code" if lines else ""
    return f"{type(error).__name__}{': ' if said else ''}{said}{where}"


def _if_it_can(tell: Callable[[], str]) -> str:
    """Return a text that people's code makes, too: what an error of theirs says may fail as anything else."""
    try:
        return tell()
    except BaseException as failed:
        return f"(it cannot be told: {type(failed).__name__})"


def _last_calls(error: BaseException) -> TracebackType | None:
    """Return the last calls on the way to an error: to tell all of an endless recursion takes 3 ms."""
    calls = deque[TracebackType](maxlen=CALLS)
    call = error.__traceback__
    while call is not None:
        calls.append(call)
        call = call.tb_next
    return calls[0] if calls else None
