"""Go through a plan of strikes, strike by strike, and hold the results of the end against the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ami.lab.chaos.arena import Arena
from ami.lab.chaos.schedule import Strike
from ami.lab.chaos.truth import Deviation

Progress = Callable[[int, int, str], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one strike did. ``deviation`` is what it added; ``recovery_s`` until everything worked again."""

    strike: Strike
    results_s: float
    recovery_s: float
    deviation: Deviation


def run(plan: Sequence[Strike], *, rate_hz: float | None, workers: int, progress: Progress) -> list[Outcome]:
    """Start a private node under load, carry out the plan, and stop the node.

    What shows only when all events are reduced is counted to the last strike.

    Raises:
        AmiError: the node did not recover from a strike in time; the text says which, and what is missing.
    """
    outcomes: list[Outcome] = []
    progress(0, len(plan), "starting a node")
    with Arena(rate_hz=rate_hz, workers=workers) as arena:
        before = Deviation()
        for number, strike in enumerate(plan):
            progress(number, len(plan), " and ".join(strike.victims))
            recovered = arena.strike(strike)
            added = beyond(recovered.deviation, before)
            outcomes.append(Outcome(strike, recovered.results_s, recovered.whole_s, added))
            before = recovered.deviation
        progress(len(plan), len(plan), "counting all events")
        added = beyond(arena.finish(), before)
        if outcomes and added:
            last = outcomes[-1]
            outcomes[-1] = replace(last, deviation=together(last.deviation, added))
    return outcomes


def beyond(now: Deviation, before: Deviation) -> Deviation:
    """Return what has come in addition: a deviation once made stays in the results of a run."""
    return Deviation(
        max(0, now.lost - before.lost),
        max(0, now.twice - before.twice),
        tuple(name for name in now.wrong if name not in before.wrong),
    )


def together(a: Deviation, b: Deviation) -> Deviation:
    """Return both deviations as one."""
    return Deviation(a.lost + b.lost, a.twice + b.twice, tuple(dict.fromkeys((*a.wrong, *b.wrong))))
