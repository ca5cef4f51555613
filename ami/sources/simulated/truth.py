"""The truth of the simulated pump-probe experiment: what an exact analysis must find.

Pure formulas of delay, laser and monitor, without seed, noise or generator. ``sim://pump-probe``
follows them; tests and demonstrations compare with them.

A laser pulse pumps a sample, an X-ray pulse probes it ``delay`` ps later. The X-rays scatter into
two spots on a camera: one that the pump changes, and one that it does not touch (the reference).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAIN = 0.8  # how much brighter the pumped spot would be at once after the pump
RISE_PS = 0.5  # time constant of the rise
DECAY_PS = 6.0  # time constant of the decay

SPOT_COUNTS = 10_000.0  # sum over a spot's box for monitor 1, without pump
SPOT_WIDTH = 3.0  # standard deviation of a spot, in pixels
MONITOR_DEPTH = 0.2  # the intensity varies by so much around 1
DARK = 0.02  # intensity of a shot in which the beam dropped out
ENERGY_EV = 9500.0
PULSE_WIDTH = 4.0  # standard deviation of the waveform's pulse, in samples


def truth(delay: Floats | float, laser: NDArray[Any] | int = 1) -> Floats:
    """Return the brightness of the pumped spot, relative to that without pump.

    ``1 + GAIN * (1 - exp(-delay / RISE_PS)) * exp(-delay / DECAY_PS)`` with the laser on and
    ``delay`` (ps) above 0; 1 otherwise: the usual rise and decay of a transient signal.
    """
    after = np.maximum(np.asarray(delay, np.float64), 0.0)
    change = GAIN * (1.0 - np.exp(-after / RISE_PS)) * np.exp(-after / DECAY_PS)
    return np.asarray(1.0 + np.where(np.asarray(laser) > 0, change, 0.0))


def monitor(variant: NDArray[np.int64], variants: int) -> Floats:
    """Return the intensity of the shots ``variant`` of ``variants``.

    ``1 + MONITOR_DEPTH * cos(2 pi variant / variants)``; from four variants on, the last two
    (one with the laser on, one with it off) are DARK.
    """
    level = 1.0 + MONITOR_DEPTH * np.cos(2.0 * np.pi * variant / variants)
    dark = (variant >= variants - 2) & (variants >= 4)
    return np.where(dark, DARK, level)


def boxes(shape: tuple[int, int]) -> dict[str, tuple[slice, slice]]:
    """Return rows and columns of the two spots, ``pumped`` and ``reference``, on a camera.

    Centres at (1/3, 5/16) and (2/3, 11/16) of rows and columns; each box reaches an eighth of the
    shorter side, at most 10 pixels, to all sides. No part of a spot is outside of its box.
    """
    reach = min(10, min(shape) // 8)

    def around(row: int, column: int) -> tuple[slice, slice]:
        return slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)

    rows, columns = shape
    return {
        "pumped": around(rows // 3, columns * 5 // 16),
        "reference": around(rows * 2 // 3, columns * 11 // 16),
    }


def profile(shape: tuple[int, int], spot: str) -> Floats:
    """Return the share of a spot's light in each pixel: a Gaussian cut to its box, with sum 1."""
    rows, columns = boxes(shape)[spot]

    def axis(pixels: slice) -> Floats:
        distance = np.arange(pixels.start, pixels.stop) - (pixels.start + pixels.stop - 1) / 2
        return np.asarray(np.exp(-0.5 * (distance / SPOT_WIDTH) ** 2))

    light = np.zeros(shape)
    light[rows, columns] = np.outer(axis(rows), axis(columns))
    return np.asarray(light / light.sum())


def pulse(samples: int) -> Floats:
    """Return the waveform of a shot of diode 1: a Gaussian of height 1 around sample ``samples // 3``."""
    distance = np.arange(samples) - samples // 3
    return np.asarray(np.exp(-0.5 * (distance / PULSE_WIDTH) ** 2))
