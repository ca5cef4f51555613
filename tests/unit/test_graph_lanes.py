"""Large results are found from the fields, go their own way, and give what one process gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ami.errors import GraphError
from ami.event import Field, Schema, Slots
from ami.graph.check import check
from ami.graph.execution.lanes import SMALL_BYTES, list_heavy, with_lanes
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.library.binning import Binning

SCHEMA = Schema.of([Field("x", np.dtype(np.int64)), Field("camera", np.dtype(np.float32), (128, 128))])
INTERVAL_NS = 50_000_000  # 0.25 s are five of them
TEXT = """
results:
  shots: count(x)
  beam: mean_events(x, window=interval)
  picture: mean_events(camera)
  now: mean_events(camera, window=interval)
  few: mean_events(camera, window='last 10')
  line: mean_events(projection(camera, 0), window=interval)
  of_sum: mean_events(camera) / mean_events(x)
  scan: mean_vs(camera, key=x)
"""
GRAPH = graph_of(TEXT).at_version(1)


def found() -> Graph:
    return with_lanes(GRAPH, check(GRAPH, SCHEMA), INTERVAL_NS)


def test_results_are_large_when_a_state_behind_them_is_and_intervals_are_chosen() -> None:
    assert dict(found().large) == {"picture": 1, "now": 5, "few": 5, "of_sum": 1, "scan": 1}
    assert found().one_in == 5
    assert Graph.from_plain(found().to_plain()) == found()
    assert found().hash == GRAPH.hash


def test_a_graph_that_nobody_checked_has_no_large_results() -> None:
    plain = {name: value for name, value in GRAPH.to_plain().items() if name != "large"}
    assert Graph.from_plain(plain).large == ()
    plan = WorkerPlan(GRAPH, SCHEMA)
    partial = plan.partial(3)
    small, large = plan.lanes.split(partial, 3)
    assert small is partial
    assert not large.states


def test_what_serves_both_goes_both_ways_and_neither_can_change_the_other() -> None:
    text = "results:\n  mean: mean_events(x)\n  both: sum_events(camera) / mean_events(x)\n"
    graph = graph_of(text)
    graph = with_lanes(graph, check(graph, SCHEMA), INTERVAL_NS)
    plan = WorkerPlan(graph, SCHEMA)
    partial = plan.partial()
    plan.run(events(4, 0), 0, partial)
    small, large = plan.lanes.split(partial, 0)
    key = graph.fingerprint("mean")
    assert set(small.states) == {key}
    assert set(large.states) == plan.lanes.large == {key, graph.fingerprint("both/1")}
    assert (small.seen, large.seen) == (4, 4)


def events(count: int, first: int) -> Slots:
    slots = Slots.allocate(SCHEMA, count)
    numbers = np.arange(first, first + count)
    slots["x"][:] = numbers % 3
    slots["camera"][:] = numbers[:, None, None]
    slots.timestamps[:] = numbers
    slots.valid[:] = 3
    return slots


def test_of_large_intervals_one_in_so_many_is_computed_and_what_only_it_needs_is_left_out() -> None:
    graph = found()
    plan = WorkerPlan(graph, SCHEMA)
    lanes = [Accumulator(graph.lane(large=large)) for large in (False, True)]
    now, few = graph.fingerprint("now"), graph.fingerprint("few")
    for interval in range(23):
        partial = plan.partial(interval)
        plan.run(events(2, 2 * interval), 2 * interval, partial, interval=interval)
        assert ({now, few} <= set(partial.states)) == (interval % 5 == 0)
        for lane, part in zip(lanes, plan.lanes.split(partial, interval), strict=True):
            lane.apply(part, interval=interval, run=1, expected=2, dropped=0)
    small, large = (lane.results() for lane in lanes)
    assert set(small) == {"shots", "beam", "line"}
    assert small["shots"].value == 46
    assert small["beam"].value == np.mean([44 % 3, 45 % 3])
    assert set(large) == {"picture", "now", "few", "of_sum", "scan"}
    assert (large["picture"].value == np.arange(46).mean()).all()
    assert (large["now"].value == 40.5).all()  # of interval 20
    assert (large["few"].value == np.mean([30, 31, 40, 41])).all()  # of 15 and 20
    assert (large["now"].account.used, large["now"].account.expected, large["picture"].account.expected) == (
        2,
        2,
        46,
    )
    assert np.allclose(large["of_sum"].value, np.arange(46).mean() / np.mean(np.arange(46) % 3))
    assert large["scan"].value.counts.tolist() == [16, 15, 15]


def test_an_edit_that_makes_a_result_large_or_small_takes_it_to_the_other_lane() -> None:
    graph = found()
    other = replace(graph, version=2, large=())
    lane = Accumulator(graph.lane(large=True))
    lane.set_graph(other.lane(large=True))
    assert lane.results() == {}


@pytest.mark.parametrize(("bins", "count", "fits"), [(1000, 3, True), (2000, 33, True), (2000, 34, False)])
def test_a_graph_whose_states_are_too_large_is_refused_with_their_sizes(
    bins: int, count: int, fits: bool
) -> None:
    lines = "".join(f"  h{n}: histogram2d(x, x + {n}, {bins}, 0, 1, {bins}, 0, 1)\n" for n in range(count))
    graph = graph_of("results:\n" + lines).at_version(1)
    kinds = check(graph, Schema.of([Field("x", np.dtype(np.float64))]))
    if fits:
        assert len(with_lanes(graph, kinds, 50_000_000).large) == count
        return
    # Outside of the bins on each side is one more.
    with pytest.raises(GraphError, match=rf"{count * (bins + 2) ** 2 * 8 >> 20} MiB.*1024 MiB.*'h0' 30 MiB"):
        with_lanes(graph, kinds, 50_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "pick(x, count=1000000000)",
        "pick(camera, count=5000)",
        "last(x, window='1000000000 events')",
        "mean_events(camera, window='5000 events')",
    ],
)
def test_one_state_that_no_store_takes_is_refused_whatever_its_elements(text: str) -> None:
    graph = graph_of(f'results: {{big: "{text}"}}')
    with pytest.raises(GraphError, match=r"'big' would have \d+ MiB; 256 MiB are possible"):
        with_lanes(graph, check(graph, SCHEMA), INTERVAL_NS, most_bytes=1 << 62)


def histograms(count: int, bins: int = 8000) -> Graph:
    lines = "".join(f"  h{n}: histogram(x, {bins}, 0, {n + 1})\n" for n in range(count))
    return graph_of("results:\n  shots: count(x)\n" + lines)


def lanes_of(graph: Graph, before: Graph | None = None) -> Graph:
    return with_lanes(graph, check(graph, SCHEMA), INTERVAL_NS, before=before)


def test_of_small_states_that_are_too_many_together_so_many_go_the_large_way_that_the_others_fit() -> None:
    each = 8 * 8003
    most = SMALL_BYTES // each
    assert lanes_of(histograms(most - 1)).large == ()
    graph = lanes_of(histograms(200))
    assert (200 - len(graph.large)) * each + 8 <= SMALL_BYTES < (201 - len(graph.large)) * each
    assert "shots" not in dict(graph.large)


def test_an_edit_changes_the_way_of_nothing_that_runs() -> None:
    few, many = histograms(80), histograms(200)
    before = lanes_of(few)
    after = lanes_of(many, before)
    assert not dict(after.large).keys() & set(few.results)
    # And back: who went the large way goes on there, though there is room now.
    half = histograms(100)
    assert set(dict(lanes_of(half, after).large)) == set(dict(after.large)) & set(half.results)


def test_states_are_measured_without_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("made")

    monkeypatch.setattr(Binning, "edges", property(fail))
    with pytest.raises(GraphError, match="there is room for 1024 MiB"):
        lanes_of(histograms(100, bins=1 << 24))


def test_a_large_window_of_time_has_all_events_in_a_few_panes() -> None:
    graph = graph_of(TEXT + "  timed: mean_events(camera, window='2 s')\n").at_version(1)
    graph = with_lanes(graph, check(graph, SCHEMA), INTERVAL_NS)
    assert dict(graph.large)["timed"] == 1
    plan, key = WorkerPlan(graph, SCHEMA), graph.fingerprint("timed")
    parts = {plan.lanes.part_of(key, interval, INTERVAL_NS) for interval in range(100)}
    assert parts == set(range(0, 100, 5))
    lane = Accumulator(graph.lane(large=True))
    for interval in range(103):
        partial = plan.partial(interval)
        plan.run(events(2, 2 * interval), 2 * interval, partial, interval=interval)
        _, large = plan.lanes.split(partial, interval)
        lane.apply(large, interval=interval, run=1, expected=2, dropped=0, interval_ns=INTERVAL_NS)
    timed = lane.results()["timed"]
    # 40 intervals reach back to 63, and that to the begin of its pane.
    assert (timed.account.first, timed.account.last, timed.account.used) == ((1, 60), (1, 102), 86)
    assert (timed.value == np.arange(120, 206).mean()).all()


@pytest.mark.parametrize(
    ("window", "mib"),
    [("10 min", 17 * 80), ("1 h", 17 * 80), ("last 100", 20 * 80), ("0.3 s", 0), ("run", 0)],
)
def test_what_all_panes_of_a_window_have_counts(window: str, mib: int) -> None:
    graph = graph_of(f"results: {{m: 'sum_events(big, window=\"{window}\")'}}").at_version(1)
    kinds = check(graph, Schema.of([Field("big", np.dtype(np.float64), (10, 1 << 20))]))
    if mib:
        told = rf"would have {mib} MiB.*'m' {mib} MiB \({mib // 80} states of 80\); .*shorter windows"
        with pytest.raises(GraphError, match=told):
            with_lanes(graph, kinds, INTERVAL_NS)
    else:
        with_lanes(graph, kinds, INTERVAL_NS)


def test_windows_of_too_many_small_intervals_are_refused_and_of_as_much_time_are_not() -> None:
    def laned(window: str) -> Graph:
        graph = graph_of(f"results: {{m: 'sum_events(x, window=\"{window}\")'}}")
        return with_lanes(graph, check(graph, SCHEMA), INTERVAL_NS)

    assert laned("last 10000").results == laned("100 h").results == ("m",)
    with pytest.raises(GraphError, match="'m': a window of 10001 intervals is too long"):
        laned("last 10001")


def test_what_is_picked_of_images_is_picked_from_each_interval() -> None:
    graph = graph_of("results: {a: 'pick(camera, count=2)', b: 'sum_events(camera, window=\"2 events\")'}")
    graph = with_lanes(graph, check(graph, SCHEMA), INTERVAL_NS)
    lanes = WorkerPlan(graph, SCHEMA).lanes
    for name in "ab":
        key = graph.fingerprint(name)
        assert [lanes.part_of(key, interval, INTERVAL_NS) for interval in (4, 7)] == [4, 7]
        assert key not in lanes.list_left_out(7)


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ("mean_events(camera, window='last 12000')", "takes 300 MiB (2400 states of 0.125) of 1024 MiB"),
        ("last(camera, window='last 12000')", "takes 150 MiB (2400 states of 0.0625) of 1024 MiB"),
        ("pick(camera, count=3000)", "takes 187 MiB of 1024 MiB"),
        ("mean_vs(camera, key=x)", "each key takes 0.25 MiB, and there is room for"),
        ("mean_vs(x, key=x)", ""),
        ("mean_events(camera)", ""),
    ],
)
def test_who_asks_for_much_is_told_how_much_and_only_once(definition: str, told: str) -> None:
    graph = graph_of(f'results: {{a: "{definition}"}}')
    kinds = check(graph, SCHEMA)
    found = list_heavy(graph, kinds, INTERVAL_NS, Graph(), 1 << 30 if "key" not in definition else 200 << 20)
    assert list(found) == (["a"] if told else [])
    assert found.get("a", "").startswith(told)
    assert list_heavy(graph, kinds, INTERVAL_NS, graph, 200 << 20) == {}
