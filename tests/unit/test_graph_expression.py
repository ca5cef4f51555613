"""Expressions on blocks: values, alignment along the event axis, kinds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.expression import Expression
from ami.graph.kind import Kind
from ami.values import Scan
from tests.unit.graphs import expression_texts

K = 5
IMAGE = np.arange(K * 6, dtype=np.float32).reshape(K, 2, 3)
NUMBER = np.arange(1, K + 1, dtype=np.float64)
ROW = np.arange(K * 3, dtype=np.float64).reshape(K, 3)


def test_a_number_of_each_event_goes_with_the_image_of_that_event() -> None:
    value = Expression("_0 / _1")(IMAGE, NUMBER)
    for event in range(K):
        np.testing.assert_array_equal(value[event], IMAGE[event] / NUMBER[event])


def test_numbers_and_images_align_even_when_there_are_as_many_events_as_columns() -> None:
    square = np.ones((3, 3, 3)) * np.arange(9).reshape(3, 3)
    number = np.array([1.0, 10.0, 100.0])
    value = Expression("_1 * _0")(square, number)
    np.testing.assert_array_equal(value[2], square[2] * 100.0)


def test_a_row_goes_with_each_row_of_its_events_image() -> None:
    value = Expression("_0 - _1")(IMAGE, ROW)
    for event in range(K):
        np.testing.assert_array_equal(value[event], IMAGE[event] - ROW[event])


def test_and_or_not_are_taken_element_by_element() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        Expression("not _0 > 2 and (_0 == 0 or _0 >= 2)")(x), [True, False, True, False]
    )
    np.testing.assert_array_equal(Expression("0 < _0 <= 2")(x), [False, True, True, False])


@pytest.mark.parametrize("dtype", ["u1", "u2", "i1", "i4", "?"])
def test_small_integers_do_not_wrap_around(dtype: str) -> None:
    value = Expression("_0 - 300 * _1")(np.ones(2, dtype), np.ones(2, dtype))
    np.testing.assert_array_equal(value, [-299, -299])
    assert value.dtype == np.int64


def test_floats_keep_their_size() -> None:
    assert Expression("2 * _0 + sqrt(2)")(IMAGE).dtype == np.float32
    assert Expression("(_0 - 1.5) / 3 ** 2")(IMAGE).dtype == np.float32


def test_parts_without_a_value_are_computed_beforehand() -> None:
    expression = Expression("_0 * (2 < 3 <= 3 and not 1) + sqrt(16) + where(1 > 2, 3, abs(-4))")
    np.testing.assert_array_equal(expression(np.array([7.0])), [8.0])


def test_a_division_by_zero_is_no_error() -> None:
    value = Expression("_0 / 0 + log(_0)")(np.array([1.0, 0.0]))
    assert value[0] == np.inf
    assert np.isnan(value[1])


def test_an_integer_may_be_divided_by_its_power() -> None:
    np.testing.assert_array_equal(Expression("_0 ** -1")(np.array([1, 2, 4])), [1.0, 0.5, 0.25])


def test_status_bits_are_picked_out() -> None:
    np.testing.assert_array_equal(Expression("_0 & 4 != 0")(np.array([4, 3], "u1")), [True, False])


def test_where_takes_one_of_two_values_and_clip_bounds_one() -> None:
    x = np.array([-1.0, 0.5, 2.0])
    np.testing.assert_array_equal(Expression("where(_0 < 0, -_0, clip(_0, 0, 1))")(x), [1.0, 0.5, 1.0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_numpys(name: str) -> None:
    function, count = FUNCTIONS[name]
    places = [f"_{index}" for index in range(count)]
    arrays = [np.array([0.25, 0.5]), np.array([0.0, 0.75]), np.array([0.5, 1.0])][:count]
    value = Expression(f"{name}({', '.join(places)})")(*arrays)
    np.testing.assert_array_equal(value, function(*arrays))


def test_scans_are_subtracted_at_their_keys() -> None:
    one = Scan(np.array([1.0, 2.0]), np.array([3, 3]), np.array([5.0, 7.0]), np.array([0.0, 0.0]))
    two = Scan(np.array([2.0, 3.0]), np.array([3, 3]), np.array([4.0, 9.0]), np.array([0.0, 0.0]))
    value = Expression("(_0 - _1) / _2")(one, two, np.array([2.0]))
    np.testing.assert_array_equal(value.keys, [2.0])
    np.testing.assert_array_equal(value.means, [1.5])


def test_the_kind_is_that_of_the_value() -> None:
    inputs = (Kind(np.dtype("u2"), (2, 3)), Kind(np.dtype("f4")))
    expression = Expression("_0 / _1 > 3")
    assert expression.infer(*inputs) == Kind(np.dtype("?"), (2, 3))
    value = Expression("_0 * _1")(*(np.ones((4, *kind.shape), kind.dtype) for kind in inputs))
    assert Expression("_0 * _1").infer(*inputs) == Kind(value.dtype, value.shape[1:])


def test_arithmetic_on_scans_gives_a_scan() -> None:
    scan = Kind(np.dtype("f8"), (), True, "scan")
    assert Expression("(_0 - _1) / 2").infer(scan, scan).structure == "scan"
    with pytest.raises(GraphError, match=r"a scan can be used with \+ - \* / only"):
        Expression("_0 > 3").infer(scan)
    with pytest.raises(GraphError, match="a histogram and a scan cannot be combined"):
        Expression("_0 + _1").infer(scan, Kind(np.dtype("i8"), (3,), True, "histogram"))


@pytest.mark.parametrize(
    ("text", "kinds", "message"),
    [
        (
            "_0 + _1",
            [Kind(np.dtype("f8"), (2, 3)), Kind(np.dtype("f8"), (4,))],
            r"\(2, 3\) and \(4,\) do not fit",
        ),
        ("_0 & 1", [Kind(np.dtype("f8"))], "it cannot be computed from float64"),
        ("_0 + _1", [Kind(np.dtype("f8"))], "needs 2 inputs, got 1"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(text: str, kinds: list[Kind], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Expression(text).infer(*kinds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9 ** 9 ** 9 * _0", "cannot be computed"),
        ("2 ** 64 * _0", "64 bits"),
        ("(-8) ** 0.5 * _0", "64 bits"),
        ("_0 + (1 << 100)", "cannot be computed"),
        ("_0 + 1 / 0", "cannot be computed"),
        ("_0 + 1 // (2 < 1)", "1 // False cannot be computed"),
        ("_0 + (9 * (1 < 2)) ** 999999999", "cannot be computed"),
        ("_0 + 2 ** int(3)", "no function 'int'"),
        ("'a' + _0", "computes with numbers, got 'a'"),
        ("_0 where _1", "where\\(condition, a, b\\)"),
        ("open(_0)", "no function 'open'"),
        ("abs(_0, _0)", "abs takes 1 value without names, got 2"),
        ("clip(_0, lo=1, hi=2)", "clip takes 3 values"),
        ("camera + 1", "calls its inputs _0, _1"),
        ("_01 + 1", "calls its inputs _0, _1"),
        ("__import__", "calls its inputs _0, _1"),
        ("1 + 2", "uses no value"),
        ("[1, 2] + _0", "computes with numbers"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Expression(text)


def test_names_that_the_code_uses_inside_cannot_be_reached() -> None:
    for name in ("wide", "logical_and", "call_abs"):
        with pytest.raises(GraphError, match="no function"):
            Expression(f"{name}(_0)")


@given(expression_texts, st.integers(1, 4))
@settings(deadline=None, max_examples=150)
def test_a_block_gives_what_its_events_give_one_by_one(text: str, count: int) -> None:
    try:
        expression = Expression(text)
    except GraphError:
        return  # too large a number, or no value in it
    rng = np.random.default_rng(count)
    arrays = [
        rng.normal(size=(count, *shape)).astype(dtype)
        for shape, dtype in [((), "f8"), ((2, 3), "f4"), ((3,), "i4"), ((), "?")]
    ][: expression.input_count]
    kinds = [Kind(a.dtype, a.shape[1:]) for a in arrays]
    try:
        kind = expression.infer(*kinds)
    except GraphError:
        return  # bits of floats
    alone = (expression(*(a[event : event + 1] for a in arrays)) for event in range(count))
    try:
        whole = expression(*arrays)
    except (ValueError, OverflowError):  # negative powers and shifts, and what leaves 64 bits
        with pytest.raises((ValueError, OverflowError)):
            list(alone)
        return
    assert Kind(whole.dtype, whole.shape[1:]) == kind
    for event, one in enumerate(alone):
        np.testing.assert_allclose(whole[event], one[0], rtol=1e-12, equal_nan=True)
