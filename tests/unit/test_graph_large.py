"""Blocks of images: sums exact, states merged where they lie, no copy of an event, keys apart or together."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.graph.kind import Kind
from ami.graph.library import LIBRARY
from ami.graph.library.accumulate import (
    Count,
    MaxEvents,
    MeanEvents,
    MinEvents,
    MomentsEvents,
    StdEvents,
    SumEvents,
)
from ami.graph.library.axes import Max, Mean, Projection, Sum
from ami.graph.library.base import Reduction, State, add_elements, bytes_of
from ami.graph.library.binning import Binning
from ami.graph.library.histograms import Histogram, Histogram2D
from ami.graph.library.keep import Last, Pick
from ami.graph.library.large import LARGE_BYTES, narrow_sum
from ami.graph.library.scan import MeanVs
from ami.ragged import Ragged

SHAPE = (160, 224)  # large in one byte a pixel too
ARRAYS = [SumEvents(), MeanEvents(), MomentsEvents(), StdEvents(), MinEvents(), MaxEvents(), Last(), MeanVs()]
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def images(dtype: str, count: int, shape: tuple[int, ...] = SHAPE) -> Any:
    """Images over the whole range of an integer dtype; of floats, some thousands."""
    random = np.random.default_rng(count)
    kind = np.dtype(dtype)
    if not kind.isnative:
        return images(dtype[1:], count, shape).astype(kind)
    if kind.kind == "b":
        return random.random((count, *shape)) > 0.5
    if kind.kind == "f":
        return random.normal(1000, 300, (count, *shape)).astype(kind)
    ends = np.iinfo(kind)
    return random.integers(ends.min, ends.max, (count, *shape), kind, endpoint=True)


def add(reduction: Reduction, state: State, values: Any, first: int = 0, rows: Any = None) -> State:
    numbers = np.arange(first, first + len(values))
    arrays = (values, numbers % 3 * 0.5) if isinstance(reduction, MeanVs) else (values,)
    return reduction.add(state, *arrays, stamps=np.stack([numbers, numbers], axis=1), rows=rows)


def exact_sum(values: Any) -> Any:
    return np.array(values, dtype=object).sum(axis=0)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d[0] != "f"])
@pytest.mark.parametrize("region", [False, True], ids=["image", "region"])
def test_integers_are_summed_exactly_whatever_the_way(dtype: str, region: bool) -> None:
    values = images(dtype, 7)
    if region:
        values = values[:, 3:150, 5:220]
    assert values[0].nbytes >= LARGE_BYTES
    reduction, state = SumEvents(), None
    for share in (slice(0, 4), slice(4, 5), slice(5, 7)):  # many at once, one, two
        state = reduction.add(state, values[share])
    sums = exact_sum(values.astype(np.int64) if dtype == "?" else values)
    total = reduction.result(state)
    if total.dtype.kind == "f":  # beyond 64 bits
        np.testing.assert_allclose(total, sums.astype(np.float64), rtol=1e-15)
    else:
        assert np.array_equal(total, sums)
    some = reduction.add(None, values, rows=np.array([1, 2, 4, 6]))
    np.testing.assert_array_equal(
        reduction.result(some), reduction.result(reduction.add(None, values[[1, 2, 4, 6]]))
    )


@pytest.mark.parametrize(("dtype", "count"), [("u1", 600), ("i1", 600), ("?", 600), ("u2", 70), ("i2", 70)])
def test_a_narrow_sum_does_not_overflow(dtype: str, count: int) -> None:
    """The largest numbers, as often as a narrow sum holds them and on; of 16 bits by the bound itself."""
    ends = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for number in ends:
        for itemsize in (2, 4) if dtype[-1] != "2" else (4,):
            narrow, most = narrow_sum(np.dtype(dtype), itemsize)
            assert np.iinfo(narrow).min <= most * number <= np.iinfo(narrow).max
        block = np.full((count, *SHAPE), number, dtype)
        assert np.all(SumEvents().add(None, block)[1] == count * number)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize("region", [False, True], ids=["image", "region"])
def test_spreads_are_those_of_two_passes(dtype: str, region: bool) -> None:
    values = images(dtype, 9)
    if dtype[0] == "f":
        values = (values + 1e6).astype(dtype)
    values = values[:, 3:150, 5:220] if region else values
    moments, scan = MomentsEvents(), MeanVs()
    one, keyed = moments.zero(), scan.zero()
    for share in (slice(0, 1), slice(1, 6), slice(6, 9)):
        one = add(moments, one, values[share])
        keyed = add(scan, keyed, values[share], share.start)
    wide = values.astype(np.float64)
    result, by_key = moments.result(one), scan.result(keyed)
    np.testing.assert_allclose(result.mean, wide.mean(axis=0), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(result.variance, wide.var(axis=0, ddof=1), rtol=1e-9)
    for place in range(3):
        np.testing.assert_allclose(by_key.means[place], wide[place::3].mean(axis=0), rtol=1e-14, atol=1e-11)
        error = wide[place::3].std(axis=0, ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(by_key.errors[place], error, rtol=1e-9)


def test_the_spread_of_a_steady_image_survives_a_first_one_that_is_dark() -> None:
    """Its mean is where the next ones are far from; a pedestal of 1e9 would cancel what they differ by."""
    steady = 1e9 + np.arange(6.0)[:, np.newaxis, np.newaxis] + np.zeros(SHAPE)
    state = MomentsEvents().add(None, np.concatenate([np.zeros((1, *SHAPE)), steady]))
    np.testing.assert_allclose(
        MomentsEvents().result(state).variance, np.var([0, *(1e9 + np.arange(6.0))], ddof=1), rtol=1e-14
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_and_the_last_of_images(dtype: str) -> None:
    values = images(dtype, 5)
    if dtype[0] == "f":
        values[2, 0, 0] = np.nan
    for reduction, wanted in (
        (MinEvents(), values.min(axis=0)), (MaxEvents(), values.max(axis=0)), (Last(), values[4]),
    ):  # fmt: skip
        state = add(reduction, add(reduction, reduction.zero(), values[:3]), values[3:], 3)
        np.testing.assert_array_equal(reduction.result(state), wanted)
        some = add(reduction, reduction.zero(), values, rows=np.array([1, 3]))
        whole = add(reduction, reduction.zero(), values[[1, 3]])
        np.testing.assert_array_equal(reduction.result(some), reduction.result(whole))


def arrays_in(state: State) -> list[Any]:
    if isinstance(state, tuple):
        return [array for part in state for array in arrays_in(part)]
    return [state] if isinstance(state, np.ndarray) and state.ndim > 1 else []


@pytest.mark.parametrize("reduction", ARRAYS, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("dtype", ["u2", "i8", "f4"])
def test_images_are_added_and_merged_where_the_state_lies(reduction: Reduction, dtype: str) -> None:
    values = images(dtype, 9)
    state, other = (
        add(reduction, reduction.zero(), values[:3]),
        add(reduction, reduction.zero(), values[6:], 6),
    )
    there = arrays_in(state)
    before = reduction.result(state)
    kept = reduction.result(state)
    merged = reduction.merge(add(reduction, state, values[3:6], 3), other)
    assert [array.ctypes.data for array in arrays_in(merged)] == [array.ctypes.data for array in there]
    assert str(before) == str(kept)  # what was given is no memory of the state
    whole = add(reduction, reduction.zero(), values)
    close(reduction.result(merged), reduction.result(whole))


def close(one: Any, other: Any) -> None:
    if hasattr(one, "to_plain"):
        one, other = one.to_plain(), other.to_plain()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-9)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "i8"])
@pytest.mark.parametrize("reduction", [*ARRAYS, Histogram(200, 0, 1000)], ids=lambda r: type(r).__name__)
def test_no_copy_of_an_event_is_made(reduction: Reduction, dtype: str) -> None:
    """Of 1 megapixel, a float64 copy would be 8 MiB; four of them in a block 32."""
    values = images(dtype, 4, (1024, 1024))
    rows = np.arange(4)
    state = add(reduction, add(reduction, reduction.zero(), values), values, 4, rows)
    tracemalloc.start()
    try:
        add(reduction, state, values, 8)
        add(reduction, state, values[:, :900, :900], 8) if isinstance(reduction, Histogram) else None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 << 20


@pytest.mark.parametrize(
    "function", [Sum(), Mean(), Max(), Projection(0), Projection(1)], ids=lambda f: str(type(f))
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_images_and_regions(function: Any, dtype: str) -> None:
    whole = images(dtype, 3)
    if dtype in ("u8", "i8"):
        whole >>= 20  # the sum is to fit into 64 bits
    for values in (whole, whole[:, 5:100, 7:200], whole[:, 4:5]):
        axes = {0: (1,), 1: (2,)}.get(function._axes[0] if function._axes else -1, (1, 2))
        if isinstance(function, Max):
            wanted = values.max(axis=axes)
        elif dtype[0] == "f" or isinstance(function, Mean):
            wanted = getattr(
                values.astype(np.longdouble), function.name if function.name == "mean" else "sum"
            )(axis=axes)
        else:
            wanted = values.sum(axis=axes, dtype=np.uint64 if dtype == "u8" else np.int64)
        found = function(values)
        assert found.dtype == (values.dtype if isinstance(function, Max) else function._dtype(values.dtype))
        if wanted.dtype == np.longdouble:
            np.testing.assert_allclose(
                found, wanted.astype(np.float64), rtol=1e-9 if dtype in ("u8", "i8") else 1e-13
            )
        else:
            np.testing.assert_array_equal(found, wanted)


def test_no_copy_of_an_image_is_made_to_sum_it() -> None:
    values = images("f4", 4, (1024, 1024))
    for function in (Sum(), Mean(), Max(), Projection(0)):
        tracemalloc.start()
        try:
            function(values)
            function(values[:, 100:900, 100:900])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 << 20


# the size of a state

ARGUMENTS = {"histogram": (20, 0, 10), "histogram2d": (5, 0, 1, 4, 0, 1), "pick": (3,)}
KINDS = [
    (Kind(np.dtype(dtype), shape),)
    for dtype in ("u1", "i2", "i4", "u8", "f4", "f8")
    for shape in ((), (7,), (12, 9), SHAPE)
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(n for n, kind in LIBRARY.items() if issubclass(kind, Reduction)))
def test_a_state_has_the_bytes_that_are_told(name: str) -> None:
    kind = LIBRARY[name]
    assert issubclass(kind, Reduction)
    reduction = kind(*ARGUMENTS.get(name, ()))
    for (value,) in KINDS:
        kinds = (value,) if reduction.inputs is None or len(reduction.inputs) == 1 else (value, value)
        if isinstance(reduction, MeanVs):
            kinds = (value, Kind(np.dtype(np.float64)))
        arrays = [np.ones((5, *k.shape), k.dtype) for k in kinds]
        state = reduction.zero()
        for first in (0, 5):
            stamps = np.stack([np.arange(first, first + 5)] * 2, axis=1)
            state = reduction.add(state, *arrays, stamps=stamps)
        assert reduction.state_bytes(*kinds) - 16 <= bytes_of(state) <= reduction.state_bytes(*kinds)
        if isinstance(reduction, MeanVs | Pick):
            continue
        assert Reduction.state_bytes(reduction, *kinds) == bytes_of(state)  # what one event leaves


@pytest.mark.parametrize("reduction", [Count(), Last(), Pick(3), Histogram(20, 0, 10)], ids=lambda r: r.name)
def test_a_state_of_values_of_variable_length_has_no_more_than_the_bytes_that_are_told(
    reduction: Reduction,
) -> None:
    kind = Kind(np.dtype("f4"), (6, 2), variable=True)
    state = reduction.zero()
    for first in (0, 4):
        block = Ragged.padded(np.ones((4, 6, 2), "f4"), np.array([6, 0, 6, 3]))
        stamps = np.stack([np.arange(first, first + 4)] * 2, axis=1)
        add_to = partial(add_elements, reduction) if reduction.elementwise else reduction.add
        state = add_to(state, block, stamps=stamps)
    assert bytes_of(state) <= reduction.state_bytes(kind)
    assert Reduction.state_bytes(reduction, kind) <= reduction.state_bytes(kind)


# keys apart and together

keyed = st.lists(
    st.tuples(st.integers(-50, 50), st.sampled_from([-1.0, 0.0, 0.25, 3.0, 7.0, np.nan])), max_size=25
)


def scanned(reduction: MeanVs, events: list[tuple[int, float]], shape: tuple[int, ...]) -> State:
    if not events:
        return reduction.zero()
    values = np.array([number for number, _ in events], np.float64)
    pixels = values.reshape(-1, *(1,) * len(shape)) + np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return reduction.add(reduction.zero(), pixels, np.array([key for _, key in events]))


def same(one: State, other: State) -> None:
    """Hold two states of a scan, with all that is in them, against each other."""
    assert one[1:] == other[1:]
    assert (one[0] is None) == (other[0] is None)
    if one[0] is not None:
        for mine, theirs in zip(one[0], other[0], strict=True):
            np.testing.assert_array_equal(np.array(mine), np.array(theirs))


def test_a_state_has_the_bytes_of_its_parts() -> None:
    for count in (1, 1000):
        some = np.zeros(count, np.float32)
        assert bytes_of((count, some, {"a": some, 3: (some, None)})) == 8 + 3 * 4 * count
        assert bytes_of((count, np.float64(1), False, None, np.float32(1), 1.5)) == 8 + 8 + 8 + 0 + 4 + 8
        assert bytes_of((count, "four")) == 8 + 4


@pytest.mark.parametrize("shape", [(), (3,), SHAPE], ids=str)
@settings(max_examples=25, deadline=None)
@given(a=keyed, b=keyed, most=st.sampled_from([2, 4, 100]))
def test_keys_apart_and_together_again_are_the_whole(
    shape: tuple[int, ...], a: list[tuple[int, float]], b: list[tuple[int, float]], most: int
) -> None:
    reduction = MeanVs(max_keys=most)
    one, other = scanned(reduction, a, shape), scanned(reduction, b, shape)
    parts, others = reduction.split(one), reduction.split(other)
    same(reduction.join(parts), one)
    same(reduction.join(dict(reversed(parts.items()))), one)
    assert all(part[0] is None or len(part[0][0]) == 1 for part in parts.values())
    # Once with states of their own: merging changes the first one in place.
    fresh = reduction.split(scanned(reduction, a, shape))
    each = {
        key: reduction.merge(fresh.get(key, reduction.zero()), others.get(key, reduction.zero()))
        for key in {**fresh, **others}
    }
    same(reduction.join(each), reduction.merge(one, scanned(reduction, b, shape)))


def test_one_key_of_a_scan_is_no_copy_and_no_more_than_it_needs() -> None:
    reduction = MeanVs()
    state = reduction.add(reduction.zero(), images("u2", 6), np.arange(6) % 3)
    parts = reduction.split(state)
    assert list(parts) == [0, 1, 2]
    for place, part in enumerate(parts.values()):
        assert bytes_of(part) == reduction.state_bytes(Kind(np.dtype("u2"), SHAPE), Kind(np.dtype("i8")))
        assert part[0][2][0] is state[0][2][place]


# bins

NUMBERS = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8", "i8", ">f4", ">u2"]


def near(edges: Any, dtype: str) -> Any:
    """Numbers of a dtype around edges, and at the ends of what it holds."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.array([False, True, True])
    with np.errstate(all="ignore"):
        if kind.kind == "f":
            at = np.concatenate([edges, [0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30]]).astype(kind)
            least = np.nextafter(kind.type(0), kind.type(1))
            up, down = np.nextafter(at, kind.type(np.inf)), np.nextafter(at, kind.type(-np.inf))
            return np.concatenate([at, up, down, [least, -least]]).astype(kind)
        ends = np.iinfo(kind)
        at = np.clip(
            np.concatenate([np.floor(edges), np.ceil(edges)]), max(ends.min, -(2**62)), min(ends.max, 2**62)
        )
        whole = at.astype(np.int64)
        steps = np.clip(np.concatenate([whole - 1, whole, whole + 1]), ends.min, ends.max)
        return np.concatenate([steps.astype(kind), np.array([ends.min, ends.max], kind)])


@pytest.mark.parametrize("dtype", NUMBERS)
@settings(max_examples=60, deadline=None)
@given(
    bins=st.integers(1, 300),
    low=st.sampled_from([0, -1, 0.1, 3800, 1e6, -0.3, -10, -100.5]),
    width=st.sampled_from([0.1, 1, 0.01, 7, 1 / 3, 0.05]),
    many=st.booleans(),
)
def test_numbers_of_each_dtype_are_counted_exactly_at_the_edges(
    dtype: str, bins: int, low: float, width: float, many: bool
) -> None:
    axis = Binning("histogram", bins, low, low + bins * width)
    values = near(axis.edges, dtype)
    values = np.tile(values, 1 + 70_000 // len(values)) if many else values
    counts = np.zeros(bins + 3, np.int64)
    with np.errstate(all="ignore"):  # as a plan runs
        axis.count(values, counts)
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    places = np.searchsorted(axis.edges, numbers[~missing], side="right")
    np.testing.assert_array_equal(counts[:-1], np.bincount(places, minlength=bins + 2))
    assert counts[-1] == missing.sum()


@pytest.mark.parametrize("dtype", NUMBERS)
def test_all_pixels_of_an_image_are_counted(dtype: str) -> None:
    values = images(dtype, 3, (300, 200))
    reduction = Histogram(50, -20, 2000)
    whole, rows, region = (
        reduction.result(state)
        for state in (
            reduction.add(reduction.zero(), values),
            reduction.add(reduction.zero(), values, rows=np.array([0, 2])),
            reduction.add(reduction.zero(), values[:, 20:280, 10:190]),
        )
    )
    for result, chosen in ((whole, values), (rows, values[[0, 2]]), (region, values[:, 20:280, 10:190])):
        inside = chosen[chosen < 2000].astype(np.float64)
        np.testing.assert_array_equal(result.counts, np.histogram(inside, 50, (-20, 2000))[0])
        assert result.counts.sum() + result.underflow + result.overflow == chosen.size


def test_pairs_of_pixels_are_counted_in_two_dimensions() -> None:
    x, y = images("f4", 3), images("u1", 3)
    x[0, 0, :5] = np.nan
    reduction = Histogram2D(10, 0, 2000, 4, 0, 256)
    result = reduction.result(reduction.add(reduction.zero(), x, y, rows=np.array([0, 2])))
    there = ~np.isnan(x[[0, 2]])
    wanted, _, _ = np.histogram2d(x[[0, 2]][there], y[[0, 2]][there], (10, 4), ((0, 2000), (0, 256)))
    np.testing.assert_array_equal(result.counts, wanted)
    assert result.nan == 5
