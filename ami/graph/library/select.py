"""Choose: events by a condition, or one part of a structured result."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.expression.elementary import is_true
from ami.graph.kind import Kind
from ami.graph.library.base import Function, is_numeric
from ami.ragged import Ragged, align

# part: structure -> its parts, with whether a part has the dtype of a count
PARTS: dict[str, dict[str, type]] = {
    "histogram": {
        "counts": np.int64, "edges": np.float64, "underflow": np.int64, "overflow": np.int64, "nan": np.int64,
    },
    "histogram2d": {
        "counts": np.int64, "x_edges": np.float64, "y_edges": np.float64,
        "outside": np.int64, "nan": np.int64,
    },
    "moments": {
        "count": np.int64, "mean": np.float64, "variance": np.float64, "population_variance": np.float64,
        "std": np.float64, "error": np.float64,
    },
    "scan": {"keys": np.float64, "counts": np.int64, "means": np.float64, "errors": np.float64},
}  # fmt: skip


class Where(Function):
    """``value where condition``: the value of those events for which the condition is true."""

    name = "where"
    inputs = ("value", "condition")
    narrows = True
    keeps_unit = True
    variable = True

    def infer(self, *inputs: Kind) -> Kind:
        value, condition = inputs
        if condition.shape or not is_numeric(condition):
            hint = "; to choose elements write select(x, condition)" if condition.shape else ""
            raise GraphError(f"where needs one truth per event, got {condition}{hint}")
        if value.reduced or condition.reduced:
            raise GraphError("where chooses events; behind a reduction there are none to choose from")
        return value

    def __call__(self, *arrays: Array) -> Array:
        value, condition = arrays
        return np.asarray(value[is_true(condition)])


class Select(Function):
    """Those elements of a value for which a condition is true; so its length is another in each event."""

    name = "select"
    example = "histogram(select(waveform, waveform > 0.5), 100, 0, 2)"
    inputs = ("value", "condition")
    keeps_unit = True
    variable = True

    def infer(self, *inputs: Kind) -> Kind:
        value, condition = inputs
        if not is_numeric(value) or not value.shape:
            raise GraphError(
                f"select chooses elements of a value with axes, got {value}; for events use where"
            )
        if condition.dtype.kind != "b":
            raise GraphError(f"select needs a condition such as x > 3, got {condition}")
        if (condition.variable, condition.reduced) != (value.variable, value.reduced) or (
            len(condition.shape) != 1 or (not value.variable and condition.shape[0] != value.shape[0])
        ):
            raise GraphError(f"select needs a truth for each element of {value}, got {condition}")
        return replace(value, variable=True)

    def __call__(self, *arrays: Array) -> Any:
        value, condition = arrays
        if condition.shape != value.shape[:2]:
            raise ValueError(f"{condition.shape[1]} truths for {value.shape[1]} elements")
        return Ragged.of(value[condition], np.count_nonzero(condition, axis=1))

    def ragged(self, *arrays: Any) -> Ragged:
        (values, condition), lengths = align(arrays)
        chosen = Ragged.of(condition, lengths).reduce(np.add, np.dtype(np.int64))
        return Ragged.of(values[condition], chosen)


class Part(Function):
    """One part of a structured result, such as ``variance`` of moments or ``counts`` of a histogram."""

    name = "part"
    example = "part(moments(monitor), 'error')"
    inputs = ("result",)

    def __init__(self, part: str) -> None:
        self._part = part

    def infer(self, *inputs: Kind) -> Kind:
        (value,) = inputs
        parts = PARTS.get(value.structure)
        if parts is None:
            raise GraphError(f"part needs a result with parts ({', '.join(sorted(PARTS))}), got {value}")
        if self._part not in parts:
            raise GraphError(f"a {value.structure} has no part {self._part!r}; it has {', '.join(parts)}")
        return Kind(np.dtype(parts[self._part]), self._shape(value), True)

    def _shape(self, value: Kind) -> tuple[int, ...]:
        """Return the part's shape; of a scan that for one key, as nobody knows how many there will be."""
        if value.structure not in ("histogram", "histogram2d") or self._part == "counts":
            return value.shape
        axis = {"edges": 0, "x_edges": 0, "y_edges": 1}.get(self._part)
        return () if axis is None else (value.shape[axis] + 1,)

    def __call__(self, *arrays: Array) -> Array:
        return np.asarray(operator.attrgetter(self._part)(arrays[0]))


OPERATIONS = (Where, Select, Part)
