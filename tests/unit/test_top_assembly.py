"""From when to when the events of a result came."""

from __future__ import annotations

import numpy as np
import pytest

from ami.daemons.reduction.assembly import Assembly
from ami.event import Field, Schema, Slots
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.messages.batch import Batch
from ami.messages.flush import Covers, EntryFacts
from ami.result import Result
from ami.stores.membership import Members

INTERVAL_NS = 1000
SCHEMA = Schema.of([Field("x", np.dtype(np.float64))])
OLD = graph_of("results: {total: count(x)}").at_version(1)
NEW = graph_of(
    """
results:
  total: count(x)
  late: sum_events(x)
  now: count(x, window=interval)
  three: count(x, window="last 3")
  timed: count(x, window="0.0021 ms")
  picked: pick(x, count=8)
"""
).at_version(2)
GRAPHS = {graph.version: graph for graph in (OLD, NEW)}
EVENTS = 5


def batch(graph: Graph, interval: int, run: int = 1) -> Batch:
    """Five events of an interval, 100 ns apart, the first one 200 ns after its begin."""
    slots = Slots.allocate(SCHEMA, EVENTS)
    slots.set_valid(SCHEMA.names)
    slots.timestamps[:] = interval * INTERVAL_NS + 200 + 100 * np.arange(EVENTS)
    plan = WorkerPlan(graph, SCHEMA)
    partial = plan.partial()
    plan.run(slots, interval * EVENTS, partial)
    entry = EntryFacts(
        ring=7, index=interval, interval=interval, run=run, step=0, step_value=0.0,
        graph_version=graph.version,
    )  # fmt: skip
    first_ns, last_ns = int(slots.timestamps[0]), int(slots.timestamps[-1])
    return Batch(
        node="n", entry=entry, interval_ns=INTERVAL_NS, transition=0,
        covers=Covers(events=EVENTS, first_ns=first_ns, last_ns=last_ns), expected=EVENTS, dropped=0,
        complete=True, supplement=False, workers=(f"n:worker:{interval % 2}",), partial=partial,
    )  # fmt: skip


@pytest.fixture
def results() -> dict[str, Result]:
    """After intervals 10 to 12 under the old graph and 13 to 15 under the new one, in one run."""
    assembly = Assembly(GRAPHS.__getitem__)
    for number, interval in enumerate(range(10, 16), start=1):
        assembly.apply("n", number, batch(OLD if interval < 13 else NEW, interval))
    return {result.name: result for result in assembly.results(Members(here=frozenset({"n"})))}


def test_a_result_that_was_there_from_the_begin_of_the_run_reaches_over_all_of_it(
    results: dict[str, Result],
) -> None:
    assert results["total"].value == 6 * EVENTS
    assert results["total"].time_ns == (10_200, 15_600)


def test_a_result_that_appeared_in_the_middle_of_a_run_begins_with_its_own_first_interval(
    results: dict[str, Result],
) -> None:
    assert results["late"].events.used == 3 * EVENTS
    assert results["late"].time_ns == (13_200, 15_600)
    assert results["late"].intervals == (13, 15)


def test_a_result_of_the_interval_has_the_times_of_its_events(results: dict[str, Result]) -> None:
    assert results["now"].time_ns == (15_200, 15_600)


def test_a_result_of_the_last_intervals_begins_with_the_oldest_of_them(results: dict[str, Result]) -> None:
    assert results["three"].value == 3 * EVENTS
    assert results["three"].time_ns == (13_200, 15_600)
    assert (results["three"].intervals, results["now"].intervals) == ((13, 15), (15, 15))


def test_a_batch_of_events_has_the_times_of_those_that_were_picked(results: dict[str, Result]) -> None:
    assert results["picked"].events.used == 8
    times = results["picked"].value.timestamps
    assert results["picked"].time_ns == (13_200, 14_400) == (times.min(), times.max())
    assert results["picked"].intervals == (13, 14)


def test_a_window_of_time_says_which_intervals_are_in_it(results: dict[str, Result]) -> None:
    """Of 2.1 intervals: rounded up to whole ones, of which each is there as a whole."""
    assert results["timed"].value == 3 * EVENTS
    assert results["timed"].time_ns == (13_200, 15_600)
    assert (results["timed"].window, results["timed"].intervals) == ("0.0021 ms", (13, 15))


def test_each_window_says_who_had_its_events(results: dict[str, Result]) -> None:
    both = ("n:worker:0", "n:worker:1")
    assert [results[name].workers for name in ("total", "three", "timed", "now")] == [both] * 3 + [both[1:]]


def test_a_result_of_which_there_is_nothing_yet_says_its_window() -> None:
    graph = graph_of("results: {few: 'count(x, window=\"99 events\")'}").at_version(1)
    assembly = Assembly({1: graph}.__getitem__)
    assembly.apply("n", 1, batch(graph, 10))
    (found,) = assembly.results(Members(here=frozenset({"n"})))
    assert (found.value, found.window, found.workers, found.complete) == (
        None,
        "99 events",
        ("n:worker:0",),
        True,
    )
