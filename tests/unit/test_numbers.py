"""Numbers people have: drawn expressions, fields of every dtype and their edges, against Python's integers.

``AMI_TEST_NUMBERS=20000`` draws so many; without it there are as many as a few seconds allow.
"""

from __future__ import annotations

import operator
import os
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ami.errors import GraphError
from ami.event import Array
from ami.graph.expression.expression import Expression, edges_of
from ami.graph.kind import Kind

DRAWN = int(os.environ.get("AMI_TEST_NUMBERS", "0"))
BATCH = 200
DTYPES = [np.dtype(code) for code in ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")]
CONSTANTS = ["0", "1", "2", "3", "-1", "7", "300", "0x8000", "70000", "2147483648", "9223372036854775807",
             "9223372036854775808", "18446744073709551615", "0.5", "-2.5", "1e10", "true"]  # fmt: skip
EVENTS = 12


class Leaves(Exception):
    """An exact integer is beyond 64 bits: that is an error of this event."""


class Truth:
    """What an expression gives for one event, by Python's integers and numpy's floats, part by part.

    Attributes:
        unsure: some integer on the way fits into uint64 and not into int64: it may be an error or exact.
    """

    def __init__(self) -> None:
        self.unsure = False

    def integer(self, value: int) -> int:
        if not -(1 << 63) <= value < 1 << 64:
            raise Leaves(value)
        self.unsure |= value >= 1 << 63
        return value


class Value:
    """A number of one event: of a Python constant, or of an array of a kind (b, i, or a float dtype)."""

    def __init__(self, number: Any, constant: bool = False) -> None:
        self.number = number
        self.constant = constant

    @property
    def is_float(self) -> bool:
        return isinstance(self.number, float | np.floating)


Tree = tuple[Any, ...]
INTEGER: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "//": lambda a, b: a // b if b else 0, "%": lambda a, b: a % b if b else 0,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "minimum": min, "maximum": max,
}  # fmt: skip
FLOAT: dict[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide, "//": np.floor_divide,
    "%": np.remainder, "minimum": np.minimum, "maximum": np.maximum,
}  # fmt: skip
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip


def draw(rng: random.Random, depth: int) -> Tree:  # noqa: C901  # a case for each part of the language
    if depth == 0 or rng.random() < 0.15:
        return ("constant", rng.choice(CONSTANTS)) if rng.random() < 0.3 else ("field", rng.randrange(3))
    sort = rng.choice(["arithmetic"] * 6 + ["call"] * 2 + ["compare", "bits", "shift", "power", "unary",
                      "logic", "where", "round"])  # fmt: skip
    a, b = draw(rng, depth - 1), draw(rng, depth - 1)
    match sort:
        case "arithmetic":
            return ("binary", rng.choice(["+", "-", "*", "/", "//", "%"]), a, b)
        case "call":
            return ("binary", rng.choice(["minimum", "maximum"]), a, b)
        case "compare":
            return ("compare", rng.choice(list(COMPARE)), a, b)
        case "bits":
            return ("binary", rng.choice("&|^"), a, b)
        case "shift":
            return ("shift", rng.choice(["<<", ">>"]), a, rng.choice([0, 1, 4, 31, 63]))
        case "power":
            return ("power", a, rng.choice([0, 1, 2, 3, -1]))
        case "unary":
            return ("unary", rng.choice(["-", "+", "~", "not", "abs", "sign", "square"]), a)
        case "logic":
            return ("logic", rng.choice(["and", "or"]), a, b)
        case "round":
            return ("round", a, rng.choice([0, 1, 2, -1, -3]))
    return ("where", draw(rng, depth - 1), a, b)


def spell(tree: Tree) -> str:  # noqa: C901  # a case for each part of the language
    match tree:
        case ("constant", text):
            return f"({text})"
        case ("field", number):
            return f"_{number}"
        case ("binary", ("minimum" | "maximum") as name, a, b):
            return f"{name}({spell(a)}, {spell(b)})"
        case ("binary" | "compare" | "logic", sign, a, b):
            return f"({spell(a)} {sign} {spell(b)})"
        case ("shift", sign, a, bits):
            return f"({spell(a)} {sign} {bits})"
        case ("power", a, exponent):
            return f"({spell(a)} ** {exponent})"
        case ("unary", ("abs" | "sign" | "square") as name, a):
            return f"{name}({spell(a)})"
        case ("unary", sign, a):
            return f"({sign} {spell(a)})"
        case ("round", a, digits):
            return f"round({spell(a)}, {digits})"
        case ("where", condition, a, b):
            return f"where({spell(condition)}, {spell(a)}, {spell(b)})"
    raise AssertionError(tree)


def one(function: Callable[..., Any], *values: Value) -> Value:
    """Compute floats by numpy, on arrays of one number as it computes those of many."""
    arrays = [v.number if v.constant else np.array([v.number]) for v in values]
    constant = all(v.constant for v in values)
    arrays = [float(a) if isinstance(a, int) and not -(1 << 63) <= a < 1 << 63 else a for a in arrays]
    value = np.asarray(function(*arrays)).ravel()[0]
    return Value(value.item() if constant else value, constant)


def number(value: Value) -> Value:
    """Return the operand of arithmetic: truths and integers are int64 or uint64."""
    if value.is_float:
        return value
    if value.constant:
        return Value(int(value.number), True)
    return Value(int(value.number))


def truth(value: Value) -> bool:
    return bool(value.number == value.number and value.number != 0)


def compute(tree: Tree, fields: list[Any], seen: Truth) -> Value:  # noqa: C901  # a case for each part of the language
    def of(part: Tree) -> Value:
        return compute(part, fields, seen)

    match tree:
        case ("constant", text):
            return Value({"true": True}.get(text) or _plain(text), True)
        case ("field", place):
            return _field(fields[place])
        case ("binary", sign, a, b):
            x, y = of(a), of(b)
            constant = x.constant and y.constant
            if sign in "&|^" and isinstance(x.number, bool) and isinstance(y.number, bool):
                return Value(bool(INTEGER[sign](x.number, y.number)), constant)
            x, y = number(x), number(y)
            if x.is_float or y.is_float or sign == "/":
                if sign in "&|^":
                    raise GraphError("bits of floats")
                return one(FLOAT[sign], x, y)
            return Value(seen.integer(INTEGER[sign](x.number, y.number)), constant)
        case ("compare", sign, a, b):
            x, y = of(a), of(b)
            if x.is_float or y.is_float:
                return Value(bool(one(COMPARE[sign], x, y).number), x.constant and y.constant)
            return Value(bool(COMPARE[sign](x.number, y.number)), x.constant and y.constant)
        case ("shift", sign, a, bits):
            x = number(of(a))
            if x.is_float:
                raise GraphError("bits of floats")
            return Value(seen.integer(x.number << bits if sign == "<<" else x.number >> bits), x.constant)
        case ("power", a, exponent):
            x = number(of(a))
            if x.is_float or exponent < 0:
                x = x if x.is_float else Value(np.float64(x.number), x.constant)
                return one(np.power, x, Value(float(exponent) if exponent < 0 else exponent, True))
            return Value(seen.integer(x.number**exponent), x.constant)
        case ("unary", sign, a):
            return _unary(sign, of(a), seen)
        case ("logic", sign, a, b):
            x, y = of(a), of(b)
            both = (truth(x) and truth(y)) if sign == "and" else (truth(x) or truth(y))
            return Value(both, x.constant and y.constant)
        case ("round", a, digits):
            x = number(of(a))
            if not x.is_float:
                return Value(seen.integer(round(x.number, digits)), x.constant)
            rounded = one(lambda v: np.round(v, digits), x)
            return x if digits and not np.isfinite(rounded.number) else rounded
        case ("where", condition, a, b):
            c, x, y = of(condition), number(of(a)), number(of(b))
            if x.is_float or y.is_float:
                return one(lambda p, q: np.where(truth(c), p, q), x, y)
            return Value(
                seen.integer(x.number if truth(c) else y.number), c.constant and x.constant and y.constant
            )
    raise AssertionError(tree)


def _unary(sign: str, x: Value, seen: Truth) -> Value:
    if sign == "not":
        return Value(not truth(x), x.constant)
    if sign == "~":
        if x.is_float:
            raise GraphError("bits of floats")
        if isinstance(x.number, bool):
            return Value(not x.number, x.constant)
        seen.unsure |= x.number >= 0  # of uint64 the other bits of 64, of others -x - 1
        return Value(~x.number, x.constant)
    x = number(x)
    if x.is_float:
        functions = {"-": np.negative, "+": np.positive, "abs": np.abs, "sign": np.sign, "square": np.square}
        return one(functions[sign], x)
    n = x.number
    values = {"-": -n, "+": n, "abs": abs(n), "sign": (n > 0) - (n < 0), "square": n * n}
    return Value(seen.integer(values[sign]), x.constant)


def _plain(text: str) -> int | float:
    return int(text, 0) if text.lstrip("-").replace("x", "").isalnum() and "e" not in text else float(text)


def _field(value: Any) -> Value:
    if isinstance(value, np.bool_):
        return Value(bool(value))
    if isinstance(value, np.integer):
        return Value(int(value))
    return Value(np.float32(value) if value.dtype == np.float16 else value)


def column(rng: random.Random, dtype: np.dtype[Any]) -> Array:
    """Return numbers of a dtype: its edges, small ones, and any."""
    edges = edges_of(dtype).tolist()
    if dtype.kind == "b":
        return np.array([rng.random() < 0.5 for _ in range(EVENTS)])
    if dtype.kind == "f":
        draw_one = [lambda: rng.choice(edges), lambda: rng.randrange(-9, 10), lambda: rng.uniform(-2e3, 2e3)]
        return np.array([rng.choice(draw_one)() for _ in range(EVENTS)], dtype)
    limits = np.iinfo(dtype)
    small = (max(limits.min, -9), 9)
    draws = [lambda: rng.choice(edges), lambda: rng.randint(*small), lambda: rng.randint(*small),
             lambda: rng.randint(int(limits.min), int(limits.max))]  # fmt: skip
    return np.array([rng.choice(draws)() for _ in range(EVENTS)], dtype)


def outcome(expression: Expression, arrays: list[Array], event: slice) -> Any:
    try:
        return expression(*(array[event] for array in arrays))
    except OverflowError:
        return None


def check_expression(seed: int) -> int:
    """Draw an expression, fields and events; return how many values were compared."""
    rng = random.Random(seed)
    tree = draw(rng, rng.choice([1, 2, 2, 3]))
    arrays = [column(rng, rng.choice(DTYPES)) for _ in range(3)]
    text = spell(tree)
    try:
        expression = Expression(text)
        arrays = arrays[: expression.input_count]
        kind = expression.infer(*(Kind(array.dtype) for array in arrays))
    except GraphError:
        return 1  # bits of floats, constants beyond 64 bits: refused in words
    where = f"seed {seed}: {text} of {[array.dtype.str for array in arrays]}"
    alone = [outcome(expression, arrays, slice(n, n + 1)) for n in range(EVENTS)]
    for event, got in enumerate(alone):
        seen = Truth()
        fields = [array[event] for array in arrays]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                right = compute(tree, fields, seen)
            except Leaves:
                assert got is None or seen.unsure, f"{where}, {fields}: {got} is beyond 64 bits"
                continue
            except ZeroDivisionError:  # by an integer of 65 bits, the other bits of a uint64
                assert seen.unsure, where
                continue
        said = f"{where}, {fields}: got {got}, right is {right.number}"
        if got is None:
            assert seen.unsure, said
            continue
        assert got.dtype == kind.dtype, said
        assert kind.most is None or abs(int(got[0])) <= kind.most, said
        if seen.unsure and "~" in text:
            continue
        if right.is_float:
            np.testing.assert_array_equal(got[0], right.number, err_msg=said)
        else:
            assert int(got[0]) == int(right.number), said
    good = [n for n, got in enumerate(alone) if got is not None]
    if good:
        together = expression(*(array[good] for array in arrays))
        np.testing.assert_array_equal(together, np.concatenate([alone[n] for n in good]), err_msg=where)
    return EVENTS


@pytest.mark.parametrize("batch", range(max(1, DRAWN // BATCH)))
def test_a_drawn_expression_gives_what_exact_numbers_give(batch: int) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        check_expression(seed)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.kind in "biu"], ids=str)
def test_integers_are_rounded_as_pythons_and_are_an_error_only_beyond_64_bits(dtype: np.dtype[Any]) -> None:
    limits = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    rng = random.Random(str(dtype))
    for digits in (-1, -2, -18, -19, -20, -300, *(rng.randint(-22, 3) for _ in range(6))):
        half = 10 ** max(-digits, 0) // 2
        drawn = [
            *limits,
            0,
            half,
            half - 1,
            half + 1,
            -half,
            3 * half,
            *(rng.randint(*limits) for _ in "123"),
        ]
        numbers = [n for n in drawn if limits[0] <= n <= limits[1]]
        expression = Expression(f"round(_0, {digits})")
        kind = expression.infer(Kind(dtype))
        # What may be beyond int64 and is never negative is uint64.
        assert kind.dtype == ("u8" if round(limits[1], digits) >= 1 << 63 and not limits[0] else "i8")
        for one in numbers:
            got, right = outcome(expression, [np.array([one], dtype)], slice(None)), round(one, digits)
            if np.iinfo(kind.dtype).min <= right <= np.iinfo(kind.dtype).max:
                assert (got.tolist(), got.dtype) == ([right], kind.dtype), (digits, one)
            else:
                assert got is None, (digits, one)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_are_rounded_to_any_digit_and_never_made_nan(dtype: str) -> None:
    numbers = edges_of(np.dtype(dtype))
    wide = numbers.astype(np.promote_types(dtype, "f4"))
    for digits in (300, 50, 39, 20, -20, -39, -50, -300):
        right = wide if digits > 0 else np.where(np.isfinite(wide), 0.0, wide)
        if digits < 0:  # what is so large has digits there
            right = np.where(np.abs(wide.astype("f8")) > 10.0**-digits, wide, right)
        got = Expression(f"round(_0, {digits})")(numbers)
        np.testing.assert_allclose(got, right, rtol=1e-5, err_msg=f"{digits}")


@pytest.mark.parametrize(
    ("text", "column", "right"),
    [
        ("_0 & 0x8000 != 0", np.array([-1, 5], "i2"), [True, False]),
        ("10 ** _0", np.array([-2, 0, 2], "i2"), [0.01, 1.0, 100.0]),
        ("_0 - 1", np.array([0, 2], "u8"), [-1, 1]),
        ("1 / _0", np.array([1 << 63], "u8"), [2.0**-63]),
        ("not _0", np.array([np.nan, 0.0, 2.0]), [True, True, False]),
        ("_0 or 0", np.array([np.nan, 0.0, 2.0]), [False, False, True]),
        ("where(_0, 1, 2)", np.array([np.nan, 3.0]), [2, 1]),
        ("where(_0 > 0, 18446744073709551615, 1)", np.array([1, -1]), [(1 << 64) - 1, 1]),
        ("clip(_0, 0, 18446744073709551615)", np.array([-5, 5]), [0, 5]),
        ("round(_0, 2)", np.array([2.345678, 1e300]), [2.35, 1e300]),
        ("round(_0, -1)", np.array([15, 25, -15], "i2"), [20, 20, -20]),
        ("isclose(_0, 0.3)", np.array([0.1 + 0.2, 0.31]), [True, False]),
        ("isclose(_0, 0.3, 0.0, 0.05)", np.array([0.31, 0.4]), [True, False]),
        ("~(_0 > 1)", np.array([1, 2]), [True, False]),
        ("_0 * 70000", np.array([60000.0], "f2"), [np.float32(60000.0) * 70000]),
    ],
)
def test_numbers_that_people_meet(text: str, column: Array, right: list[Any]) -> None:
    np.testing.assert_array_equal(Expression(text)(column), right)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("_0 + 1", np.array([(1 << 64) - 1], "u8")),
        ("-_0", np.array([-(1 << 63)])),
        ("_0 * _0", np.array([1 << 40])),
        ("10 ** _0", np.array([20], "u1")),
        ("_0 << 70", np.array([1])),
        ("1 << _0", np.array([-1])),
    ],
)
def test_what_leaves_64_bits_is_an_error(text: str, column: Array) -> None:
    Expression(text).infer(Kind(column.dtype))
    with pytest.raises(OverflowError, match="64 bits|a shift by -1"):
        Expression(text)(column)
