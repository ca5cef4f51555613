"""Say in a few words and numbers what a value is, however large it is.

The words are for people; :func:`summary` holds the same as plain values, for programs.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ami.errors import FAULTS
from ami.event import Array
from ami.messages.table import Table
from ami.result import Result
from ami.values import Value, plain

SHOWN_ITEMS = 20  # of a list or a dictionary
SHOWN_CHARACTERS = 200
SHOWN_DEPTH = 4  # of collections within collections


def summary(value: Any) -> dict[str, Any]:
    """Return type and main numbers of ``value``; ``value`` itself where it is small.

    Arrays have dtype, shape, and min, max and mean of their finite numbers.
    """
    if isinstance(value, np.ndarray):
        return {"type": "array", **_array(value)}
    if isinstance(value, Result | Table):
        return _results(value)
    if isinstance(value, Value):
        return {"type": type(value).__name__, **_facts(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"type": "bytes", "bytes": len(value), "first": bytes(value[:32]).hex()}
    if isinstance(value, str):
        return {"type": "str", "characters": len(value), "value": value[:SHOWN_CHARACTERS]}
    if isinstance(value, dict):
        shown = list(value.items())[:SHOWN_ITEMS]
        return {"type": "dict", "items": len(value), "value": {str(k): _item(v) for k, v in shown}}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_item(item) for item in list(value)[:SHOWN_ITEMS]]
        return {"type": type(value).__name__, "items": len(value), "value": items}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _item(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, "items": len(parts), "value": parts}
    return {"type": type(value).__name__, "value": plain(value)}


def _results(value: Result | Table) -> dict[str, Any]:
    if isinstance(value, Result):
        return {"type": "Result", **value.to_plain(), "value": summary(value.value)}
    names = value.list_names()
    shown = value.read(names[:SHOWN_ITEMS])
    return {
        "type": "Table",
        "items": len(names),
        "value": {name: summary(one) for name, one in shown.items()},
    }


def _item(value: Any, depth: int = 0) -> Any:
    """Return an item of a collection: itself when it is small and plain, else what it is."""
    if value is None or isinstance(value, bool | int | float | np.generic):
        return plain(value)
    if isinstance(value, str):
        return value[:SHOWN_CHARACTERS]
    if depth < SHOWN_DEPTH and isinstance(value, dict | list | tuple) and len(value) <= SHOWN_ITEMS:
        if isinstance(value, dict):
            return {str(name): _item(part, depth + 1) for name, part in value.items()}
        return [_item(part, depth + 1) for part in value]
    return summary(value)


def _array(array: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype.kind not in "biuf" or not array.size:
        return facts
    # float64, because a mean of uint16 in its own dtype would overflow, and NaN would hide the rest.
    numbers = array.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    if finite.size:
        with np.errstate(over="ignore"):
            mean = float(finite.mean())
        if not np.isfinite(mean):  # the sum is none, the mean is one
            mean = float((finite / finite.size).sum())
        facts |= {"min": float(finite.min()), "max": float(finite.max()), "mean": mean}
    if finite.size < array.size:
        facts["not_finite"] = int(array.size - finite.size)
    return facts


def _facts(value: Value) -> dict[str, Any]:
    try:
        return _parts(value)
    except FAULTS as error:  # a class of another package may be wrong, and hides nothing else
        return {"fault": repr(error)}


def _parts(value: Value) -> dict[str, Any]:
    """Return how many bins or points there are, and each part: a number itself, an array's main numbers."""
    parts, axes = list(value.parts()), value.axes()
    facts: dict[str, Any] = {plural(axis.name): axis.size for axis in axes if not axis.edges}
    bins = [axis for axis in axes if axis.edges]
    if bins:
        first, *parts = parts
        facts |= {"bins": [axis.size for axis in bins], "inside": plain(first.value.sum())}
    if len(bins) == 1:
        first_edge, last_edge = plain(bins[0].points[[0, -1]])
        facts |= {"bins": bins[0].size, "first_edge": first_edge, "last_edge": last_edge}
    if not axes:
        facts["shape"] = list(np.shape(parts[0].value))
    for part in parts:
        facts[part.name] = _array(part.value) if np.ndim(part.value) else plain(part.value)
    return facts


def plural(name: str) -> str:
    """Return the word for several of what an axis counts: keys, energies."""
    return f"{name[:-1]}ies" if name.endswith("y") and not name.endswith("ey") else f"{name}s"


def count(number: int, name: str) -> str:
    """Return a number of what an axis counts: 1 key, 2 keys."""
    return f"{number} {name if number == 1 else plural(name)}"
