"""A source that is faster than the workers: what is dropped is counted, what waits is bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ami.ring.observer import RingObserver
from tests.system.conftest import Experiment, StartNode
from tests.waiting import wait_until

pytestmark = pytest.mark.system

RATE = 50_000
INTERVAL_S = 0.05
SLOTS = 16_384
# Sleeping takes the time that computing would, but leaves the machine to others.
SLOW = """
functions:
  slow: |
    def slow(monitor):
        import time
        time.sleep(0.0002)
        return monitor
results:
  events: count(monitor)
  slowly: count(slow(monitor))
"""
QUICK = "results: {events: count(monitor)}"


def overloaded(start_node: StartNode, policy: str, events: int) -> Experiment:
    uri = f"sim://pump-probe?rate={RATE}&stop={events}&policy={policy}&camera=16x16&samples=16&noise=0"
    experiment = start_node(uri, SLOW, AMI_RING_MAX_SLOTS=str(SLOTS))
    assert experiment.client.get("slowly", wait_s=20).value
    return experiment


def lag_intervals(experiment: Experiment, ring: RingObserver) -> int:
    """How many intervals the newest result is behind the one that the source fills now."""
    opened = ring.cursor.entries_opened
    entries = (ring.entry(index) for index in range(opened - 1, opened - 10, -1))
    newest = next(entry.interval for entry in entries if not entry.transition)
    return newest - experiment.client.get("events").interval


def memory_bytes(experiment: Experiment) -> int:
    """What all processes of the node occupy, each shared page once."""
    node, total = experiment.node, 0
    pids = [node.supervisor_pid, *(int(info["pid"]) for info in node.supervisor.getAllProcessInfo())]
    for pid in filter(None, pids):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    assert total > os.sysconf("SC_PAGE_SIZE")
    return total


def test_drop_counts_what_it_drops_and_bounds_the_age(start_node: StartNode) -> None:
    stop = 6 * RATE + RATE // 2
    experiment = overloaded(start_node, "drop", stop)
    with RingObserver(experiment.node.config.ring.name) as ring:
        wait_until(lambda: ring.cursor.dropped > RATE, within_s=30, what="drops")
        began, before = time.monotonic(), ring.cursor
        lags = []
        while time.monotonic() - began < 2:
            lags.append(lag_intervals(experiment, ring))
            time.sleep(0.1)
        taken_hz = (ring.cursor.published - before.published) / (time.monotonic() - began)
        # What is in the ring must be run first, and an entry may be waited for as long as the grace time.
        longest_s = SLOTS / taken_hz + experiment.node.config.reducer.grace_s
        assert max(lags) * INTERVAL_S < 2 * longest_s

        experiment.client.set(QUICK)
        wait_until(lambda: lag_intervals(experiment, ring) < 10, within_s=10, what="results of now")
        dropped = ring.cursor.dropped
        results = experiment.run_to_the_end()
        events = results["events"]
        assert ring.cursor.dropped == dropped == events.events.dropped > 0, "it went on dropping"
        assert ring.cursor.published + dropped == ring.cursor.position == stop
        assert (events.events.expected, events.value) == (stop, stop - dropped)


def test_wait_drops_nothing_and_does_not_grow(start_node: StartNode) -> None:
    stop = 44_000
    experiment = overloaded(start_node, "wait", stop)
    ring = RingObserver(experiment.node.config.ring.name)
    wait_until(lambda: ring.cursor.published > SLOTS + 5000, within_s=30, what="a ring that was full once")
    first, published = memory_bytes(experiment), ring.cursor.published
    wait_until(lambda: ring.cursor.published > published + 20_000, within_s=30, what="more events")
    assert memory_bytes(experiment) - first < 16e6
    results = experiment.run_to_the_end()
    ring.close()
    for name in ("events", "slowly"):
        account = results[name].events
        assert results[name].value == account.expected == account.used == stop
        assert account.dropped == account.set_aside == 0
