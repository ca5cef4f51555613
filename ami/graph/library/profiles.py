"""Read profiles out of images: along a line, by the distance from a centre, by the angle around it.

Pixel (i, j) is at row i and column j, so that ``[20, 30]`` is the middle of that pixel and ``[20.5, 30]`` the
border of two. Which pixels are in which number of a profile is found once for a shape; an event is then one
pass over the pixels that are in it, and integers are summed exactly. (Rejected: a mask or labels as an input.
Everybody would have to make them, and nobody could move them.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.axes import sum_dtype
from ami.graph.library.base import Function, integer, is_numeric, number
from ami.graph.library.large import is_large
from ami.graph.library.wide import is_wide, join, split

Point = tuple[float, ...]
Range = tuple[float | None, ...]

MOST_NUMBERS = 1 << 16  # of a profile
MOST_SAMPLES = 1 << 22  # of a line with its width
ROUNDING = 1e-9  # pixels
WHOLE_CIRCLE = (0.0, 360.0)
DEGREES = 5.0  # of a bin, where nobody says how many


@dataclass(frozen=True, slots=True)
class Plan:
    """Which pixels are in which number of a profile.

    pixels: those of one number after those of another, by their place in the flat image; ``weights`` beside
    them, None: each counts once. ``starts``: where those of each number begin that has some, ``places`` which
    numbers these are, ``counts`` their sums of weights.
    """

    pixels: NDArray[np.intp]
    weights: NDArray[np.float64] | None
    starts: NDArray[np.intp]
    places: NDArray[Any]
    counts: NDArray[np.float64]
    numbers: int

    @classmethod
    def of(cls, places: Array, pixels: Array, numbers: int, weights: Array | None = None) -> Plan:
        """Return the plan of pixels that are each in the number of a place."""
        # Of 16 bits they are sorted in one pass; of one number they stay in the order of the memory.
        order = np.argsort(places.astype(np.uint16), kind="stable")
        found, starts = np.unique(places[order], return_index=True)
        beside = None if weights is None else weights[order]
        shares = np.ones(len(order)) if beside is None else beside
        counts = np.add.reduceat(shares, starts) if len(starts) else np.empty(0)
        return cls(pixels[order].astype(np.intp), beside, starts, found, counts, numbers)

    def means(self, events: Array) -> NDArray[np.float64]:
        """Return the mean of each number's pixels, of flat images ``(k, pixels)``; nan where it has none."""
        means = np.full((len(events), self.numbers), np.nan)
        taken = events.take(self.pixels, axis=1)
        if self.weights is not None:
            sums: Any = np.add.reduceat(taken * self.weights, self.starts, axis=1)
        elif is_wide(taken.dtype):
            sums = join(*(np.add.reduceat(half, self.starts, axis=1) for half in split(taken)))
        else:
            sums = np.add.reduceat(taken, self.starts, axis=1, dtype=sum_dtype(taken.dtype))
        means[:, self.places] = sums / self.counts
        return means


class _Profile(Function):
    """A function of an image that gives numbers in a row, float64."""

    keeps_unit = True

    def __init__(self) -> None:
        self._planned: tuple[tuple[int, ...], Plan] | None = None

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        if not is_numeric(value) or len(value.shape) != 2:
            raise GraphError(f"{self.name} needs an image, a value with two axes, got {value}")
        plan = self._plan_for(value.shape)
        if not len(plan.places):
            raise GraphError(f"{self.name}: no pixel of an image of shape {value.shape} lies there")
        return Kind(np.dtype(np.float64), (plan.numbers,), value.reduced)

    def caution(self, *inputs: Kind) -> str:
        plan = self._plan_for(inputs[0].shape)
        empty = plan.numbers - len(plan.places)
        return f"{empty} of the profile's {plan.numbers} numbers have no pixel: they are nan" if empty else ""

    def __call__(self, *arrays: Array) -> Array:
        (images,) = arrays
        plan = self._plan_for(images.shape[1:])
        step = 1 if is_large(images) else max(1, len(images))
        parts = (images[start : start + step] for start in range(0, max(1, len(images)), step))
        return np.concatenate([plan.means(part.reshape(len(part), -1)) for part in parts])

    def _plan_for(self, shape: tuple[int, ...]) -> Plan:
        if self._planned is None or self._planned[0] != shape:
            self._planned = shape, self._plan(shape)
        return self._planned[1]

    def _plan(self, shape: tuple[int, ...]) -> Plan:
        raise NotImplementedError

    def _refuse_many(self, numbers: float, most: int = MOST_NUMBERS) -> None:
        if numbers > most:
            raise GraphError(f"{self.name}: {numbers:.0f} numbers; at most {most} are possible")


class Line(_Profile):
    """Profile along a line of an image, from ``start`` to ``end``, each ``[row, column]``.

    At steps of one pixel or a little less, both ends included, the value between four pixels (bilinear), as
    mean over ``width`` such lines side by side. What is outside of the image is in no mean.
    """

    name = "line"
    example = "last(line(camera, start=[10, 10], end=[40, 50], width=3))"

    def __init__(self, start: Point, end: Point, width: int = 1) -> None:
        super().__init__()
        self._start, self._end = _point(self.name, "start", start), _point(self.name, "end", end)
        self._width = integer(self.name, "width", width, at_least=1)
        length = math.dist(self._start, self._end)
        if not length:
            raise GraphError("line: start and end are the same")
        self._refuse_many(length)
        self._numbers = math.ceil(length) + 1
        self._refuse_many(self._numbers * self._width, MOST_SAMPLES)

    def _plan(self, shape: tuple[int, ...]) -> Plan:
        (rows, columns), (start, end) = shape, (np.array(self._start), np.array(self._end))
        along = np.linspace(start, end, self._numbers)
        across = np.array([start[1] - end[1], end[0] - start[0]]) / math.dist(start, end)
        beside = np.arange(self._width) - (self._width - 1) / 2
        points = (along[:, None] + beside[:, None] * across).reshape(-1, 2)
        place = np.repeat(np.arange(self._numbers), self._width)
        # Along a border it is within, whatever rounding made of it.
        inside = np.clip(points, 0, (rows - 1, columns - 1))
        within = (np.abs(points - inside) < ROUNDING).all(axis=1)
        points, place = inside[within], place[within]
        corner = np.floor(points).astype(np.int64)
        share = points - corner
        places, pixels, weights = [], [], []
        for down in (0, 1):
            for right in (0, 1):
                weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
                # A pixel of no weight is not read: it may be beyond the border, or nan.
                (some,) = np.nonzero(weight)
                places.append(place[some])
                pixels.append((corner[some, 0] + down) * columns + corner[some, 1] + right)
                weights.append(weight[some])
        return Plan.of(np.concatenate(places), np.concatenate(pixels), self._numbers, np.concatenate(weights))


class _Round(_Profile):
    """A profile of the pixels between two circles and two angles."""

    def __init__(
        self,
        center: Point,
        radii: Range | None = None,
        angles: Range | None = None,
        bins: int | None = None,
    ) -> None:
        super().__init__()
        self._center = _point(self.name, "center", center)
        inner, outer = (None, None) if radii is None else _range(self.name, "radii", radii)
        self._inner, self._outer = inner or 0.0, outer
        if self._inner < 0 or (outer is not None and outer <= self._inner):
            raise GraphError(f"{self.name}: radii go from 0 or more to more, as 10:40, got {radii!r}")
        first, last = WHOLE_CIRCLE if angles is None else _range(self.name, "angles", angles)
        if first is None or last is None or not 0 < last - first <= 360:
            raise GraphError(f"{self.name}: angles are up to 360 degrees, as -30:45, got {angles!r}")
        self._first, self._span = first % 360, last - first
        self._bins = None if bins is None else integer(self.name, "bins", bins, at_least=1)

    def _plan(self, shape: tuple[int, ...]) -> Plan:
        down = np.arange(shape[0])[:, None] - self._center[0]
        right = np.arange(shape[1]) - self._center[1]
        radius = np.hypot(down, right)
        outer = math.floor(radius.max()) + 1.0 if self._outer is None else self._outer
        low, high, bins = self._range(outer)
        numbers = bins if self._bins is None else self._bins
        self._refuse_many(numbers)
        (pixels,) = np.nonzero(((radius >= self._inner) & (radius < outer)).ravel())
        angle = np.degrees(np.arctan2(*(np.broadcast_to(side, shape).flat[pixels] for side in (down, right))))
        turned = np.mod(angle - self._first, 360)
        turned[turned == 360] = 0  # what was less than 0 by less than a float tells
        within = turned < self._span
        pixels = pixels[within]
        found = self._choose(radius.flat[pixels], turned[within])
        places = np.searchsorted(np.linspace(low, high, numbers + 1)[1:-1], found, side="right")
        return Plan.of(places, pixels, numbers)

    def _range(self, outer: float) -> tuple[float, float, int]:
        """Return from where to where the profile goes, and in how many bins where nobody says it."""
        raise NotImplementedError

    def _choose(self, radius: Array, turned: Array) -> Array:
        raise NotImplementedError


class Radial(_Round):
    """Mean of an image's pixels by their distance from ``center``, ``[row, column]``: azimuthal integration.

    ``radii=10:40`` are pixels from the center, up to the farthest where nothing is said; ``bins`` of equal
    width, of one pixel where nothing is said. ``angles=-30:45`` takes a sector of it, in degrees: 0 is along
    the columns, 90 along the rows. A bin without a pixel is nan.
    """

    name = "radial"
    example = "mean_events(radial(camera, center=[32, 40], radii=5:25))"

    def _range(self, outer: float) -> tuple[float, float, int]:
        if outer <= self._inner:
            raise GraphError(f"radial: no pixel lies {self._inner:g} pixels or more from the center")
        return self._inner, outer, math.ceil(outer - self._inner)

    def _choose(self, radius: Array, turned: Array) -> Array:
        return radius


class Azimuthal(_Round):
    """Mean of an image's pixels by their angle around ``center``, ``[row, column]``, in degrees.

    From the first of the ``angles`` to the last, all around where nothing is said; 0 is along the columns, 90
    along the rows. ``bins`` of equal width, of 5 degrees where nothing is said. ``radii=10:40`` takes a
    ring of it, pixels from the center. A bin without a pixel is nan.
    """

    name = "azimuthal"
    example = "mean_events(azimuthal(camera, center=[32, 40], radii=5:25))"

    def _range(self, outer: float) -> tuple[float, float, int]:
        return 0.0, self._span, math.ceil(self._span / DEGREES)

    def _choose(self, radius: Array, turned: Array) -> Array:
        return turned


def _point(operation: str, parameter: str, value: object) -> tuple[float, float]:
    if isinstance(value, tuple) and len(value) == 2:
        return number(operation, parameter, value[0]), number(operation, parameter, value[1])
    raise GraphError(f"{operation}: {parameter} must be [row, column], got {value!r}")


def _range(operation: str, parameter: str, value: object) -> tuple[float | None, float | None]:
    if isinstance(value, tuple) and len(value) == 2:
        low, high = (None if end is None else number(operation, parameter, end) for end in value)
        return low, high
    raise GraphError(f"{operation}: {parameter} must be a range such as 10:40, got {value!r}")


OPERATIONS = (Line, Radial, Azimuthal)
