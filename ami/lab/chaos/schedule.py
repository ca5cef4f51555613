"""Say in advance whom to kill and when: the same seed gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ami.errors import ConfigError

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


def processes(workers: int) -> tuple[str, ...]:
    """Return the programs of a node that can be killed alone."""
    return (
        "source",
        *(f"worker:{number}" for number in range(workers)),
        "local-reducer",
        "global-reducer",
        "graph-manager",
        "monitor",
        "local-redis",
        "global-redis",
    )


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
