"""Simulate the detectors of a description: ``sim://FILE.json``, ``sim://scalars``, ``static://``.

A simulated field is drawn from the seed into a pool, at its first use; a static one is 1
everywhere, or 1, 0, 1, 0 ... if it is binary. Event i has row ``i % rows`` of the pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Array, Field
from ami.sources import uri
from ami.sources.simulated.description import Description, Detector
from ami.sources.simulated.pool import Clock, Pooled
from ami.sources.uri import MAX, Option

OPTIONS: Mapping[str, Option] = {
    "seed": Option(uri.natural, 1),
    "pool": Option(uri.counted, 65536),
    "missing": Option(uri.fraction, 0.0),
    "missing_fields": Option(uri.names, ()),
    "event_rate": Option(uri.rate_hz, None),
}
STATIC_OPTIONS: Mapping[str, Option] = {
    "fields": Option(uri.names, ()),
    "event_rate": Option(uri.rate_hz, None),
}

NOMINAL_SCALARS_HZ, NOMINAL_ARRAYS_HZ = 10_000_000, 1_000_000  # event time at rate=max
POOL_BYTES = 32 << 20  # of one array field, where two events fit
VERSION = 1


def clock(description: Description, event_rate_hz: float | None, rate_hz: float | None, where: str) -> Clock:
    """Return the event time of a simulation: ``event_rate``, else ``rate``, else the description's."""
    if event_rate_hz == MAX:
        raise SourceError(f"{where}: event_rate=max is no event time; give events per second")
    arrays = any(detector.field.shape for detector in description.detectors.values())
    nominal = NOMINAL_ARRAYS_HZ if arrays else NOMINAL_SCALARS_HZ
    return Clock(event_rate_hz or (nominal if rate_hz == MAX else rate_hz or 1 / description.interval_s))


class Detectors(Pooled):
    """Described detectors: drawn from a seed, or static without ``options``."""

    def __init__(
        self, description: Description, clock: Clock, options: Mapping[str, Any], where: str
    ) -> None:
        super().__init__(where, description.schema, clock, options)
        self._lost = self.schema.with_lengths(self._lost or self.schema.names[-1:])
        self._detectors = description.detectors
        drawn = sorted((n, options[n]) for n in OPTIONS if n != "event_rate") if options else "ones"
        described = hashlib.sha256(description.text.encode()).hexdigest()
        self.content = f"detectors {VERSION} {self.rate_hz!r} {drawn} {described}"

    def _make(self, name: str) -> Array:
        if name not in self._detectors:
            return self._lengths(self._detectors[name.removesuffix(".length")].field)
        detector = self._detectors[name]
        return self._draw(detector, self._options) if self._options else self._ones(detector)

    def _lengths(self, field: Field) -> Array:
        if not self._options:
            return np.full(4096, field.shape[0])
        rng = np.random.default_rng([self._options["seed"], self.schema.names.index(field.length_name)])
        return np.asarray(rng.integers(0, field.shape[0] + 1, self._options["pool"]))

    def _ones(self, detector: Detector) -> Array:
        # Even, so that 1, 0 goes on over the pool's end; long enough that a block is one copy or two.
        rows = 2 * max(1, min(4096, POOL_BYTES // (2 * detector.field.event_bytes)))
        ones: Array = np.ones((rows, *detector.field.shape), detector.field.dtype)
        if detector.binary:
            ones[1::2] = 0
        return ones

    def _draw(self, detector: Detector, options: Mapping[str, Any]) -> Array:
        kind = detector.field
        rng = np.random.default_rng([options["seed"], self.schema.names.index(kind.name)])
        rows = options["pool"]
        if not kind.shape:
            if kind.dtype.kind == "i":
                low, high = round(detector.low), max(round(detector.low) + 1, round(detector.high))
                return np.asarray(rng.integers(low, high, rows))
            return np.asarray(rng.uniform(detector.low, detector.high, rows))
        rows = max(2, min(rows, POOL_BYTES // kind.event_bytes))
        pool: Array = np.empty((rows, *kind.shape), kind.dtype)
        drawn = np.empty(kind.shape, np.float32)
        for row in pool:  # one by one, in one place: the normal numbers of a whole pool need twice its memory
            rng.standard_normal(dtype=np.float32, out=drawn)
            drawn *= detector.width
            drawn += detector.pedestal
            if kind.dtype.kind in "iu":
                limits = np.iinfo(kind.dtype)
                np.clip(np.rint(drawn, out=drawn), limits.min, limits.max, out=drawn)
            row[...] = drawn
        return pool
