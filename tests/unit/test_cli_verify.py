"""When a node's result and that of one process are the same."""

from dataclasses import replace

import numpy as np
import pytest

from ami.graph.language.text import graph_of
from ami.lab.verify import compare, find_scale, what_keeps
from ami.result import Events, Result
from ami.values import Histogram, Scan
from tests.unit.test_top_load import beat, cost, load


def result(value: object, **changes: object) -> Result:
    made = Result(
        name="a", value=value, error=None, window="run", run=1, interval=5, interval_ns=50_000_000,
        time_ns=(0, 1), events=Events(expected=10, used=9), nodes=("n",), missing_nodes=(), workers=("w",),
        graph_version=1, graph_hash="h", complete=True, published_ns=0,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def scan(means: list[float]) -> Scan:
    n = len(means)
    return Scan(np.arange(n), np.full(n, 3), np.array(means), np.full(n, np.nan))


def histogram(counts: list[int]) -> Histogram:
    return Histogram(np.array(counts), np.arange(len(counts) + 1.0))


@pytest.mark.parametrize(
    ("node", "alone"),
    [
        (5, 5),
        (None, None),
        (1.0, 1.0 + 1e-13),
        (np.float64(np.nan), np.float64(np.nan)),
        (np.array([1e9, 1e-9]), np.array([1e9, 1.1e-9])),
        (scan([1.0, 2.0]), scan([1.0, 2.0 + 1e-13])),
        (histogram([1, 2]), histogram([1, 2])),
    ],
)
def test_values_that_differ_by_merge_order_only_agree(node: object, alone: object) -> None:
    assert compare("a", result(node), result(alone)).difference == ""


@pytest.mark.parametrize(
    ("node", "alone"),
    [
        (5, 6),
        (10**15, 10**15 + 1),
        (np.array([True]), np.array([False])),
        (5, 5.0),
        (5, None),
        (1.0, 1.0 + 1e-11),
        (1.0, float("nan")),
        (np.arange(3), np.arange(4)),
        (np.arange(3), np.arange(3.0)),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([np.inf, 1.0]), np.array([-np.inf, 1.0])),
        (scan([1.0, 2.0]), scan([1.0])),
        (histogram([1, 2]), histogram([2, 1])),
        (histogram([1, 2]), scan([1.0, 2.0])),
    ],
)
def test_values_that_differ_by_more_do_not(node: object, alone: object) -> None:
    found = compare("a", result(node), result(alone))
    assert found.difference.startswith("value")


def test_the_deviation_is_told_though_it_is_small() -> None:
    assert compare("a", result(1.0), result(1.0 + 4e-13)).deviation == pytest.approx(4e-13, rel=0.01)


def test_another_account_of_events_is_a_difference() -> None:
    other = result(5, events=Events(expected=10, used=8))
    assert "events.used" in compare("a", result(5), other).difference


def test_a_result_that_is_missing_or_failed_is_a_difference() -> None:
    assert "no such result" in compare("a", None, result(5)).difference
    assert compare("a", result(None, error="boom"), result(None)).difference.startswith("error")


def test_the_error_of_constants_is_measured_by_their_mean() -> None:
    node, alone = (
        replace(scan([1e3, 2e3]), errors=np.array(errors)) for errors in ([1e-13, 0.0], [0.0, 3e-14])
    )
    assert compare("a", result(node), result(alone)).difference == ""
    assert compare("a", result(node), result(replace(alone, errors=np.ones(2)))).difference


def test_what_is_left_of_numbers_that_cancel_is_measured_by_them() -> None:
    graph = graph_of("results: {d: 'mean_events(x) - mean_events(y)', r: 'mean_events(x) / mean_events(y)'}")
    means = {name: result(0.1) for name in graph.reduced if name not in graph.results}
    assert find_scale("d", graph, means) == 0.1
    assert find_scale("r", graph, means) == 0.0
    assert compare("d", result(0.0), result(1.4e-17), 0.1).difference == ""
    assert compare("d", result(0.0), result(1e-9), 0.1).difference


def test_who_waits_in_vain_is_told_which_process_and_which_operations_keep_the_node() -> None:
    costs = {"fit/1": cost(0.7, us=350.4, per_event=True), "fit": cost(0.2, us=80), "cheap": cost(0.01)}
    beats = {"here:worker:0": beat(costs, share=0.9), "here:source:0": beat()}
    found = load(beats, shares={"here:worker:0": 0.97, "here:source:0": 0.2})
    assert what_keeps(found, {"fit", "cheap"}) == (
        "; worker 0 is busiest, 97 % of a core; fit costs 350 µs an event (a function called event by event)"
        "; fit costs 80 µs an event"
    )
    assert what_keeps(load({"here:source:0": beat()}), {"fit"}) == ""


@pytest.mark.parametrize("dtype", ["?", "u1", "u8", "i8", "f2", "f8", object])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)])
def test_a_difference_of_whatever_there_is_has_a_scale(dtype: str, shape: tuple[int, ...]) -> None:
    graph = graph_of("results: {a: last(x), b: last(y), d: a - b}")
    value: object = None if dtype is object else np.ones(shape, dtype)[()]
    found = find_scale("d", graph, {name: result(value) for name in "abd"})
    assert found == (np.dtype(dtype).kind == "f" and 0 not in shape)
