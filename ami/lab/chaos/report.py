"""Sum up what was measured, target by target."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ami.lab.chaos.campaign import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """All strikes at one target. ``wrong`` counts results that differed from the truth after one."""

    target: str
    rounds: int
    recovery_s_median: float
    recovery_s_max: float
    lost: int
    twice: int
    wrong: int

    @property
    def exact(self) -> bool:
        return not (self.lost or self.twice or self.wrong)

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def rows(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return a row for each target, in the order in which they first appear."""
    by_target: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_target.setdefault(outcome.strike.target, []).append(outcome)
    return [_row(target, found) for target, found in by_target.items()]


def _row(target: str, outcomes: list[Outcome]) -> Row:
    recoveries = [outcome.recovery_s for outcome in outcomes]
    return Row(
        target,
        len(outcomes),
        round(statistics.median(recoveries), 3),
        round(max(recoveries), 3),
        sum(outcome.deviation.lost for outcome in outcomes),
        sum(outcome.deviation.twice for outcome in outcomes),
        sum(len(outcome.deviation.wrong) for outcome in outcomes),
    )
