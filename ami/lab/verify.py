"""Run a recording through a whole node and in one process, and compare every result.

What the sharing out of events over workers, intervals, reducers and stores could change must not
change: integers and counts are equal to the last bit, floats to the order in which they were merged
(1e-12 of the largest number of the result). What is left of numbers that cancel is measured by them: the
error of a mean by the mean, a sum or difference of results by the largest of these. So constants are equal.
"""

from __future__ import annotations

import ast
import itertools
import math
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from ami import offline
from ami.client.load import Load
from ami.errors import AmiError
from ami.graph.graph import Graph
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import write
from ami.graph.library.expressions import Expression
from ami.graph.operation import definition_of
from ami.lab.arena import Arena, NotYet, running, running_dealt, running_many
from ami.offline import OfflineResults
from ami.result import Result
from ami.sources import intervals, open_source
from ami.values import PickedEvents, Scan

TOLERANCE = 1e-12
LOOK_S = 0.2
QUIET_S = 2.0  # in which nothing was published

EXPLAIN_S = 2.0
GRACE_S = 60.0  # of several nodes

Say = Callable[[str], object]
Progress = Callable[[int, int | None], object]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One result, of the node and of one process. ``difference`` is empty when they agree.

    ``deviation`` is the largest difference between floats, relative to the largest of them.
    """

    name: str
    node: Result | None
    offline: Result | None
    deviation: float
    difference: str

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it; values left out."""
        return {
            "name": self.name,
            "equal": not self.difference,
            "difference": self.difference,
            "deviation": self.deviation,
            "used": {"node": _count_used(self.node), "offline": _count_used(self.offline)},
        }


def _count_used(result: Result | None) -> int | None:
    return None if result is None else result.events.used


def verify(
    document: Document,
    uri: str,
    *,
    nodes: int = 1,
    deal: bool = False,
    workers: int = 2,
    timeout_s: float = 600.0,
    say: Say,
    progress: Progress = lambda _done, _total: None,
) -> list[Comparison]:
    """Return a comparison for each result of ``document`` over the recording ``uri``.

    Of several runs all events must come through, and the results are those of the last.

    Args:
        nodes: more than one are dealt a share each, and run beside each other.
        deal: a sender deals the events to them, block by block.
        workers: of each.
        say: is told what is done now.
        progress: is told how many events are done, and of how many, in each of the two passes.

    Raises:
        AmiError: one of the two runs could not be done, or took longer than ``timeout_s``.
    """
    source = open_source(uri)
    try:
        if source.length is None:
            raise AmiError(f"{uri}: a source without end cannot be verified; give stop= in its URI")
        say(f"in one process: {source.length} events")
        interval_ns = intervals.choose(source, offline.INTERVAL_S)
        graph = lower(document)
        # With all that results are made of, to know how large it was.
        parts = (name for name in graph.reduced if name not in graph.results)
        all_parts = replace(graph, results=(*graph.results, *parts))
        alone = offline.run(all_parts, source, interval_ns=interval_ns, progress=progress)
        runs = f"; of {alone.runs} runs the last is compared" if alone.runs > 1 else ""
        share = "blocks that are dealt to it" if deal else "a share of the events"
        whom = "a node" if nodes == 1 else f"{nodes} nodes, each with {share}, and"
        say(f"through {whom} with {workers} workers{runs}")
        with _running(uri, write(document), nodes, workers, deal=deal) as place:
            together = _Node(place, alone, document.definitions, progress).results(timeout_s)
    finally:
        source.close()
    return [
        compare(name, together.get(name), alone.results.get(name), find_scale(name, graph, alone.results))
        for name in document.results
    ]


def _running(uri: str, graph: str, nodes: int, workers: int, *, deal: bool) -> AbstractContextManager[Arena]:
    settings = {"AMI_SOURCE_POLICY": "wait", "AMI_SOURCE_INTERVAL_S": repr(offline.INTERVAL_S)}
    if deal:
        return running_dealt(uri, graph, nodes, name="verify", workers=workers, settings=settings)
    if nodes == 1:
        return running(uri, graph, name="verify", workers=workers, settings=settings)
    more = "&" if "?" in uri else "?"
    shares = [f"{uri}{more}every={nodes}&offset={number}" for number in range(nodes)]
    # One that begins later, or stands still on a busy machine, is waited for: what it brings belongs in.
    settings["AMI_REDUCER_GRACE_S"] = repr(GRACE_S)
    return running_many(shares, graph, name="verify", workers=workers, settings=settings)


def find_scale(name: str, graph: Graph, results: Mapping[str, Result]) -> float:
    """Return the largest number that was added or subtracted to make a result; 0: it was made otherwise."""
    operation = graph[name]
    if operation.kind != Expression.name or not set(operation.inputs) <= set(graph.reduced):
        return 0.0
    if not Expression(str(operation.arguments["text"])).has_only(ast.Add, ast.Sub, ast.UAdd, ast.USub):
        return 0.0
    inputs = [(one, results[one].value) for one in operation.inputs if one in results]
    return max(
        (
            find_scale(one, graph, results)
            or _find_largest(value.means if isinstance(value, Scan) else value)
            for one, value in inputs
        ),
        default=0.0,
    )


class _Node:
    """A node on its way through a recording: how far it is, and what keeps it."""

    def __init__(
        self, place: Arena, wanted: OfflineResults, names: Container[str], progress: Progress
    ) -> None:
        self._place = place
        self._names = names  # of definitions
        self._wanted = wanted
        self._progress = progress
        self._meter = place.client.meter()
        self._began = time.monotonic()
        self._explained_at, self._why = 0.0, ""

    def results(self, timeout_s: float) -> dict[str, Result]:
        """Return the results of the last run. The source waited for the graph: no event went by before.

        Raises:
            AmiError: the source failed, or the node was not through in time; says what kept it.
        """
        end = time.monotonic() + timeout_s
        what = f"all {self._wanted.events} events to be reduced"
        self._place.wait_for(what, self._is_through, timeout_s, look_s=LOOK_S)
        # The totals may be known before the last results are out.
        updates = self._place.client.updates()
        updates.take(0)
        while updates.take(QUIET_S) and time.monotonic() < end:
            pass
        return self._place.client.results()

    def _is_through(self) -> bool:
        status = self._place.client.status()
        for process in status.processes:
            if process.type == "source" and process.state.startswith("failed"):
                raise AmiError(f"the node's source {process.state}")
        # The totals are those of a run, the ring's those of its life.
        totals, wanted = status.identity, self._wanted
        done = self._place.count_done()
        self._progress(done, wanted.events)
        if totals is not None and done >= wanted.events:
            results = self._place.client.results().values()
            accounted = totals.reduced + totals.dropped + totals.set_aside
            if accounted >= wanted.last_run_events and all(r.run >= wanted.runs for r in results):
                return True
        if status.problems:
            raise NotYet("; ".join(status.problems))
        raise NotYet(self._explain(done))

    def _explain(self, done: int) -> str:
        """Return how far the node is, and who works hardest: looked at now and then, for whoever gives up."""
        now = time.monotonic()
        if now - self._explained_at > EXPLAIN_S:
            self._explained_at = now
            self._why = what_keeps(self._meter.look(), self._names)
        lasted_s, events = now - self._began, self._wanted.events
        return f"{done} of {events} events after {lasted_s:.0f} s, {done / lasted_s:.0f}/s{self._why}"


def what_keeps(load: Load, names: Container[str]) -> str:
    """Return which process is busiest, and which operations cost most, as far as that is known."""
    said = []
    busy = max(load.processes, key=lambda one: one.share or 0.0, default=None)
    if busy is not None and busy.share:
        said.append(f"{busy.type} {busy.number} is busiest, {100 * busy.share:.0f} % of a core")
    costs = sorted(load.operations, key=lambda one: -one.share)[:2]
    said += [
        f"{definition_of(one.name, names)} costs {one.us_per_event:.0f} µs an event"
        + (" (a function called event by event)" if one.per_event else "")
        for one in costs
        if one.share > 0.1
    ]
    said += list(load.status.warnings)
    return "".join(f"; {one}" for one in said)


def compare(name: str, node: Result | None, alone: Result | None, scale: float = 0.0) -> Comparison:
    """Compare one result: its value, its error, and how many events are in it.

    ``scale``: the largest number behind it, where that may have cancelled.
    """
    if node is None or alone is None:
        where = "the node" if node is None else "one process"
        return Comparison(name, node, alone, math.inf, f"{where} has no such result")
    deviations, differences = [0.0], []
    nothing = ("", None, 0.0)
    for (where, a, of), (place, b, _) in itertools.zip_longest(
        _parts(node), _parts(alone), fillvalue=nothing
    ):
        deviation, difference = (
            _differ(a, b, max(of, scale)) if where == place else (0.0, f"{place} in one process")
        )
        deviations.append(deviation)
        if difference:
            # The first one: after that, parts stand beside others.
            differences.append(f"{where}: {difference}")
            break
    return Comparison(name, node, alone, max(deviations), "".join(differences))


def _parts(result: Result) -> Iterator[tuple[str, Any, float]]:
    yield "error", "none" if result.error is None else "an error", 0.0
    for count in ("used", "expected", "dropped", "set_aside"):
        yield f"events.{count}", getattr(result.events, count), 0.0
    for ends in ("intervals", "time_ns"):
        yield ends, np.array(getattr(result, ends)), 0.0
    yield from _leaves("value", result.value)


def _leaves(where: str, value: Any, scale: float = 0.0) -> Iterator[tuple[str, Any, float]]:
    """Yield the numbers, texts and arrays that a value is made of, each with its place and a scale for it."""
    if isinstance(value, PickedEvents):
        # The numbers that events had in a ring: where there are several, each begins with 0.
        value = replace(value, sequences=np.zeros_like(value.sequences))
    if is_dataclass(value):
        yield where, type(value).__name__, 0.0
        for field in fields(value):
            of = _find_largest(value.means) if isinstance(value, Scan) and field.name == "errors" else 0.0
            yield from _leaves(f"{where}.{field.name}", getattr(value, field.name), of)
    elif isinstance(value, tuple | list):
        yield f"{where}: length", len(value), 0.0
        for number, part in enumerate(value):
            yield from _leaves(f"{where}[{number}]", part)
    else:
        yield where, value, scale


def _find_largest(value: Any) -> float:
    """Return the largest finite number of an array of floats, 0 where there is none."""
    array = np.ravel(value) if isinstance(value, np.ndarray | np.generic | float) else np.empty(0)
    finite = np.abs(array[np.isfinite(array)]) if array.dtype.kind == "f" else array[:0]
    return float(finite.max()) if finite.size else 0.0


def _differ(a: Any, b: Any, scale: float = 0.0) -> tuple[float, str]:
    """Return how far two leaves are apart, relative to the largest number, and in words if that matters."""
    x, y = np.asarray(a), np.asarray(b)
    said = f"{str(a)[:60]} on the node, {str(b)[:60]} in one process"
    if x.dtype != y.dtype or x.shape != y.shape:
        return 0.0, f"{said}: {x.dtype} {x.shape}, {y.dtype} {y.shape}"
    if x.dtype.kind != "f":
        return 0.0, "" if np.array_equal(x, y) else said
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return 0.0, said
    x, y = x[finite], y[finite]
    if np.array_equal(x, y):
        return 0.0, ""
    deviation = float(np.abs(x - y).max() / max(np.abs(x).max(), np.abs(y).max(), scale))
    return deviation, said if deviation > TOLERANCE else ""
