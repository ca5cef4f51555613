"""Put a value on the screen: in one line for lists and live views, as a small plot for one result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ami.cli.screen import GAP, bar_range, clean, number, numbers, plot, sparkline
from ami.client.summary import count, summary
from ami.errors import FAULTS
from ami.event import Array
from ami.values import NO_LABEL, Axis, Label, Part, Value, plain

SHADES = " .:-=+*#%@"
SPARK_COLUMNS = 32
IMAGE_ROWS, IMAGE_COLUMNS = 16, 48
TABLE_POINTS = 30  # more are a plot only


@np.errstate(all="ignore")  # infinities and the largest numbers are drawn too
def one_line(value: Any, columns: int = SPARK_COLUMNS, label: Label = NO_LABEL) -> str:
    """Return ``value`` as one short line, with a sparkline where it has one axis."""
    if value is None:
        return "nothing yet"
    if isinstance(value, Value):
        return _draw(value, lambda: [_value_in_a_line(value, columns, label)])[0]
    if isinstance(value, bool | int | float | np.generic) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        return f"{_scalar(value)} {clean(label.unit)}".rstrip()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf":
        return f"{sparkline(value, columns)}  {_range(value)}"
    return _words(value)


@np.errstate(all="ignore")
def lines(value: Any, label: Label = NO_LABEL) -> list[str]:
    """Return ``value`` as lines: a plot or a picture where there is one, its numbers below."""
    if isinstance(value, Value):
        return _draw(value, lambda: _value(value, label))
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size and value.ndim in (1, 2):
        drawn = _image(value) if value.ndim == 2 else plot(value, left=0, right=len(value) - 1)
        return [*drawn, _words(value) + (f", in {clean(label.unit)}" if label.unit else "")]
    return [one_line(value, label=label)]


def _draw(value: Value, draw: Callable[[], list[str]]) -> list[str]:
    """Return what is drawn of a value; a class of another package may be wrong, and hides no other result."""
    try:
        return draw()
    except FAULTS as error:
        return [clean(f"a {type(value).__name__} that does not say what it is made of: {error!r}")]


def _value_in_a_line(value: Value, columns: int, label: Label) -> str:
    (first, *others), axes = value.parts(label), value.axes(label)
    if np.ndim(first.value) == 0:
        errors = [f" ± {_scalar(part.value, 2)}" for part in others if part.name == "error"]
        text = f"{_scalar(first.value)}{''.join(errors)} {clean(first.unit)}".rstrip()
        return ", ".join([text, *_scalars(others)])
    if not axes:
        shape = "×".join(map(str, np.shape(first.value)))
        return ", ".join([f"{clean(first.name)} {shape}", *_scalars(others)])
    text = _extent(first, value.axes())
    return f"{sparkline(first.value, columns)}  {text}" if np.ndim(first.value) == 1 else text


def _value(value: Value, label: Label) -> list[str]:
    """Return a table of few points, a plot or a picture of the first part; what is a number below."""
    (first, *others), axes = value.parts(label), value.axes(label)
    axes_of_first, below = len(axes), "; ".join([_extent(first, value.axes()), *_scalars(others)])
    if np.ndim(first.value) == 0:
        return [_value_in_a_line(value, 0, label)]
    if not axes:
        return [f"{first.name}, {', '.join(_scalars(others))}", *lines(np.asarray(first.value))]
    if axes_of_first == np.ndim(first.value) == 2:
        # x to the right and y upwards, as in any other plot.
        return [*_image(first.value.T[::-1]), below]
    if axes_of_first == np.ndim(first.value) == 1:
        (axis,) = axes
        if not axis.edges and 0 < axis.size <= TABLE_POINTS:
            return [*_table(axis, [first, *others]), below]
        left, right = (float(axis.points[0]), float(axis.points[-1])) if axis.size else (0.0, 0.0)
        return [*plot(first.value, left=left, right=right), below]
    arrays = [part for part in (first, *others) if np.ndim(part.value)]
    return [below, *(f"  {clean(part.name)}: {one_line(np.asarray(part.value))}" for part in arrays)]


def _table(axis: Axis, parts: Sequence[Part]) -> list[str]:
    """Return a line for each point: the point, what each part has there, and a bar of the first part."""
    columns = [part for part in parts if np.ndim(part.value) == 1 and part.axes == (axis.name,)]
    finite = columns[0].value[np.isfinite(columns[0].value)]
    low, high = bar_range(finite) if finite.size else (0.0, 1.0)
    heading = "  ".join(f"{_write_title(part.name, part.unit):>12}" for part in columns)
    points = numbers(axis.points)
    width = max(10, *map(len, points))
    rows = [f"{_write_title(axis.name, axis.unit):>{width}}  {heading}"]
    for place, point in enumerate(points):
        share = (columns[0].value[place] - low) / (high - low)
        bar = "▪" * round(30 * share) if np.isfinite(share) else GAP
        values = "  ".join(f"{_scalar(part.value[place]):>12}" for part in columns)
        rows.append(f"{point:>{width}}  {values}  {bar}".rstrip())
    return rows


def _write_title(name: str, unit: str) -> str:
    return clean(f"{name} [{unit}]" if unit else name)


def _extent(part: Part, axes: Sequence[Axis]) -> str:
    """Return how much there is along the axes of a value's first part, by the words of its class."""
    if axes and all(axis.edges for axis in axes):
        return f"{_scalar(part.value.sum())} in {'×'.join(str(axis.size) for axis in axes)} bins"
    points = " × ".join(count(axis.size, axis.name) for axis in axes)
    shape = "×".join(map(str, np.shape(part.value)[len(axes) :]))
    return f"{points}, each {shape}" if shape else points


def _scalars(parts: Sequence[Part]) -> list[str]:
    return [
        f"{clean(part.name)} {_scalar(part.value, 4)}"
        for part in parts
        if np.ndim(part.value) == 0 and part.name != "error"
    ]


def _scalar(value: Any, digits: int = 6) -> str:
    item = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return number(item, digits) if isinstance(item, bool | int | float) else clean(item)


def _image(image: Array) -> list[str]:
    """Return a picture of a 2-D array in shades, each character the mean of a tile."""
    pixels = np.where(np.isfinite(image.astype(np.float64)), image, 0).astype(np.float64)
    rows, columns = min(IMAGE_ROWS, image.shape[0]), min(IMAGE_COLUMNS, image.shape[1])
    row_edges = np.linspace(0, image.shape[0], rows + 1).astype(np.intp)
    column_edges = np.linspace(0, image.shape[1], columns + 1).astype(np.intp)
    sums = np.add.reduceat(np.add.reduceat(pixels, row_edges[:-1], axis=0), column_edges[:-1], axis=1)
    tiles = sums / np.outer(np.diff(row_edges), np.diff(column_edges))
    low, high = tiles.min(), tiles.max()
    levels = np.nan_to_num((tiles - low) / (high - low) * (len(SHADES) - 1))
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
        if "not_finite" in facts:
            spread.append(f"{facts['not_finite']} nan or inf")
        return ", ".join([f"array {shape} {facts['dtype']}", *spread])
    if facts["type"] in ("str", "bool", "int", "float", "NoneType"):
        return clean(facts["value"])
    rest = {name: fact for name, fact in facts.items() if name != "type"}
    return clean(f"{facts['type']} {json.dumps(plain(rest), default=str, ensure_ascii=False)}")
