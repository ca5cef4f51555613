"""Put a value on the screen: in one line for lists and live views, as a small plot for one result."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ami.cli.screen import GAP, bar_range, clean, number, plot, sparkline
from ami.client.summary import summary
from ami.event import Array
from ami.values import Histogram, Histogram2D, Moments, PickedEvents, Scan, plain

SHADES = " .:-=+*#%@"
SPARK_COLUMNS = 32
IMAGE_ROWS, IMAGE_COLUMNS = 16, 48
TABLE_KEYS = 30  # of a scan; more are a plot only


def one_line(value: Any, columns: int = SPARK_COLUMNS) -> str:
    """Return ``value`` as one short line, with a sparkline where it has one axis."""
    if value is None:
        return "nothing yet"
    if isinstance(value, bool | int | float | np.generic) or (np.ndim(value) == 0 and _is_array(value)):
        return number(plain(value)) if not isinstance(plain(value), str) else clean(value)
    if isinstance(value, Histogram):
        inside = f"{number(plain(value.counts.sum()))} in {len(value.counts)} bins"
        return f"{sparkline(value.counts, columns)}  {inside}"
    if isinstance(value, Scan):
        if np.ndim(value.means) == 1:
            return f"{sparkline(value.means, columns)}  {len(value.keys)} keys"
        return f"{len(value.keys)} keys, each {'×'.join(map(str, np.shape(value.means)[1:]))}"
    if isinstance(value, Moments) and np.ndim(value.mean) == 0:
        mean, error, std = float(value.mean), float(value.error), float(value.std)
        return f"{number(mean)} ± {number(error, 2)}, std {number(std, 4)}"
    if _is_array(value) and value.ndim == 1 and value.dtype.kind in "biuf":
        return f"{sparkline(value, columns)}  {_range(value)}"
    return _words(value)


def lines(value: Any) -> list[str]:
    """Return ``value`` as lines: a plot or a picture where there is one, its numbers below."""
    if isinstance(value, Histogram):
        drawn = plot(value.counts, left=float(value.edges[0]), right=float(value.edges[-1]))
        outside = f"below {number(value.underflow)}, above {number(value.overflow)}, NaN {number(value.nan)}"
        return [*drawn, f"{one_line(value, 0).strip()}; {outside}"]
    if isinstance(value, Scan):
        return _scan(value)
    if isinstance(value, Histogram2D):
        inside = number(plain(value.counts.sum()))
        # x to the right and y upwards, as in any other plot.
        return [*_image(value.counts.T[::-1]), f"{inside} pairs inside, {number(value.outside)} outside"]
    if isinstance(value, Moments) and np.ndim(value.mean):
        return [f"mean of {number(value.count)} events:", *lines(np.asarray(value.mean))]
    if isinstance(value, PickedEvents):
        picked = [f"  {clean(one_line(np.asarray(v)))}" for v in value.values]
        return [f"{len(value.sequences)} events", *picked]
    if _is_array(value) and value.dtype.kind in "biuf" and value.size:
        if value.ndim == 1:
            return [*plot(value, left=0, right=len(value) - 1), _words(value)]
        if value.ndim == 2:
            return [*_image(value), _words(value)]
    return [one_line(value)]


def _scan(scan: Scan) -> list[str]:
    if np.ndim(scan.means) != 1:
        return [one_line(scan)]
    first, last = (float(scan.keys[0]), float(scan.keys[-1])) if len(scan.keys) else (0.0, 0.0)
    if len(scan.keys) > TABLE_KEYS or not len(scan.keys):
        return [*plot(scan.means, left=first, right=last), one_line(scan, 0).strip()]
    finite = scan.means[np.isfinite(scan.means)]
    low, high = bar_range(finite) if finite.size else (0.0, 1.0)
    rows = [f"{'key':>10}  {'mean':>12}  {'error':>10}  {'events':>11}"]
    for key, mean, error, count in zip(scan.keys, scan.means, scan.errors, scan.counts, strict=True):
        share = (mean - low) / (high - low)
        bar = "▪" * round(30 * share) if np.isfinite(share) else GAP
        values = f"{number(float(key)):>10}  {number(float(mean)):>12}  {number(float(error), 3):>10}"
        rows.append(f"{values}  {number(plain(count)):>11}  {bar}".rstrip())
    return rows


def _image(image: Array) -> list[str]:
    """Return a picture of a 2-D array in shades, each character the mean of a tile."""
    pixels = np.where(np.isfinite(image.astype(np.float64)), image, 0).astype(np.float64)
    rows, columns = min(IMAGE_ROWS, image.shape[0]), min(IMAGE_COLUMNS, image.shape[1])
    row_edges = np.linspace(0, image.shape[0], rows + 1).astype(np.intp)
    column_edges = np.linspace(0, image.shape[1], columns + 1).astype(np.intp)
    sums = np.add.reduceat(np.add.reduceat(pixels, row_edges[:-1], axis=0), column_edges[:-1], axis=1)
    tiles = sums / np.outer(np.diff(row_edges), np.diff(column_edges))
    low, high = float(tiles.min()), float(tiles.max())
    levels = (tiles - low) / (high - low) * (len(SHADES) - 1) if high > low else np.zeros_like(tiles)
    frame = "+" + "-" * columns + "+"
    drawn = ["|" + "".join(SHADES[round(level)] for level in row) + "|" for row in levels.tolist()]
    return [frame, *drawn, frame]


def _range(array: Array) -> str:
    facts = summary(array)
    if "min" not in facts:
        return f"{len(array)} values, none finite" if len(array) else "empty"
    return f"{len(array)} values from {number(facts['min'], 4)} to {number(facts['max'], 4)}"


def _words(value: Any) -> str:
    """Return the summary of ``value`` in one line."""
    facts = summary(value)
    if facts["type"] == "array":
        shape = "×".join(map(str, facts["shape"])) or "scalar"
        spread = [f"{name} {number(facts[name])}" for name in ("min", "max", "mean") if name in facts]
        return ", ".join([f"array {shape} {facts['dtype']}", *spread])
    if facts["type"] in ("str", "bool", "int", "float", "NoneType"):
        return clean(facts["value"])
    rest = {name: fact for name, fact in facts.items() if name != "type"}
    return clean(f"{facts['type']} {json.dumps(plain(rest), default=str, ensure_ascii=False)}")


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
