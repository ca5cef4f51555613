"""Say in advance what befalls several machines, one thing after the other, and sum up what came of it.

The same seed gives the same plan.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ami.errors import ConfigError
from ami.lab.strikes import LONGEST_S, SHORTEST_S
from ami.lab.truth import Deviation

# A process of a machine that is drawn; of those of which one leads, the leader's.
PROCESSES: Final = (
    "source", "worker", "local-reducer", "global-reducer", "graph-manager", "monitor",
    "local-redis", "global-redis", "replica-redis",
)  # fmt: skip
PRIMARY: Final = "primary"  # the server that has results and checkpoints
BOTH: Final = "primary and its copy"
NODE: Final = "node"  # supervisord and all below it; started again when the others go on
CUT: Final = "machine off the net"  # that on which the leading manager is
FROZEN: Final = "leader stands still"  # every process of that machine
SENDER: Final = "sender"  # of events that are dealt (`ami-daq`); its successor is started at once
TARGETS: Final = (*PROCESSES, PRIMARY, BOTH, NODE, CUT, FROZEN, SENDER)


@dataclass(frozen=True, slots=True)
class Outage:
    """One thing that is done. ``draw``: what is chosen by lot is chosen by; ``delay_s``: how long before."""

    target: str
    delay_s: float
    draw: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What came of it.

    Args:
        victims: who was struck, as MACHINE:PROCESS.
        results_s: until there was a result with events from after it, of whichever machines.
        whole_s: until there was a complete one of all machines; from when it was put right, where it was.
        deviation: what it added.
        acknowledged: edits, of those that clients asked for meanwhile.
        edits_lost: of these.
        faults: of the clients' history, in words; see ``histories.py``.
    """

    outage: Outage
    victims: tuple[str, ...]
    results_s: float
    whole_s: float
    deviation: Deviation = field(default_factory=Deviation)
    acknowledged: int = 0
    edits_lost: int = 0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """All of one target."""

    target: str
    rounds: int
    results_s_median: float
    results_s_max: float
    whole_s_median: float
    whole_s_max: float
    lost: int
    twice: int
    wrong: int
    acknowledged: int
    edits_lost: int
    faults: int

    @property
    def exact(self) -> bool:
        return not (self.lost or self.twice or self.wrong or self.edits_lost or self.faults)


def plan(rounds: int, wanted: Sequence[str], *, seed: int) -> list[Outage]:
    """Return ``rounds`` times each target that has some of the ``wanted`` words (none: all), in drawn orders.

    What the sender suffers comes last: it needs machines that are dealt to.

    Raises:
        ConfigError: no target has them.
    """
    for words in wanted:
        if not any(words in target for target in TARGETS):
            raise ConfigError(f"there is no target with {words!r}; known: {', '.join(TARGETS)}")
    chosen = [target for target in TARGETS if not wanted or any(words in target for words in wanted)]
    rng = random.Random(seed)  # a plan, no secret
    found = [
        Outage(target, rng.uniform(SHORTEST_S, LONGEST_S), rng.randrange(1 << 30))
        for _ in range(rounds)
        for target in rng.sample(chosen, len(chosen))
    ]
    return sorted(found, key=lambda outage: outage.target == SENDER)


def sum_up(damages: Iterable[Damage]) -> list[Account]:
    """Return an account of each target, in the order of reports."""
    found = list(damages)
    return [
        _sum_up(target, of_it)
        for target in TARGETS
        if (of_it := [one for one in found if one.outage.target == target])
    ]


def _sum_up(target: str, damages: Sequence[Damage]) -> Account:
    results, whole = [one.results_s for one in damages], [one.whole_s for one in damages]
    return Account(
        target,
        len(damages),
        results_s_median=round(statistics.median(results), 3),
        results_s_max=round(max(results), 3),
        whole_s_median=round(statistics.median(whole), 3),
        whole_s_max=round(max(whole), 3),
        lost=sum(one.deviation.lost for one in damages),
        twice=sum(one.deviation.twice for one in damages),
        wrong=sum(len(one.deviation.wrong) for one in damages),
        acknowledged=sum(one.acknowledged for one in damages),
        edits_lost=sum(one.edits_lost for one in damages),
        faults=sum(len(one.faults) for one in damages),
    )
