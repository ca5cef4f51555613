"""Compute with integers in 64 bits: what comes out is exact, or it is an error, never another number.

A *span* says between which two numbers a value lies. Before an event was seen it is that of the dtype: so
``camera - 300`` needs no look at the numbers. Where a span is wider than 64 bits, the spans of the block's
own numbers are tried, then Python's integers. (Rejected: float64 beyond 64 bits. A timestamp in ns loses
its last 8 bits in it.)

What cannot be negative and may lie beyond int64 is uint64, all else int64.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ami.event import Array

Span = tuple[int, int]

INT64, UINT64 = np.dtype(np.int64), np.dtype(np.uint64)
TRUTH: Span = (0, 1)
NEVER: Span = (-(1 << 200), 1 << 200)  # of what is an error for some operands
SURE = 2.0**62  # what float64 finds smaller than this fits into 64 bits, however it was rounded
ESTIMATED = (np.add, np.subtract, np.multiply, np.power, np.square, np.where)


class Rule(NamedTuple):
    """How an operation is computed: its span from those of operands, by numpy, and of Python's integers.

    Of one that ``wraps`` numpy's value is right whenever the true one fits, whatever bits the operands lost.
    """

    span: Callable[..., Span]
    ufunc: Callable[..., Any] | None
    exact: Callable[..., int]
    wraps: bool = False


def span_of_dtype(dtype: np.dtype[Any]) -> Span:
    """Return the smallest and the largest number of an integer dtype, or of truths."""
    if dtype.kind == "b":
        return TRUTH
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def dtype_for(span: Span) -> np.dtype[Any]:
    """Return the dtype of 64 bits that numbers of a span are computed in."""
    return UINT64 if span[0] >= 0 and not fits(span, INT64) else INT64


def fits(span: Span, dtype: np.dtype[Any]) -> bool:
    """Whether all numbers of a span are numbers of a dtype."""
    low, high = span_of_dtype(dtype)
    return low <= span[0] and span[1] <= high


def compute(name: str, dtype: np.dtype[Any], *operands: Any) -> Array:
    """Return what an operation gives of integers, of which any may be one of Python's, in ``dtype``.

    Raises:
        OverflowError: it leaves the dtype for some event.
    """
    rule = RULES[name]
    arrays = [np.asarray(operand) for operand in operands]
    spans = [_span_of(array) for array in arrays]
    common = _find_common(rule, dtype, spans, arrays)
    if rule.ufunc is not None and common is not None:
        value = rule.ufunc(*(array.astype(common, copy=False) for array in arrays))
        return np.asarray(value).astype(dtype, copy=False)
    return _compute_exactly(rule, name, dtype, arrays)


def _span_of(array: Array) -> Span:
    if not array.size:
        return TRUTH
    # The ufuncs themselves: the methods of arrays cost two microseconds more.
    return int(np.minimum.reduce(array, axis=None)), int(np.maximum.reduce(array, axis=None))


def _find_common(
    rule: Rule, dtype: np.dtype[Any], spans: list[Span], arrays: list[Array]
) -> np.dtype[Any] | None:
    """Return the dtype in which numpy computes it right, None if there is none."""
    if rule.ufunc is None:
        return None
    if not fits(rule.span(*spans), dtype):
        if rule.ufunc not in ESTIMATED:
            return None
        estimate = rule.ufunc(*(array.astype(np.float64) for array in arrays))
        return dtype if np.abs(estimate).max() < SURE else None
    if rule.wraps:
        return dtype
    return next((one for one in (INT64, UINT64) if all(fits(span, one) for span in spans)), None)


def _compute_exactly(rule: Rule, name: str, dtype: np.dtype[Any], arrays: list[Array]) -> Array:
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    flat = [np.broadcast_to(array, shape).ravel().tolist() for array in arrays]
    low, high = span_of_dtype(dtype)
    numbers = []
    for operands in zip(*flat, strict=True):
        value = rule.exact(*operands)
        if not low <= value <= high:
            of = " and ".join(map(str, operands))
            raise OverflowError(f"{name} of {of} leaves the 64 bits of {dtype}; compute with floats: 1.0 * x")
        numbers.append(value)
    return np.array(numbers, dtype).reshape(shape)


# spans


def _span_product(a: Span, b: Span) -> Span:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _span_quotient(a: Span, b: Span) -> Span:
    if b[0] >= 0:
        return min(a[0], 0), max(a[1], 0)
    most = max(map(abs, a))
    return -most, most


def _span_remainder(a: Span, b: Span) -> Span:
    most = max(b[1] - 1, 0)
    return min(b[0] + 1, 0), min(most, a[1]) if a[0] >= 0 and b[0] >= 0 else most


def _span_power(a: Span, b: Span) -> Span:
    if b[0] < 0:
        return NEVER
    most = max(map(abs, a)) ** min(b[1], 65)  # what is at least 2 is beyond 64 bits then
    even = b[0] == b[1] and b[0] % 2 == 0
    return 0 if a[0] >= 0 or even else -most, max(most, 1)


def _span_left(a: Span, b: Span) -> Span:
    if b[0] < 0:
        return NEVER
    ends = [x << bits for x in a for bits in (b[0] if b[0] < 65 else 65, min(b[1], 65))]
    return min(ends), max(ends)


def _span_right(a: Span, b: Span) -> Span:
    return NEVER if b[0] < 0 else (min(a[0], 0), max(a[1], 0))


def _span_bits(a: Span, b: Span) -> Span:
    most = (1 << max((x if x >= 0 else ~x).bit_length() for x in (*a, *b))) - 1
    return 0 if a[0] >= 0 and b[0] >= 0 else -most - 1, most


def _span_and(a: Span, b: Span) -> Span:
    positive = [span[1] for span in (a, b) if span[0] >= 0]
    return (0, min(positive)) if positive else _span_bits(a, b)


def _span_size(a: Span) -> Span:
    return max(0, a[0], -a[1]), max(map(abs, a))


def _span_of_either(*spans: Span) -> Span:
    return min(span[0] for span in spans), max(span[1] for span in spans)


def _span_rounded(a: Span, digits: Span) -> Span:
    return round(a[0], digits[0]), round(a[1], digits[0])  # the order stays


# of Python's integers


def _power(a: int, b: int) -> int:
    if b < 0:
        raise OverflowError(f"an integer to the power of {b} is none; write it as {a}.0 ** x")
    # Any number beyond 64 bits says so; the true one might have millions of digits.
    return int(a**b) if abs(a) < 2 or b <= 64 else 1 << 200


def _shift(by: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def shift(a: int, bits: int) -> int:
        if bits < 0:
            raise OverflowError(f"a shift by {bits} bits")
        return by(a, min(bits, 200))

    return shift


def _where(condition: Any, a: int, b: int) -> int:
    return a if condition else b


RULES: dict[str, Rule] = {
    "add": Rule(lambda a, b: (a[0] + b[0], a[1] + b[1]), np.add, operator.add, True),
    "subtract": Rule(lambda a, b: (a[0] - b[1], a[1] - b[0]), np.subtract, operator.sub, True),
    "multiply": Rule(_span_product, np.multiply, operator.mul, True),
    "floor_divide": Rule(_span_quotient, np.floor_divide, lambda a, b: a // b if b else 0),
    "remainder": Rule(_span_remainder, np.remainder, lambda a, b: a % b if b else 0),
    "power": Rule(_span_power, np.power, _power),
    "left_shift": Rule(_span_left, np.left_shift, _shift(operator.lshift)),
    "right_shift": Rule(_span_right, np.right_shift, _shift(operator.rshift)),
    "bitwise_and": Rule(_span_and, np.bitwise_and, operator.and_, True),
    "bitwise_or": Rule(_span_bits, np.bitwise_or, operator.or_, True),
    "bitwise_xor": Rule(_span_bits, np.bitwise_xor, operator.xor, True),
    "negative": Rule(lambda a: (-a[1], -a[0]), np.negative, operator.neg, True),
    "abs": Rule(_span_size, np.abs, abs),
    "square": Rule(lambda a: (0, max(map(abs, a)) ** 2), np.square, lambda a: a * a, True),
    "sign": Rule(lambda a: (-1, 1), np.sign, lambda a: (a > 0) - (a < 0)),
    "minimum": Rule(lambda a, b: (min(a[0], b[0]), min(a[1], b[1])), np.minimum, min),
    "maximum": Rule(lambda a, b: (max(a[0], b[0]), max(a[1], b[1])), np.maximum, max),
    "where": Rule(lambda _, a, b: _span_of_either(a, b), np.where, _where, True),
    "round": Rule(_span_rounded, None, round),
}
