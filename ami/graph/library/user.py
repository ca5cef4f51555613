"""Run a user's own Python on events, one at a time or a block at once.

The code is a program of the person who sent it: whether it is accepted at all is decided by the
graph manager (``security.user_code``), not here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import Function, is_numeric


class UserFunction(Function):
    """The last function that ``code`` defines, called with one argument for each input.

    Per event it gets a number or an array, and returns a number, an array of always the same
    shape, or None when this event has no value. With ``block=True`` it gets arrays
    ``(k, *shape)`` and must return one ``(k, *shape)``. ``np`` and ``math`` are there.

    Args:
        code: source text, for example ``def f(x): return x**2``.
        dtype, shape: of one event's value; found out by a call on ones when not given.
    """

    name = "function"
    inputs = None

    def __init__(
        self, code: str, block: bool = False, dtype: str | None = None, shape: tuple[int, ...] | None = None
    ) -> None:
        self._function = _compile(code)
        self.per_event = not block
        try:
            self._dtype = None if dtype is None else np.dtype(dtype)
        except TypeError:
            raise GraphError(f"function: {dtype!r} is no dtype") from None
        if self._dtype is not None and self._dtype.kind not in "biuf":
            raise GraphError(f"function: dtype must be bool, an integer or a float, got {dtype!r}")
        if shape is not None and not (
            isinstance(shape, tuple) and all(type(n) is int and n > 0 for n in shape)
        ):
            raise GraphError(f"function: shape must be a list of whole numbers, got {shape!r}")
        self._shape = shape

    def infer(self, *inputs: Kind) -> Kind:
        if any(not is_numeric(kind) for kind in inputs):
            raise GraphError(f"function needs arrays or numbers, got {', '.join(map(str, inputs))}")
        reduced = any(kind.reduced for kind in inputs)
        if self._dtype is not None and self._shape is not None:
            return Kind(self._dtype, self._shape, reduced)
        sample = self._sample(inputs)
        if self._shape is not None and sample.shape != self._shape:
            raise GraphError(f"function: gives shape {sample.shape}, declared is {self._shape}")
        return Kind(self._dtype or sample.dtype, sample.shape, reduced)

    def _sample(self, inputs: tuple[Kind, ...]) -> Array:
        """Return what one event of ones (or of zeros, if that has no value) gives."""
        for number in (1, 0):
            arrays = [np.full((1, *kind.shape), number, kind.dtype) for kind in inputs]
            try:
                value = self.one(*(plain(a)[0] for a in arrays)) if self.per_event else self(*arrays)[0]
            except Exception as error:
                raise GraphError(f"function: fails on a sample event: {error!r}") from error
            if value is not None:
                sample = np.asarray(value)
                if sample.dtype.kind not in "biuf":
                    raise GraphError(f"function: gives {type(value).__name__}; numbers are possible")
                return sample
        raise GraphError("function: gives None for sample events; declare dtype and shape")

    def one(self, *values: Any) -> Any:
        return self._function(*values)

    def __call__(self, *arrays: Array) -> Array:
        if self.per_event:
            return np.asarray([self._function(*values) for values in zip(*map(plain, arrays), strict=True)])
        value = np.asarray(self._function(*arrays))
        if value.ndim == 0 or len(value) != len(arrays[0]):
            raise ValueError(f"a block-wise function must give {len(arrays[0])} values, gave {value.shape}")
        return value if self._dtype is None else value.astype(self._dtype, copy=False)


def plain(array: Array) -> Any:
    """Return what to loop over: Python numbers where there is one per event, else views.

    Python's own numbers make a loop of Python three times as fast as numpy's scalars.
    """
    return array.tolist() if array.ndim == 1 else array


def _compile(code: str) -> Callable[..., Any]:
    if not isinstance(code, str):
        raise GraphError(f"function: code must be text, got {type(code).__name__}")
    names: dict[str, Any] = {"np": np, "math": math, "__name__": "user_function"}
    before = set(names)
    try:
        exec(compile(code, "<user function>", "exec"), names)  # what this operation is for
    except Exception as error:
        raise GraphError(f"function: the code does not run: {error!r}") from error
    functions = [v for k, v in names.items() if k not in before and callable(v) and k != "__builtins__"]
    if not functions:
        raise GraphError(
            "function: the code defines no function; it should read like 'def f(x): return x**2'"
        )
    chosen: Callable[..., Any] = functions[-1]
    return chosen


OPERATIONS = (UserFunction,)
