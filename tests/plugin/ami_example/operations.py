"""Clip a value to a range, and take the mean of a spectrum by its energies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ami.operations import (
    NO_LABEL,
    NO_STAMPS,
    Array,
    Axis,
    Function,
    GraphError,
    Kind,
    Label,
    Part,
    Reduction,
    State,
    Value,
    number,
)


class Clipped(Function):
    """The value, or the nearest end of the range [low, high] if it lies outside."""

    name = "clipped"
    keeps_unit = True

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = number(self.name, "low", low), number(self.name, "high", high)

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        return Kind(np.dtype(np.float64), value.shape, value.reduced)

    def __call__(self, *arrays: Array) -> Array:
        return np.clip(arrays[0].astype(np.float64), self._low, self._high)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum(Value):
    """Mean intensity at each energy, of ``shots`` events."""

    energies: Array
    intensity: Array
    shots: int

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        return (Part("intensity", self.intensity, label.unit, ("energy",)), Part("shots", self.shots))

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        return (Axis("energy", self.energies, "eV"),)


class MeanSpectrum(Reduction):
    """Mean of a value with one axis, whose points lie at equal steps from ``first`` eV on.

    State: None, or (number of events, sum).
    """

    name = "spectrum"
    keeps_unit = True

    def __init__(self, first: float, step: float, window: str = "run") -> None:
        super().__init__(window)
        self._first, self._step = number(self.name, "first", first), number(self.name, "step", step)

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        if len(value.shape) != 1:
            raise GraphError(f"spectrum needs a value with one axis, got {value}")
        return Kind(np.dtype(np.float64), value.shape, True, "spectrum")

    def zero(self) -> State:
        return None

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        return self.merge(state, (len(arrays[0]), arrays[0].sum(axis=0, dtype=np.float64)))

    def merge(self, a: State, b: State) -> State:
        if a is None or b is None:
            return b if a is None else a
        return (a[0] + b[0], a[1] + b[1])

    def result(self, state: State) -> Any:
        if state is None:
            return None
        energies = self._first + self._step * np.arange(len(state[1]))
        return Spectrum(energies, state[1] / state[0], state[0])
