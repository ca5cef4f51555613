"""Run a recording through a whole node and in one process, and compare every result.

What the sharing out of events over workers, intervals, reducers and stores could change must not
change: integers and counts are equal to the last bit, floats to the order in which they were merged
(1e-12 of the largest number of the result).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from ami import offline
from ami.client import Client, connect
from ami.cluster.node import Node
from ami.errors import AmiError
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import write
from ami.result import Result
from ami.sources import intervals, open_source

TOLERANCE = 1e-12
LOOK_S = 0.2
QUIET_S = 2.0  # in which nothing was published
CALL_S = 30.0  # for one call to a node that may just be starting

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
            "used": {"node": _used(self.node), "offline": _used(self.offline)},
        }


def _used(result: Result | None) -> int | None:
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
        with (
            Node(source=uri, workers=workers, settings=settings) as node,
            connect(node.config, name="verify", timeout_s=CALL_S) as client,
        ):
            together = _through(client, document, alone.events, timeout_s)
    finally:
        source.close()
    return [compare(name, together.get(name), alone.results.get(name)) for name in document.results]


def _through(client: Client, document: Document, events: int, timeout_s: float) -> dict[str, Result]:
    """Return the results of a node. Its source waits for the first graph, so no event passes before."""
    client.set(write(document))
    end = time.monotonic() + timeout_s
    while not _is_reduced(client, events):
        if time.monotonic() > end:
            raise AmiError(
                f"the node had not reduced all {events} events within {timeout_s:g} s: "
                f"{'; '.join(client.status().problems) or 'nothing seems wrong, it is slow'}"
            )
        time.sleep(LOOK_S)
    # The totals may be known before the last results are out.
    updates = client.updates()
    updates.take(0)
    while updates.take(QUIET_S) and time.monotonic() < end:
        pass
    return client.results()


def _is_reduced(client: Client, events: int) -> bool:
    """Return whether the node is through.

    Raises:
        AmiError: the source failed.
    """
    status = client.status()
    for process in status.processes:
        if process.type == "source" and process.state.startswith("failed"):
            raise AmiError(f"the node's source {process.state}")
    totals = status.identity
    return totals is not None and totals.published >= events and totals.under_way == 0


def compare(name: str, node: Result | None, alone: Result | None) -> Comparison:
    """Compare one result: its value, its error, and how many events are in it."""
    if node is None or alone is None:
        where = "the node" if node is None else "one process"
        return Comparison(name, node, alone, math.inf, f"{where} has no such result")
    finding = _Finding()
    if (node.error is None) != (alone.error is None):
        finding.differs("error", node.error, alone.error)
    for count in ("used", "expected", "dropped", "set_aside"):
        finding.look(f"events.{count}", getattr(node.events, count), getattr(alone.events, count))
    finding.look("value", node.value, alone.value)
    return Comparison(name, node, alone, finding.deviation, finding.text)


class _Finding:
    """The first difference of two values, and the largest deviation of their floats."""

    def __init__(self) -> None:
        self.deviation = 0.0
        self.text = ""

    def differs(self, where: str, a: object, b: object) -> None:
        self.text = self.text or f"{where}: {str(a)[:60]} on the node, {str(b)[:60]} in one process"

    def look(self, where: str, a: Any, b: Any) -> None:
        """Compare two values, part by part."""
        if isinstance(a, np.ndarray | np.generic) or isinstance(b, np.ndarray | np.generic):
            self._arrays(where, np.asarray(a), np.asarray(b))
        elif type(a) is not type(b):
            self.differs(where, type(a).__name__, type(b).__name__)
        elif isinstance(a, float):
            self._arrays(where, np.asarray(a), np.asarray(b))
        elif is_dataclass(a):
            for field in fields(a):
                self.look(f"{where}.{field.name}", getattr(a, field.name), getattr(b, field.name))
        elif isinstance(a, tuple | list):
            if len(a) != len(b):
                self.differs(f"{where}: length", len(a), len(b))
            for number, (one, other) in enumerate(zip(a, b, strict=False)):
                self.look(f"{where}[{number}]", one, other)
        elif a != b:
            self.differs(where, a, b)

    def _arrays(self, where: str, a: Any, b: Any) -> None:
        if a.dtype != b.dtype or a.shape != b.shape:
            self.differs(where, f"{a.dtype} {a.shape}", f"{b.dtype} {b.shape}")
        elif a.dtype.kind != "f":
            if not np.array_equal(a, b):
                self.differs(where, a, b)
        elif not np.array_equal(a, b, equal_nan=True):
            finite = np.isfinite(a) & np.isfinite(b)
            if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
                self.differs(where, a, b)
                return
            largest = max(float(np.abs(a[finite]).max()), float(np.abs(b[finite]).max()))
            deviation = float(np.abs(a[finite] - b[finite]).max()) / largest
            self.deviation = max(self.deviation, deviation)
            if deviation > TOLERANCE:
                self.differs(where, a, b)
