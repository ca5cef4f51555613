"""Say in Prometheus' words how a cluster is: pure, one snapshot in, metric families out.

Names and units follow Prometheus' conventions: base units, ``_total`` for what only ascends. A process that
began anew counts from 0 again, as Prometheus expects of counters.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ami.client.load import Load
from ami.client.status import ClusterStatus, ProcessStatus
from ami.result import Result

PROCESS = ("host", "type", "number")
# What heartbeats count since their process began; everything else in them is a state.
COUNTED = frozenset(
    {"events", "blocks", "flushes", "batches", "published", "dropped", "set_aside", "results", "restarts"}
    | {"requests", "denied", "incomplete", "conflated", "exported", "failures"}
    | {"entries_opened", "entries", "lost", "refused", "late", "set_back"}
)
TOLD_APART = frozenset({"rate_hz", "lag_s", "lag_intervals"})  # with a family and a unit of their own
Labels = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen so far. Immutable: a scrape reads one while the next is made."""

    load: Load | None = None
    published_ns: Mapping[str, int] = field(default_factory=dict)
    publications: Mapping[str, int] = field(default_factory=dict)
    pids: Mapping[Labels, int] = field(default_factory=dict)
    restarts: Mapping[Labels, int] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)

    def with_results(self, results: Mapping[str, Result]) -> Seen:
        """Return this with the newest of some results."""
        return replace(self, results={**self.results, **results})

    def with_load(self, load: Load, published_ns: Mapping[str, int]) -> Seen:
        """Return this with a new look at the cluster; a process of another pid than before was restarted."""
        pids, restarts = dict(self.pids), dict(self.restarts)
        for process in load.status.processes:
            if process.pid is not None:
                key = _labels(process)
                restarts[key] = restarts.get(key, 0) + (pids.get(key, process.pid) != process.pid)
                pids[key] = process.pid
        return replace(self, load=load, published_ns=dict(published_ns), pids=pids, restarts=restarts)


def families(seen: Seen) -> Iterator[Metric]:
    """Yield what is to be told of a snapshot; nothing of the cluster before the first look at it."""
    now_s = time.time()
    if seen.load is not None:
        status = seen.load.status
        yield from _cluster(status)
        yield from _processes(status, now_s)
        yield from _counters(status.processes)
        yield from _costs(seen.load)
        yield _family(
            CounterMetricFamily,
            "ami_process_restarts",
            "Restarts seen by this exporter.",
            PROCESS,
            seen.restarts,
        )
    ages = {(name,): now_s - at_ns / 1e9 for name, at_ns in seen.published_ns.items()}
    yield _family(
        GaugeMetricFamily, "ami_result_age_seconds", "Time since it was published.", ("result",), ages
    )
    yield from _results(seen.results)


def _cluster(status: ClusterStatus) -> Iterator[Metric]:
    yield GaugeMetricFamily("ami_well", "1 when `ami status` has no problem to tell.", status.well)
    yield GaugeMetricFamily("ami_problems", "Problems that `ami status` tells.", len(status.problems))
    if status.graph_version is not None:
        yield GaugeMetricFamily("ami_graph_version", "Version of the graph that runs.", status.graph_version)
    if (events := status.identity) is not None:
        parts = {(name,): getattr(events, name) for name in ("published", "reduced", "dropped", "set_aside")}
        help_text = "Events of the current run: published = reduced + dropped + set aside + under way."
        yield _family(GaugeMetricFamily, "ami_run_events", help_text, ("state",), parts)
    if (ring := status.ring) is not None:
        yield GaugeMetricFamily("ami_ring_slots", "Slots of this host's ring.", ring.slot_count)
        yield GaugeMetricFamily("ami_ring_slots_held", "Slots with events not yet reduced.", ring.held)
        yield CounterMetricFamily("ami_ring_published", "Events taken into this host's ring.", ring.published)
        yield CounterMetricFamily("ami_ring_dropped", "Events that found no room in it.", ring.dropped)
    if (memory := status.memory) is not None:
        sizes = {(name,): getattr(memory, name) for name in ("ring", "local_store", "global_store", "free")}
        help_text = "Shared memory of this host: what its node has of it, and what is left."
        yield _family(GaugeMetricFamily, "ami_shared_memory_bytes", help_text, ("whose",), sizes)


def _processes(status: ClusterStatus, now_s: float) -> Iterator[Metric]:
    def gauge(name: str, text: str, values: Mapping[Labels, float | None]) -> Metric:
        return _family(GaugeMetricFamily, f"ami_process_{name}", text, PROCESS, values)

    there = {_labels(process): process for process in status.processes}
    # What is only starting is alive for status, and has no number yet by which a restart could be seen.
    up = {k: p.alive and p.pid is not None for k, p in there.items()}
    yield gauge("up", "1 while it beats and its loop comes round.", up)
    yield gauge(
        "start_time_seconds",
        "When it began, seconds since 1970.",
        {k: None if p.up_s is None else now_s - p.up_s for k, p in there.items()},
    )
    yield gauge("heartbeat_age_seconds", "Age of its last heartbeat.", {k: p.age_s for k, p in there.items()})
    yield gauge("events_per_second", "Its rate.", {k: p.rate_hz for k, p in there.items()})
    for name, told in (("lag_seconds", "lag_s"), ("lag_intervals", "lag_intervals")):
        lags = {k: (p.counters or {}).get(told) for k, p in there.items()}
        yield gauge(name, "How far it is behind.", lags)


def _counters(processes: Iterable[ProcessStatus]) -> Iterator[Metric]:
    """Yield a family for each number in the heartbeats, so that a daemon's new counter needs nothing here."""
    by_name: dict[str, dict[Labels, float]] = {}
    for process in processes:
        for name, value in (process.counters or {}).items():
            if name not in TOLD_APART:
                by_name.setdefault(name, {})[_labels(process)] = value
    for name, values in sorted(by_name.items()):
        kind = CounterMetricFamily if name in COUNTED else GaugeMetricFamily
        yield _family(kind, f"ami_process_{name}", f"{name!r} of heartbeats.", PROCESS, values)


def _costs(load: Load) -> Iterator[Metric]:
    there = {(p.host, p.type, str(p.number)): p for p in load.processes}
    yield _family(
        GaugeMetricFamily,
        "ami_process_resident_memory_bytes",
        "Memory without the ring, of processes of this host.",
        PROCESS,
        {key: p.resident_bytes for key, p in there.items()},
    )
    cores = {key: p.share for key, p in there.items()}
    yield _family(GaugeMetricFamily, "ami_process_cores", "What it takes of a core.", PROCESS, cores)
    errors = {(operation.name,): operation.errors for operation in load.operations}
    yield _family(GaugeMetricFamily, "ami_operation_errors", "Failed events.", ("operation",), errors)
    shares = {(operation.name,): operation.share for operation in load.operations}
    yield _family(GaugeMetricFamily, "ami_operation_cores", "On all workers.", ("operation",), shares)


def _results(results: Mapping[str, Result]) -> Iterator[Metric]:
    """Yield the results that were asked for, as far as they are one number."""
    numbers = {(name,): float(result.value) for name, result in results.items() if _is_number(result.value)}
    yield _family(GaugeMetricFamily, "ami_result_value", "Its newest value.", ("result",), numbers)
    for part in ("expected", "used", "dropped", "set_aside"):
        values = {(name,): getattr(result.events, part) for name, result in results.items()}
        yield _family(GaugeMetricFamily, f"ami_result_events_{part}", "Of its window.", ("result",), values)


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float | np.generic) or (
        isinstance(value, np.ndarray) and not value.ndim
    )


def _labels(process: ProcessStatus) -> Labels:
    return process.host, process.type, str(process.number)


def _family(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Mapping[Any, float | None],  # by tuples of labels; a mapping does not vary in its keys
) -> Metric:
    family = kind(name, text, labels=labels)
    for key, value in values.items():
        if value is not None:
            family.add_metric(list(key), float(value))
    return family
