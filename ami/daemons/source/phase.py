"""Say where in the experiment a stream is, and which of two of its borders is the later one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ami.event import Transition
from ami.ring.entries import Entry
from ami.sources.base import Span

NO_VALUE: Final = float("nan")


@dataclass(slots=True)
class Phase:
    """Run, step and the step's value: what the next entry is stamped with."""

    run: int
    step: int = 0
    step_value: float = NO_VALUE

    @classmethod
    def of(cls, span: Span) -> Phase:
        """Return the phase of a span whose sender numbers runs and steps."""
        return cls(span.run, span.step, span.step_value if span.step else NO_VALUE)


class Border(NamedTuple):
    """Where a border stands in the order of all: a run begins, its steps begin and end, it ends."""

    run: int
    is_end: bool = False
    step: int = 0
    is_end_of_step: bool = False

    @classmethod
    def of(cls, transition: int, phase: Phase) -> Border:
        """Return the place of a transition that leads to ``phase``."""
        if transition == Transition.END_RUN:
            return cls(phase.run, is_end=True)
        if transition == Transition.BEGIN_RUN:
            return cls(phase.run)
        return cls(phase.run, step=phase.step, is_end_of_step=transition == Transition.END_STEP)

    @classmethod
    def of_entry(cls, entry: Entry) -> Border:
        """Return the border that an entry is, or the last one that its events are known to be behind."""
        return cls.of(entry.transition or Transition.BEGIN_STEP, Phase(entry.run, entry.step))


NO_BORDER: Final = Border(0)
