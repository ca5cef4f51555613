"""Reductions are algebra: how events are shared out over blocks and processes must not show."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.graph.library.accumulate import (
    Count,
    MaxEvents,
    MeanEvents,
    MinEvents,
    MomentsEvents,
    StdEvents,
    SumEvents,
)
from ami.graph.library.base import Reduction, State
from ami.graph.library.binning import Binning
from ami.graph.library.histograms import Histogram, Histogram2D
from ami.graph.library.keep import Last, OverEvents, Pick
from ami.graph.library.keys import round_digits
from ami.graph.library.scan import MeanVs

FLOATS = [
    Count(), SumEvents(), MeanEvents(), MomentsEvents(), StdEvents(), MinEvents(), MaxEvents(),
    Histogram(7, -100, 100), Histogram2D(5, -100, 100, 4, -50, 50), MeanVs(), MeanVs(max_keys=3),
    Last(), Pick(5), OverEvents(SumEvents("4 events")),
]  # fmt: skip
# These give counts, or single events: whatever the order, exactly the same.
EXACT = (Count, MinEvents, MaxEvents, Histogram, Histogram2D, Last, Pick)

number = st.floats(-1e3, 1e3, allow_subnormal=False)
columns = st.lists(st.tuples(number, st.integers(-4, 4)), min_size=1, max_size=40)
cuts = st.lists(st.integers(0, 40), max_size=5)


def stamps_of(count: int) -> Any:
    """Timestamps that do not ascend, with sequences."""
    return np.stack([np.arange(count) * 37 % 101, np.arange(count)], axis=1)


def shares(count: int, cuts: Iterable[int]) -> list[slice]:
    bounds = [0, *sorted({min(cut, count) for cut in cuts}), count]
    return [slice(a, b) for a, b in itertools.pairwise(bounds) if b > a]


def added(reduction: Reduction, state: State, arrays: tuple[Any, ...], share: slice) -> State:
    count = len(arrays[0])
    pieces = (array[share] for array in arrays)
    return reduction.add(state, *pieces, stamps=stamps_of(count)[share])


def the_sharing_out_does_not_show(
    reduction: Reduction, arrays: tuple[Any, ...], cuts: list[int], *, exact: bool
) -> None:
    count = len(arrays[0])
    whole = reduction.result(added(reduction, reduction.zero(), arrays, slice(0, count)))
    one_after_another = reduction.zero()
    merged = reduction.zero()
    for share in shares(count, cuts):
        one_after_another = added(reduction, one_after_another, arrays, share)
        merged = reduction.merge(added(reduction, reduction.zero(), arrays, share), merged)
    merged = reduction.merge(merged, reduction.zero())
    for other in (one_after_another, merged):
        equal(reduction.result(other), whole, exact=exact)


def equal(one: Any, other: Any, *, exact: bool) -> None:
    assert type(one) is type(other)
    if hasattr(one, "to_plain"):
        equal(one.to_plain(), other.to_plain(), exact=exact)
    elif isinstance(one, dict):
        for key in one:
            equal(one[key], other[key], exact=exact)
    elif isinstance(one, list) and one and isinstance(one[0], list):
        for left, right in zip(one, other, strict=True):
            equal(left, right, exact=exact)
    elif one is None or exact:
        np.testing.assert_array_equal(one, other)
    else:
        # Spreads come out of differences of numbers up to 1e3: 1e-12 of these, and its root.
        a, b = np.array(one, np.float64), np.array(other, np.float64)  # None is NaN
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=2e-6)


@pytest.mark.parametrize("reduction", FLOATS, ids=lambda r: type(r).__name__)
@settings(max_examples=40, deadline=None)
@given(events=columns, cuts=cuts)
def test_the_sharing_out_of_events_does_not_show(
    reduction: Reduction, events: list[tuple[float, int]], cuts: list[int]
) -> None:
    value = np.array([x for x, _ in events])
    key = np.array([key for _, key in events], np.float64) * 0.1
    arrays = (value, key) if reduction.inputs is None or len(reduction.inputs) == 2 else (value,)
    if isinstance(reduction, OverEvents):
        arrays = (value,)
    the_sharing_out_does_not_show(reduction, arrays, cuts, exact=isinstance(reduction, EXACT))


@pytest.mark.parametrize(
    "reduction",
    [SumEvents(), MeanEvents(), MinEvents(), MaxEvents(), Last(), MomentsEvents(), MeanVs()],
    ids=lambda r: type(r).__name__,
)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "i8", "u8", "f4"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 20), cuts=cuts)
def test_the_sharing_out_of_images_does_not_show(
    reduction: Reduction, dtype: str, seed: int, count: int, cuts: list[int]
) -> None:
    images = np.random.default_rng(seed).integers(0, 120, (count, 3, 4)).astype(dtype)
    keys = np.arange(count) % 3
    arrays = (images, keys) if isinstance(reduction, MeanVs) else (images,)
    the_sharing_out_does_not_show(
        reduction, arrays, cuts, exact=not isinstance(reduction, MomentsEvents | MeanVs)
    )


@pytest.mark.parametrize("dtype", ["i8", "u8", "f4", "u2"])
@pytest.mark.parametrize("reduction", [MeanEvents(), MomentsEvents()], ids=lambda r: type(r).__name__)
def test_large_images_that_are_added_one_by_one_give_what_small_ones_do(
    reduction: Reduction, dtype: str
) -> None:
    high = {"i8": -(2**60), "u8": 2**63 + 2**62}.get(dtype, 0) if isinstance(reduction, MeanEvents) else 1000
    offsets = np.random.default_rng(5).integers(0, 1000, (7, 64, 64))
    images = offsets.astype(dtype) + np.dtype(dtype).type(high)
    large = reduction.zero()
    small = reduction.zero()
    for share in (slice(0, 3), slice(3, 7)):
        large = reduction.add(large, images[share])
        small = reduction.add(small, images[share, :2, :2])
    a, b = reduction.result(large), reduction.result(small)
    if isinstance(reduction, MeanEvents):
        np.testing.assert_array_equal(a[:2, :2], b)
        return
    np.testing.assert_allclose(a.variance[:2, :2], b.variance, rtol=1e-12)
    np.testing.assert_allclose(a.mean, 1000 + offsets.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("reduction", [SumEvents(), MomentsEvents(), Count()], ids=lambda r: type(r).__name__)
def test_rows_of_a_block_count_as_the_block_of_these_rows(reduction: Reduction) -> None:
    images = np.random.default_rng(3).random((9, 80, 80)).astype("f4")
    rows = np.array([1, 4, 5, 8])
    some = reduction.add(reduction.add(reduction.zero(), images), images, rows=rows)
    both = reduction.add(reduction.add(reduction.zero(), images), images[rows])
    equal(reduction.result(some), reduction.result(both), exact=False)


@pytest.mark.parametrize("reduction", FLOATS, ids=lambda r: type(r).__name__)
def test_a_state_in_memory_that_may_not_be_written_can_be_added_to_and_merged(reduction: Reduction) -> None:
    """What comes out of a store is a view of the bytes that were received."""
    value, key = np.arange(6.0), np.arange(6.0) % 2
    arrays = (value, key) if reduction.inputs is None or len(reduction.inputs) == 2 else (value,)
    if isinstance(reduction, OverEvents):
        arrays = (value,)
    states = [added(reduction, reduction.zero(), arrays, slice(a, a + 2)) for a in (0, 2, 4)]
    for state in states:
        freeze(state)
    merged = reduction.merge(states[0], states[1])
    freeze(merged)
    assert reduction.result(added(reduction, merged, arrays, slice(4, 6))) is not None
    assert reduction.result(reduction.merge(merged, states[2])) is not None


def freeze(state: State) -> None:
    if isinstance(state, np.ndarray):
        state.flags.writeable = False
    elif isinstance(state, tuple):
        for part in state:
            freeze(part)


def test_images_of_uint16_are_summed_exactly() -> None:
    """1000 images of 65535: today's AMI gives 65,535,744, in float32."""
    reduction = SumEvents()
    image = np.full((100, 2, 2), 65535, np.uint16)
    state = reduction.zero()
    for _ in range(10):
        state = reduction.add(state, image)
    assert reduction.result(state).tolist() == [[65_535_000] * 2] * 2
    assert MeanEvents().result(state).tolist() == [[65535.0] * 2] * 2


@pytest.mark.parametrize(
    ("dtype", "value"), [("i8", 2**62), ("i8", -(2**62)), ("u8", 2**64 - 1), ("i8", -1), ("u8", 2**63)]
)
def test_sums_of_64_bit_integers_do_not_wrap(dtype: str, value: int) -> None:
    for shape in ((8,), (8, 3)):
        state = SumEvents().add(None, np.full(shape, value, dtype))
        assert np.ravel(SumEvents().result(state))[0] == float(8 * value)
        assert np.ravel(MeanEvents().result(state))[0] == float(value)
    exact = SumEvents().result(SumEvents().add(None, np.array([value], dtype)))
    assert int(exact) == value


@pytest.mark.parametrize("pedestal", [0, 10**9])
def test_moments_survive_a_pedestal(pedestal: int) -> None:
    """4, 7, 13, 16: the textbook formula gives -128 on a pedestal of 1e9."""
    reduction = MomentsEvents()
    values = np.array([4, 7, 13, 16]) + pedestal
    state = reduction.zero()
    for share in (slice(0, 1), slice(1, 4)):
        state = reduction.add(state, values[share])
    moments = reduction.result(state)
    assert (moments.count, moments.mean) == (4, 10 + pedestal)
    assert (moments.variance, moments.population_variance) == (30, 22.5)


@settings(max_examples=200, deadline=None)
@given(
    bins=st.integers(1, 300),
    low=st.sampled_from([0, -1, 0.1, 3800, 1e6, -0.3]),
    width=st.sampled_from([0.1, 1, 0.01, 7, 1 / 3]),
    steps=st.lists(st.integers(-1, 1), min_size=3, max_size=3),
)
def test_a_value_at_an_edge_lies_right_of_it_and_its_neighbours_where_they_belong(
    bins: int, low: float, width: float, steps: list[int]
) -> None:
    axis = Binning("histogram", bins, low, low + bins * width)
    values = axis.edges
    for step in steps:
        values = np.nextafter(values, values + step)
    places = axis.places(values)
    edges = axis.edges.tolist()
    assert edges == sorted(edges)
    wanted = [bisect_right(edges, value) for value in values.tolist()]
    assert places is not None
    assert places.tolist() == wanted


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-2, 12), min_size=1, max_size=100))
def test_a_histogram_counts_as_numpys_within_the_last_edge(values: list[float]) -> None:
    reduction = Histogram(100, 0, 10)
    mine = reduction.result(reduction.add(reduction.zero(), np.array(values)))
    inside = [value for value in values if value != 10]
    np.testing.assert_array_equal(mine.counts, np.histogram(inside, 100, (0, 10))[0])
    assert mine.underflow == sum(value < 0 for value in values)
    assert mine.overflow == sum(value >= 10 for value in values)


def test_what_is_out_of_range_or_no_number_is_kept_apart() -> None:
    reduction = Histogram(4, 0, 4)
    values = np.array([np.nan, -np.inf, -0.5, 0, 3.5, 4, 1e300, np.inf, np.nan])
    result = reduction.result(reduction.add(reduction.zero(), values))
    assert result.counts.tolist() == [1, 0, 0, 1]
    assert (result.underflow, result.overflow, result.nan) == (2, 3, 2)
    nothing = reduction.result(reduction.add(reduction.zero(), np.full(3, np.nan)))
    assert (nothing.counts.sum(), nothing.nan) == (0, 3)


def test_a_histogram_in_two_dimensions_counts_pairs() -> None:
    reduction = Histogram2D(2, 0, 2, 3, 0, 3)
    x = np.array([0, 0.5, 1, 2, -1, np.nan, 1])
    y = np.array([0, 2.5, 1, 1, 1, 1, 1])
    result = reduction.result(reduction.add(reduction.zero(), x, y))
    assert result.counts.tolist() == [[1, 0, 1], [0, 2, 0]]
    assert (result.outside, result.nan) == (2, 1)


@pytest.mark.parametrize(
    "bounds", [(0, 0, 1), (5, 1, 1), (5, 2, 1), (10**6, 1e15, 1e15 + 1), (5, 0, np.inf), (5, "a", 1)]
)
def test_impossible_bins_are_refused(bounds: tuple[Any, Any, Any]) -> None:
    with pytest.raises(GraphError, match="histogram"):
        Histogram(*bounds)


@pytest.mark.parametrize("keys", [[8, 3, 3], [0.1, 0.3, 0.3], [True, False, False], [-128, 127, 127]])
@pytest.mark.parametrize("dtype", ["f8", "i8", "i1", "f4", "?"])
def test_a_scan_has_the_mean_of_each_key(keys: list[Any], dtype: str) -> None:
    column = np.array(keys).astype(dtype)
    reduction = MeanVs()
    scan = reduction.result(reduction.add(reduction.zero(), np.array([1.0, 2.0, 4.0]), column))
    # A float32 is the number that somebody set, not 0.10000000149.
    there = [round(key, 6) for key in column.tolist()]
    values = {key: [v for v, k in zip([1.0, 2.0, 4.0], there, strict=True) if k == key] for key in there}
    assert scan.keys.tolist() == sorted(values)
    assert scan.counts.tolist() == [len(values[key]) for key in sorted(values)]
    assert scan.means.tolist() == [pytest.approx(sum(values[k]) / len(values[k])) for k in sorted(values)]


@settings(max_examples=40, deadline=None)
@given(
    step=st.sampled_from([0.1, 0.25, 1 / 3, 1e-15]),
    offset=st.sampled_from([0, -0.7, 100]),
    blocks=st.lists(
        st.lists(st.sampled_from([0, 1, 2, 3, 3.5, 90, 200]), min_size=1), min_size=2, max_size=5
    ),
)
def test_keys_in_equal_steps_and_others_find_their_own(
    step: float, offset: float, blocks: list[list[float]]
) -> None:
    reduction = MeanVs()
    state = reduction.zero()
    counted: dict[float, int] = {}
    for block in blocks:
        keys = np.array(block) * step + offset
        state = reduction.add(state, keys, keys)
        for key in [float(f"{key:.11e}") for key in keys.tolist()]:
            counted[key] = counted.get(key, 0) + 1
    scan = reduction.result(state)
    assert dict(zip(scan.keys.tolist(), scan.counts.tolist(), strict=True)) == counted
    np.testing.assert_allclose(scan.means, scan.keys, rtol=1e-11)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_float_keys_of_any_rounding_are_one(dtype: str) -> None:
    added = np.cumsum(np.full(30, 0.1, dtype), dtype=dtype)
    ways = [np.arange(1, 31) * 0.1, added, np.arange(1, 31) / 10, np.linspace(0.1, 3.0, 30)]
    reduction = MeanVs()
    state = reduction.zero()
    for keys in (way.astype(dtype) for way in [*ways, *(way[::-1] for way in ways), added[:1], added[2:3]]):
        state = reduction.add(state, np.ones(len(keys)), keys)
    scan = reduction.result(state)
    assert scan.keys.tolist() == [n / 10 for n in range(1, 31)]
    assert scan.counts.tolist() == [9, 8, 9, *[8] * 27]


def test_a_width_gathers_the_keys_of_an_encoder_that_jitters() -> None:
    places = np.random.default_rng(4).integers(-20, 20, 4000)
    jitter = np.random.default_rng(5).uniform(-0.02, 0.02, 4000)
    reduction = MeanVs(width=0.05)
    state = reduction.add(reduction.zero(), np.ones(2000), (places * 0.05 + jitter)[:2000])
    scan = reduction.result(reduction.add(state, np.ones(2000), (places * 0.05 + jitter)[2000:]))
    assert scan.keys.tolist() == [n / 20 for n in range(-20, 20)]
    assert scan.counts.tolist() == np.bincount(places + 20).tolist()
    for width in (0, -1.0, np.inf, True):
        with pytest.raises(GraphError, match="width must be"):
            MeanVs(width=width)


@pytest.mark.parametrize("digits", [3, 6, 12])
def test_keys_are_rounded_as_decimal_text_is(digits: int) -> None:
    rng = np.random.default_rng(digits)
    edges = [0.0, -0.0, np.inf, -np.inf, 1e-11, 1e22, 1e23, np.nextafter(0.1, 0), 5e-324, -1.7e308, 1 / 3]
    numbers = np.append(rng.normal(size=3000) * 10.0 ** rng.integers(-30, 40, 3000), edges)
    right = [float(f"{x:.{digits - 1}e}") for x in numbers]
    np.testing.assert_array_equal(round_digits(numbers, digits), right)


def test_an_infinite_key_is_no_other() -> None:
    reduction = MeanVs()
    state = reduction.zero()
    for keys in ([-np.inf, 0.1, np.inf], [0.1, 0.2, np.inf], [0.3, 0.2, 0.1], [np.inf, 0.7, 0.3]):
        with np.errstate(all="ignore"):  # as plans run
            state = reduction.add(state, np.ones(3), np.array(keys))
    scan = reduction.result(state)
    assert scan.keys.tolist() == [-np.inf, 0.1, 0.2, 0.3, 0.7, np.inf]
    assert scan.counts.tolist() == [1, 3, 2, 2, 1, 3]


def test_unsigned_keys_beyond_int64_are_grouped_as_others_are() -> None:
    for step in (1, 10**15):
        keys = np.uint64(1 << 63) + np.arange(8, dtype=np.uint64) * np.uint64(step)
        column = keys[np.random.default_rng(1).integers(0, 8, 500)]
        reduction = MeanVs()
        scan = reduction.result(reduction.add(reduction.zero(), np.ones(500), column))
        assert scan.keys.tolist() == keys.tolist()
        assert scan.counts.tolist() == [int((column == key).sum()) for key in keys]


def test_a_scan_keeps_its_smallest_keys_and_counts_the_others() -> None:
    reduction = MeanVs(max_keys=2)
    state = reduction.zero()
    for key in (5.0, 3.0, np.nan, 4.0, 3.0):
        state = reduction.add(state, np.array([1.0]), np.array([key]))
    scan = reduction.result(state)
    assert (scan.keys.tolist(), scan.counts.tolist(), scan.overflow, scan.nan) == ([3, 4], [2, 1], 1, 1)


def test_the_errors_of_a_scan_are_standard_errors_of_the_mean() -> None:
    values = np.array([4.0, 7, 13, 16]) + 1e9
    reduction = MeanVs()
    state = reduction.zero()
    for share in (slice(0, 1), slice(1, 2), slice(2, 4)):
        state = reduction.add(state, values[share], np.full(4, 0.1)[share])
    scan = reduction.result(state)
    assert scan.errors[0] == pytest.approx(np.sqrt(30 / 4), rel=1e-6)


def test_two_partials_of_the_scan_graph_merge_to_the_sums_of_the_reference() -> None:
    """{8: (1e4, 1), 3: (1e4, 1)} twice is {8: (2e4, 2), 3: (2e4, 2)}, means 1e4."""
    reduction = MeanVs()
    one, two = (reduction.add(reduction.zero(), np.array([10000, 10000]), np.array([8, 3])) for _ in range(2))
    keys, counts, sums, _ = reduction.merge(one, two)[0]
    assert (keys.tolist(), counts.tolist(), sums.tolist()) == ([3, 8], [2, 2], [2e4, 2e4])
    assert reduction.result(((keys, counts, sums, np.zeros(2)), 0, 0)).means.tolist() == [1e4, 1e4]


def test_the_last_event_is_the_newest_by_time_then_by_sequence() -> None:
    reduction = Last()
    stamps = np.array([[5, 0], [9, 1], [9, 2], [7, 3]])
    state = reduction.add(reduction.zero(), np.array([10, 11, 12, 13]), stamps=stamps)
    assert reduction.result(state) == 12
    older = reduction.add(reduction.zero(), np.array([99]), stamps=np.array([[8, 50]]))
    assert reduction.result(reduction.merge(older, state)) == 12


def test_what_a_state_keeps_is_a_copy() -> None:
    """The ring is written again as soon as a block is committed."""
    for reduction in (Last(), Pick(3), SumEvents(), MinEvents(), MeanEvents(), MomentsEvents()):
        block = np.ones((1, 2, 2))
        state = reduction.add(reduction.zero(), block, stamps=np.zeros((1, 2), np.int64))
        before = str(state)
        block[:] = 7
        assert str(state) == before, type(reduction).__name__


@pytest.mark.parametrize(
    "window", ["", "last 0", "last", "events", "0 events", "5", "runs", 7, "10", "s", "-1 s", "5 days",
               "1e3 s", "10 S", "last 5 s", "nan s", "1 min 30 s", "9" * 5000 + " events", "9" * 5000 + " s"],
)  # fmt: skip
def test_an_unknown_window_is_refused_with_the_known_ones(window: Any) -> None:
    with pytest.raises(GraphError, match="interval, run"):
        Count(window=window)


@pytest.mark.parametrize("window", ["0 s", "0.0 min", "1000.1 h", "999999999999 ms", "0.0000001 ms"])
def test_a_window_of_no_time_or_of_weeks_is_refused(window: str) -> None:
    with pytest.raises(GraphError, match="more than nothing, and 1000 h at most"):
        Count(window=window)


@pytest.mark.parametrize(
    ("window", "spelled"),
    [("10s", "10 s"), (" 2.5  min", "2.5 min"), ("last  007", "last 7"), ("007 events", "7 events")],
)
def test_a_window_has_one_spelling(window: str, spelled: str) -> None:
    assert Count(window=window).window == spelled
