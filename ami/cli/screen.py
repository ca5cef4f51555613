"""Draw tables, sparklines and small plots with characters, and numbers as people read them.

What comes out of a store may hold anything, terminal commands included; so every text from there
goes through :func:`clean` before it is printed.
"""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.log import printable

BARS = " ▁▂▃▄▅▆▇█"
GAP = "·"  # where a value is missing
PLOT_ROWS = 8

Floats = NDArray[np.float64]


def clean(text: object, limit: int = 400) -> str:
    """Return ``text`` on one line without control characters, cut at ``limit`` characters."""
    shown = printable(str(text)[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def terminal_width() -> int:
    """Return the number of characters in a line of the terminal, 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def cut(line: str, width: int) -> str:
    """Return ``line`` in at most ``width`` characters."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def wrap(line: str, width: int | None, indent: str) -> list[str]:
    """Return ``line`` in lines of at most ``width`` characters, if it is given, the further ones indented."""
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, max(width, 20), subsequent_indent=indent, break_on_hyphens=False)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: str = "") -> str:
    """Return ``rows`` in columns under ``headings``.

    ``right`` has one letter per column: ``r`` where the column is flush right, as numbers are.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max([len(h), *(len(row[i]) for row in cells)]) for i, h in enumerate(headings)]
    flush = right.ljust(len(headings))
    lines = []
    for row in [list(headings), *cells]:
        parts = [
            c.rjust(w) if side == "r" else c.ljust(w) for c, w, side in zip(row, widths, flush, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def number(value: float, digits: int = 6) -> str:
    """Return a number with ``digits`` digits; counts with separators of thousands."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer):
        return f"{int(value):,}" if abs(int(value)) < 10**18 else f"{float(value):.{digits}g}"
    value = float(value)
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def numbers(values: Iterable[Any], digits: int = 6) -> list[str]:
    """Return numbers as texts that are as different as the numbers; with at least so many digits."""
    there = [value.item() if isinstance(value, np.generic) else value for value in values]
    for more in range(digits, 18):
        texts = [number(value, more) for value in there]
        if len({*texts}) >= len({*there}):
            return texts
    return [f"{value:,}" for value in there]


def counted(count: int, things: str) -> str:
    """Return so many things, whose name is given in the plural: ``1 batch``, ``2,000 flushes``."""
    one = things[: -2 if things.endswith("hes") else -1]
    return f"{number(count)} {one if count == 1 else things}"


def some(count: int) -> str:
    """Return a count; nothing for none, where it is the usual."""
    return number(count) if count else ""


def rate(value: object) -> str:
    """Return events per second: ``950 /s``, ``3.1 k/s``, ``12 M/s``; nothing for what is no number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return ""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {letter}/s"
    return f"{value:.3g} /s"


def duration(seconds: float) -> str:
    """Return a span of time in its natural unit."""
    if not math.isfinite(seconds):
        return "?"
    size = abs(seconds)
    if size < 1:
        return f"{seconds * 1e3:.0f} ms"
    if size < 120:
        return f"{seconds:.1f} s"
    if size < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if size < 172_800 else f"{seconds / 86400:.0f} d"


def clock(time_ns: object, timespec: str = "seconds") -> str:
    """Return a time since 1970, in ns, as date and time (UTC)."""
    try:
        moment = datetime.fromtimestamp(int(str(time_ns)) / 1e9, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return f"{clean(time_ns)} ns"
    return moment.isoformat(" ", timespec)


def now(timespec: str = "seconds") -> str:
    """Return the time of day where this terminal is."""
    return datetime.now().time().isoformat(timespec)


def size(count: float | None) -> str:
    """Return a number of bytes."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def sparkline(values: Any, width: int = 40) -> str:
    """Return one character per value (or per mean of neighbours when there are more than ``width``).

    The lowest value has the lowest bar, the highest the highest; a missing or infinite one a dot.
    """
    points = _thin(values, width)
    finite = points[np.isfinite(points)]
    if not finite.size:
        return GAP * len(points)
    low, high = float(finite.min()), float(finite.max())
    heights = np.full(len(points), 4.0) if low == high else 1 + _share(points, low, high) * 7
    return "".join(BARS[round(h)] if math.isfinite(h) else GAP for h in heights)


def plot(values: Any, *, left: float | None = None, right: float | None = None, width: int = 64) -> list[str]:
    """Return the lines of a bar plot of ``values``, with its range at the left and below it."""
    points = _thin(values, width)
    finite = points[np.isfinite(points)]
    if not finite.size:
        return ["(no finite values)"]
    low, high = bar_range(finite)
    eighths = _share(points, low, high) * PLOT_ROWS * 8
    labels = {PLOT_ROWS - 1: number(high, 4), 0: number(low, 4)}
    margin = max(len(label) for label in labels.values())
    lines = []
    for row in reversed(range(PLOT_ROWS)):
        bars = "".join(_bar(e - row * 8) if math.isfinite(e) else _missing(row) for e in eighths)
        lines.append(f"{labels.get(row, ''):>{margin}} ▕{bars.rstrip()}")
    if left is not None and right is not None:
        first, last = numbers([left, right], 4)
        lines.append(f"{'':>{margin}}  {first}{last:>{max(len(points) - len(first), len(last) + 1)}}")
    return lines


def bar_range(finite: Floats) -> tuple[float, float]:
    """Return where bars for these values begin and end; the values are finite, and there are some."""
    smallest, high = float(finite.min()), float(finite.max())
    # From zero where that is possible, so that the lengths of bars can be compared.
    low = min(smallest, 0.0)
    if smallest > 0.5 * high > 0:
        low = smallest - 0.1 * (high - smallest)
    return (low, high) if high > low else (low, low + max(1.0, abs(low)))


def _bar(eighths: float) -> str:
    return BARS[min(max(round(eighths), 0), 8)]


def _missing(row: int) -> str:
    return GAP if row == 0 else " "


def _share(points: Floats, low: float, high: float) -> Floats:
    """Return where each point lies between ``low`` (0) and ``high`` (1), without overflow."""
    scale = max(abs(low), abs(high), 1e-300)
    scaled = points / scale
    return np.asarray((scaled - low / scale) / max(high / scale - low / scale, 1e-300), np.float64)


def _thin(values: Any, width: int) -> Floats:
    """Return at most ``width`` values: means of neighbours, without the missing ones."""
    points = np.array(values, np.float64).ravel()
    points[~np.isfinite(points)] = np.nan
    if len(points) <= width:
        return points
    edges = np.linspace(0, len(points), width + 1).astype(np.intp)
    there = np.isfinite(points)
    counts = np.add.reduceat(there.astype(np.float64), edges[:-1])
    sums = np.add.reduceat(np.where(there, points / np.maximum(1, len(points)), 0.0), edges[:-1])
    means = np.divide(sums, counts, out=np.full(width, np.nan), where=counts > 0)
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):  # the mean of the largest numbers may round up beyond them
        return np.asarray(np.clip(means * max(1, len(points)), -largest, largest), np.float64)
