"""What the benchmark holds against ami: limits by hand, counts of the input, latencies of single events."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from ami import offline
from ami.errors import AmiError
from ami.graph.language.text import graph_of
from ami.lab import bare, graphs
from ami.lab.end_to_end import wrong_counts
from ami.lab.graphs import POOL_EVENTS, SCALARS, first_events
from ami.lab.latency import RATE_HZ, latencies_ms
from ami.lab.ring import ring_rate
from ami.lab.throughput import Workload
from ami.ring import find_leaked
from ami.sources import open_source

EVENTS = POOL_EVENTS + 1000


@pytest.fixture(scope="module")
def offline_results() -> offline.OfflineResults:
    source = open_source(f"{SCALARS}?rate=max&stop={EVENTS}&interval=1ms")
    try:
        return offline.run(graph_of(graphs.SCALAR), source)
    finally:
        source.close()


def test_the_graph_by_hand_uses_the_same_events_as_the_graph(offline_results: offline.OfflineResults) -> None:
    hand = bare.ScalarGraph()
    hand.add(first_events(SCALARS, EVENTS))
    found = offline_results.results
    assert hand.used_on == found["mean_on"].events.used
    assert hand.used_off == found["off_moments"].events.used
    assert hand.sum_on / hand.used_on == pytest.approx(float(found["mean_on"].value), rel=1e-12)


def test_right_results_pass_the_count_of_the_input(offline_results: offline.OfflineResults) -> None:
    pool = first_events(SCALARS, POOL_EVENTS)
    assert wrong_counts(pool, EVENTS, offline_results.results) == []


def test_one_event_too_few_or_a_wrong_mean_fails_the_count(offline_results: offline.OfflineResults) -> None:
    pool = first_events(SCALARS, POOL_EVENTS)
    right = offline_results.results
    scan = right["on_vs_delay"]
    fewer = {**right, "on_vs_delay": replace(scan, events=replace(scan.events, used=scan.events.used - 1))}
    assert any("on_vs_delay" in failure for failure in wrong_counts(pool, EVENTS, fewer))
    shifted = {
        **right,
        "mean_on": replace(right["mean_on"], value=float(right["mean_on"].value) * (1 + 1e-6)),
    }
    assert any("mean_on" in failure for failure in wrong_counts(pool, EVENTS, shifted))
    missing = {name: result for name, result in right.items() if name != "signals"}
    assert any("signals" in failure for failure in wrong_counts(pool, EVENTS, missing))


def test_every_graph_of_the_benchmark_can_be_run() -> None:
    for text in (graphs.SCALAR, graphs.SHOTS, graphs.HEAVY):
        source = open_source(f"{SCALARS}?rate=max&stop=1000&interval=1ms")
        try:
            found = offline.run(graph_of(text), source)
        finally:
            source.close()
        assert all(result.error is None and result.value is not None for result in found.results.values())


def test_the_source_of_a_load_can_be_opened_and_does_not_end() -> None:
    source = open_source(Workload(SCALARS, graphs.SHOTS, "level", 1e7).source)
    try:
        assert source.length is not None
        assert source.length > 10**11
        assert not source.pace.paced
        assert source.interval_s == 0.05
    finally:
        source.close()


def test_the_latency_of_an_event_goes_from_its_due_time_to_the_first_result_with_it() -> None:
    clock_ns, start = 5_000_000_000, 1_000_000_000
    period = 10**9 // RATE_HZ
    # The first result has event 0 only; the second, 12 ms after event 9 was due, has events 1 to 9.
    first = (clock_ns + start, start)
    second = (clock_ns + start + 9 * period + 12_000_000, start + 9 * period)
    assert latencies_ms([first, second], clock_ns, 10**9 // RATE_HZ) == pytest.approx(
        [20.0 - n for n in range(9)]
    )
    with pytest.raises(AmiError, match="too few"):
        latencies_ms([first], clock_ns, 10**9 // RATE_HZ)


def test_two_bare_processes_hand_over_what_was_copied() -> None:
    pool = np.arange(64.0).reshape(16, 4)
    seen: list[float] = []
    speed = bare.copy_between_processes(pool, 8, lambda events: seen.append(events.sum()), 0.05)
    assert speed > 0
    halves = [pool[:8].sum(), pool[8:].sum()]
    assert seen[:256] == halves * 128


def test_a_ring_that_was_measured_is_gone() -> None:
    speed, busy = ring_rate(64, 0.1)
    assert speed > 0
    assert set(busy.shares) == {"writer", "reader"}
    name = f"/ami-bench-{os.getpid()}"  # not that of another run of the tests
    assert name not in find_leaked(name)
