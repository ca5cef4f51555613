"""Say what a figure is: samples, their median, the limit beside them, and whether a goal is met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Any, TypeVar

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement is told: whether to hurry, and where to say what it does."""

    quick: bool
    say: Callable[[str], object]

    def choose(self, usual: N, quick: N) -> N:
        """Return how long, or how often, to measure."""
        return quick if self.quick else usual


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

    samples: Sequence[float] = ()
    value: float | None = None
    limit: float | None = None
    limit_is: str = ""
    limited_by: str = ""
    busy: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Measure = Callable[[Bench], Mapping[str, Measured]]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of figures. ``less`` is better, or more; ``measure`` gives it, perhaps with others.

    The goal is what the value (``goal_of`` "value"), or its "ratio" to the limit, should reach: at least, or
    of costs and times at most. It is measured in a "quick" look, too, a "full" one, or only ``when`` "named".
    """

    measure: Measure
    name: str
    unit: str
    _: KW_ONLY
    what: str
    less: bool = False
    goal: float | None = None
    goal_of: str = "value"
    when: str = "quick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row with what was measured; ``error`` is why there is nothing.

    ``spread`` is the largest sample minus the smallest, ``ratio`` how near the value comes to the limit:
    1 is as good as it, 0.5 half as fast, or twice as long.
    """

    row: Row
    measured: Measured = Measured()
    error: str = ""

    @property
    def value(self) -> float | None:
        if self.measured.value is None and self.measured.samples:
            return statistics.median(self.measured.samples)
        return self.measured.value

    @property
    def spread(self) -> float | None:
        samples = self.measured.samples
        return max(samples) - min(samples) if samples else None

    @property
    def ratio(self) -> float | None:
        value, limit = self.value, self.measured.limit
        if not value or not limit:
            return None
        return limit / value if self.row.less else value / limit

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is no goal. What did not count reaches none."""
        row = self.row
        if row.goal is None:
            return None
        found = self.ratio if row.goal_of == "ratio" else self.value
        if found is None or self.measured.failures:
            return False
        return found <= row.goal if row.less and row.goal_of == "value" else found >= row.goal

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        row, measured = self.row, self.measured
        return {
            **{name: getattr(row, name) for name in ("name", "unit", "what", "goal")},
            "goal_of": None if row.goal is None else row.goal_of,
            "met": self.met,
            "less_is_better": row.less,
            **asdict(measured),
            **{part: _round(getattr(self, part)) for part in ("value", "spread", "ratio")},
            "limit": _round(measured.limit),
            "busy": {name: round(share, 3) for name, share in measured.busy.items()},
            "samples": [_round(sample) for sample in measured.samples],
            "repeats": len(measured.samples),
            "error": self.error or None,
        }


def measure_in_turn(repeats: int, ours: Callable[[], float], limit: Callable[[], float]) -> dict[str, Any]:
    """Return samples and limit of a :class:`Measured`, taken in turn: so both meet the same machine."""
    both = [(limit(), ours()) for _ in range(repeats)]
    return {"samples": [own for _, own in both], "limit": statistics.median(other for other, _ in both)}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by ``share`` of all values (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _round(value: float | None) -> float | None:
    """Return four digits: more than any measurement here is good for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
