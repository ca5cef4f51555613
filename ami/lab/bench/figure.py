"""Say what a figure is: samples, their median, the limit beside them, and whether a goal is met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach: at least (of costs and times: at most) ``bound``.

    ``of`` is what is held against it: the "value" itself, or the "ratio" to the limit.
    """

    bound: float
    of: str = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table of figures: what is measured. ``less`` is better, or more."""

    name: str
    what: str
    unit: str
    less: bool = False
    goal: Goal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found for one row.

    Args:
        samples: one value a repeat, in the row's unit.
        value: of the whole, where that is not the median of the repeats (a percentile, for instance).
        limit: what the machine does without ami, in the same unit, measured in the same run.
        limit_is: what that is, in words.
        limited_by: which stage limits, as far as its share of a core tells.
        busy: share of one core that each process took while this was measured.
        failures: why the figure does not count, although it was measured; empty if it does.
        notes: what one must know to read it.
    """

    samples: Sequence[float]
    value: float | None = None
    limit: float | None = None
    limit_is: str = ""
    limited_by: str = ""
    busy: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row with what was measured; ``error`` is why there is nothing.

    ``spread`` is the largest sample minus the smallest, ``ratio`` how near the value comes to the limit:
    1 is as good as it, 0.5 half as fast, or twice as long.
    """

    row: Row
    measured: Measured | None
    error: str = ""

    @property
    def value(self) -> float | None:
        if self.measured is None or not self.measured.samples:
            return None
        if self.measured.value is not None:
            return self.measured.value
        return statistics.median(self.measured.samples)

    @property
    def spread(self) -> float | None:
        samples = () if self.measured is None else self.measured.samples
        return max(samples) - min(samples) if samples else None

    @property
    def ratio(self) -> float | None:
        value, limit = self.value, None if self.measured is None else self.measured.limit
        if not value or not limit:
            return None
        return limit / value if self.row.less else value / limit

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is no goal. What did not count reaches none."""
        goal = self.row.goal
        if goal is None:
            return None
        found = self.ratio if goal.of == "ratio" else self.value
        if found is None or self.measured is None or self.measured.failures:
            return False
        return found <= goal.bound if self.row.less and goal.of == "value" else found >= goal.bound

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        row, measured = self.row, self.measured or Measured(samples=())
        return {
            "name": row.name,
            "value": _rounded(self.value),
            "unit": row.unit,
            "spread": _rounded(self.spread),
            "repeats": len(measured.samples),
            "ratio": _rounded(self.ratio),
            "limit": _rounded(measured.limit),
            "goal": None if row.goal is None else row.goal.bound,
            "goal_of": None if row.goal is None else row.goal.of,
            "met": self.met,
            "less_is_better": row.less,
            "what": row.what,
            "limit_is": measured.limit_is,
            "limited_by": measured.limited_by,
            "busy": {name: round(share, 3) for name, share in measured.busy.items()},
            "samples": [_rounded(sample) for sample in measured.samples],
            "failures": list(measured.failures),
            "notes": list(measured.notes),
            "error": self.error or None,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by ``share`` of all values (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _rounded(value: float | None) -> float | None:
    """Return four digits: more than any measurement here is good for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
