"""Compute an expression such as ``_0 / (1 + abs(_1))`` on whole blocks of events.

The text is read by :mod:`ami.graph.expression.grammar`, which knows nothing but operators, numbers and calls;
what may be called stands in :mod:`ami.graph.expression.elementary`. Python's parser never sees it: another
tree is made of what was understood, and compiled to one code object for each set of dtypes that come
(:mod:`ami.graph.expression.typed`). Inputs are called ``_0``, ``_1``
and so on, because the names of values are no part of what an operation computes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.event import Array
from ami.graph.expression.elementary import FUNCTIONS, MOST, is_true
from ami.graph.expression.grammar import parse
from ami.graph.expression.integers import RULES, span_of_dtype
from ami.graph.expression.spelling import spell
from ami.graph.expression.typed import KEPT, STRUCTURE, call, evaluate, find_most, make
from ami.graph.kind import Kind
from ami.graph.operation import INTEGERS
from ami.ragged import Ragged, align

# Results that can be added, subtracted, multiplied and divided; see ami/values.py.
COMBINABLE = frozenset({"scan", "histogram"})
PARTS = {"histogram2d": "counts", "moments": "mean"}  # what people mean who combine one

_PLACEHOLDER = re.compile(r"_(0|[1-9]\d{0,3})")


class Expression:
    """One value per event from others, by arithmetic, comparison and elementary functions.

    Within an event values combine as numpy broadcasts them: a number with an image, a row
    with an image. Integers and truths are computed in 64 bits and exactly, so that ``camera - 300`` cannot
    wrap around; what leaves 64 bits is an error (:mod:`ami.graph.expression.integers`). Floats keep their
    size, but those of 16 bits are computed in 32. A division by zero gives inf or nan (0 for ``//`` and
    ``%`` of integers, as numpy has it), never an error. NaN is no truth.
    """

    def __init__(self, text: str) -> None:
        """Read and compile ``text``.

        Raises:
            GraphError: it is no expression, calls what is not in FUNCTIONS, or uses no input.
        """
        if not isinstance(text, str):
            raise GraphError(f"the text of an expression must be text, got {type(text).__name__}")
        self.text = text
        self._tree = parse(text)
        names = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}
        self._used = sorted(map(placeholder, names))
        if not self._used:
            raise GraphError(f"{text!r} uses no value; a constant needs no operation")
        self._folded = _fold(self._tree)
        self._functions: dict[tuple[np.dtype[Any], ...], Callable[..., Any]] = {}

    def has_only(self, *operators: type[ast.AST]) -> bool:
        """Whether there are no other operators, and no calls."""
        return {*map(type, ast.walk(self._tree))} <= {
            ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, *operators,
        }  # fmt: skip

    def lift_constants(self) -> tuple[str, tuple[int | float, ...]] | None:
        """Return the text with further inputs in the place of its constants, and these.

        None: it has other operators than + - * /, which may compute another last bit with arrays than with
        constants; or truths.
        """
        constants: list[int | float] = []

        def lift(node: ast.expr) -> ast.expr:
            match node:
                case ast.Constant(bool() | int() | float() as value):
                    constants.append(value)
                    return ast.Name(f"_{self.input_count + len(constants) - 1}", ast.Load())
                case ast.UnaryOp(operator, operand):
                    return ast.UnaryOp(operator, lift(operand))
                case ast.BinOp(left, operator, right):
                    return ast.BinOp(lift(left), operator, lift(right))
            return node

        if not self.has_only(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UAdd, ast.USub):
            return None
        text = spell(lift(self._folded))
        return None if any(isinstance(one, bool) for one in constants) else (text, tuple(constants))

    @property
    def input_count(self) -> int:
        """How many inputs the text needs at least."""
        return self._used[-1] + 1

    def infer(self, *inputs: Kind) -> Kind:
        """Return the kind of the value.

        Raises:
            GraphError: the number of inputs differs, shapes do not fit each other, or an
                operator does not know a dtype or a structure.
        """
        if len(inputs) != self.input_count:
            raise GraphError(f"{self.text!r} needs {self.input_count} inputs, got {len(inputs)}")
        used = [inputs[index] for index in self._used]
        reduced = any(kind.reduced for kind in used)
        variable = any(kind.variable for kind in used)
        structures = {kind.structure for kind in used} - {"array"}
        structure = self._structure(structures) if structures else "array"
        bins = _bins(used) if structure == "histogram" else None
        shape = _variable_shape(used) if variable else _shape(used)
        if structures:
            return Kind(np.dtype(np.float64), shape, reduced, structure, bins=bins)
        try:
            dtype = self._try([kind.dtype for kind in used], [len(kind.shape) for kind in used])
        except FAULTS as error:
            dtypes = " and ".join(str(kind.dtype) for kind in used)
            raise GraphError(f"it cannot be computed from {dtypes}: {error}") from error
        most = find_most(self._folded, self._named([kind.dtype for kind in used]))
        return Kind(dtype, shape, reduced, variable=variable, most=most)

    def _named(self, dtypes: Sequence[np.dtype[Any]]) -> dict[str, np.dtype[Any]]:
        return {f"_{index}": dtype for index, dtype in zip(self._used, dtypes, strict=True)}

    def _try(self, dtypes: Sequence[np.dtype[Any]], axes: Sequence[int]) -> np.dtype[Any]:
        """Compute it on the edges of what events may have, and on no event; return the dtype."""
        edges = [edges_of(dtype).reshape(-1, *(1,) * n) for dtype, n in zip(dtypes, axes, strict=True)]
        events = [[edge[n % len(edge)][np.newaxis] for edge in edges] for n in range(max(map(len, edges)))]
        found = self._compute([edge[:0] for edge in edges]).dtype
        for event in events:
            try:
                value = self._compute(event)
            except OverflowError:  # an error of that event
                continue
            assert value.dtype == found
        return found

    def _structure(self, structures: set[str]) -> str:
        if len(structures) > 1:
            raise GraphError(f"a {' and a '.join(sorted(structures))} cannot be combined")
        (structure,) = structures
        if structure not in COMBINABLE:
            part = PARTS.get(structure)
            hint = f'; take a part of it, as in part(x, "{part}")' if part else ""
            raise GraphError(f"there is no arithmetic on {structure}{hint}")
        if not self.has_only(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UAdd, ast.USub):
            raise GraphError(f"a {structure} can be used with + - * / only")
        return structure

    def __call__(self, *arrays: Any) -> Any:
        """Return ``(k, *shape)`` from arrays ``(k, *shape of the input)``.

        With a scan or a histogram among them it returns one, and arrays are those of one
        event, ``(1, *shape)``.
        """
        used = [arrays[index] for index in self._used]
        if all(type(array) is np.ndarray for array in used):
            return self._compute(used)
        if all(isinstance(array, np.ndarray) for array in used):
            return self._compute([np.asarray(array) for array in used])
        one = [a[0] if isinstance(a, np.ndarray) else a for a in used]
        with np.errstate(all="ignore"):
            return self._function(tuple(getattr(a, "dtype", STRUCTURE) for a in one))(*one)

    def ragged(self, *arrays: Any) -> Ragged:
        """Return the values of all elements, of inputs of which some have variable length.

        Raises:
            ValueError: they have different lengths in some event.
        """
        elements, lengths = align([arrays[index] for index in self._used])
        return Ragged.of(self._compute(elements), lengths)

    def _compute(self, arrays: list[Array]) -> Array:
        function = self._function(tuple([array.dtype for array in arrays]))
        with np.errstate(all="ignore"):
            return function(*_align(arrays))  # type: ignore[no-any-return]  # compiled

    def _function(self, dtypes: tuple[np.dtype[Any], ...]) -> Callable[..., Any]:
        """Return what computes inputs of these dtypes; it is made when they come first."""
        found = self._functions.get(dtypes)
        if found is None:
            found = self._functions[dtypes] = make(self._folded, self._named(dtypes))
        return found


def _bins(kinds: Sequence[Kind]) -> tuple[int, float, float] | None:
    """Return the bins that all histograms among some values have."""
    first = next(kind for kind in kinds if kind.bins is not None)
    for kind in kinds:
        if kind.structure == "array" and kind.shape:
            raise GraphError(f"{first} and {kind} cannot be combined; with a histogram goes a number")
        if kind.structure == "histogram" and kind.bins != first.bins:
            raise GraphError(f"{first} and {kind} cannot be combined: their bins must be equal")
    return first.bins


def _shape(kinds: Sequence[Kind]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(kind.shape for kind in kinds))
    except ValueError:
        shapes = " and ".join(str(kind.shape) for kind in kinds)
        raise GraphError(f"values of shapes {shapes} do not fit each other") from None


def _variable_shape(kinds: Sequence[Kind]) -> tuple[int, ...]:
    """Return the shape of a longest value, where some are of variable length."""
    variable = [kind for kind in kinds if kind.variable]
    fixed = [kind for kind in kinds if not kind.variable]
    axes = len(variable[0].shape)
    for kind in kinds:
        if (
            kind.structure != "array"
            or len(kind.shape) + (not kind.variable) > axes
            or (kind.variable and len(kind.shape) < axes)
        ):
            raise GraphError(
                f"{variable[0]} and {kind} do not fit each other: with a value of variable length goes"
                f" a number, or a value that has as many elements in each event"
            )
    if variable[0].reduced and len(variable) > 1:
        # One of a single element would be taken for a number, and combined with any other.
        raise GraphError(
            "reduced values of variable length may be of different events and lengths;"
            " compute first and reduce then, as in last(x - y)"
        )
    elements = _shape([*fixed, *(replace(kind, shape=kind.shape[1:]) for kind in variable)])
    return (min(kind.shape[0] for kind in variable), *elements)


def placeholder(name: str) -> int:
    """Return the number of the input that an expression calls ``name``.

    Raises:
        GraphError: it is no such name.
    """
    match = _PLACEHOLDER.fullmatch(name)
    if match is None:
        raise GraphError(f"the text of an expression calls its inputs _0, _1 and so on, not {name!r}")
    return int(match[1])


def _align(arrays: list[Array]) -> list[Array]:
    """Return the arrays with axes of length 1 behind the event axis, so that all have as many."""
    axes = max(array.ndim for array in arrays)
    return [
        array
        if array.ndim == axes
        else array.reshape(array.shape[0], *(1,) * (axes - array.ndim), *array.shape[1:])
        for array in arrays
    ]


def _fold(node: ast.AST) -> ast.expr:
    """Return a definition's tree, checked, with one number in place of each part that uses no value.

    Constants are computed once and here, with bounds. In the code they would be computed by
    Python for each block, and ``9 ** 9 ** 9`` or ``1 // 0`` would be a worker's problem.
    """
    match node:
        case ast.Name():
            return node
        case ast.Constant(value):
            if not isinstance(value, bool | int | float):
                raise GraphError(f"an expression computes with numbers, got {value!r}"[:200])
            return _constant(value, node)
        case ast.UnaryOp(operator, operand):
            parts = [_fold(operand)]
            inverts = isinstance(operator, ast.Not) or (
                isinstance(operator, ast.Invert) and isinstance(getattr(parts[0], "value", None), bool)
            )
            code = call("logical_not", *parts) if inverts else ast.UnaryOp(operator, *parts)
            folded: ast.expr = ast.UnaryOp(operator, *parts)
        case ast.BinOp(_, ast.MatMult(), _):
            raise GraphError("'where' filters events; within an expression write where(condition, a, b)")
        case ast.BinOp(left, operator, right):
            parts = [_fold(left), _fold(right)]
            folded = code = ast.BinOp(parts[0], operator, parts[1])
        case ast.Compare(left, operators, others):
            parts = [_fold(part) for part in (left, *others)]
            folded = code = ast.Compare(parts[0], operators, parts[1:])
        case ast.BoolOp(operator, operands):
            parts = [_fold(part) for part in operands]
            function = "logical_and" if isinstance(operator, ast.And) else "logical_or"
            folded, code = ast.BoolOp(operator, parts), reduce(partial(call, function), parts)
        case ast.Call(ast.Attribute(attr=function) as called, arguments, keywords):
            _check_call(function, len(arguments), len(keywords))
            parts = [_fold(argument) for argument in arguments]
            folded, code = ast.Call(called, parts, []), _call_constants(function, parts)
        case _:
            raise GraphError("not an expression")
    constants = [part.value for part in parts if isinstance(part, ast.Constant)]
    return _compute(code, constants) if len(constants) == len(parts) else folded


def _call_constants(function: str, parts: list[ast.expr]) -> ast.expr:
    """Return the code of a function of constants: integers stay exact."""
    values: list[Any] = [part.value for part in parts if isinstance(part, ast.Constant)]
    if len(values) == len(parts) and function == "where":
        chosen = values[1] if is_true(values[0]) else values[2]
        return ast.Constant(chosen + 0 if all(isinstance(one, int) for one in values[1:]) else float(chosen))
    if len(values) == len(parts) and all(isinstance(value, int) for value in values):
        numbers = [*map(int, values)]
        if function == "clip":
            return ast.Constant(min(max(numbers[:2]), numbers[2]))
        if function in KEPT or (function == "round" and len(numbers) == 1):
            return ast.Constant(numbers[0])
        if function in RULES:
            return ast.Constant(RULES[function].exact(*numbers))
    return call(f"call_{function}", *parts)


def _compute(code: ast.expr, constants: list[Any]) -> ast.Constant:
    """Return the number that code of constants amounts to.

    Raises:
        GraphError: there is none.
    """
    try:
        match code:
            # The float is cheap at any size and says whether the integer would be.
            case ast.BinOp(_, ast.Pow()) if abs(float(constants[0]) ** float(constants[1])) > 2.0**64:
                raise OverflowError("the result is too large")
            case ast.BinOp(_, ast.LShift() | ast.RShift()) if not 0 <= constants[1] < 64:
                raise OverflowError("shifts go over 0 to 63 bits")
        with np.errstate(all="ignore"):
            value = evaluate(code)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise GraphError(f"{ast.unparse(code)} cannot be computed: {error}") from None
    return _constant(value.item() if isinstance(value, np.generic | np.ndarray) else value, code)


def _constant(value: object, code: ast.AST) -> ast.Constant:
    if not isinstance(value, bool | int | float) or (isinstance(value, int) and value not in INTEGERS):
        raise GraphError(f"{ast.unparse(code)} is no number of 64 bits; write it as a float, such as 1e30")
    return ast.Constant(value)


def _check_call(function: str, arguments: int, keywords: int) -> None:
    if function not in FUNCTIONS:
        raise GraphError(f"an expression has no function {function!r}; it has {', '.join(FUNCTIONS)}")
    count = FUNCTIONS[function][1]
    most = MOST.get(function, count)
    if keywords or not count <= arguments <= most:
        counts = f"{count}" if most == count else f"{count} to {most}"
        hint = "; which events is 'x where x > 3'" if function == "where" and arguments == 2 else ""
        values = f"{counts} value{'s' * (most > 1)} without names"
        raise GraphError(f"{function} takes {values}, got {arguments + keywords}{hint}")


def edges_of(dtype: np.dtype[Any]) -> Array:
    """Return one number and the edges of a dtype: 0, -1 or the largest, the largest, the smallest, NaN."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.array([1, 0, -1, limits.max, limits.min, np.nan, np.inf], dtype)
    low, high = span_of_dtype(dtype)
    return np.array([1, 0, -1 if low else high, high, low], dtype)
