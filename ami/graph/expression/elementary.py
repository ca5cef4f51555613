"""Say which functions an expression may call, and compute the parts of it that have no value.

Nothing else can be called: neither Python's functions nor numpy's many others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.graph.expression.nodes import Call, Compare, Literal, Logic, Node, Pair, Sign, spell
from ami.graph.operation import INTEGERS

# Name: function of arrays, number of arguments.
FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    **{name: (getattr(np, name), 1) for name in (
        "abs", "sqrt", "cbrt", "square", "exp", "expm1", "log", "log2", "log10", "log1p",
        "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
        "degrees", "radians", "floor", "ceil", "rint", "trunc", "sign",
        "isfinite", "isnan", "isinf",
    )},
    **{name: (getattr(np, name), 2) for name in ("arctan2", "hypot", "minimum", "maximum", "copysign")},
    "where": (np.where, 3),
    "clip": (np.clip, 3),
}  # fmt: skip

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "<<": operator.lshift, ">>": operator.rshift,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def check_call(node: Call) -> None:
    """Refuse a call that is not possible.

    Raises:
        GraphError: there is no such function, or it takes another number of values.
    """
    if node.function not in FUNCTIONS:
        raise GraphError(f"an expression has no function {node.function!r}; it has {', '.join(FUNCTIONS)}")
    count = FUNCTIONS[node.function][1]
    if node.keywords or len(node.arguments) != count:
        raise GraphError(
            f"{node.function} takes {count} value{'s' * (count > 1)} without names,"
            f" got {len(node.arguments) + len(node.keywords)}"
        )


def constant_of(node: Node) -> int | float | bool | None:  # one case for each kind of node
    """Return the number that a tree without values amounts to, None for any other tree.

    Constants are computed once and here, with bounds. In the code they would be computed by
    Python for each block, and ``9 ** 9 ** 9`` or ``1 // 0`` would be a worker's problem.

    Raises:
        GraphError: it is no number of 64 bits.
    """
    value: object = None
    match node:
        case Literal(bool() | int() | float() as number):
            value = number
        case Sign(sign, operand) if sign in ("-", "+", "~"):
            inner = constant_of(operand)
            value = None if inner is None else _signed(sign, inner)
        case Pair(sign, left, right):
            a, b = constant_of(left), constant_of(right)
            value = None if a is None or b is None else _computed(sign, a, b)
        case Sign("not", operand):
            inner = constant_of(operand)
            value = None if inner is None else not inner
        case Compare(operands, _) | Logic(_, operands):
            numbers = [constant_of(part) for part in operands]
            value = None if None in numbers else _truth(node, numbers)
        case Call(_, arguments):
            check_call(node)
            numbers = [constant_of(part) for part in arguments]
            value = None if None in numbers else _called(node.function, numbers)
    if value is None:
        return None
    if (isinstance(value, int) and value not in INTEGERS) or not isinstance(value, bool | int | float):
        raise GraphError(f"{spell(node)} is no number of 64 bits; write it as a float, such as 1e30")
    return value


def _signed(sign: str, number: int | float) -> int | float:
    if sign == "~":
        if not isinstance(number, int):
            raise GraphError(f"~ turns the bits of an integer, got {number!r}")
        return ~int(number)
    return -number if sign == "-" else +number


def _computed(sign: str, a: int | float, b: int | float) -> object:
    try:
        if sign == "**":
            # The float is cheap at any size and says whether the integer would be.
            if abs(float(a) ** float(b)) > 2.0**64:
                raise OverflowError("the result is too large")
            return a**b
        if sign in ("<<", ">>") and not 0 <= b < 64:
            raise OverflowError("shifts go over 0 to 63 bits")
        return _BINARY[sign](a, b)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise GraphError(f"{a} {sign} {b} cannot be computed: {error}") from None


def _truth(node: Compare | Logic, numbers: Sequence[Any]) -> bool:
    if isinstance(node, Logic):
        return all(numbers) if node.operator == "and" else any(numbers)
    pairs = zip(node.operators, pairwise(numbers), strict=True)
    return all(_BINARY[sign](a, b) for sign, (a, b) in pairs)


def _called(function: str, numbers: Sequence[Any]) -> object:
    with np.errstate(all="ignore"):
        return FUNCTIONS[function][0](*numbers).item()
