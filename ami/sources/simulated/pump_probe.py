"""Simulate a pump-probe experiment with known truth: ``sim://pump-probe``.

A delay is scanned in steps, round and round; every other shot has the laser on. What is measured
follows :mod:`ami.sources.simulated.truth`, plus noise from the seed.

Events come from a pool that is made once, field by field, when somebody first reads that field:
the values of event ``e`` of step ``s`` are a function of ``(seed, s, e % rows)`` and nothing
else. So reading is copying, and any position can be read at any time, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Array, Field, Schema, Slots
from ami.sources import uri
from ami.sources.base import Step
from ami.sources.simulated import truth
from ami.sources.simulated.pool import Clock, copy_cyclic, is_missing
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


class PumpProbe:
    """The :class:`~ami.sources.base.Input` of ``sim://pump-probe``; options as in docs/sources.md."""

    count: int | None = None
    skipped: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, Any], rate_hz: float) -> None:
        self._options = options
        self._check()
        self.clock = Clock(options["event_rate"] or (NOMINAL_HZ if rate_hz == MAX else rate_hz))
        self.rate_hz = self.clock.rate_hz
        self.schema = Schema(
            (
                Field("delay", np.dtype(np.float64), unit="ps"),
                Field("laser", np.dtype(np.int64)),
                Field("monitor", np.dtype(np.float64)),
                Field("diode", np.dtype(np.float64)),
                Field("energy", np.dtype(np.float64), unit="eV"),
                Field("waveform", np.dtype(np.float32), (options["samples"],)),
                Field("camera", np.dtype(options["camera_type"]), options["camera"], unit="counts"),
            )
        )
        unknown = [name for name in options["missing_fields"] if name not in self.schema]
        if unknown:
            raise SourceError(
                f"sim://pump-probe: missing_fields: there is no {unknown[0]!r}; "
                f"known: {', '.join(self.schema.names)}"
            )
        used = {name: options[name] for name in OPTIONS if name != "event_rate"}
        self.content = f"pump-probe {VERSION} {self.rate_hz!r} {sorted(used.items())}"
        self.delays = np.linspace(options["first_delay"], options["last_delay"], options["steps"])
        self._rows = self._pool_rows()
        self._pools: dict[str, Array] = {}
        self._makers: dict[str, Callable[[int, Array], None]] = {
            "delay": self._make_delay,
            "laser": self._make_laser,
            "monitor": self._make_monitor,
            "diode": self._make_diode,
            "energy": self._make_energy,
            "waveform": self._make_waveform,
            "camera": self._make_camera,
        }

    def _check(self) -> None:
        options = self._options
        steps, variants, camera = options["steps"], options["variants"], options["camera"]
        if variants % 2:
            raise SourceError(
                f"sim://pump-probe: variants={variants} is odd; every other shot has the laser on"
            )
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

    def _pool_rows(self) -> int:
        """Return the rows of a step in the pool of scalars: the step, or a multiple of the variants."""
        variants, events = self._options["variants"], self._options["step_events"]
        return int(min(events, -(-POOL_ROWS // variants) * variants))

    def timestamps(self, index: int, into: Array) -> None:
        self.clock.write(index, into)

    def step(self, index: int) -> Step:
        events = self._options["step_events"]
        number, run, stop = index // events, 0, (index // events + 1) * events
        if self._options["run_events"]:
            run = index // self._options["run_events"] + 1
            stop = min(stop, run * self._options["run_events"])
        return Step(run, number, float(self.delays[number % len(self.delays)]), stop)

    def read(self, index: int, into: Slots, fields: frozenset[str]) -> None:
        into.set_valid(fields)
        for name in fields:
            self._copy(index, self._pool(name), into.columns[name])
        if self._options["missing"] and (lost := fields & set(self._options["missing_fields"])):
            missing = is_missing(index, into.count, self._options["missing"], self._options["seed"])
            into.set_missing(lost, missing)

    def _copy(self, index: int, pool: Array, into: Array) -> None:
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

    def _pool(self, name: str) -> Array:
        """Return the pool of a field, ``(steps, rows, *shape)``; it is made at the first call."""
        if name not in self._pools:
            field = self.schema[name]
            rows = min(self._options["variants"], self._rows) if field.shape else self._rows
            pool = np.empty((len(self.delays), rows, *field.shape), field.dtype)
            for step in range(len(self.delays)):
                self._makers[name](step, pool[step])
            self._pools[name] = pool
        return self._pools[name]

    def _noise(self, name: str, step: int, shape: tuple[int, ...]) -> Array:
        """Return standard normal numbers that depend on seed, field and step only."""
        stream = [self._options["seed"], self.schema.names.index(name), step]
        drawn: Array = np.random.default_rng(stream).standard_normal(shape, np.float32)
        drawn *= np.float32(self._options["noise"])
        return drawn

    def _make_delay(self, step: int, into: Array) -> None:
        into[:] = self.delays[step]

    def _make_laser(self, step: int, into: Array) -> None:
        into[:] = 1 - np.arange(len(into)) % 2

    def _make_monitor(self, step: int, into: Array) -> None:
        into[:] = self._monitor(step, len(into))

    def _make_diode(self, step: int, into: Array) -> None:
        into[:] = self._diode(step, len(into)) + 0.01 * self._noise("diode", step, into.shape)

    def _make_energy(self, step: int, into: Array) -> None:
        into[:] = truth.ENERGY_EV + 10.0 * self._noise("energy", step, into.shape)

    def _make_waveform(self, step: int, into: Array) -> None:
        exact = self._diode(step, len(into))[:, None] * truth.pulse(into.shape[1])
        into[:] = exact + 0.01 * self._noise("waveform", step, into.shape)

    def _make_camera(self, step: int, into: Array) -> None:
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

    def close(self) -> None:
        self._pools.clear()
