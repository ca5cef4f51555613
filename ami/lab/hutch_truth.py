"""Know results of a whole hutch beforehand: its 256 fields and 44 results, and some that tell events apart.

What its detectors give is drawn, so of most results only the number of events is known. Beside them the
index of each event is summed: as a number, which goes the small way, and in each pixel of an image, which
goes the large one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ami.lab import hutch
from ami.lab.nights import SETTINGS
from ami.lab.truth import (
    COARSE_BINS,
    COARSE_EVENTS,
    FINE_BINS,
    PERIOD_NS,
    SCRATCH,
    START_NS,
    STOP,
    Truth,
    find_end,
)
from ami.result import Result

MARKED = "marked"
MEAN = "epix_mean"
LARGE = (MARKED, MEAN)
HISTOGRAMS = ("energies", *(f"peak{n}" for n in range(hutch.WAVEFORMS)))
INDEX = f"values:\n  index: (timestamp - {START_NS}) // {PERIOD_NS}\n"
MORE = f"""\
  events: count(index)
  index_sum: sum_events(index)
  fine: histogram(index % {FINE_BINS}, {FINE_BINS}, 0, {FINE_BINS})
  coarse: histogram(index // {COARSE_EVENTS} % {COARSE_BINS}, {COARSE_BINS}, 0, {COARSE_BINS})
  {SCRATCH}: count(laser)
  {MARKED}: sum_events(index + 0 * yag)
"""
POOL = 64
SMALL = ("events", "index_sum", "fine", "coarse")


class HutchTruth(Truth):
    """The hutch of :mod:`ami.lab.hutch`, in event time a thousand times as slow."""

    graph = hutch.GRAPH.replace("values:\n", INDEX, 1) + MORE
    settings: Mapping[str, str] = SETTINGS

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ami-chaos-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def uri(self, rate_hz: float | None) -> str:
        """Return the source; ``rate_hz`` None: at its own pace."""
        path = self._folder / "detectors.json"
        path.write_text(json.dumps({"interval": 1 / hutch.RATE_HZ, "config": dict(hutch.DETECTORS)}))
        pace = f"rate={rate_hz or hutch.RATE_HZ!r}&event_rate=1MHz"
        # Few different events: whoever follows a killed source draws them first.
        return f"sim://{path}?{pace}&policy=wait&pool={POOL}&stop={STOP}"

    def compute(self, events: int) -> dict[str, Any]:
        """Return what the results must be; of those that are drawn, how many events there must be."""
        known = super().compute(events)
        return {name: known[name] for name in SMALL} | dict.fromkeys(("shots", *HISTOGRAMS, *LARGE), events)

    def _end_of(self, name: str, result: Result, events: int) -> int:
        # Large results are published at a pace of their own.
        return find_end({name: result}) if name in LARGE else events

    def _equals(self, name: str, value: Any, right: Any) -> bool:
        if name == MARKED:
            return value is not None and bool(np.all(value == right * (right - 1) // 2))
        if name == MEAN:
            return value is not None
        if name in HISTOGRAMS:
            outside = 0 if value is None else value.underflow + value.overflow + value.nan
            return value is not None and bool(value.counts.sum() + outside == right)
        return super()._equals(name, value, right)
