"""A source that is faster than the workers: what is dropped is counted, what waits is bounded."""

from __future__ import annotations

import os

import pytest

from ami.cluster import proc
from ami.ring.observer import RingObserver
from tests.system.conftest import Experiment, StartNode
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

RATE = 50_000
SLOTS = 4096
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
    assert experiment.client.get("slowly", wait_s=PATIENCE_S).value
    return experiment


def newest_interval(ring: RingObserver) -> int:
    """The one that the source fills now."""
    opened = ring.cursor.entries_opened
    entries = (ring.entry(index) for index in range(opened - 1, opened - 10, -1))
    return next(entry.interval for entry in entries if not entry.transition)


def keeps_up(ring: RingObserver) -> bool:
    """Whether a ringful of events goes through without one that is dropped."""
    before = ring.cursor
    wait_until(lambda: ring.cursor.published > before.published + SLOTS, what="a ringful of events")
    return ring.cursor.dropped == before.dropped


def memory_bytes(experiment: Experiment) -> int:
    """What all processes of the node occupy, each shared page once."""
    node = experiment.node
    pids = [node.supervisor_pid, *(program.pid for program in node.supervisor.programs() if program.pid)]
    total = sum(map(proc.proportional_bytes, pids))
    assert total > os.sysconf("SC_PAGE_SIZE")
    return total


def test_drop_counts_what_it_drops_and_keeps_results_coming(start_node: StartNode) -> None:
    stop = 7 * RATE
    experiment = overloaded(start_node, "drop", stop)
    with RingObserver(experiment.node.config.ring.name) as ring:
        wait_until(lambda: ring.cursor.dropped > RATE, what="drops")
        # What is in the ring is run first, and no more: so results of now come while events are dropped.
        now, dropped = newest_interval(ring), ring.cursor.dropped
        wait_until(lambda: experiment.client.get("events").interval >= now, what="results of now")
        assert ring.cursor.dropped > dropped

        experiment.client.set(QUICK)
        wait_until(lambda: keeps_up(ring), what="a source that drops no more")
        results = experiment.run_to_the_end()
        events, dropped = results["events"], ring.cursor.dropped
        assert events.events.dropped == dropped
        assert ring.cursor.published + dropped == ring.cursor.position == stop
        assert (events.events.expected, events.value) == (stop, stop - dropped)


def test_wait_drops_nothing_and_does_not_grow(start_node: StartNode) -> None:
    stop = 32_000
    experiment = overloaded(start_node, "wait", stop)
    ring = RingObserver(experiment.node.config.ring.name)
    wait_until(lambda: ring.cursor.published > SLOTS + 5000, what="a ring that was full once")
    first = memory_bytes(experiment)
    wait_until(lambda: ring.cursor.published > stop - SLOTS, what="more events")
    assert memory_bytes(experiment) - first < 16e6
    results = experiment.run_to_the_end()
    ring.close()
    for name in ("events", "slowly"):
        account = results[name].events
        assert results[name].value == account.expected == account.used == stop
        assert account.dropped == account.set_aside == 0
