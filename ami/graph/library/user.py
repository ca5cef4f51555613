"""Run a user's own Python on events, one at a time or a block at once.

The code is a program of the person who sent it: whether it is accepted at all is decided by the
graph manager (``security.user_code``), not here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import Function, is_numeric
from ami.ragged import Ragged, lock

TRIED_ROWS = 6
ROUNDING = 1e-4  # of the largest value: less is no dependence of rows
SEEDING = re.compile("seed|set_?state")  # what seeds random numbers says so
CODE_FILE = "<user function>"  # what people's code is compiled as


class UserFunction(Function):
    """The last function that ``code`` defines, called with one argument for each input.

    Per event it gets a number or an array, and returns a number, an array of always the same
    shape, or None when this event has no value. With ``block=True`` it gets arrays
    ``(k, *shape)`` and must return one ``(k, *shape)``. ``np`` and ``math`` are there.

    Where its array has another length in each event, the longest one must be known: it is declared, or it is
    that of the trial calls, if they give several.

    The code is loaded by the first call: what stands outside of ``def`` (imports, tables) may do whatever a
    call may. So it runs only where calls do, and who stands beside them stands beside it. (Rejected: when
    this is made. Reducers and planners make it, too, which never call it, and would end or hang with it.)

    Args:
        code: source text, for example ``def f(x): return x**2``.
        dtype, shape: of one event's value; found out by a call on ones when not given: a truth, or float64
            whatever number that gives. What does not fit is an error of that event.
        returns: the same as one text, such as ``float64[3, 4]``, or ``float64[:100]`` for up to 100 elements.
    """

    name = "function"
    inputs = None

    def __init__(
        self, code: str, block: bool = False, dtype: str | None = None, shape: tuple[int, ...] | None = None,
        returns: str | None = None,
    ) -> None:  # fmt: skip
        self._code = _compile(code)
        self.seeds = SEEDING.search(code) is not None
        self._function: Callable[..., Any] = self._load_and_call
        self._broken = ""  # why the code cannot be loaded: that is not tried again
        self.is_loaded = False
        self.per_event = not block
        self.variable = not block
        self._variable = False
        if returns is not None:
            if dtype is not None or shape is not None:
                raise GraphError("function: returns says dtype and shape; give it without them")
            dtype, shape, self._variable = _read_returns(returns)
            if block and self._variable:
                raise GraphError("function: with block: true arrays cannot have another length in each event")
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
        self._gives = self._dtype  # once it is inferred, too

    def infer(self, *inputs: Kind) -> Kind:
        if any(not is_numeric(kind) for kind in inputs):
            raise GraphError(f"function needs arrays or numbers, got {', '.join(map(str, inputs))}")
        self.load()
        reduced = any(kind.reduced for kind in inputs)
        if not (self.per_event or reduced):
            self._check_rows(inputs)
        if self._dtype is not None and self._shape is not None:
            return Kind(self._dtype, self._shape, reduced, variable=self._variable)
        sample = self._sample(inputs)
        if self._shape is not None and sample.shape != self._shape:
            raise GraphError(f"function: gives shape {sample.shape}, declared is {self._shape}")
        dtype = self._dtype or _wide(sample.dtype)
        self._gives = dtype
        if self._shape is not None or not self.per_event or not sample.ndim:
            return Kind(dtype, sample.shape, reduced)
        lengths = {len(sample), *self._other_lengths(inputs, sample)}
        if not max(lengths):
            raise GraphError(
                "function: gives an empty array for sample events; declare its shape, how many elements at"
                " most, as in returns: float64[:100]"
            )
        return Kind(dtype, (max(lengths), *sample.shape[1:]), reduced, variable=len(lengths) > 1)

    def _sample(self, inputs: tuple[Kind, ...]) -> Array:
        """Return what one event of ones (or of zeros, if that has no value) gives."""
        for number in (1, 0):
            try:
                value = self._try(inputs, number)
            except FAULTS as error:
                raise GraphError(f"function: fails on a sample event: {error!r}") from error
            if value is not None:
                large = type(value) is int and not -(1 << 63) <= value < 1 << 63
                sample = np.asarray(value, np.float64 if large else None)
                if sample.dtype.kind not in "biuf":
                    raise GraphError(f"function: gives {type(value).__name__}; numbers are possible")
                return sample
        raise GraphError("function: gives None for sample events; declare dtype and shape")

    def _check_rows(self, inputs: tuple[Kind, ...]) -> None:
        """Refuse a function of blocks if a few different events show that its rows depend on each other."""
        draw = np.random.default_rng(1)
        events = [draw.uniform(1, 9, (TRIED_ROWS, *kind.shape)).astype(kind.dtype) for kind in inputs]
        try:
            told = explain_rows(self, events)
        except FAULTS:  # not every function is made for such events
            return
        if told:
            raise GraphError(f"function: {told}")

    def _other_lengths(self, inputs: tuple[Kind, ...], sample: Array) -> set[int]:
        """Return how many elements it gives for an event of zeros, and for arrays half as long."""
        lengths = set()
        for number, short in ((0, False), (1, True)):
            try:
                other = np.asarray(self._try(inputs, number, short=short))
            except FAULTS:  # not every function is made for such events
                continue
            if other.ndim == sample.ndim and other.shape[1:] == sample.shape[1:]:
                lengths.add(len(other))
        return lengths

    def _try(self, inputs: tuple[Kind, ...], number: int, *, short: bool = False) -> Any:
        """Return what it gives for an event of equal numbers; ``short``: half of those of variable length."""
        arrays = []
        for kind in inputs:
            shape = (kind.shape[0] // 2, *kind.shape[1:]) if short and kind.variable else kind.shape
            arrays.append(np.full((1, *shape), number, kind.dtype))
        return self.one(*(plain(a)[0] for a in arrays)) if self.per_event else self(*arrays)[0]

    def take_kind(self, kind: Kind) -> None:
        """Know what it gives, as :meth:`infer` found it where the code may do no harm."""
        self._gives = kind.dtype

    def load(self) -> None:
        """Run what stands outside of the functions, if that was not done yet.

        Raises:
            GraphError: it fails, or defines no function; or what is tried again, such as MemoryError.
        """
        if self._broken:
            raise GraphError(self._broken)
        if self.is_loaded:
            return
        try:
            self._function, self.is_loaded = _load(self._code), True
        except GraphError as error:
            self._broken = str(error)
            raise

    def _load_and_call(self, *values: Any) -> Any:
        self.load()
        return self._function(*values)

    def one(self, *values: Any) -> Any:
        return self._function(*values)

    def __call__(self, *arrays: Array) -> Array:
        arrays = tuple(map(read_only, arrays))
        if self.per_event:
            events = zip(*map(plain, arrays), strict=True)
            return np.asarray([np.array(self._function(*values)) for values in events])
        value = np.asarray(self._function(*arrays))
        if value.ndim == 0 or len(value) != len(arrays[0]):
            raise ValueError(f"a block-wise function must give {len(arrays[0])} values, gave {value.shape}")
        return value if self._gives is None else in_kind(value, self._gives)


def seeds_draws(function: Function) -> bool:
    """Whether a function may seed what all of its process draw random numbers from."""
    return isinstance(function, UserFunction) and function.seeds


def explain_rows(function: Callable[..., Any], arrays: Sequence[Array]) -> str:
    """Return why a function cannot be called on blocks of events: "" where no row depends on others.

    It is called on a block, again, and on the two halves. Of one that does not give the same twice nobody
    knows.
    """
    half = len(arrays[0]) // 2
    if not half:
        return ""
    # It may write into the array that it gave before.
    whole, again = (np.array(function(*arrays)) for _ in range(2))
    if not np.array_equal(whole, again, equal_nan=whole.dtype.kind == "f"):
        return ""
    halves = (slice(half), slice(half, None))
    parts = np.concatenate([np.array(function(*(a[rows] for a in arrays))) for rows in halves])
    if whole.shape != parts.shape:
        return ""
    with np.errstate(all="ignore"):
        # Sums of another number of rows round in another way.
        size = np.max(np.abs(whole[np.isfinite(whole)]), initial=0.0)
        same = np.isclose(whole, parts, rtol=ROUNDING, atol=ROUNDING * size, equal_nan=True)
    if same.all():
        return ""
    row = int(np.argwhere(~same)[0][0])
    one, other = (np.ravel(block[row])[0] for block in (whole, parts))
    return (
        f"with block: true the value of an event must not depend on which others are in its block: one gave"
        f" {one:.6g} among {len(whole)} events, {other:.6g} among {half}; compute along the axes of an event"
        f" (axis=1), or go over events by a reduction"
    )


def fitting(value: Any, kind: Kind) -> Array:
    """Return an event's value as an array.

    Raises:
        ValueError: it is none of this kind.
    """
    array, hint = np.asarray(value), ""
    if array.dtype.kind in "biuf" and array.ndim == len(kind.shape) and array.shape[1:] == kind.shape[1:]:
        if array.shape == kind.shape or (kind.variable and len(array) <= kind.shape[0]):
            return in_kind(array, kind.dtype)
        hint = f"; declare how many elements it gives at most, as in returns: {kind.dtype}[:{len(array)}]"
    raise ValueError(f"the function gave {array.dtype} {array.shape}, but first {kind}{hint}")


def in_kind(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array in a dtype, into which each of its numbers must fit; floats are rounded.

    Raises:
        ValueError: one does not; the text has the first.
    """
    if array.dtype == dtype or dtype.kind == "f":
        return array.astype(dtype, copy=False)
    with np.errstate(all="ignore"):
        same = (cast := array.astype(dtype)) == array
    if not np.all(same):
        first = array[~same].flat[0] if array.ndim else array[()]
        raise ValueError(
            f"the function gave {first!s}, which is no {dtype}; declare what it gives, as in returns: float64"
        )
    return cast


def column(values: Sequence[Any], dtype: np.dtype[Any]) -> tuple[Array, dict[int, BaseException]]:
    """Return numbers of events as one array, and, by place, why some of them could not be in it."""
    try:
        return in_kind(np.asarray(values, dtype if dtype.kind == "f" else None), dtype), {}
    except FAULTS:
        found: list[Array] = []
        bad: dict[int, BaseException] = {}
        for place, value in enumerate(values):
            try:
                found.append(in_kind(np.asarray(value, dtype if dtype.kind == "f" else None), dtype))
            except FAULTS as error:
                bad[place] = error
        return np.asarray(found, dtype), bad


def read_only(array: Array | Ragged) -> Any:
    """Return a view that cannot be written to: what an argument is made of may be somebody else's, too."""
    if isinstance(array, Ragged):
        return array.read_only()
    return lock(array)


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what a function gives that gave a value of a dtype: the next one may have a fraction."""
    return dtype if dtype.kind == "b" else np.promote_types(dtype, np.float64)


def gather_arrays(values: Sequence[Array], kind: Kind) -> Ragged:
    """Return arrays of variable length, one an event, as one value of a block."""
    flat = np.concatenate(values) if values else np.empty((0, *kind.shape[1:]))
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return Ragged.of(flat.astype(kind.dtype, copy=False), lengths)


def plain(array: Array) -> Any:
    """Return what to loop over: Python numbers where there is one per event, else views.

    Python's own numbers make a loop of Python three times as fast as numpy's scalars.
    """
    return array.tolist() if array.ndim == 1 else array


def _read_returns(text: object) -> tuple[str, tuple[int, ...], bool]:
    """Return dtype, shape, and whether the length along the first axis changes."""
    match = re.fullmatch(r"(\w+)(?:\[(:?)(\d+(?:\s*,\s*\d+)*)\])?", text) if isinstance(text, str) else None
    shape = tuple(int(n) for n in match[3].split(",")) if match and match[3] else ()
    if match is None or 0 in shape:
        raise GraphError(
            f"function: returns must be such as float64, float64[3, 4] or, for up to 100 elements,"
            f" float64[:100]; got {text!r}"
        )
    return match[1], shape, match[2] == ":"


def _compile(code: str) -> CodeType:
    if not isinstance(code, str):
        raise GraphError(f"function: code must be text, got {type(code).__name__}")
    try:
        return compile(code, CODE_FILE, "exec")
    except FAULTS as error:
        raise GraphError(f"function: the code does not run: {error!r}") from error


def _load(code: CodeType) -> Callable[..., Any]:
    names: dict[str, Any] = {"np": np, "math": math, "__name__": "user_function"}
    before = set(names)
    try:
        exec(code, names)  # what this operation is for
    except (MemoryError, RecursionError):
        raise
    except FAULTS as error:
        raise GraphError(f"function: the code does not run: {error!r}") from error
    functions = [v for k, v in names.items() if k not in before and callable(v) and k != "__builtins__"]
    if not functions:
        raise GraphError(
            "function: the code defines no function; it should read like 'def f(x): return x**2'"
        )
    chosen: Callable[..., Any] = functions[-1]
    return chosen


OPERATIONS = (UserFunction,)
