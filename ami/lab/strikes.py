"""Say in advance whom to kill and when, and sum up target by target what came of it.

The same seed gives the same plan.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ami.errors import ConfigError
from ami.lab.truth import Deviation
from ami.processes import PROCESSES

# supervisord with its whole group, and then the node is started again in the same folder.
NODE = "node"
# Two different processes in the same instant.
TWO = "two"

SHORTEST_S, LONGEST_S = 0.1, 1.1


@dataclass(frozen=True, slots=True)
class Strike:
    """What is killed at once. ``victims`` are named as programs (``worker:0``), or are ``(NODE,)``.

    ``delay_s`` is how long to wait before, s: to hit work at any point.
    """

    target: str
    victims: tuple[str, ...]
    delay_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one strike did. ``deviation`` is what it added; ``recovery_s`` until everything worked again."""

    strike: Strike
    recovery_s: float
    deviation: Deviation


@dataclass(frozen=True, slots=True)
class Toll:
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


def processes(workers: int) -> tuple[str, ...]:
    """Return the programs of a node that can be killed alone, without those that a node is well without."""
    found: list[str] = []
    for process in PROCESSES:
        if process.type == "worker":
            found += (f"worker:{number}" for number in range(workers))
        elif process.place:
            found.append(process.type)
    return tuple(found)


def targets(workers: int) -> tuple[str, ...]:
    """Return all that can be aimed at, in the order of reports."""
    return (*processes(workers), NODE, TWO)


def schedule(rounds: int, wanted: Sequence[str], *, workers: int, seed: int) -> list[Strike]:
    """Return ``rounds`` times each of the ``wanted`` targets (none: all), each round in another order.

    Raises:
        ConfigError: there is no such target.
    """
    known = targets(workers)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"there is no target {name!r}; known: {', '.join(known)}")
    chosen = [name for name in known if name in wanted] or list(known)
    rng = random.Random(seed)  # a plan, no secret
    plan: list[Strike] = []
    for _ in range(rounds):
        for target in rng.sample(chosen, len(chosen)):
            victims = tuple(rng.sample(processes(workers), 2)) if target == TWO else (target,)
            plan.append(Strike(target, victims, rng.uniform(SHORTEST_S, LONGEST_S)))
    return plan


def rows(outcomes: Iterable[Outcome]) -> list[Toll]:
    """Return a row for each target, in the order in which they first appear."""
    by_target: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_target.setdefault(outcome.strike.target, []).append(outcome)
    return [_sum_up(target, found) for target, found in by_target.items()]


def _sum_up(target: str, outcomes: list[Outcome]) -> Toll:
    recoveries = sorted(outcome.recovery_s for outcome in outcomes)
    median, longest = round(statistics.median(recoveries), 3), round(recoveries[-1], 3)
    found = [outcome.deviation for outcome in outcomes]
    lost, twice = sum(one.lost for one in found), sum(one.twice for one in found)
    return Toll(target, len(outcomes), median, longest, lost, twice, sum(len(one.wrong) for one in found))
