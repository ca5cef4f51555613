"""Say which functions an expression may call, and compute the parts of it that have no value.

Nothing else can be called: neither Python's functions nor numpy's many others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ami.errors import GraphError
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
    parts_of,
    spell,
)
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

# Our operators are Python's.
_UNARY: dict[str, Callable[[Any], Any]] = {
    sign: eval(f"lambda a: {sign} a") for sign in ("-", "+", "~", "not")
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    sign: eval(f"lambda a, b: a {sign} b") for sign in (*TIGHTNESS, *COMPARISONS, "**")
}


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


def constant_of(node: Node) -> int | float | bool | None:
    """Return the number that a tree without values amounts to, None for any other tree.

    Constants are computed once and here, with bounds. In the code they would be computed by
    Python for each block, and ``9 ** 9 ** 9`` or ``1 // 0`` would be a worker's problem.

    Raises:
        GraphError: it is no number of 64 bits.
    """
    if isinstance(node, Literal):
        value: Any = node.value if isinstance(node.value, bool | int | float) else None
    elif isinstance(node, Name | Where):
        return None
    else:
        if isinstance(node, Call):
            check_call(node)
        numbers = [constant_of(part) for part in parts_of(node)]
        value = None if None in numbers else _compute(node, numbers)
    if value is None:
        return None
    if (isinstance(value, int) and value not in INTEGERS) or not isinstance(value, bool | int | float):
        raise GraphError(f"{spell(node)} is no number of 64 bits; write it as a float, such as 1e30")
    return value


def _compute(node: Node, numbers: Sequence[Any]) -> object:
    match node:
        case Sign(sign):
            if sign == "~" and not isinstance(numbers[0], int):
                raise GraphError(f"~ turns the bits of an integer, got {numbers[0]!r}")
            return _UNARY[sign](int(numbers[0]) if sign == "~" else numbers[0])
        case Pair(sign):
            return _pair(sign, *numbers)
        case Compare(_, signs):
            return all(_BINARY[sign](a, b) for sign, (a, b) in zip(signs, pairwise(numbers), strict=True))
        case Logic(word):
            return all(numbers) if word == "and" else any(numbers)
        case Call(function):
            with np.errstate(all="ignore"):
                return FUNCTIONS[function][0](*numbers).item()
        case _:
            return None


def _pair(sign: str, a: int | float, b: int | float) -> object:
    try:
        # The float is cheap at any size and says whether the integer would be.
        if sign == "**" and abs(float(a) ** float(b)) > 2.0**64:
            raise OverflowError("the result is too large")
        if sign in ("<<", ">>") and not 0 <= b < 64:
            raise OverflowError("shifts go over 0 to 63 bits")
        return _BINARY[sign](a, b)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise GraphError(f"{a} {sign} {b} cannot be computed: {error}") from None
