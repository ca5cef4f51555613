"""Measure what a node's memory does under load over a long time."""

from __future__ import annotations

import statistics
import time

from ami.cluster.node import Node
from ami.lab.bench import busy, graphs, private
from ami.lab.bench.end_to_end import POOL_EVENTS, SCALARS, events_of, wrong_counts
from ami.lab.bench.figure import Measured
from ami.lab.bench.measure import Bench
from ami.lab.bench.throughput import Load, settled
from ami.ring.observer import RingObserver

RATE_HZ = 3e6
WORKERS = 2
WARM_S = 10.0
LASTING_S = 600.0
QUICK_S = 30.0
LOOKS = 20
GROWTH = 1.1  # of the last quarter's memory against the first one's
MEGA = 1e6


def loaded_memory(bench: Bench) -> dict[str, Measured]:
    """Measure the memory of all processes while 3,000,000 events/s go through, each of them accounted for."""
    events = events_of(SCALARS, POOL_EVENTS)
    load = Load(
        SCALARS,
        graphs.SCALAR,
        "mean_on",
        RATE_HZ,
        workers=WORKERS,
        paced=True,
        check=lambda n, found: wrong_counts(events, n, found),
    )
    lasting_s = bench.seconds(LASTING_S, QUICK_S)
    bench.say(f"a node with {WORKERS} workers for {lasting_s:g} s")
    with private.running(load.source, workers=WORKERS) as (node, client):
        private.set_graph(node, client, load.graph)
        private.wait_for("the first result", lambda: load.watch in client.results())
        with RingObserver(node.config.ring.name) as ring:
            processes = busy.pids(node)
            time.sleep(WARM_S)
            before, published, started = busy.usage(processes), ring.cursor.published, time.monotonic()
            sizes = []
            for _ in range(LOOKS):
                time.sleep(lasting_s / LOOKS)
                sizes.append(_memory(node))
            shares = busy.between(before, busy.usage(processes))
            rate = (ring.cursor.published - published) / (time.monotonic() - started)
            restarted = [name for name, pid in busy.pids(node).items() if processes.get(name) != pid]
            private.stop_source(node)
            failures = settled(client, load, ring.cursor)
    first, last = (statistics.median(part) for part in (sizes[: LOOKS // 4], sizes[-LOOKS // 4 :]))
    if last > GROWTH * first:
        failures.append(f"it grew: {first:.0f} MB in the first quarter, {last:.0f} MB in the last")
    if restarted:
        failures.append(f"died meanwhile: {', '.join(restarted)}")
    return {
        "loaded_memory": Measured(
            samples=sizes,
            value=max(sizes),
            limited_by=f"{first:.0f} MB in the first quarter of the time, {last:.0f} MB in the last",
            busy=shares.to_plain(),
            failures=tuple(failures),
            notes=(f"{rate / 1e6:.2f} M events/s for {lasting_s:g} s, {WORKERS} workers",),
        )
    }


def _memory(node: Node) -> float:
    return sum(busy.memory_bytes(pid) for pid in busy.pids(node).values()) / MEGA
