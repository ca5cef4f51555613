"""Run a recording through a whole node and in one process, and compare every result.

What the sharing out of events over workers, intervals, reducers and stores could change must not
change: integers and counts are equal to the last bit, floats to the order in which they were merged
(1e-12 of the largest number of the result).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from ami import offline
from ami.errors import AmiError
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import write
from ami.lab.arena import Arena, NotYet, running
from ami.result import Result
from ami.sources import intervals, open_source

TOLERANCE = 1e-12
LOOK_S = 0.2
QUIET_S = 2.0  # in which nothing was published

Say = Callable[[str], object]


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
    document: Document, uri: str, *, workers: int = 2, timeout_s: float = 600.0, say: Say
) -> list[Comparison]:
    """Return a comparison for each result of ``document`` over the recording ``uri``.

    Raises:
        AmiError: one of the two runs could not be done, or took longer than ``timeout_s``.
    """
    source = open_source(uri)
    try:
        if source.length is None:
            raise AmiError(f"{uri}: a source without end cannot be verified; give stop= in its URI")
        say(f"in one process: {source.length} events")
        interval_ns = intervals.choose(source, offline.INTERVAL_S)
        alone = offline.run(lower(document), source, interval_ns=interval_ns)
        say(f"through a node with {workers} workers")
        settings = {"AMI_SOURCE_POLICY": "wait", "AMI_SOURCE_INTERVAL_S": repr(offline.INTERVAL_S)}
        with running(uri, write(document), name="verify", workers=workers, settings=settings) as place:
            together = _through(place, alone.events, timeout_s)
    finally:
        source.close()
    return [compare(name, together.get(name), alone.results.get(name)) for name in document.results]


def _through(place: Arena, events: int, timeout_s: float) -> dict[str, Result]:
    """Return the results of a node whose source waited for the graph, so that no event went by before."""
    end = time.monotonic() + timeout_s
    place.wait_for(
        f"all {events} events to be reduced", lambda: _is_reduced(place, events), timeout_s, look_s=LOOK_S
    )
    # The totals may be known before the last results are out.
    updates = place.client.updates()
    updates.take(0)
    while updates.take(QUIET_S) and time.monotonic() < end:
        pass
    return place.client.results()


def _is_reduced(place: Arena, events: int) -> bool:
    """Return whether the node is through.

    Raises:
        AmiError: the source failed.
    """
    status = place.client.status()
    if failed := [p.state for p in status.processes if p.type == "source" and p.state.startswith("failed")]:
        raise AmiError(f"the node's source {failed[0]}")
    totals = status.identity
    if totals is None or totals.published < events or totals.under_way:
        raise NotYet("; ".join(status.problems) or f"nothing seems wrong, it is slow: {totals}")
    return True


def compare(name: str, node: Result | None, alone: Result | None) -> Comparison:
    """Compare one result: its value, its error, and how many events are in it."""
    if node is None or alone is None:
        where = "the node" if node is None else "one process"
        return Comparison(name, node, alone, math.inf, f"{where} has no such result")
    deviations, differences = [0.0], []
    for (where, a), (place, b) in itertools.zip_longest(_parts(node), _parts(alone), fillvalue=("", None)):
        deviation, difference = _differ(a, b) if where == place else (0.0, f"{place} in one process")
        deviations.append(deviation)
        if difference:
            # The first one: after that, parts stand beside others.
            differences.append(f"{where}: {difference}")
            break
    return Comparison(name, node, alone, max(deviations), "".join(differences))


def _parts(result: Result) -> Iterator[tuple[str, Any]]:
    yield "error", "none" if result.error is None else "an error"
    for count in ("used", "expected", "dropped", "set_aside"):
        yield f"events.{count}", getattr(result.events, count)
    yield from _leaves("value", result.value)


def _leaves(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the numbers, texts and arrays that a value is made of, each with its place."""
    if is_dataclass(value):
        yield where, type(value).__name__
        for field in fields(value):
            yield from _leaves(f"{where}.{field.name}", getattr(value, field.name))
    elif isinstance(value, tuple | list):
        yield f"{where}: length", len(value)
        for number, part in enumerate(value):
            yield from _leaves(f"{where}[{number}]", part)
    else:
        yield where, value


def _differ(a: Any, b: Any) -> tuple[float, str]:
    """Return how far two leaves are apart, relative to the largest number, and in words if that matters."""
    x, y = np.asarray(a), np.asarray(b)
    said = f"{str(a)[:60]} on the node, {str(b)[:60]} in one process"
    if x.dtype != y.dtype or x.shape != y.shape:
        return 0.0, f"{said}: {x.dtype} {x.shape}, {y.dtype} {y.shape}"
    finite = np.isfinite(x) & np.isfinite(y) if x.dtype.kind == "f" else np.zeros(x.shape, np.bool_)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=x.dtype.kind == "f"):
        return 0.0, said
    x, y = x[finite], y[finite]
    if np.array_equal(x, y):
        return 0.0, ""
    deviation = float(np.abs(x - y).max() / max(np.abs(x).max(), np.abs(y).max()))
    return deviation, said if deviation > TOLERANCE else ""
