"""Compute an expression such as ``_0 / (1 + abs(_1))`` on whole blocks of events.

The text is read by :mod:`ami.graph.expression.grammar`, which knows nothing but operators, numbers and calls;
what may be called stands in :mod:`ami.graph.expression.elementary`. Python's parser never sees it: another
tree is made of what was understood, and compiled to one code object. Inputs are called ``_0``, ``_1``
and so on, because the names of values are no part of what an operation computes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.grammar import parse
from ami.graph.expression.spelling import is_number
from ami.graph.kind import Kind
from ami.graph.operation import INTEGERS
from ami.ragged import Ragged, align

# Results that can be added, subtracted, multiplied and divided; see ami/values.py.
COMBINABLE = frozenset({"scan", "histogram"})

_BITS = (ast.BitAnd, ast.BitOr, ast.BitXor)
_PLACEHOLDER = re.compile(r"_(0|[1-9]\d{0,3})")


class Expression:
    """One value per event from others, by arithmetic, comparison and elementary functions.

    Within an event values combine as numpy broadcasts them: a number with an image, a row
    with an image. Integers of less than 64 bits and truths are computed as int64, so that
    ``camera - 300`` cannot wrap around; floats keep their size. A division by zero gives
    inf or nan (0 for ``//`` and ``%`` of integers, as numpy has it), never an error.
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
        inputs = [ast.arg(f"_{index}") for index in self._used]
        arguments = ast.arguments([], inputs, None, [], [], None, [])
        self._function = _evaluate(ast.Lambda(arguments, _code(self._tree)))

    def has_only(self, *operators: type[ast.AST]) -> bool:
        """Whether there are no other operators, and no calls."""
        return {*map(type, ast.walk(self._tree))} <= {
            ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, *operators,
        }  # fmt: skip

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
        shape = _variable_shape(used) if variable else _shape(used)
        structures = {kind.structure for kind in used} - {"array"}
        if structures:
            return Kind(np.dtype(np.float64), shape, reduced, self._structure(structures))
        try:
            value = self(*(np.ones((1,) * (1 + len(kind.shape)), kind.dtype) for kind in inputs))
        except (TypeError, ValueError, OverflowError) as error:
            dtypes = " and ".join(str(kind.dtype) for kind in used)
            raise GraphError(f"it cannot be computed from {dtypes}: {error}") from error
        return Kind(value.dtype, shape, reduced, variable=variable)

    def _structure(self, structures: set[str]) -> str:
        if len(structures) > 1:
            raise GraphError(f"a {' and a '.join(sorted(structures))} cannot be combined")
        (structure,) = structures
        if structure not in COMBINABLE:
            raise GraphError(
                f'there is no arithmetic on {structure}; take a part of it, as in part(x, "mean")'
            )
        if not self.has_only(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UAdd, ast.USub):
            raise GraphError(f"a {structure} can be used with + - * / only")
        return structure

    def __call__(self, *arrays: Any) -> Any:
        """Return ``(k, *shape)`` from arrays ``(k, *shape of the input)``.

        With a scan or a histogram among them it returns one, and arrays are those of one
        event, ``(1, *shape)``.
        """
        used = [arrays[index] for index in self._used]
        with np.errstate(all="ignore"):
            if all(type(array) is np.ndarray for array in used):
                return self._function(*_align(used))
            if all(isinstance(array, np.ndarray) for array in used):
                return self._function(*_align([np.asarray(array) for array in used]))
            return self._function(*(a[0] if isinstance(a, np.ndarray) else a for a in used))

    def ragged(self, *arrays: Any) -> Ragged:
        """Return the values of all elements, of inputs of which some have variable length.

        Raises:
            ValueError: they have different lengths in some event.
        """
        elements, lengths = align([arrays[index] for index in self._used])
        with np.errstate(all="ignore"):
            return Ragged.of(self._function(*_align(elements)), lengths)


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


def _wide(value: Any) -> Any:
    """Return integers of less than 64 bits, and truths, as int64."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biu" and value.dtype.itemsize < 8:
        return value.astype(np.int64)
    return value


_NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "wide": _wide,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    **{f"call_{name}": function for name, (function, _) in FUNCTIONS.items()},
}


def _evaluate(code: ast.expr) -> Any:
    """Compute what was made of constants, and of the names of ``_NAMESPACE``."""
    body = ast.fix_missing_locations(ast.Expression(code))
    return eval(compile(body, "<expression>", "eval"), _NAMESPACE)


def _code(node: ast.AST) -> ast.expr:
    """Return code that computes a definition's tree for a block.

    Constants are computed once and here, with bounds. In the code they would be computed by
    Python for each block, and ``9 ** 9 ** 9`` or ``1 // 0`` would be a worker's problem.
    """
    code: ast.expr
    match node:
        case ast.Name(name):
            return ast.Name(name, ast.Load())
        case ast.Constant(value):
            if not isinstance(value, bool | int | float):
                raise GraphError(f"an expression computes with numbers, got {value!r}"[:200])
            return _constant(value, node)
        case ast.UnaryOp(operator, operand):
            parts = [_widen(operand) if isinstance(operator, ast.UAdd | ast.USub) else _code(operand)]
            inverts = isinstance(operator, ast.Not)
            code = _call("logical_not", *parts) if inverts else ast.UnaryOp(operator, *parts)
        case ast.BinOp(_, ast.MatMult(), _):
            raise GraphError("'where' filters events; within an expression write where(condition, a, b)")
        case ast.BinOp(left, operator, right):
            parts = [_code(part) if isinstance(operator, _BITS) else _widen(part) for part in (left, right)]
            code = ast.BinOp(
                parts[0], operator, _exponent(parts[1]) if isinstance(operator, ast.Pow) else parts[1]
            )
        case ast.Compare(left, operators, others):
            parts = [_code(part) for part in (left, *others)]
            links = zip(parts, operators, parts[1:], strict=False)
            code = _chain("logical_and", [ast.Compare(a, [operator], [b]) for a, operator, b in links])
        case ast.BoolOp(operator, operands):
            parts = [_code(part) for part in operands]
            code = _chain("logical_and" if isinstance(operator, ast.And) else "logical_or", parts)
        case ast.Call(ast.Attribute(attr=function), arguments, keywords):
            _check_call(function, len(arguments), len(keywords))
            # The condition of where() is no number to compute with.
            bare = int(function == "where")
            parts = [*map(_code, arguments[:bare]), *map(_widen, arguments[bare:])]
            code = _call(f"call_{function}", *parts)
        case _:
            raise GraphError("not an expression")
    constants = [part.value for part in parts if isinstance(part, ast.Constant)]
    return _compute(code, constants) if len(constants) == len(parts) else code


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
            value = _evaluate(code)
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
    if keywords or arguments != count:
        raise GraphError(
            f"{function} takes {count} value{'s' * (count > 1)} without names, got {arguments + keywords}"
        )


def _widen(node: ast.AST) -> ast.expr:
    """Return code for an operand of arithmetic; only what may be narrow is widened at run time."""
    match code := _code(node):
        case ast.Constant() | ast.UnaryOp(ast.UAdd() | ast.USub()):
            return code
        case ast.BinOp(_, operator) if not isinstance(operator, _BITS):
            return code
    return _call("wide", code)


def _exponent(code: ast.expr) -> ast.expr:
    """Return an exponent; numpy takes integers to the power of -1 only when that is a float."""
    if isinstance(code, ast.Constant) and is_number(code.value) and code.value < 0:
        return ast.Constant(float(code.value))
    return code


def _call(function: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), [])


def _chain(function: str, operands: list[ast.expr]) -> ast.expr:
    return reduce(partial(_call, function), operands)
