"""Simulate a pump-probe experiment with known truth: ``sim://pump-probe``.

A delay is scanned in steps, round and round; every other shot has the laser on. What is measured
follows :mod:`ami.sources.simulated.truth`, plus noise from the seed.

Events come from a pool that is made once, field by field, when somebody first reads that field:
the values of event ``e`` of step ``s`` are a function of ``(seed, s, e % rows)`` and nothing
else. So reading is copying, and any position can be read at any time, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Array, Field, Schema
from ami.sources import uri
from ami.sources.base import Step
from ami.sources.simulated import truth
from ami.sources.simulated.pool import Clock, Pooled, copy_cyclic
from ami.sources.uri import MAX, Option

OPTIONS: Mapping[str, Option] = {
    "seed": Option(uri.natural, 1),
    "noise": Option(uri.number, 1.0),
    "steps": Option(uri.counted, 21),
    "step_events": Option(uri.counted, 1000),
    "run_events": Option(uri.counted, None),
    "first_delay": Option(uri.number, -5.0),
    "last_delay": Option(uri.number, 15.0),
    "variants": Option(uri.counted, 16),
    "camera": Option(uri.image_shape, (96, 128)),
    "camera_type": Option(uri.one_of("float32", "uint16"), "float32"),
    "pedestal": Option(uri.number, 0.0),
    "samples": Option(uri.counted, 256),
    "missing": Option(uri.fraction, 0.0),
    "missing_fields": Option(uri.names, ("camera",)),
    "event_rate": Option(uri.rate_hz, None),
}

NOMINAL_HZ = 1_000_000  # event time of a simulation as fast as possible
POOL_ROWS = 4096  # of scalars and a step, where the step is longer
POOL_LIMIT_BYTES = 512 << 20
VERSION = 1  # raise it when an event's values change: recorded positions then mean other events


class PumpProbe(Pooled):
    """The :class:`~ami.sources.base.Input` of ``sim://pump-probe``; options as in docs/sources.md."""

    def __init__(self, options: Mapping[str, Any], rate_hz: float) -> None:
        _check(options)
        clock = Clock(options["event_rate"] or (NOMINAL_HZ if rate_hz == MAX else rate_hz))
        fields = (
            Field("delay", np.dtype(np.float64), unit="ps"),
            Field("laser", np.dtype(np.int64)),
            Field("monitor", np.dtype(np.float64)),
            Field("diode", np.dtype(np.float64)),
            Field("energy", np.dtype(np.float64), unit="eV"),
            Field("waveform", np.dtype(np.float32), (options["samples"],)),
            Field("camera", np.dtype(options["camera_type"]), options["camera"], unit="counts"),
        )
        super().__init__("sim://pump-probe", Schema(fields), clock, options)
        used = {name: options[name] for name in OPTIONS if name != "event_rate"}
        self.content = f"pump-probe {VERSION} {self.rate_hz!r} {sorted(used.items())}"
        self.delays = np.linspace(options["first_delay"], options["last_delay"], options["steps"])
        self._rows = self._pool_rows()

    def _pool_rows(self) -> int:
        """Return the rows of a step in the pool of scalars: the step, or a multiple of the variants."""
        variants, events = self._options["variants"], self._options["step_events"]
        return int(min(events, -(-POOL_ROWS // variants) * variants))

    def step(self, index: int) -> Step:
        events = self._options["step_events"]
        number, run, stop = index // events, 0, (index // events + 1) * events
        if self._options["run_events"]:
            run = index // self._options["run_events"] + 1
            stop = min(stop, run * self._options["run_events"])
        return Step(run, number, float(self.delays[number % len(self.delays)]), stop)

    def _copy(self, pool: Array, index: int, into: Array) -> None:
        steps, rows = pool.shape[:2]
        events = self._options["step_events"]
        if rows == events:  # the pool is the whole scan
            copy_cyclic(pool.reshape(steps * rows, *pool.shape[2:]), index, into)
            return
        done = 0
        while done < len(into):
            number, event = divmod(index + done, events)
            count = min(len(into) - done, events - event)
            copy_cyclic(pool[number % steps], event, into[done : done + count])
            done += count

    def _make(self, name: str) -> Array:
        """Return the pool of a field, ``(steps, rows, *shape)``."""
        field = self.schema[name]
        rows = min(self._options["variants"], self._rows) if field.shape else self._rows
        pool = np.empty((len(self.delays), rows, *field.shape), field.dtype)
        for step in range(len(self.delays)):
            self._fill(name, step, pool[step])
        return pool

    def _fill(self, name: str, step: int, into: Array) -> None:
        """Write a field's rows of one step."""
        if name == "delay":
            into[:] = self.delays[step]
        elif name == "laser":
            into[:] = 1 - np.arange(len(into)) % 2
        elif name == "monitor":
            into[:] = self._monitor(step, len(into))
        elif name == "diode":
            into[:] = self._diode(step, len(into)) + 0.01 * self._noise("diode", step, into.shape)
        elif name == "energy":
            into[:] = truth.ENERGY_EV + 10.0 * self._noise("energy", step, into.shape)
        elif name == "waveform":
            exact = self._diode(step, len(into))[:, None] * truth.pulse(into.shape[1])
            into[:] = exact + 0.01 * self._noise("waveform", step, into.shape)
        else:
            self._fill_camera(step, into)

    def _noise(self, name: str, step: int, shape: tuple[int, ...]) -> Array:
        """Return standard normal numbers that depend on seed, field and step only."""
        stream = [self._options["seed"], self.schema.names.index(name), step]
        drawn: Array = np.random.default_rng(stream).standard_normal(shape, np.float32)
        drawn *= np.float32(self._options["noise"])
        return drawn

    def _fill_camera(self, step: int, into: Array) -> None:
        shape = self._options["camera"]
        pumped, reference = truth.profile(shape, "pumped"), truth.profile(shape, "reference")
        monitor, diode = self._monitor(step, len(into)), self._diode(step, len(into))
        noise = self._noise("camera", step, into.shape)
        for row in range(len(into)):
            exact = truth.SPOT_COUNTS * (diode[row] * pumped + monitor[row] * reference)
            image = exact + noise[row] + self._options["pedestal"]
            into[row] = np.clip(np.rint(image), 0, 65535) if into.dtype.kind == "u" else image

    def _monitor(self, step: int, rows: int) -> Array:
        """Return the intensity of each shot. Its period is the number of variants, as the images' is:
        the light on the camera is that of the monitor."""
        variants = self._options["variants"]
        shot = np.arange(rows) % variants
        noise = 0.05 * self._noise("monitor", step, (variants,))[shot]
        level = truth.monitor(shot, variants)
        return np.asarray(level * np.maximum(1.0 + noise, 0.1))

    def _diode(self, step: int, rows: int) -> Array:
        laser = 1 - np.arange(rows) % 2
        return np.asarray(self._monitor(step, rows) * truth.truth(self.delays[step], laser))


def _check(options: Mapping[str, Any]) -> None:
    steps, variants, camera = options["steps"], options["variants"], options["camera"]
    if variants % 2:
        raise SourceError(f"sim://pump-probe: variants={variants} is odd; every other shot has the laser on")
    if min(camera) < 16:
        raise SourceError(
            f"sim://pump-probe: camera={camera[0]}x{camera[1]} has no room for two spots; 16x16 has"
        )
    if options["event_rate"] == MAX:
        raise SourceError("sim://pump-probe: event_rate=max is no event time; give events per second")
    pool = steps * variants * int(np.prod(camera)) * np.dtype(options["camera_type"]).itemsize
    if pool > POOL_LIMIT_BYTES:
        raise SourceError(
            f"sim://pump-probe: a camera of {camera[0]}x{camera[1]} asks for a pool of {pool >> 20} MiB, "
            f"{POOL_LIMIT_BYTES >> 20} are possible; lower steps={steps} or variants={variants}"
        )
