"""Measure how long it takes until a client sees an event, and an edit, at a rate that is no load.

The due time of an event is what its source goes by: event time, moved by the difference of the clocks. That
difference is seen in the ring's table, which has event time and wall time of each entry's beginning; the
smallest one is the source's own, to the fraction of a millisecond in which it wakes up.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence

import numpy as np

from ami.client import Client
from ami.errors import AmiError
from ami.lab.bench import busy, graphs, private
from ami.lab.bench.figure import Measured, percentile
from ami.lab.bench.measure import Bench
from ami.lab.bench.rows import INTERVAL_MS
from ami.ring.observer import RingObserver

RATE_HZ = 1000
SOURCE = f"sim://scalars?rate={RATE_HZ}&interval={INTERVAL_MS:g}ms&policy=wait"
WARM_S = 2.0
ARRIVAL_S = 5.0
EDIT_S = 10.0
PARTS = 5

Arrival = tuple[int, int]  # wall time, and event time of the last event in the result; ns


def result_latency(bench: Bench) -> dict[str, Measured]:
    """Measure from when an event is due to when a result with it is in a subscribed client's hands."""
    lasting_s = bench.seconds(20.0, 5.0)
    with private.running(SOURCE) as (node, client):
        private.set_graph(node, client, graphs.SHOTS)
        private.wait_for("the first result", lambda: client.get("level", wait_s=20).value is not None)
        with RingObserver(node.config.ring.name) as ring:
            time.sleep(bench.seconds(WARM_S, 1.0))
            processes = busy.pids(node)
            before = busy.usage(processes)
            bench.say(f"{RATE_HZ} events/s for {lasting_s:g} s")
            arrivals = _arrivals(client, lasting_s)
            shares = busy.between(before, busy.usage(processes))
            clock_ns = _clock_ns(ring)
    return {"result_latency_p99": _latency(arrivals, clock_ns, shares)}


def _latency(arrivals: Sequence[Arrival], clock_ns: int, shares: busy.Busy) -> Measured:
    latencies = _latencies_ms(arrivals, clock_ns)
    parts = [latencies[n * len(latencies) // PARTS : (n + 1) * len(latencies) // PARTS] for n in range(PARTS)]
    half, late, most = percentile(latencies, 0.5), percentile(latencies, 0.99), max(latencies)
    return Measured(
        samples=[percentile(part, 0.99) for part in parts],
        value=late,
        limit=INTERVAL_MS,
        limit_is="the interval: no result of it can be had before it is over",
        limited_by=f"the interval; what comes on top is {late - INTERVAL_MS:.1f} ms at p99",
        busy=shares.to_plain(),
        notes=(
            f"p50 {half:.1f} ms, largest {most:.1f} ms, {len(latencies)} events in {len(arrivals)} results",
            "due times from the ring's table of entries",
        ),
    )


def _arrivals(client: Client, lasting_s: float) -> list[Arrival]:
    updates = client.updates(["level"])
    updates.take(0)
    found: list[Arrival] = []
    end = time.monotonic() + lasting_s
    while time.monotonic() < end:
        taken = updates.take(ARRIVAL_S)
        now_ns = time.time_ns()
        if "level" not in taken:
            raise AmiError(f"no result for {ARRIVAL_S:g} s: {'; '.join(client.status().problems)}")
        found.append((now_ns, taken["level"].time_ns[1]))
    return found


def _clock_ns(ring: RingObserver) -> int:
    """Return wall time minus event time of an event that is due, in ns."""
    entries = (ring.entry(index) for index in range(ring.oldest_entry, ring.cursor.entries_closed))
    return min(
        entry.opened_wall_ns - entry.first_ns for entry in entries if not entry.transition and entry.count
    )


def _latencies_ms(arrivals: Sequence[Arrival], clock_ns: int) -> list[float]:
    """Return one latency for each event that became visible by one of the arrivals, but the first."""
    period_ns = 10**9 // RATE_HZ
    found: list[float] = []
    for (_, seen), (at_ns, last) in itertools.pairwise(arrivals):
        events = np.arange(last, seen, -period_ns)[::-1]
        found += ((at_ns - clock_ns - events) / 1e6).tolist()
    if not found:
        raise AmiError("too few results came to say anything")
    return found


def edit_latency(bench: Bench) -> dict[str, Measured]:
    """Measure from a client's request for an operation to its first result in the client's hands."""
    edits = bench.times(100, 25)
    chance = random.Random(1)
    with private.running(SOURCE) as (node, client):
        private.set_graph(node, client, graphs.SHOTS)
        private.wait_for("the first result", lambda: client.get("level", wait_s=20).value is not None)
        processes = busy.pids(node)
        before = busy.usage(processes)
        bench.say(f"{edits} edits at {RATE_HZ} events/s")
        answered, seen = [], []
        for number in range(edits):
            # At any moment of an interval alike.
            time.sleep(chance.random() * INTERVAL_MS / 1000)
            answer_ms, seen_ms = _edit_ms(client, f"mean_{number}", number)
            answered.append(answer_ms)
            seen.append(seen_ms)
            client.remove(f"mean_{number}")
        shares = busy.between(before, busy.usage(processes))
    parts = [seen[n * edits // PARTS : (n + 1) * edits // PARTS] for n in range(PARTS)]
    answer = {share: percentile(answered, share) for share in (0.5, 0.99)}
    measured = Measured(
        samples=[percentile(part, 0.99) for part in parts],
        value=percentile(seen, 0.99),
        limit=2 * INTERVAL_MS,
        limit_is="two intervals: the one that runs ends on the old graph, and one is reduced on the new",
        limited_by=f"intervals; the manager's answer takes {answer[0.5]:.1f} ms (p50)",
        busy=shares.to_plain(),
        notes=(
            f"p50 {percentile(seen, 0.5):.1f} ms, largest {max(seen):.1f} ms of {edits} edits",
            f"the answer alone: p50 {answer[0.5]:.1f} ms, p99 {answer[0.99]:.1f} ms",
        ),
    )
    return {"edit_latency_p99": measured}


def _edit_ms(client: Client, name: str, number: int) -> tuple[float, float]:
    """Return the time until the request is answered and until its result is there, in ms."""
    updates = client.updates([name])
    started = time.perf_counter()
    version = client.add(f"{name} = mean_events(monitor + {number}.5)")["version"]
    answered = time.perf_counter()
    end = started + EDIT_S
    while time.perf_counter() < end:
        result = updates.take(EDIT_S).get(name)
        if result is not None and result.value is not None and result.graph_version >= version:
            return (answered - started) * 1e3, (time.perf_counter() - started) * 1e3
    raise AmiError(f"no result of an operation that was added {EDIT_S:g} s ago")
