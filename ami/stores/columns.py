"""Put many small values of equal form into arrays, so that a thousand of them are encoded like one.

A value is a number, an array of some bytes, or a tuple of these, as states of reductions are. The form says
what each is, so that it comes back as it was, type and all. What is of no such form, or of one that few
have, is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ami.errors import Undecodable

FEW = 8
ARRAY_BYTES = 1 << 10  # of an array that is copied into a column; larger ones travel as they lie
_PYTHONS: dict[str, type] = {"int": int, "float": float, "bool": bool}
_DTYPES: dict[type, str] = {int: "i8", float: "f8", bool: "?"}
NOTHING = "none"
ARRAY = "array"

_forms: dict[tuple[type, ...], tuple[str, ...] | None] = {}  # of tuples of numbers, by their types


def pack(values: Sequence[Any]) -> list[Any]:
    """Return plain data that :func:`unpack` makes the same values of."""
    simple = _pack_simple(values) if len(values) >= FEW else None
    if simple is not None:
        return simple
    groups: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        form = _form(value)
        if form is not None:
            groups.setdefault(form, []).append(row)
    packed: list[Any] = [len(values)]
    left = set(range(len(values)))
    for form, rows in groups.items():
        names, is_tuple = form[0], form[1]
        chosen = values if len(rows) == len(values) else [values[row] for row in rows]
        columns = _columns(names, list(zip(*chosen, strict=True)) if is_tuple else [chosen])
        if len(rows) >= FEW and columns is not None:
            packed.append((np.array(rows), list(names), is_tuple, columns))
            left.difference_update(rows)
    packed.append({row: values[row] for row in sorted(left)})
    return packed


def _pack_simple(values: Sequence[Any]) -> list[Any] | None:
    """Return what :func:`pack` does of tuples that are all of the same numbers; None: they are not."""
    if set(map(type, values)) != {tuple} or len(set(map(len, values))) > 1:
        return None
    parts = list(zip(*values, strict=True))
    sorts = [set(map(type, part)) for part in parts]
    if not parts or any(len(sort) > 1 for sort in sorts):
        return None
    names = [_leaf(part[0]) for part in parts]
    if any(name is None or name[0] == ARRAY for name in names):
        return None
    told = [name[0] for name in names if name]
    columns = _columns(told, parts)
    return None if columns is None else [len(values), (np.arange(len(values)), told, True, columns), {}]


def unpack(packed: Any) -> list[Any]:
    """Return the values of :func:`pack`; arrays are views of what was packed.

    Raises:
        Undecodable: it is something else.
    """
    try:
        count, *groups, others = packed
        values: list[Any] = [None] * count
        seen = 0
        for rows, names, is_tuple, columns in groups:
            lists = [_list(name, column, len(rows)) for name, column in zip(names, columns, strict=True)]
            found = list(zip(*lists, strict=True)) if is_tuple else lists[0]
            if len(rows) == count:
                values = found
            else:
                for row, value in zip(rows.tolist(), found, strict=True):
                    values[row] = value
            seen += len(rows)
        for row, value in others.items():
            values[row] = value
        if seen + len(others) != count or len(values) != count:
            raise ValueError(f"{seen + len(others)} of {count} values")
    except (AttributeError, IndexError, KeyError, MemoryError, TypeError, ValueError) as error:
        raise Undecodable(f"columns of values are broken: {error!r}") from error
    return values


def _form(value: Any) -> tuple[Any, ...] | None:
    """Return what makes two values fit into the same columns; None: this one is of no form."""
    if type(value) is not tuple:
        one = _leaf(value)
        return None if one is None else ((one[0],), False, one)
    types = tuple(map(type, value))
    if types not in _forms:
        names = [_leaf(one) for one in value]
        simple = all(name is not None and name[0] != ARRAY for name in names)
        if not simple:
            return None if None in names or not names else (tuple(n[0] for n in names if n), True, *names)
        _forms[types] = (tuple(name[0] for name in names if name), True) if names else None  # type: ignore[assignment]
    return _forms[types]


def _leaf(value: Any) -> tuple[Any, ...] | None:
    kind = type(value)
    if kind in _DTYPES:
        return (kind.__name__,)
    if value is None:
        return (NOTHING,)
    if kind is np.ndarray:
        dtype = value.dtype
        fits = dtype.kind in "biufc" and dtype.isnative and value.ndim and value.nbytes <= ARRAY_BYTES
        return (ARRAY, value.dtype.str, value.shape) if fits else None
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return (value.dtype.str,)
    return None


def _columns(names: Sequence[str], lists: Sequence[Sequence[Any]]) -> list[Any] | None:
    """Return an array for each part of the values; None: there is an int of more than 64 bits."""
    try:
        return [
            None if name == NOTHING
            else np.stack(one) if name == ARRAY
            else np.array(one, _DTYPES[_PYTHONS[name]] if name in _PYTHONS else name)
            for name, one in zip(names, lists, strict=True)
        ]  # fmt: skip
    except OverflowError:
        return None


def _list(name: str, column: Any, count: int) -> list[Any]:
    if name == NOTHING:
        return [None] * count
    if len(column) != count or (name == ARRAY) == (column.ndim == 1):
        raise ValueError(f"a column {name} of shape {column.shape}, for {count} values")
    if name in _PYTHONS:
        found: list[Any] = column.tolist()
        return found
    return list(column)
