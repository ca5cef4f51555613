"""Know results of images beforehand, too: what goes the way of large states, beside what goes the other way.

The source's images are functions of step and shot, so their sums are known from how often each was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.event import Array
from ami.lab.truth import GRAPH, VARIANTS, Truth, find_end
from ami.result import Result
from ami.sources import open_source, take

SIDE = 512
LASERS = 2

PICTURES = """\
  picture: sum_events(camera)
  mean_picture: mean_events(camera)
  newest: last(camera)
  now: mean_events(camera, window=interval)
  profile: sum_events(projection(camera, 0))
  pixels: histogram(camera, 100, 0, 500)
  pictures: mean_vs(camera, key=laser)
"""
LARGE = ("picture", "mean_picture", "newest", "profile", "pictures")


class PictureTruth(Truth):
    """The same source and graph with a camera of a quarter of a megapixel, and results of it."""

    graph = GRAPH + PICTURES
    settings: Mapping[str, str] = {"AMI_RING_BYTES": "0"}  # as large as the machine gives
    steps, step_events = 3, 160  # another step every second or two

    def __init__(self, side: int = SIDE) -> None:
        self.camera = f"{side}x{side}&camera_type=uint16&samples=16"

    @cached_property
    def _shots(self) -> Array:
        """The image of each step and shot: (steps * variants, rows, columns)."""
        with closing(open_source(self.uri(None))) as source:
            events = [
                step * self.step_events + shot for step in range(self.steps) for shot in range(VARIANTS)
            ]
            return np.stack([take(source, index, 1)["camera"][0] for index in events])

    def compute(self, events: int) -> dict[str, Any]:
        """Return what the results must be; those of images are computed where they are compared."""
        return {**super().compute(events), **dict.fromkeys(LARGE, events)}

    def _end_of(self, name: str, result: Result, events: int) -> int:
        # Large results are published at a pace of their own.
        return find_end({name: result}) if name in LARGE else events

    def _equals(self, name: str, value: Any, right: Any) -> bool:
        if name not in LARGE:
            return super()._equals(name, value, right)
        if value is None:
            return False
        counts = self._count(right)
        if name == "newest":
            return np.array_equal(value, self._shots[self._shot_of(right - 1)])
        if name == "pictures":
            lasers = np.arange(len(counts)) % LASERS ^ 1  # the first shot of a step has the laser on
            return all(
                int(value.counts[row]) == counts[lasers == laser].sum()
                and np.allclose(value.means[row], self._mean(counts * (lasers == laser)), rtol=1e-12, atol=0)
                for row, laser in enumerate(value.keys)
            )
        total = self._sum(counts)
        if name == "mean_picture":
            return np.allclose(value, total / right, rtol=1e-12, atol=0)
        return np.array_equal(value, total if name == "picture" else total.sum(axis=0))

    def _sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.zeros(self._shots.shape[1:], np.int64)
        for count, shot in zip(counts, self._shots, strict=True):
            total += int(count) * shot.astype(np.int64)
        return total

    def _mean(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self._sum(counts) / counts.sum())

    def _count(self, events: int) -> NDArray[np.int64]:
        """Return how often each step and shot was there in the first ``events`` events."""
        cycle = [self._shot_of(index) for index in range(self.steps * self.step_events)]
        rounds, rest = divmod(events, len(cycle))
        size = len(self._shots)
        return rounds * np.bincount(cycle, minlength=size) + np.bincount(cycle[:rest], minlength=size)

    def _shot_of(self, index: int) -> int:
        step, event = index // self.step_events % self.steps, index % self.step_events
        return step * VARIANTS + event % VARIANTS
