"""Compute an expression such as ``_0 / (1 + abs(_1))`` on whole blocks of events.

The text is read by :mod:`ami.graph.expression.grammar`, which knows nothing but operators, numbers and calls;
what may be called stands in :mod:`ami.graph.expression.elementary`. Python's parser never sees it: a syntax
tree is built from what was understood, and compiled to one code object. Inputs are called ``_0``,
``_1`` and so on, because the names of values are no part of what an operation computes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.expression.elementary import FUNCTIONS, check_call, constant_of
from ami.graph.expression.grammar import parse
from ami.graph.expression.nodes import (
    COMPARISONS,
    TIGHTNESS,
    Call,
    Compare,
    Literal,
    Logic,
    Name,
    Node,
    Pair,
    Sign,
    Where,
    names_in,
    nodes_in,
)
from ami.graph.kind import Kind

# Results that can be added, subtracted, multiplied and divided; see ami/values.py.
COMBINABLE = frozenset({"scan", "histogram"})

# Our operators are Python's, so Python says what stands for them in its trees.
_BINARY: dict[str, ast.operator] = {
    sign: ast.parse(f"a {sign} b", mode="eval").body.op  # type: ignore[attr-defined]  # a BinOp
    for sign in (*TIGHTNESS, "**")
}
_UNARY: dict[str, ast.unaryop] = {"-": ast.USub(), "+": ast.UAdd(), "~": ast.Invert()}
_COMPARISON: dict[str, ast.cmpop] = {
    sign: ast.parse(f"a {sign} b", mode="eval").body.ops[0]  # type: ignore[attr-defined]  # a Compare
    for sign in COMPARISONS
}
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
        self._used = sorted({placeholder(name) for name in names_in(self._tree)})
        if not self._used:
            raise GraphError(f"{text!r} uses no value; a constant needs no operation")
        # Scans and histograms know these four operations only.
        self._combines = all(
            isinstance(node, Literal | Name) or getattr(node, "operator", "") in ("+", "-", "*", "/")
            for node in nodes_in(self._tree)
        )
        self._function = _compile_tree(self._tree, [f"_{index}" for index in self._used])

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
        try:
            shape = np.broadcast_shapes(*(kind.shape for kind in used))
        except ValueError:
            shapes = " and ".join(str(kind.shape) for kind in used)
            raise GraphError(f"values of shapes {shapes} do not fit each other") from None
        structures = {kind.structure for kind in used} - {"array"}
        if structures:
            return Kind(np.dtype(np.float64), shape, reduced, self._structure(structures))
        try:
            value = self(*(np.ones((1,) * (1 + len(kind.shape)), kind.dtype) for kind in inputs))
        except (TypeError, ValueError, OverflowError) as error:
            dtypes = " and ".join(str(kind.dtype) for kind in used)
            raise GraphError(f"it cannot be computed from {dtypes}: {error}") from error
        return Kind(value.dtype, shape, reduced)

    def _structure(self, structures: set[str]) -> str:
        if len(structures) > 1:
            raise GraphError(f"a {' and a '.join(sorted(structures))} cannot be combined")
        (structure,) = structures
        if structure not in COMBINABLE:
            raise GraphError(
                f'there is no arithmetic on {structure}; take a part of it, as in part(x, "mean")'
            )
        if not self._combines:
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


def _compile_tree(tree: Node, inputs: list[str]) -> Callable[..., Any]:
    arguments = ast.arguments([], [ast.arg(name) for name in inputs], None, [], [], None, [])
    body = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, _code(tree))))
    function: Callable[..., Any] = eval(compile(body, "<expression>", "eval"), _NAMESPACE)
    return function


def _code(node: Node) -> ast.expr:  # noqa: C901  # one case for each kind of node
    """Return Python's tree for ours, with constants computed."""
    constant = constant_of(node)
    if constant is not None:
        return ast.Constant(constant)
    match node:
        case Name(name):
            return ast.Name(name, ast.Load())
        case Sign("not", operand):
            return _call("logical_not", _code(operand))
        case Sign(sign, operand):
            return ast.UnaryOp(_UNARY[sign], _code(operand) if sign == "~" else _widen(operand))
        case Pair(sign, left, right):
            widen = _code if sign in "&|^" else _widen
            return ast.BinOp(widen(left), _BINARY[sign], _exponent(right) if sign == "**" else widen(right))
        case Compare(operands, operators):
            codes = [_code(operand) for operand in operands]
            links: list[ast.expr] = [
                ast.Compare(a, [_COMPARISON[o]], [b])
                for a, o, b in zip(codes, operators, codes[1:], strict=False)
            ]
            return _join("logical_and", links)
        case Logic(word, operands):
            return _join(f"logical_{word}", [_code(operand) for operand in operands])
        case Call():
            return _function_call(node)
        case Where():
            raise GraphError("'where' filters events; within an expression write where(condition, a, b)")
        case Literal(value):
            raise GraphError(f"an expression computes with numbers, got {value!r}"[:200])
        case _:
            raise GraphError("not an expression")


def _function_call(node: Call) -> ast.expr:
    check_call(node)
    # The condition of where() is no number to compute with.
    plain = 1 if node.function == "where" else 0
    codes = [_code(argument) if n < plain else _widen(argument) for n, argument in enumerate(node.arguments)]
    return _call(f"call_{node.function}", *codes)


def _widen(node: Node) -> ast.expr:
    """Return code for an operand of arithmetic; only what may be narrow is widened at run time."""
    arithmetic = (isinstance(node, Pair) and node.operator not in "&|^") or (
        isinstance(node, Sign) and node.operator in "+-"
    )
    return _code(node) if arithmetic or constant_of(node) is not None else _call("wide", _code(node))


def _exponent(node: Node) -> ast.expr:
    """Return an exponent; numpy takes integers to the power of -1 only when that is a float."""
    constant = constant_of(node)
    if constant is None:
        return _widen(node)
    return ast.Constant(float(constant) if constant < 0 else constant)


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), [])


def _join(function: str, operands: list[ast.expr]) -> ast.expr:
    joined = operands[0]
    for operand in operands[1:]:
        joined = _call(function, joined, operand)
    return joined
