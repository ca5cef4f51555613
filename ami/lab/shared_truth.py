"""Know what the results of several machines must be that play shares of one replay.

Each machine plays its events in order, but the results of a run have whatever came: of one machine more than
of another. So there are results of each machine's events alone, and the newest says up to where they go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ami.lab.truth import (
    COARSE_BINS,
    COARSE_EVENTS,
    FINE_BINS,
    PERIOD_NS,
    SCRATCH,
    START_NS,
    Deviation,
    Truth,
)
from ami.result import Result

_SHARE = """\
  events{n}: count(share{n})
  sum{n}: sum_events(share{n})
  newest{n}: max_events(share{n})
  fine{n}: histogram(share{n} % {fine}, {fine}, 0, {fine})
  coarse{n}: histogram(share{n} // {events} % {coarse}, {coarse}, 0, {coarse})
"""


class SharedTruth(Truth):
    """A replay in shares, a graph, and what its results must be. ``count``: of shares."""

    def __init__(self, count: int) -> None:
        self._count = count
        shares = "".join(f"  share{n}: index where index % {count} == {n}\n" for n in range(count))
        results = "".join(
            _SHARE.format(n=n, fine=FINE_BINS, events=COARSE_EVENTS, coarse=COARSE_BINS) for n in range(count)
        )
        self.graph = (
            f"values:\n  index: (timestamp - {START_NS}) // {PERIOD_NS}\n{shares}"
            f"results:\n{results}  {SCRATCH}: count(laser)\n"
        )

    @property
    def names(self) -> list[str]:
        """See :attr:`Truth.names`."""
        kinds = ("events", "sum", "newest", "fine", "coarse")
        return [f"{kind}{n}" for n in range(self._count) for kind in kinds]

    def deviation(self, results: Mapping[str, Result], events: int) -> Deviation:
        """Compare the results of each share with what they must be up to its newest event."""
        found, expected = Deviation(), 0
        for n in range(self._count):
            newest = int(results[f"newest{n}"].value)
            of_it = np.arange(n, newest + 1, self._count)
            expected += len(of_it)
            found = found.together(self._compare(n, of_it, results))
        # The account is that of all.
        wrong = [name for name in self.names if not _is_accounted(results[name], expected)]
        return found.together(Deviation(wrong=tuple(wrong)))

    def _compare(self, n: int, indices: Any, results: Mapping[str, Result]) -> Deviation:
        lost, twice = 0, 0
        wrong = [name for name, right in ((f"sum{n}", indices.sum()),) if results[name].value != right]
        for name, right in (
            (f"events{n}", np.array([len(indices)])),
            (f"fine{n}", np.bincount(indices % FINE_BINS, minlength=FINE_BINS)),
            (f"coarse{n}", np.bincount(indices // COARSE_EVENTS % COARSE_BINS, minlength=COARSE_BINS)),
        ):
            value = results[name].value
            differences = np.atleast_1d(np.asarray(getattr(value, "counts", value), np.int64)) - right
            if differences.any():
                wrong.append(name)
            lost = max(lost, int(-differences[differences < 0].sum()))
            twice = max(twice, int(differences[differences > 0].sum()))
        return Deviation(lost, twice, tuple(wrong))


def _is_accounted(result: Result, events: int) -> bool:
    account = result.events
    expected = (account.expected, account.dropped, account.set_aside)
    return result.error is None and expected == (events, 0, 0)
