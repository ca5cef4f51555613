"""The graphs and inputs that are measured with, as people would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ami.event import Slots
from ami.sources import open_source, take

SCALARS = "sim://scalars"
POOL_EVENTS = 65536  # of sim://scalars: event i has the values of event i % 65536

# Two filters, three expressions, a mean, moments, two histograms, a mean by key.
SCALAR = """\
values:
  ratio:    energy / (1 + abs(offset))
  signal:   ratio / (monitor + 1)
  balance:  (monitor - offset) / (monitor + 1)
  on:       ratio where laser == 1 and monitor > 0.1
  off:      ratio where laser == 0 and monitor > 0.1
results:
  mean_on:     mean_events(on)
  off_moments: moments(off)
  signals:     histogram(signal, 200, 0, 10000)
  balances:    histogram(balance, 100, -1, 2)
  on_vs_delay: mean_vs(on, key=delay)
"""
REGION = "results: {level: 'mean_events(mean(roi(camera, rows=256:768, cols=256:768)))'}\n"
IMAGE = "results: {mean_camera: mean_events(camera)}\n"
LEVEL = "results: {level: mean_events(level_meter)}\n"
SHOTS = "results: {level: mean_events(monitor)}\n"
# Sines and cosines: about a microsecond an event.
HEAVY = "results:\n" + "".join(
    f"  wave_{n}: mean_events(sin(energy * {n + 1}.5) * cos(offset + {n}) + monitor)\n" for n in range(40)
)


def images(folder: str, rows: int, columns: int) -> str:
    """Write a description of a float32 camera into ``folder``; return the source that simulates it."""
    return _describe(folder, camera=_camera(rows, columns))


def meter(folder: str, *, camera: bool) -> str:
    """Do the same of one number, with or without a camera of 4 megapixels beside it."""
    number = {"dtype": "Scalar", "range": [0, 1]}
    return _describe(folder, level_meter=number, **({"camera": _camera(2048, 2048)} if camera else {}))


def _camera(rows: int, columns: int) -> Mapping[str, object]:
    return {"dtype": "Image", "shape": [rows, columns], "pedestal": 5, "width": 1}


def _describe(folder: str, **detectors: object) -> str:
    path = Path(folder, f"{'-'.join(detectors)}.json")
    path.write_text(json.dumps({"interval": 0.001, "config": detectors}))
    return f"sim://{path}"


def first_events(uri: str, count: int) -> Slots:
    """Return the first events of a source, in memory of their own."""
    with closing(open_source(uri)) as source:
        return take(source, 0, count)
