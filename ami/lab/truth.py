"""Know every result beforehand: a source, a graph, and what the graph must give after N events.

Each event has an identity that the source gives it and nothing on the way can change: its index,
which is its timestamp in microseconds since the first one. Two histograms, over ``index % 1009`` and
over ``index // 1000 % 1013``, are counted for each event; after N events every bin's content is known. A bin
that has too little shows loss, one that has too much shows events counted twice, and both
in one run do not hide each other: for that they would have to agree modulo 1009, and within 1000 of
each other modulo 1,013,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ami.result import Result

START_NS = 1_767_225_600 * 10**9  # of sim://, as docs/sources.md says
PERIOD_NS = 1000
STOP = 10**12  # not to be reached; a source that has an end waits for its first graph
FIRST_DELAY, LAST_DELAY = -5.0, 15.0
VARIANTS, DARK = 16, 2  # of 16 shots the last 2 are dark
FINE_BINS, COARSE_BINS, COARSE_EVENTS = 1009, 1013, 1000

# Reset by edits while the others are checked: an unrelated edit must change nothing.
SCRATCH = "scratch"
GRAPH = f"""
values:
  index: (timestamp - {START_NS}) // {PERIOD_NS}
results:
  events: count(index)
  index_sum: sum_events(index)
  lit: sum_events(laser)
  bright: count(monitor where monitor > 0.1)
  scan: mean_vs(laser, key=delay)
  fine: histogram(index % {FINE_BINS}, {FINE_BINS}, 0, {FINE_BINS})
  coarse: histogram(index // {COARSE_EVENTS} % {COARSE_BINS}, {COARSE_BINS}, 0, {COARSE_BINS})
  {SCRATCH}: count(laser)
"""


@dataclass(frozen=True, slots=True)
class Deviation:
    """How results differ from the truth: events missing, events too many, names of wrong results."""

    lost: int = 0
    twice: int = 0
    wrong: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lost or self.twice or self.wrong)

    def beyond(self, before: Self) -> Deviation:
        """Return what has come in addition: a deviation once made stays in the results of a run."""
        return Deviation(
            max(0, self.lost - before.lost),
            max(0, self.twice - before.twice),
            tuple(name for name in self.wrong if name not in before.wrong),
        )

    def together(self, other: Self) -> Deviation:
        """Return both deviations as one."""
        wrong = tuple(dict.fromkeys((*self.wrong, *other.wrong)))
        return Deviation(self.lost + other.lost, self.twice + other.twice, wrong)


class Truth:
    """A source, a graph, and what its results must be after each number of events."""

    graph = GRAPH
    settings: Mapping[str, str] = {}
    steps, step_events = 21, 100_000
    camera = "16x16&samples=16"

    def uri(self, rate_hz: float | None) -> str:
        """Return the source; ``rate_hz`` None: as fast as possible."""
        pace = "rate=max&interval=50ms" if rate_hz is None else f"rate={rate_hz!r}"
        return (
            f"sim://pump-probe?{pace}&policy=wait&noise=0&event_rate=1MHz&stop={STOP}"
            f"&steps={self.steps}&step_events={self.step_events}&camera={self.camera}"
            f"&first_delay={FIRST_DELAY}&last_delay={LAST_DELAY}&variants={VARIANTS}"
        )

    @property
    def names(self) -> list[str]:
        """The results that are held against the truth."""
        return list(self.compute(1))

    def compute(self, events: int) -> dict[str, Any]:
        """Return what the results must be after the source's first ``events`` events."""
        of_step = cyclic_counts(events, self.steps, self.step_events)
        rounds, rest = divmod(events, VARIANTS)
        bright = VARIANTS - DARK
        return {
            "events": events,
            "index_sum": events * (events - 1) // 2,
            "lit": (events + 1) // 2,  # 1, 0, 1, 0 ..., also over the steps, whose length is even
            "bright": rounds * bright + min(rest, bright),
            "scan": of_step,
            "fine": cyclic_counts(events, FINE_BINS, 1),
            "coarse": cyclic_counts(events, COARSE_BINS, COARSE_EVENTS),
        }

    def deviation(self, results: Mapping[str, Result], events: int) -> Deviation:
        """Compare the results with what they must be after ``events`` events."""
        lost, twice, wrong = 0, 0, []
        for name in self.names:
            result = results.get(name)
            end = events if result is None else self._end_of(name, result, events)
            right = self.compute(end)[name]
            if result is None or not self._is_right(name, result, right, end):
                wrong.append(name)
            counts = None if result is None else _counts(name, result.value)
            if counts is not None and np.shape(counts) == np.shape(right):
                differences = np.atleast_1d(np.asarray(counts, np.int64) - right)
                lost = max(lost, int(-differences[differences < 0].sum()))
                twice = max(twice, int(differences[differences > 0].sum()))
        return Deviation(lost, twice, tuple(wrong))

    def _end_of(self, name: str, result: Result, events: int) -> int:
        """Return after how many events a result must be right."""
        return events

    def _is_right(self, name: str, result: Result, right: Any, events: int) -> bool:
        account = result.events
        expected = (account.expected, account.dropped, account.set_aside)
        return result.error is None and expected == (events, 0, 0) and self._equals(name, result.value, right)

    def _equals(self, name: str, value: Any, right: Any) -> bool:
        if name == "scan":
            return value is not None and _scan_is_right(value, right)
        if name in ("fine", "coarse"):
            return value is not None and np.array_equal(value.counts, right)
        if name == "index_sum" and right >= 1 << 64:
            # After six thousand million events the sum is more than 64 bits hold, and given as a float.
            return bool(abs(value / right - 1) < 1e-15)
        return bool(value == right)


def cyclic_counts(events: int, bins: int, run: int) -> NDArray[np.int64]:
    """Return how many of the numbers i < ``events`` have ``i // run % bins == b``, for each b."""
    cycles, rest = divmod(events, bins * run)
    counts: NDArray[np.int64] = cycles * run + np.clip(rest - run * np.arange(bins), 0, run)
    return counts


def find_end(results: Mapping[str, Result]) -> int:
    """Return up to which event of the source the results go: the index of the newest one in them, plus 1.

    Taken from event time, not from anybody's count: what was lost on the way is missing in every count.
    """
    newest_ns = max((result.time_ns[1] for result in results.values()), default=0)
    return max(0, (newest_ns - START_NS) // PERIOD_NS + 1)


def _counts(name: str, value: Any) -> Any:
    """Return the numbers of events in a result, None where it has none."""
    if name in ("fine", "coarse"):
        return getattr(value, "counts", None)
    return value if name == "events" else None


def _scan_is_right(scan: Any, counts: NDArray[np.int64]) -> bool:
    met = counts > 0
    counts = counts[met]
    # Each step begins with a shot that has the laser on.
    means = (counts + 1) // 2 / counts
    return (
        np.array_equal(scan.keys, np.linspace(FIRST_DELAY, LAST_DELAY, len(met))[met])
        and np.array_equal(scan.counts, counts)
        and np.allclose(scan.means, means, rtol=1e-12, atol=0)
    )
