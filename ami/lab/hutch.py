"""Describe ordinary nights: the detectors of one beamline's node, and the graphs that people run on them."""

from __future__ import annotations

from collections.abc import Mapping

from ami.client.first_graph import ready_graph
from ami.lab.nights import Night

RATE_HZ = 120.0
SCALARS, WAVEFORMS, STRIPS = 240, 8, 12
SHIPPED = "sim://pump-probe?camera=512x512&rate=120&policy=wait"


def image(side: int, kind: str = "float32") -> dict[str, object]:
    """Return a square camera, whose pixels are of a numpy type."""
    return {"dtype": "Image", "shape": [side, side], "pedestal": 5, "width": 1, "type": kind}


def scalar(low: float, high: float, **more: object) -> dict[str, object]:
    return {"dtype": "Scalar", "range": [low, high], **more}


SHOT: Mapping[str, object] = {
    "delay": scalar(0, 21, integer=True),
    "laser": scalar(0, 2, integer=True, binary=True),
    "monitor": scalar(0.2, 2),
    "diode": scalar(0, 2),
    "energy": scalar(9400, 9600),
}
# 256 fields, of which one is a camera that nobody asks for.
DETECTORS: Mapping[str, object] = {
    **SHOT,
    **{f"epics{n:03}": scalar(0, 1) for n in range(SCALARS)},
    **{
        f"digitizer{n}": {"dtype": "Waveform", "length": 10_000, "pedestal": 10, "width": 2}
        for n in range(WAVEFORMS)
    },
    "epix": image(1024),
    "yag": image(512),
    "jungfrau": image(2048),
}
# 44 results.
GRAPH = (
    """\
values:
  region: roi(epix, rows=300:500, cols=400:700)
  signal: sum(region) / monitor
  on: signal where laser == 1 and monitor > 0.3
  off: signal where laser == 0 and monitor > 0.3
results:
  on_vs_delay: mean_vs(on, key=delay)
  off_vs_delay: mean_vs(off, key=delay)
  difference: on_vs_delay - off_vs_delay
  signals: histogram(signal, 200, 0, 2000000)
  correlation: histogram2d(monitor, diode, 100, 0, 2, 100, 0, 2)
  epix_mean: mean_events(epix)
  epix_now: last(epix)
  epix_x: mean_events(projection(epix, 0), window=interval)
  yag_mean: mean_events(yag, window=interval)
  yag_now: last(yag)
  yag_x: mean_events(projection(yag, 0), window=interval)
  yag_y: mean_events(projection(yag, 1), window=interval)
  shots: count(monitor)
  beam: mean_events(monitor, window=interval)
  energy_now: mean_events(energy, window=interval)
  energies: histogram(energy, 100, 9400, 9600)
"""
    + "".join(
        f"  wave{n}: mean_events(digitizer{n}, window=interval)\n"
        f"  peak{n}: histogram(max(digitizer{n}), 100, 0, 40)\n"
        for n in range(WAVEFORMS)
    )
    + "".join(f"  epics{n:03}_now: mean_events(epics{n:03}, window=interval)\n" for n in range(STRIPS))
)
LEVEL = "  level: mean_events(monitor)\n"
IMAGES = (
    """\
values:
  left: sum(roi(camera, rows=100:300, cols=100:300))
  middle: sum(roi(camera, rows=400:600, cols=400:600))
  right: sum(roi(camera, rows=700:900, cols=700:900))
results:
  mean: mean_events(camera)
  mean_now: mean_events(camera, window=interval)
  newest: last(camera)
  profile: mean_events(projection(camera, 0))
  pixels: histogram(camera, 200, 0, 10)
  left_vs_delay: mean_vs(left, key=delay)
  middle_vs_delay: mean_vs(middle, key=delay)
  right_vs_delay: mean_vs(right, key=delay)
"""
    + LEVEL
)
MANY = 1000
# Two seconds at each of 40 positions, and again from the first one.
SCAN = "sim://pump-probe?camera=1024x1024&rate=30&policy=wait&steps=40&step_events=60&variants=2"

NIGHTS = (
    Night(
        name="hutch", said="256 fields, 44 results", rate_hz=RATE_HZ, detectors=DETECTORS, graph=GRAPH,
        small="shots", large="epix_mean",
        may={"cores": 1.2, "late": 100, "age": 1.5, "memory": 2000, "disk": 20},
    ),
    Night(
        name="shift", said="the hutch for 10 minutes", rate_hz=RATE_HZ, detectors=DETECTORS, graph=GRAPH,
        small="shots", large="epix_mean", lasting_s=600.0, when="named",
        may={"cores": 1.2, "late": 100, "age": 1.5, "memory": 2000, "disk": 20},
    ),
    Night(
        name="camera", said="mean of 1024×1024 float32", rate_hz=RATE_HZ, large="mean",
        detectors={**SHOT, "camera": image(1024)},
        graph="results:\n  mean: mean_events(camera)\n" + LEVEL,
        may={"cores": 0.6, "late": 100, "age": 0.6, "memory": 1200, "disk": 20},
    ),
    Night(
        name="images", said="five results of 1024×1024, three scans", rate_hz=RATE_HZ, large="mean",
        detectors={**SHOT, "camera": image(1024)}, graph=IMAGES,
        may={"cores": 1.2, "late": 100, "age": 0.6, "memory": 1200, "disk": 20},
    ),
    Night(
        name="shipped", said="the shipped graph with 512×512", rate_hz=RATE_HZ, detectors=SHIPPED,
        graph=(found.read_text("utf-8") if (found := ready_graph(SHIPPED)) else ""),
        small="shots", large="camera_mean", may={"cores": 0.4, "disk": 5},
    ),
    Night(
        name="wide", said="mean and last of 2048×2048 uint16", rate_hz=60.0, large="mean",
        detectors={**SHOT, "camera": image(2048, "uint16")},
        graph="results:\n  mean: mean_events(camera)\n  newest: last(camera)\n" + LEVEL,
        may={"cores": 2.0, "age": 1.5},
    ),
    Night(
        name="deep", said="mean and last of 2048×2048 float32", rate_hz=30.0, large="mean",
        detectors={**SHOT, "camera": image(2048)},
        graph="results:\n  mean: mean_events(camera)\n  newest: last(camera)\n" + LEVEL,
        may={"cores": 2.0, "age": 1.5},
    ),
    Night(
        name="many", said=f"{MANY} means of intervals", rate_hz=10_000.0, detectors=SHOT,
        graph="results:\n" + LEVEL + "".join(
            f"  mean_{n}: mean_events(energy + {n}, window=interval)\n" for n in range(MANY)
        ),
        may={"cores": 1.2, "late": 100},
    ),
    Night(
        name="keys", said="scan of 40 keys of 1024×1024 float32", rate_hz=30.0, large="scan",
        detectors=SCAN, settle_s=90.0,
        graph="results:\n  scan: mean_vs(camera, key=delay)\n" + LEVEL,
        may={"cores": 2.0, "late": 100, "age": 5.0},
    ),
)  # fmt: skip
