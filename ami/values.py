"""Hold what reductions give: histograms, scans, moments, picked events.

They are what clients see, so each says by :meth:`Value.parts` and :meth:`Value.axes` what the numbers are,
and has :meth:`Value.to_plain` for JSON. Scans and histograms of equal binning can be subtracted, divided
and so on; :mod:`ami.arithmetic` propagates the errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ami.arithmetic import Binary, Floats, Operators, propagate
from ami.errors import GraphError
from ami.event import Array


class Part(NamedTuple):
    """One array or number of a value. ``axes`` names its first axes; further ones are mere indices."""

    name: str
    value: Any
    unit: str = ""
    axes: tuple[str, ...] = ()


class Axis(NamedTuple):
    """What the numbers along an axis belong to: points ``(n,)``, or the ``n + 1`` edges of bins."""

    name: str
    points: Array
    unit: str = ""
    edges: bool = False

    @property
    def size(self) -> int:
        """How many numbers there are along it."""
        return len(self.points) - self.edges


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of a value beside its numbers: its unit, and name and unit of each of its axes.

    Texts are empty where nobody knows. See :mod:`ami.graph.execution.labels` for where they come from.
    """

    unit: str = ""
    axes: tuple[tuple[str, str], ...] = ()

    def axis(self, number: int, name: str, points: Array, *, edges: bool = False) -> Axis:
        """Return an axis with its name and unit; ``name`` is for where no better one is known."""
        known, unit = self.axes[number] if number < len(self.axes) else ("", "")
        return Axis(known or name, points, unit, edges)


NO_LABEL = Label()


class Value:
    """What is more than one array: a frozen dataclass that says what it is made of.

    Whoever shows, sums up or exports a value asks for its parts and axes, and knows no class. A class of
    another package is an entry point of the group ``ami.values``, under its own name: so it may travel.
    """

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        """Return the arrays and numbers, what matters most first.

        A part called ``error`` or ``errors`` is the standard error of the first.
        """
        raise NotImplementedError

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        """Return the axes that parts name."""
        return ()

    # ``==`` of arrays has no single truth, so it goes part by part.
    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]  # each subclass is a dataclass

    __hash__ = None  # type: ignore[assignment]  # holds arrays, which change

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say; NaN is None."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]  # as above


def parts_of(value: Any, label: Label = NO_LABEL) -> tuple[Part, ...]:
    """Return the parts of any value; a number or an array is one part, called ``value``."""
    return value.parts(label) if isinstance(value, Value) else (Part("value", value, label.unit),)


def axes_of(value: Any, label: Label = NO_LABEL) -> tuple[Axis, ...]:
    """Return the axes of any value; a number or an array has none."""
    return value.axes(label) if isinstance(value, Value) else ()


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(Value, Operators):
    """Numbers of values in bins ``[edges[i], edges[i + 1])``.

    ``counts`` int64 (n,) (float64 after arithmetic), ``edges`` float64 (n + 1,); how many values
    lay below, at or above the last edge, or were NaN, is kept apart.
    """

    counts: Array
    edges: Floats
    underflow: float = 0
    overflow: float = 0
    nan: float = 0

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        (axis,) = self.axes(label)
        outside = [Part(name, getattr(self, name)) for name in ("underflow", "overflow", "nan")]
        return (Part("counts", self.counts, label.unit, (axis.name,)), *outside)

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        return (label.axis(0, "value", self.edges, edges=True),)

    def _combine(self, operation: Binary, other: Any, *, swapped: bool) -> Histogram:
        if isinstance(other, Histogram):
            if not np.array_equal(self.edges, other.edges):
                raise GraphError("histograms of different bins cannot be combined")
            mine, theirs = self._numbers(), other._numbers()
        elif np.ndim(other) == 0:
            mine, theirs = self._numbers(), other
        else:
            raise GraphError(f"a histogram and an array of shape {np.shape(other)} cannot be combined")
        with np.errstate(all="ignore"):
            both = operation(theirs, mine) if swapped else operation(mine, theirs)
        return Histogram(both[3:], self.edges, *(part.item() for part in both[:3]))

    def _numbers(self) -> Array:
        return np.concatenate([[self.underflow, self.overflow, self.nan], self.counts])


@dataclass(frozen=True, slots=True, eq=False)
class Histogram2D(Value):
    """Numbers of pairs in rectangles: ``counts`` int64 (nx, ny), left and lower edges included.

    ``outside`` pairs were beyond an edge in x or y; of ``nan`` pairs one value was NaN.
    """

    counts: Array
    x_edges: Floats
    y_edges: Floats
    outside: int = 0
    nan: int = 0

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        names = tuple(axis.name for axis in self.axes(label))
        outside = [Part(name, getattr(self, name)) for name in ("outside", "nan")]
        return (Part("counts", self.counts, label.unit, names), *outside)

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        x, y = label.axis(0, "x", self.x_edges, edges=True), label.axis(1, "y", self.y_edges, edges=True)
        # A value against itself: two axes of one name would be one.
        return x, y if y.name != x.name else y._replace(name=f"{y.name} (y)")


@dataclass(frozen=True, slots=True, eq=False)
class Moments(Value):
    """Mean and spread of a value over ``count`` events; parts have the shape of one event's value.

    ``squares`` is the sum of squared deviations from the mean, in the value's unit squared.
    """

    count: int
    mean: Array
    squares: Array

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        unit = label.unit
        return (
            Part("mean", self.mean, unit),
            Part("error", self.error, unit),
            Part("std", self.std, unit),
            Part("variance", self.variance, unit and f"({unit})^2"),
            Part("count", self.count),
        )

    @property
    def variance(self) -> Array:
        """Sample variance (divisor count - 1); NaN for one event."""
        with np.errstate(all="ignore"):
            return np.asarray(np.divide(self.squares, self.count - 1 or np.nan))

    @property
    def population_variance(self) -> Array:
        """Variance of just these events (divisor count)."""
        return np.asarray(np.divide(self.squares, self.count))

    @property
    def std(self) -> Array:
        """Sample standard deviation."""
        return np.sqrt(self.variance)

    @property
    def error(self) -> Array:
        """Standard error of the mean: std / sqrt(count)."""
        return np.asarray(self.std / np.sqrt(self.count))

    def to_plain(self) -> dict[str, Any]:
        """Return count, mean, sample variance, std and error as what JSON can say."""
        names = ("count", "mean", "variance", "std", "error")
        return {name: plain(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class Scan(Value, Operators):
    """Means of a value by key, for example by the delay of a stage.

    ``keys`` (m,) ascending, ``counts`` int64 (m,) events of each, ``means`` and ``errors``
    float64 (m, *shape): mean and its standard error, NaN where a key has one event only.
    ``overflow`` events had a key beyond the number of keys that are kept, ``nan`` events the key NaN.

    Arithmetic of two scans is done at the keys that both have; the count is the smaller one. A number
    for each key goes with all of the other's array of that key, an array with that of every key.
    """

    keys: Array
    counts: Array
    means: Floats
    errors: Floats
    overflow: int = 0
    nan: int = 0

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        (axis,) = self.axes(label)
        return (
            Part("means", self.means, label.unit, (axis.name,)),
            Part("errors", self.errors, label.unit, (axis.name,)),
            Part("counts", self.counts, "", (axis.name,)),
            Part("events", self.counts.sum()),
            Part("overflow", self.overflow),
            Part("nan", self.nan),
        )

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        return (label.axis(0, "key", self.keys),)

    def _combine(self, operation: Binary, other: Any, *, swapped: bool) -> Scan:
        if isinstance(other, Scan):
            keys, mine, theirs = _meet(self.keys, other.keys)
            counts = np.minimum(self.counts[mine], other.counts[theirs])
            a = (self.means[mine], self.errors[mine])
            b = (other.means[theirs], other.errors[theirs])
        elif isinstance(other, Operators):
            raise GraphError(f"a scan and a {type(other).__name__.lower()} cannot be combined")
        else:
            keys, counts, a = self.keys, self.counts, (self.means, self.errors)
            b = (np.asarray(other, np.float64)[np.newaxis], np.zeros(1))
        # By keys, never along an array's own axis: a number goes with all of the array that its key has.
        axes = max(part.ndim for part in (*a, *b))
        a, b = ((_deepen(mean, axes), _deepen(error, axes)) for mean, error in (a, b))
        with np.errstate(all="ignore"):
            means, errors = propagate(operation, b, a) if swapped else propagate(operation, a, b)
        return Scan(keys, counts, means, errors, self.overflow, self.nan)


def _meet(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return the keys that both have, ascending, and their places in each."""
    if {a.dtype.kind, b.dtype.kind} == {"i", "u"}:  # numpy would compare them in float64
        keys, mine, theirs = np.intersect1d(a.astype(object), b.astype(object), return_indices=True)
        return keys.astype(a.dtype), mine, theirs
    return np.intersect1d(a, b, return_indices=True)


def _deepen(array: Array, axes: int) -> Array:
    """Return an array with axes of length 1 behind the first one, so that it has as many."""
    return array.reshape(len(array), *(1,) * (axes - array.ndim), *array.shape[1:])


@dataclass(frozen=True, slots=True, eq=False)
class Arrays(Value):
    """One array for each of some events, of another length in each; ``arrays[i]`` is that of event i.

    ``values`` has the elements of all of them, one behind the other, ``lengths`` int64 how many each has.
    """

    values: Array
    lengths: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = self.lengths
        if lengths.ndim != 1 or lengths.dtype != np.int64 or (lengths < 0).any():
            raise ValueError(f"lengths are {lengths.dtype} {lengths.shape}; int64 from 0 on are wanted")
        if lengths.sum() != len(self.values):
            raise ValueError(f"arrays of {lengths.sum()} elements in all have {len(self.values)}")

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, event: int) -> Array:
        stop = int(self.lengths.cumsum()[event])
        return self.values[stop - int(self.lengths[event]) : stop]

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        return Part("lengths", self.lengths, "", ("event",)), Part("elements", self.values, label.unit)

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        return (Axis("event", np.arange(len(self))),)

    def to_plain(self) -> Any:
        """Return a list for each event."""
        return [plain(array) for array in np.split(self.values, self.lengths.cumsum()[:-1])[: len(self)]]


@dataclass(frozen=True, slots=True, eq=False)
class PickedEvents(Value):
    """Picked events, oldest first: ``timestamps`` (ns) and ``sequences`` int64 (n,).

    ``values`` has one array ``(n, *shape)`` for each value that was asked for, :class:`Arrays` for one of
    variable length.
    """

    timestamps: NDArray[np.int64]
    sequences: NDArray[np.int64]
    values: tuple[Array | Arrays, ...]

    def parts(self, label: Label = NO_LABEL) -> tuple[Part, ...]:
        values: list[Part] = []
        for n, value in enumerate(self.values, start=1):
            if isinstance(value, Arrays):
                values += [p._replace(name=f"{p.name} {n}") for p in value.parts(label)]
            else:
                values.append(Part(f"value {n}", value, label.unit, ("event",)))
        return (*values, Part("timestamps", self.timestamps, "ns", ("event",)))

    def axes(self, label: Label = NO_LABEL) -> tuple[Axis, ...]:
        return (Axis("event", self.sequences),)


VALUE_TYPES: tuple[type[Value], ...] = (Histogram, Histogram2D, Moments, Scan, PickedEvents, Arrays)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Value):
        return bool(a == b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))


def plain(value: Any) -> Any:
    """Return ``value`` as numbers, texts, lists and dictionaries, as JSON has them.

    NaN and infinities become None, bytes their number and beginning, and what else JSON does not know its
    ``str``. What an object's ``to_plain`` gives is such already, and is not gone through again.
    """
    if hasattr(value, "to_plain"):
        return value.to_plain()
    if isinstance(value, np.ndarray):
        return _to_list(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value), "first": bytes(value[:64]).hex()}
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _to_list(array: Array) -> Any:
    """Return an array as lists; one of numbers without a look at each of them in Python."""
    if array.dtype.kind in "biu":
        return array.tolist()
    if array.dtype.kind == "f":
        numbers = array.astype(np.float64, copy=False)
        finite = np.isfinite(numbers)
        if finite.all():
            return numbers.tolist()
        objects = numbers.astype(object)
        objects[~finite] = None
        return objects.tolist()
    return plain(array.tolist())
