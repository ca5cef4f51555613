"""Make the code of an expression for inputs of known dtypes.

What a dtype decides is decided here and once: which operands are cast, which integers could leave 64 bits
and so go through :mod:`ami.graph.expression.integers`. In what runs on a block, nobody asks. (Rejected:
functions that look at what they get. They cost a microsecond an operator and block, and know no span.)
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS, MOST_DIGITS, is_true, round_to
from ami.graph.expression.integers import (
    INT64,
    RULES,
    TRUTH,
    UINT64,
    Span,
    compute,
    dtype_for,
    fits,
    span_of_dtype,
)

BITS = (ast.BitAnd, ast.BitOr, ast.BitXor)
BOOL, FLOAT32, FLOAT64 = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.float64)
STRUCTURE = np.dtype(object)  # stands for a scan or a histogram, which have operators of their own
KEPT = ("floor", "ceil", "rint", "trunc")  # of integers: themselves

_SIGNS: dict[str, ast.operator] = {
    "add": ast.Add(), "subtract": ast.Sub(), "multiply": ast.Mult(), "floor_divide": ast.FloorDiv(),
    "remainder": ast.Mod(), "power": ast.Pow(), "left_shift": ast.LShift(), "right_shift": ast.RShift(),
    "bitwise_and": ast.BitAnd(), "bitwise_or": ast.BitOr(), "bitwise_xor": ast.BitXor(),
}  # fmt: skip
_RULES = {type(sign): name for name, sign in _SIGNS.items()}

NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "power": np.power,
    "is_true": is_true,
    "round_to": round_to,
    **{f"as_{dtype}": lambda value, dtype=dtype: value.astype(dtype) for dtype in map(np.dtype, "qQfd")},
    **{f"{name}_in_{dtype}": partial(compute, name, dtype) for name in RULES for dtype in (INT64, UINT64)},
    **{f"call_{name}": function for name, (function, _) in FUNCTIONS.items()},
}


class Term(NamedTuple):
    """Code of a part of an expression, and what is known of its value.

    Attributes:
        dtype: of the array, None: it is a number of Python's, which takes the dtype of what is beside it.
        span: of integers and truths.
    """

    code: ast.expr
    dtype: np.dtype[Any] | None
    span: Span | None = None

    @property
    def constant(self) -> Any:
        """The number that it is, None: it is none."""
        return self.code.value if isinstance(self.code, ast.Constant) else None


def evaluate(code: ast.expr) -> Any:
    """Compute what was made of constants, and of the names of ``NAMESPACE``."""
    body = ast.fix_missing_locations(ast.Expression(code))
    return eval(compile(body, "<expression>", "eval"), NAMESPACE)


def make(tree: ast.expr, dtypes: dict[str, np.dtype[Any]]) -> Callable[..., Any]:
    """Return a function of arrays of these dtypes, in their order.

    Args:
        tree: whose constants were computed already.
    """
    term = Typed(dtypes).term(tree)
    arguments = ast.arguments([], [ast.arg(name) for name in dtypes], None, [], [], None, [])
    return evaluate(ast.Lambda(arguments, term.code))  # type: ignore[no-any-return]  # a lambda


def find_most(tree: ast.expr, dtypes: dict[str, np.dtype[Any]]) -> int | None:
    """Return what no integer of inputs of these dtypes is larger than, either way; None: floats come."""
    span = Typed(dtypes).term(tree).span
    return None if span is None else max(map(abs, span))


class Typed:
    """Makes the code of a tree, part by part."""

    def __init__(self, dtypes: dict[str, np.dtype[Any]]) -> None:
        self._dtypes = dtypes

    def term(self, node: ast.AST) -> Term:
        """Return the code of a part of the tree."""
        match node:
            case ast.Name(name):
                return _load(name, self._dtypes[name])
            case ast.Constant(bool() | int() as value):
                return Term(node, None, (int(value), int(value)))
            case ast.Constant():
                return Term(node, None)
            case ast.UnaryOp(operator, operand):
                return _unary(operator, self.term(operand))
            case ast.BinOp(left, operator, right):
                return _binary(operator, self.term(left), self.term(right))
            case ast.Compare(left, operators, others):
                parts = [self.term(part).code for part in (left, *others)]
                links = zip(parts, operators, parts[1:], strict=False)
                chain = [ast.Compare(a, [operator], [b]) for a, operator, b in links]
                return Term(_chain("logical_and", chain), BOOL, TRUTH)
            case ast.BoolOp(operator, operands):
                function = "logical_and" if isinstance(operator, ast.And) else "logical_or"
                return Term(_chain(function, [_truth(self.term(part)) for part in operands]), BOOL, TRUTH)
            case ast.Call(ast.Attribute(attr=function), arguments):
                return _function(function, [self.term(argument) for argument in arguments])
        raise GraphError("not an expression")


def _load(name: str, dtype: np.dtype[Any]) -> Term:
    code = ast.Name(name, ast.Load())
    if dtype.kind in "biu":
        return Term(code, dtype, span_of_dtype(dtype))
    if dtype.kind == "f" and dtype.itemsize < 4:
        return Term(_cast(code, FLOAT32), FLOAT32)
    return Term(code, dtype)


def _unary(operator: ast.unaryop, operand: Term) -> Term:
    match operator, operand:
        case ast.Not(), _:
            return Term(call("logical_not", _truth(operand)), BOOL, TRUTH)
        case _, Term(dtype=np.dtype(kind="O")) | Term(span=None):
            return operand._replace(code=ast.UnaryOp(operator, operand.code))
        case ast.UAdd(), _:
            return _wide(operand)
        case ast.USub(), _:
            return _integers("negative", operand)
        case _:
            return _invert(operand)


def _invert(operand: Term) -> Term:
    """Return the other bits: of truths the others, of uint64 those of 64 bits, else -x - 1."""
    dtype = operand.dtype
    assert dtype is not None  # constants were computed
    if dtype.kind == "u" and dtype.itemsize < 8:
        operand = _wide(operand)
        dtype = INT64
    low, high = operand.span or TRUTH
    span = (~high, ~low) if dtype.kind == "i" else span_of_dtype(dtype)
    return Term(ast.UnaryOp(ast.Invert(), operand.code), dtype, span)


def _binary(operator: ast.operator, left: Term, right: Term) -> Term:
    both = (left, right)
    if STRUCTURE in (left.dtype, right.dtype):
        return Term(ast.BinOp(left.code, operator, right.code), STRUCTURE)
    integers = left.span is not None and right.span is not None
    if integers and isinstance(operator, BITS):
        narrow = _bits(operator, left, right)
        if narrow is not None:
            return narrow
    floats = isinstance(operator, ast.Div) or (
        isinstance(operator, ast.Pow) and right.span is not None and right.span[0] < 0
    )
    if integers and not floats:
        return _integers(_RULES[type(operator)], left, right)
    if isinstance(operator, ast.Pow) and integers:  # numpy takes no integer to the power of -1
        code = call("power", *(_float(term) for term in both))
        return Term(code, FLOAT64)
    if isinstance(operator, ast.Pow) and isinstance(right.constant, int):
        right = right._replace(code=ast.Constant(float(right.constant)) if right.constant < 0 else right.code)
    codes = [_number(term) for term in (left, right)]
    return Term(ast.BinOp(codes[0], operator, codes[1]), _joined([left, right]))


def _bits(operator: ast.operator, left: Term, right: Term) -> Term | None:
    """Return the code for bits of one narrow dtype, which stay in it, None: they are of several."""
    dtype = left.dtype if left.dtype is not None else right.dtype
    assert dtype is not None  # constants were computed
    for term in (left, right):
        if term.dtype not in (dtype, None) or not _suits(term, dtype):
            return None
    spans = (left.span or TRUTH, right.span or TRUTH)
    span = RULES[_RULES[type(operator)]].span(*spans)
    return Term(ast.BinOp(left.code, operator, right.code), dtype, span)


def _suits(term: Term, dtype: np.dtype[Any]) -> bool:
    """Whether a constant can stand beside an array of integers as it is; of an array its dtype says it."""
    if term.dtype is not None:
        return True
    truths = isinstance(term.constant, bool)
    return truths if dtype.kind == "b" else not truths and fits(term.span or TRUTH, dtype)


def _integers(name: str, *operands: Term) -> Term:
    """Return the code of an operation on integers; what can be seen to fit is numpy's alone."""
    rule = RULES[name]
    spans = [term.span or TRUTH for term in operands]
    span = rule.span(*spans)
    dtype = dtype_for(span)
    numbers = operands[1:] if name == "where" else operands
    plain = fits(span, dtype) and all(
        fits(term.span or TRUTH, dtype) or (rule.wraps and term.dtype is not None) for term in numbers
    )
    if not plain or rule.ufunc is None or all(term.dtype is None for term in numbers):
        code = call(f"{name}_in_{dtype}", *(term.code for term in operands))
        low, high = span_of_dtype(dtype)
        return Term(code, dtype, (max(low, span[0]), min(high, span[1])))
    codes = [_as(term, dtype) for term in numbers]
    if name in _SIGNS:
        return Term(ast.BinOp(codes[0], _SIGNS[name], codes[1]), dtype, span)
    if name == "negative":
        return Term(ast.UnaryOp(ast.USub(), codes[0]), dtype, span)
    before = [term.code for term in operands[: len(operands) - len(codes)]]  # of where the condition
    return Term(call(f"call_{name}", *before, *codes), dtype, span)


def _function(name: str, operands: list[Term]) -> Term:
    if STRUCTURE in [term.dtype for term in operands]:
        return Term(call(f"call_{name}", *(term.code for term in operands)), STRUCTURE)
    if name == "where":
        operands = [Term(_truth(operands[0]), BOOL, TRUTH), *operands[1:]]
    values = operands[1:] if name == "where" else operands
    integers = all(term.span is not None for term in values)
    if name == "round":
        return _round(*operands)
    if integers and name in KEPT:
        return _wide(operands[0])
    if integers and name == "clip":
        return _integers("minimum", _integers("maximum", *operands[:2]), operands[2])
    if integers and name in RULES:
        return _integers(name, *operands)
    codes = [_float(term) if name == "isclose" else _number(term) for term in values]
    if name == "where":
        return Term(call("call_where", operands[0].code, *codes), _joined(values))
    samples = [term.constant if term.dtype is None else np.ones(1, _wide(term).dtype) for term in values]
    with np.errstate(all="ignore"):
        dtype = FUNCTIONS[name][0](*samples).dtype
    return Term(call(f"call_{name}", *codes), dtype, TRUTH if dtype == BOOL else None)


def _round(value: Term, *more: Term) -> Term:
    number = more[0].constant if more else 0
    if type(number) is not int or abs(number) > MOST_DIGITS:
        raise GraphError(f"round takes a whole number of digits up to {MOST_DIGITS}, as in round(x, 2)")
    if value.span is None:
        return value._replace(code=call("round_to", value.code, ast.Constant(number)))
    return _wide(value) if number >= 0 else _integers("round", value, *more)


def _wide(term: Term) -> Term:
    """Return integers and truths in 64 bits; floats as they are."""
    if term.span is None or term.dtype is None:
        return term
    dtype = dtype_for(term.span)
    return Term(_as(term, dtype), dtype, term.span)


def _as(term: Term, dtype: np.dtype[Any]) -> ast.expr:
    if term.dtype is None:
        return ast.Constant(int(term.constant))
    return term.code if term.dtype == dtype else _cast(term.code, dtype)


def _number(term: Term) -> ast.expr:
    """Return the code of an operand beside floats."""
    if term.dtype is not None:
        return _wide(term).code
    value = term.constant
    return ast.Constant(value if isinstance(value, float) or fits((value, value), INT64) else float(value))


def _float(term: Term) -> ast.expr:
    if term.dtype is None:
        return ast.Constant(float(term.constant))
    return term.code if term.dtype.kind == "f" else _cast(term.code, FLOAT64)


def _joined(terms: Sequence[Term]) -> np.dtype[Any]:
    """Return the dtype of floats that numpy makes of these."""
    dtypes = [INT64 if term.span is not None else term.dtype for term in terms if term.dtype is not None]
    return np.result_type(FLOAT32, *dtypes) if dtypes else FLOAT64


def _truth(term: Term) -> ast.expr:
    return term.code if term.span is not None or term.dtype == STRUCTURE else call("is_true", term.code)


def _cast(code: ast.expr, dtype: np.dtype[Any]) -> ast.expr:
    return call(f"as_{dtype}", code)


def call(function: str, *arguments: ast.expr) -> ast.expr:
    """Return code that calls what has this name in ``NAMESPACE``."""
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), [])


def _chain(function: str, operands: Sequence[ast.expr]) -> ast.expr:
    return reduce(partial(call, function), operands)
