"""What operations cost: timed by a worker's plan, told in a heartbeat."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ami.daemons.worker import costs as module
from ami.daemons.worker.costs import TOLD, Costs
from ami.event import Field, Schema, Slots
from ami.graph.execution.partial import ErrorRecord
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of

SCHEMA = Schema.of([Field("x", np.dtype(np.float64)), Field("laser", np.dtype(np.int64))])
TEXT = """
functions:
  slow: |
    def slow(x):
        for _ in range(30):
            x = x + 1
        return x
values:
  on: x where laser == 1
results:
  mine: mean_events(slow(x))
  lit: mean_events(on)
  shots: count(x)
"""
EVENTS = 400


def plan(text: str = TEXT) -> WorkerPlan:
    return WorkerPlan(graph_of(text).at_version(7), SCHEMA)


def events(count: int = EVENTS) -> Slots:
    slots = Slots.allocate(SCHEMA, count)
    slots.columns["x"][:] = np.arange(count)
    slots.columns["laser"][:] = np.arange(count) % 4 == 0
    slots.set_valid(SCHEMA.names)
    return slots


def run(costs: Costs, of: WorkerPlan, blocks: int, count: int = EVENTS) -> None:
    partial, slots = of.partial(), events(count)
    for number in range(blocks):
        of.run(slots, number * count, partial, timing=costs.timing(of, count))


def test_a_timed_run_tells_every_operation_with_the_events_that_have_its_inputs() -> None:
    of, told = plan(), []
    of.run(events(), 0, of.partial(), timing=lambda *one: told.append(one))
    counts = {of.operations[number - 1]: count for number, _, _, count in told}
    assert set(counts) == set(of.operations)
    assert counts["lit"] == EVENTS // 4
    assert counts["on"] == counts["mine"] == counts["shots"] == EVENTS
    assert all(0 < core_ns < 2 * ns for _, ns, core_ns, _ in told)


def test_a_timed_run_computes_what_an_untimed_one_does_and_leaves_the_same_breadcrumbs() -> None:
    of, crumbs = plan(), {True: [], False: []}
    partials = {timed: of.partial() for timed in crumbs}
    for timed, partial in partials.items():
        timing = (lambda *_: None) if timed else None
        of.run(events(), 0, partial, breadcrumb=crumbs[timed].append, timing=timing)
    assert crumbs[True] == crumbs[False]
    assert repr(partials[True]) == repr(partials[False])


def test_a_users_function_is_marked_and_costs_most() -> None:
    costs, of = Costs(), plan()
    run(costs, of, 50)
    told = costs.tell(1000.0)["operations"]
    name, cost = next(iter(told.items()))
    assert name in of.per_event
    assert cost["per_event"] is True
    assert [n for n, c in told.items() if c["per_event"]] == [name]
    assert cost["us_per_event"] > 5 * told["shots"]["us_per_event"]


def test_costs_are_scaled_to_the_events_per_second_of_the_worker() -> None:
    costs, of = Costs(), plan()
    run(costs, of, 20)
    slowly, fast = costs.tell(100.0), costs.tell(1000.0)
    for name, cost in fast["operations"].items():
        other = slowly["operations"][name]
        assert cost["us_per_event"] == other["us_per_event"]
        assert cost["share_of_core"] == pytest.approx(10 * other["share_of_core"])
        assert 0 < cost["share_of_core"] < 1.5 * cost["us_per_event"] * 1e-6 * cost["events_hz"]
    assert fast["operations"]["shots"]["events_hz"] == pytest.approx(1000.0)
    assert fast["operations"]["lit"]["events_hz"] == pytest.approx(250.0)
    shares = [cost["share_of_core"] for cost in fast["operations"].values()]
    assert fast["timing"]["share_of_core"] == pytest.approx(sum(shares))


def test_a_worker_at_rest_has_no_share_of_a_core() -> None:
    costs, of = Costs(), plan()
    run(costs, of, 3)
    assert costs.tell(0.0)["timing"]["share_of_core"] == 0.0
    assert costs.tell(0.0)["operations"]["shots"]["us_per_event"] > 0


def test_before_the_first_block_there_is_nothing_to_tell() -> None:
    assert Costs().tell(5.0) == {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in the one element of a list, to be moved by the test."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def timed(costs: Costs, of: WorkerPlan, clock: list[float], lengths_s: list[float]) -> list[bool]:
    """Return of blocks that take so long which ones are timed."""
    found = []
    for length_s in lengths_s:
        found.append(costs.timing(of, 1) is not None)
        clock[0] += length_s
    return found


def test_the_first_block_of_a_plan_is_timed(clock: list[float]) -> None:
    costs = Costs()
    assert timed(costs, plan(), clock, [1e-4] * 5)[0]
    assert timed(costs, plan(), clock, [1e-4] * 5)[0]


def test_of_quick_blocks_few_are_timed_and_of_slow_ones_all(clock: list[float]) -> None:
    costs, of = Costs(), plan()
    quick = timed(costs, of, clock, [1e-5] * 80_000)
    assert 80_000 / 256 / 2 < sum(quick) < 80_000 / 256 * 2
    timed(costs, of, clock, [0.05] * 600)
    assert all(timed(costs, of, clock, [0.05] * 20))


def test_of_long_and_short_blocks_in_turn_both_are_timed(clock: list[float]) -> None:
    """A rule that times the first block after so many milliseconds would see the short ones only."""
    costs, of = Costs(), plan()
    found = timed(costs, of, clock, [0.01, 0.001] * 2000)
    long, short = sum(found[::2]), sum(found[1::2])
    assert 0.7 < long / short < 1.4


def test_what_was_long_ago_is_forgotten(clock: list[float]) -> None:
    costs, of = Costs(), plan()
    tell = costs.timing(of, 10)
    assert tell is not None
    tell(1, 1_000_000, 1_000_000, 10)
    for _ in range(3):
        clock[0] += 6
        later = costs.timing(of, 10)
        assert later is not None
        later(1, 10_000, 5_000, 10)
    told = costs.tell(1e6)["operations"][of.operations[0]]
    assert told["us_per_event"] == pytest.approx(1.0)
    assert told["share_of_core"] == pytest.approx(0.5)


def test_the_share_of_timed_events_is_told(clock: list[float]) -> None:
    costs, of = Costs(), plan()
    found = timed(costs, of, clock, [1e-4] * 1000)
    assert costs.tell(1.0)["timing"]["timed"] == pytest.approx(sum(found) / 1000)


def test_errors_are_counted_for_as_long_as_the_operation_is_there() -> None:
    costs, of = Costs(), plan()
    run(costs, of, 1)
    for _ in range(2):
        costs.count_errors({"mine": ErrorRecord(3, "text", 0), "cannot be run": ErrorRecord(1, "text", 0)})
    told = costs.tell(1.0)["operations"]
    assert (told["mine"]["errors"], told["cannot be run"]["errors"]) == (6, 2)
    run(costs, plan(), 1)
    assert costs.tell(1.0)["operations"]["mine"]["errors"] == 6
    run(costs, plan("results: {shots: count(x)}"), 1)
    assert set(costs.tell(1.0)["operations"]) == {"shots"}


def test_only_the_most_expensive_are_told_one_by_one_but_all_are_in_the_sum() -> None:
    many = "results:\n" + "".join(f"  r{n}: sum_events(x * {n + 2})\n" for n in range(TOLD))
    costs, of = Costs(), plan(many)
    run(costs, of, 5)
    told = costs.tell(1000.0)
    shares = [cost["share_of_core"] for cost in told["operations"].values()]
    assert len(shares) == TOLD
    assert told["timing"]["operations"] == 2 * TOLD
    assert sum(shares) < told["timing"]["share_of_core"]
    assert shares == sorted(shares, reverse=True)


def test_telling_takes_little_of_a_heartbeat() -> None:
    """Well below 100 µs for a usual graph. The shortest of many: a busy machine lengthens most of them."""
    costs, of = Costs(), plan()
    run(costs, of, 5)
    took = []
    for _ in range(200):
        began = time.perf_counter()
        costs.tell(1000.0)
        took.append(time.perf_counter() - began)
    assert min(took) < 100e-6


def test_a_function_that_waits_costs_time_but_no_core() -> None:
    text = """
functions:
  nap: |
    import time
    def nap(x):
        time.sleep(0.002)
        return x
results:
  shots: count(nap(x))
"""
    costs, of = Costs(), plan(text)
    run(costs, of, 3, count=5)
    cost = next(c for c in costs.tell(100.0)["operations"].values() if c["per_event"])
    assert cost["us_per_event"] >= 2000
    assert cost["share_of_core"] < 0.1  # of the 0.2 that it takes by the clock
