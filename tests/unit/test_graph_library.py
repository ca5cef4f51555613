"""Functions of the library: what each computes within an event, and what it refuses."""

from __future__ import annotations

import sys
from fractions import Fraction
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.graph.kind import Kind
from ami.graph.library import LIBRARY
from ami.graph.library.axes import Max, Mean, Min, Projection, Roi, Std, Sum
from ami.graph.library.base import Function, Reduction, parameters_of
from ami.graph.library.histograms import Histogram2D
from ami.graph.library.keys import group
from ami.graph.library.registry import GROUP, Library
from ami.graph.library.select import Part, Where
from ami.graph.library.user import UserFunction
from ami.values import Moments, Scan

IMAGES = np.random.default_rng(1).integers(0, 60000, (5, 6, 8)).astype(np.uint16)
IMAGE = Kind(np.dtype(np.uint16), (6, 8))


def test_every_operation_is_registered_under_its_own_name() -> None:
    for key, kind in LIBRARY.items():
        assert kind.name == key
        assert issubclass(kind, Function) != issubclass(kind, Reduction)
        assert kind.__doc__


def test_every_reduction_but_pick_has_a_window_which_is_the_last_parameter() -> None:
    for kind in LIBRARY.values():
        if issubclass(kind, Reduction) and kind.name != "pick":
            assert [*parameters_of(kind)][-1] == "window", kind


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (-2,)])
@pytest.mark.parametrize(
    ("kind", "wanted"),
    [(Sum, np.sum), (Mean, np.mean), (Std, np.std), (Min, np.min), (Max, np.max)],
    ids=lambda kind: getattr(kind, "__name__", ""),
)
def test_functions_over_axes_agree_with_numpy_event_by_event(kind: Any, wanted: Any, axis: Any) -> None:
    function = kind(axis=axis)
    got = function(IMAGES)
    each = [wanted(image.astype(np.float64), axis=axis) for image in IMAGES]
    np.testing.assert_allclose(got, np.array(each), rtol=1e-12)
    inferred = function.infer(IMAGE)
    assert (inferred.dtype, inferred.shape, inferred.reduced) == (got.dtype, got.shape[1:], False)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("kind", "wanted"), [(Sum, np.sum), (Mean, np.mean), (Std, np.std), (Min, np.min), (Max, np.max)]
)
def test_of_a_number_they_are_what_numpy_makes_of_it(kind: Any, wanted: Any, dtype: str) -> None:
    values = np.random.default_rng(3).integers(0, 100, 50).astype(dtype)
    function = kind()
    assert function.infer(Kind(np.dtype(dtype))).shape == ()
    got = function(values)
    assert got.shape == values.shape
    np.testing.assert_array_equal(got, [wanted(value.astype(np.float64)) for value in values])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-3, 2), min_size=1, max_size=4), st.sampled_from([Sum, Mean, Std, Min, Max]))
def test_axes_are_taken_or_refused_as_numpy_does(axes: list[int], kind: Any) -> None:
    value = np.zeros((1, 2, 3, 4))
    try:
        shape = np.sum(value[0], axis=tuple(axes)).shape
    except ValueError:  # one is named twice
        with pytest.raises(GraphError, match="twice"):
            kind(axis=tuple(axes)).infer(Kind(value.dtype, value.shape[1:]))
    else:
        function = kind(axis=tuple(axes))
        assert function.infer(Kind(value.dtype, value.shape[1:])).shape == shape
        assert function(value).shape == (1, *shape)


@settings(max_examples=300, deadline=None)
@given(
    dtype=st.sampled_from(["f2", "f4", "f8", "i8", "u8", "i1"]),
    width=st.one_of(st.floats(5e-324, 1e308), st.sampled_from([5e-324, 1e-320, 1e-12, 0.25, 3.0, 1e308])),
    numbers=st.lists(st.floats(-1.7e308, 1.7e308), min_size=1, max_size=20),
)
def test_a_key_of_any_size_is_gathered_at_a_finite_place(
    dtype: str, width: float, numbers: list[float]
) -> None:
    ends = np.iinfo(dtype) if dtype[0] in "iu" else np.finfo(dtype)
    low, high = float(ends.min), float(ends.max)
    with np.errstate(all="ignore"):
        keys = np.array([np.dtype(dtype).type(min(max(n, low / 2), high / 2)) for n in numbers])
        distinct, places = group(keys, None, width)
    found = distinct[places]
    assert np.isfinite(found).all()
    assert (np.diff(distinct) > 0).all()
    for key, one in zip(keys.tolist(), found.tolist(), strict=True):
        # Half a width away, and the rounding of the key and of its place among the bins.
        assert abs(Fraction(key) - Fraction(one)) <= Fraction(width) / 2 + abs(Fraction(key)) / 10**11


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("kind", [Sum, Mean, Std, Min, Max])
def test_the_kind_that_is_inferred_is_the_kind_that_comes_out(kind: Any, dtype: str) -> None:
    images = np.ones((2, 3, 4), dtype)
    inferred = kind().infer(Kind(np.dtype(dtype), (3, 4)))
    got = kind()(images)
    assert (inferred.dtype, inferred.shape) == (got.dtype, got.shape[1:])


def test_integers_are_summed_exactly() -> None:
    assert Sum()(np.full((1, 1000), 65535, np.uint16)).tolist() == [65_535_000]
    assert Sum()(np.full((1, 100), 200, np.uint8)).tolist() == [20_000]


def test_a_projection_sums_one_axis() -> None:
    np.testing.assert_array_equal(Projection(0)(IMAGES), IMAGES.astype(int).sum(axis=1))
    np.testing.assert_array_equal(Projection(1)(IMAGES), IMAGES.astype(int).sum(axis=2))


@settings(max_examples=60, deadline=None)
@given(*[st.tuples(st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9)) for _ in range(2)])
def test_a_region_is_the_view_that_numpy_gives_or_is_refused(rows: Any, cols: Any) -> None:
    roi = Roi(rows=rows, cols=cols)
    wanted = IMAGES[:, slice(*rows), slice(*cols)]
    if wanted.size == 0:
        with pytest.raises(GraphError, match="outside"):
            roi.infer(IMAGE)
        return
    got = roi(IMAGES)
    np.testing.assert_array_equal(got, wanted)
    assert got.base is not None
    assert roi.infer(IMAGE) == Kind(IMAGE.dtype, wanted.shape[1:])


def test_a_region_of_a_waveform_has_samples() -> None:
    waves = IMAGES[:, 0, :]
    kind = Kind(waves.dtype, (8,))
    for roi in (Roi(samples=(2, 5)), Roi(rows=(2, 5)), Roi(cols=(2, 5))):
        assert roi.infer(kind).shape == (3,)
        np.testing.assert_array_equal(roi(waves), waves[:, 2:5])
    assert Roi(samples=(None, None, 2)).infer(kind).shape == (4,)


@pytest.mark.parametrize("rows", [3, "1:2", (1,), (1, 2, 3, 4), (0.5, 2), (True, 5), (0, 5, 0), (5, 0, -1)])
def test_a_region_that_is_no_range_is_refused(rows: Any) -> None:
    with pytest.raises(GraphError, match="rows must be a range"):
        Roi(rows=rows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Roi(rows=(0, 2), cols=(0, 2)).infer(Kind(np.dtype("f8"), (9,))), "one axis"),
        (lambda: Roi(cols=(0, 2), samples=(0, 2)), "give one"),
        (lambda: Roi(rows=(0, 2)).infer(Kind(np.dtype("f8"))), "with axes"),
        (lambda: Sum(axis=2).infer(IMAGE), "2 axes"),
        (lambda: Sum(axis="x"), "axis must be"),  # type: ignore[arg-type]
        (lambda: Sum(axis=True), "axis must be"),
        (lambda: Where().infer(IMAGE, IMAGE), "one truth per event"),
        (lambda: Where().infer(IMAGE, Kind(np.dtype("?"), (), True)), "behind a reduction"),
        (lambda: Part("mean").infer(IMAGE), "with parts"),
        (lambda: Part("mean").infer(Kind(np.dtype("f8"), (), True, "scan")), "no part 'mean'"),
        (lambda: UserFunction("x = 1").infer(IMAGE), "defines no function"),
        (lambda: UserFunction("def f(x"), "does not run"),
        (lambda: UserFunction("raise SystemError(1)").infer(IMAGE), "does not run"),
        (lambda: UserFunction(3), "must be text"),  # type: ignore[arg-type]
        (lambda: UserFunction("def f(x): return x", dtype="no"), "no dtype"),
        (lambda: UserFunction("def f(x): return x", dtype="S3"), "dtype must be"),
        (lambda: UserFunction("def f(x): return x", shape=(0,)), "whole numbers"),
        (lambda: UserFunction("def f(x): return None").infer(IMAGE), "declare dtype"),
        (lambda: UserFunction("def f(x): return 'a'").infer(IMAGE), "numbers are possible"),
        (lambda: UserFunction("def f(x): return y").infer(IMAGE), "sample event"),
        (lambda: UserFunction("def f(x, y): return x").infer(IMAGE), "sample event"),
        (lambda: UserFunction("def f(x): return x[0]", shape=(3,)).infer(IMAGE), "declared is"),
        (lambda: UserFunction("def f(x): return x[0, 0]", block=True).infer(IMAGE), "sample event"),
    ],
)
def test_what_does_not_suit_is_refused_with_the_reason(make: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        make()


def test_a_condition_may_be_a_number() -> None:
    assert Where()(np.arange(4), np.array([0, 1, 2, 0])).tolist() == [1, 2]


def test_parts_are_taken_out_of_structured_results() -> None:
    moments = Moments(4, np.array(10.0), np.array(90.0))
    scan = Scan(np.array([1.0]), np.array([2]), np.array([3.0]), np.array([4.0]))
    assert Part("variance")(moments) == 30  # type: ignore[arg-type]
    assert Part("means")(scan).tolist() == [3]  # type: ignore[arg-type]
    assert Part("std").infer(Kind(np.dtype("f8"), (3,), True, "moments")).shape == (3,)


@pytest.mark.parametrize(
    ("part", "shape"), [("counts", (4, 7)), ("x_edges", (5,)), ("y_edges", (8,)), ("outside", ())]
)
def test_the_parts_of_a_histogram_have_their_own_shapes(part: str, shape: tuple[int, ...]) -> None:
    reduction = Histogram2D(4, 0, 1, 7, 0, 1)
    number = Kind(np.dtype("f8"))
    assert Part(part).infer(reduction.infer(number, number)).shape == shape
    result = reduction.result(reduction.zero())
    assert np.shape(Part(part)(result)) == shape


def test_a_users_function_is_given_numbers_or_arrays_and_its_kind_is_found_out() -> None:
    function = UserFunction(
        "def scale(x): return x * 2\ndef f(x, image): return image.sum(axis=0) * scale(x)"
    )
    kind = function.infer(Kind(np.dtype("f8")), IMAGE)
    assert (kind.dtype, kind.shape) == (np.dtype(np.float64), (8,))
    got = function(np.arange(5.0), IMAGES)
    np.testing.assert_allclose(got, IMAGES.sum(axis=1) * 2 * np.arange(5.0)[:, None])
    assert UserFunction("def f(x): return math.sqrt(x) + np.pi").one(4.0) == 2 + np.pi


def test_kinds_of_results_stay_reduced_through_functions() -> None:
    reduced = Kind(np.dtype("f8"), (6, 8), True)
    for function in (Sum(), Roi(rows=(0, 2)), UserFunction("def f(x): return x[0]")):
        assert function.infer(reduced).reduced


class Elsewhere(Sum):
    """An operation that another package could have."""

    name = "elsewhere"


def test_what_packages_offer_is_checked_and_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{__name__}:Elsewhere"
    offered = {
        "elsewhere": here, "sum": here, "sqrt": here, "other": here, "text": f"{__name__}:__doc__",
        "gone": "no_such_module:X",
    }  # fmt: skip
    points = [metadata.EntryPoint(name, value, GROUP) for name, value in offered.items()]
    twice = [metadata.EntryPoint("twice", value, GROUP) for value in (here, f"{__name__}:Sum")]
    monkeypatch.setattr(metadata, "entry_points", lambda group: [*points, *twice])
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or ModuleType(__name__))
    monkeypatch.setattr(sys.modules[__name__], "Elsewhere", Elsewhere, raising=False)
    library = Library()
    assert library["sum"] is Sum
    assert library["elsewhere"] is Elsewhere
    assert set(library) == {*LIBRARY, "elsewhere"}
    reasons = {name: text.partition(" is refused: ")[2] for name, text in library.refused.items()}
    assert reasons.pop("gone").startswith("it cannot be imported: ModuleNotFoundError")
    assert reasons == {
        "sum": "ami has one of that name",
        "sqrt": "ami has one of that name",
        "twice": f"another package has one of that name, {here}",
        "other": "its class calls it 'elsewhere'",
        "text": f"{__name__}:__doc__ is no class of a Function or Reduction",
    }
