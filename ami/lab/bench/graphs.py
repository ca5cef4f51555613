"""The graphs and inputs that are measured with, as people would write them."""

from __future__ import annotations

import json
from pathlib import Path

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
SHOTS = "results: {level: mean_events(monitor)}\n"

HEAVY_OPERATIONS = 40


def heavy() -> str:
    """Return a graph that takes about a microsecond an event: sines and cosines."""
    lines = [
        f"  wave_{n}: mean_events(sin(energy * {n + 1}.5) * cos(offset + {n}) + monitor)"
        for n in range(HEAVY_OPERATIONS)
    ]
    return "\n".join(["results:", *lines, ""])


# As long as a busy core would take, a microsecond an event, but no core is taken.
WAITING = """\
functions:
  held:
    block: true
    code: |
      import time
      def held(value):
          time.sleep(1e-6 * len(value))
          return value
results:
  level: mean_events(held(monitor))
"""


def means(count: int) -> str:
    """Return a graph of ``count`` results, each the mean of an expression of its own."""
    lines = [
        "  level: mean_events(monitor)\n",
        *(f"  mean_{n}: mean_events(energy + {n}.5)\n" for n in range(1, count)),
    ]
    return "results:\n" + "".join(lines)


def images(folder: Path, rows: int, columns: int) -> str:
    """Write a description of a float32 camera into ``folder``; return the source that simulates it."""
    path = folder / f"camera-{rows}x{columns}.json"
    camera = {"dtype": "Image", "shape": [rows, columns], "pedestal": 5, "width": 1}
    path.write_text(json.dumps({"interval": 0.001, "config": {"camera": camera}}))
    return f"sim://{path}"
