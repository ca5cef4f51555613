"""Say what a measurement is: it is told how long to take, and gives what it found, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ami.lab.bench.figure import Measured


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement is told: whether to hurry, and where to say what it does."""

    quick: bool
    say: Callable[[str], object]

    def seconds(self, usual: float, quick: float) -> float:
        """Return how long to measure."""
        return quick if self.quick else usual

    def times(self, usual: int, quick: int) -> int:
        """Return how often to measure."""
        return quick if self.quick else usual


Measure = Callable[[Bench], dict[str, Measured]]
