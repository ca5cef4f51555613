"""Measure how long it takes until a client sees an event, and an edit, at a rate that is no load.

The due time of an event is what its source goes by: event time, moved by the difference of the clocks. That
difference is seen in the ring's table, which has event time and wall time of each entry's beginning; the
smallest one is the source's own, to the fraction of a millisecond in which it wakes up.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Mapping, Sequence

import numpy as np

from ami.client import Client
from ami.errors import AmiError
from ami.lab import arena, graphs
from ami.lab.figures import Bench, Measured, percentile
from ami.lab.machine import Busy
from ami.ring.observer import RingObserver

INTERVAL_MS = 50.0  # the default
RATE_HZ = 1000
SOURCE = f"sim://scalars?rate={RATE_HZ}&interval={INTERVAL_MS:g}ms&policy=wait"
PATIENCE_S = 10.0
PARTS = 5

Arrival = tuple[int, int]  # wall time, and event time of the last event in the result; ns


def result_latency(bench: Bench) -> Mapping[str, Measured]:
    """Measure from when an event is due to when a result with it is in a subscribed client's hands."""
    lasting_s = bench.choose(20.0, 5.0)
    with arena.running(SOURCE, graphs.SHOTS, first="level") as place, place.ring() as ring:
        time.sleep(bench.choose(2.0, 1.0))
        bench.say(f"{RATE_HZ} events/s for {lasting_s:g} s")
        with Busy(place.pids()) as busy:
            arrivals = _arrivals(place.client, lasting_s)
        latencies = latencies_ms(arrivals, find_clock(ring), 10**9 // RATE_HZ)
    half, late, most = percentile(latencies, 0.5), percentile(latencies, 0.99), max(latencies)
    measured = Measured(
        samples=_late_in_parts(latencies),
        value=late,
        limit=INTERVAL_MS,
        limit_is="the interval: no result of it can be had before it is over",
        limited_by=f"the interval; what comes on top is {late - INTERVAL_MS:.1f} ms at p99",
        busy=busy.to_plain(),
        notes=(
            f"p50 {half:.1f} ms, largest {most:.1f} ms, {len(latencies)} events in {len(arrivals)} results",
            "due times from the ring's table of entries",
        ),
    )
    return {"result_latency_p99": measured}


def _late_in_parts(values: Sequence[float]) -> list[float]:
    """Return the 99th percentile of each fifth."""
    borders = [n * len(values) // PARTS for n in range(PARTS + 1)]
    return [percentile(values[a:b], 0.99) for a, b in itertools.pairwise(borders)]


def _arrivals(client: Client, lasting_s: float) -> list[Arrival]:
    updates = client.updates(["level"])
    updates.take(0)
    found: list[Arrival] = []
    end = time.monotonic() + lasting_s
    while time.monotonic() < end:
        taken = updates.take(PATIENCE_S)
        now_ns = time.time_ns()
        if "level" not in taken:
            raise AmiError(f"no result for {PATIENCE_S:g} s: {'; '.join(client.status().problems)}")
        found.append((now_ns, taken["level"].time_ns[1]))
    return found


def find_clock(ring: RingObserver, since_ns: int = 0) -> int:
    """Return wall time minus event time of an event that is due, in ns; of entries opened since a wall time.

    A source that could not keep its pace at the beginning has begun to count anew since. It opens an entry
    when its first event is due, or some time after, and closes it when its interval is over, if nothing but
    the next interval follows.
    """
    every = [ring.entry(index) for index in range(ring.oldest_entry, ring.cursor.entries_closed)]
    entries = [entry for entry in every if entry.opened_wall_ns >= since_ns]
    offsets = [e.opened_wall_ns - e.first_ns for e in entries if not e.transition and e.count]
    offsets += [
        entry.closed_wall_ns - (entry.interval + 1) * ring.interval_ns
        for entry, following in itertools.pairwise(entries)
        if not entry.transition and not following.transition and following.interval > entry.interval
    ]
    if not offsets:
        raise AmiError("nothing came into the ring")
    return min(offsets)


def latencies_ms(arrivals: Sequence[Arrival], clock_ns: int, period_ns: int) -> list[float]:
    """Return one latency for each event that became visible by one of the arrivals, but the first."""
    found: list[float] = []
    for (_, seen), (at_ns, last) in itertools.pairwise(arrivals):
        events = np.arange(last, seen, -period_ns)[::-1]
        found += ((at_ns - clock_ns - events) / 1e6).tolist()
    if not found:
        raise AmiError("too few results came to say anything")
    return found


def edit_latency(bench: Bench) -> Mapping[str, Measured]:
    """Measure from a client's request for an operation to its first result in the client's hands."""
    edits = bench.choose(100, 25)
    chance = random.Random(1)
    with arena.running(SOURCE, graphs.SHOTS, first="level") as place:
        bench.say(f"{edits} edits at {RATE_HZ} events/s")
        answered, seen = [], []
        with Busy(place.pids()) as busy:
            for number in range(edits):
                # At any moment of an interval alike.
                time.sleep(chance.random() * INTERVAL_MS / 1000)
                answer_ms, seen_ms = _edit_ms(place.client, f"mean_{number}", number)
                answered.append(answer_ms)
                seen.append(seen_ms)
                place.client.remove(f"mean_{number}")
    half, late = percentile(answered, 0.5), percentile(answered, 0.99)
    measured = Measured(
        samples=_late_in_parts(seen),
        value=percentile(seen, 0.99),
        limit=2 * INTERVAL_MS,
        limit_is="two intervals: the one that runs ends on the old graph, and one is reduced on the new",
        limited_by=f"intervals; the manager's answer takes {half:.1f} ms (p50)",
        busy=busy.to_plain(),
        notes=(
            f"p50 {percentile(seen, 0.5):.1f} ms, largest {max(seen):.1f} ms of {edits} edits",
            f"the answer alone: p50 {half:.1f} ms, p99 {late:.1f} ms",
        ),
    )
    return {"edit_latency_p99": measured}


def _edit_ms(client: Client, name: str, number: int) -> tuple[float, float]:
    """Return the time until the request is answered and until its result is there, in ms."""
    updates = client.updates([name])
    started = time.perf_counter()
    version = client.add(f"{name} = mean_events(monitor + {number}.5)")["version"]
    answered = time.perf_counter()
    while time.perf_counter() < started + PATIENCE_S:
        result = updates.take(PATIENCE_S).get(name)
        if result is not None and result.value is not None and result.graph_version >= version:
            return (answered - started) * 1e3, (time.perf_counter() - started) * 1e3
    raise AmiError(f"no result of an operation that was added {PATIENCE_S:g} s ago")
