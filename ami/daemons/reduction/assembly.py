"""Turn the nodes' batches into results, interval by interval; knows no store.

A batch is merged as soon as it comes: merging is commutative, so neither nodes nor supplements need an
order within a run. What is published says which nodes are in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ami.event import Transition
from ami.graph.execution.partial import Partial
from ami.graph.execution.results import Computed
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.result import Events, Result

logger = logging.getLogger(__name__)

FORMAT = 1  # of the checkpoint


@dataclass(slots=True)
class Totals:
    """The account of a run: ``expected`` = ``reduced`` + ``dropped`` + ``set_aside`` + what is under way."""

    expected: int = 0
    reduced: int = 0
    dropped: int = 0
    set_aside: int = 0


@dataclass(slots=True)
class Reach:
    """From when to when (ns), and through whose hands, the events of a window came."""

    first_ns: int | None = None
    last_ns: int | None = None
    nodes: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)
    parts_to_come: int = 0

    def add(self, node: str, batch: Mapping[str, Any]) -> None:
        """Count a batch in."""
        first, last = batch["first_ns"], batch["last_ns"]
        if first is not None:
            self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)
        self.nodes.add(node)
        self.workers.update(batch["workers"])
        self.parts_to_come += (not batch["complete"]) - batch["supplement"]


class Assembly:
    """The state of a global reducer.

    Args:
        graph: returns a version of the graph.
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
    """

    def __init__(self, graph: Callable[[int], Graph], here: str = "here") -> None:
        self._graph = graph
        self._here = here
        self._accumulator = Accumulator(Graph(), here)
        self._interval_ns = 0
        self._run_reach = Reach()
        self._interval_reach = Reach()
        self._place = (0, 0)  # run and interval of `_interval_reach`
        self._published: set[str] = set()
        self._names_changed = True
        self.applied: dict[str, int] = {}  # by node, the number of its last batch in here
        self.totals = Totals()
        self.run = 0
        self.intervals = 0

    def apply(self, node: str, number: int, batch: Mapping[str, Any]) -> None:
        """Merge a batch.

        Raises:
            StoreUnavailable: its graph version cannot be read now; nothing was merged.
        """
        graph = self._accumulator.graph
        if batch["graph_version"] > graph.version:
            graph = self._graph(int(batch["graph_version"]))
        self._set_graph(graph)
        self._interval_ns = int(batch["interval_ns"])
        self._follow_run(batch)
        if not batch["transition"]:
            self._merge(node, batch)
        self.applied[node] = number

    def set_units(self, units: dict[str, str]) -> None:
        """Take up the units of the source's fields."""
        self._accumulator.set_units(units)

    def _set_graph(self, graph: Graph) -> None:
        if graph is not self._accumulator.graph:
            self._accumulator.set_graph(graph)
            self._names_changed = True

    def _follow_run(self, batch: Mapping[str, Any]) -> None:
        if batch["run"] > self.run:
            self.run = int(batch["run"])
            self.totals, self._run_reach = Totals(), Reach()
            self._accumulator.begin_run(self.run)
            logger.info("run %d", self.run)
        if batch["transition"] == Transition.END_RUN:
            logger.info("run %d ends: %s", self.run, self.totals)

    def _merge(self, node: str, batch: Mapping[str, Any]) -> None:
        plain = batch["partial"]
        partial = Partial(int(batch["graph_version"])) if plain is None else Partial.from_plain(plain)
        place = (int(batch["run"]), int(batch["interval"]))
        if place > self._place:
            self._place, self._interval_reach = place, Reach()
            self.intervals += 1
        if place == self._place:
            self._interval_reach.add(node, batch)
        if batch["run"] == self.run:
            self._run_reach.add(node, batch)
            self.totals.expected += batch["expected"]
            self.totals.reduced += partial.seen
            self.totals.dropped += batch["dropped"]
            self.totals.set_aside += partial.set_aside
        self._accumulator.apply(
            partial,
            interval=place[1],
            run=place[0],
            expected=int(batch["expected"]),
            dropped=int(batch["dropped"]),
        )

    def results(self, nodes: Iterable[str]) -> list[Result]:
        """Return what the graph's results are now; ``nodes`` are those that should be in them."""
        if self._place[0] == 0:
            return []
        now_ns = time.time_ns()
        known = set(nodes)
        computed = self._accumulator.results(self._place)
        return [self._result(name, known, now_ns, found) for name, found in computed.items()]

    def _result(self, name: str, nodes: set[str], now_ns: int, computed: Computed) -> Result:
        reach = self._run_reach if computed.window == "run" else self._interval_reach
        missing = nodes - reach.nodes
        graph = self._accumulator.graph
        return Result(
            name=name,
            value=computed.value,
            error=computed.error,
            window=computed.window,
            label=computed.label,
            run=self._place[0],
            interval=self._place[1],
            interval_ns=self._interval_ns,
            time_ns=self._span(reach, computed),
            events=Events(
                expected=computed.expected,
                used=computed.used,
                dropped=computed.dropped,
                set_aside=computed.set_aside,
            ),
            nodes=tuple(sorted(reach.nodes)),
            missing_nodes=tuple(sorted(missing)),
            workers=tuple(sorted(reach.workers)),
            graph_version=graph.version,
            graph_hash=graph.hash,
            complete=not missing and reach.parts_to_come <= 0,
            published_ns=now_ns,
        )

    def _span(self, reach: Reach, computed: Computed) -> tuple[int, int]:
        """Return from when to when (ns) the events of a result came.

        The reach is that of the whole run, or of the last interval. A result that appeared in the middle of
        the run begins later, one of several intervals earlier, and one of N events may end earlier; of
        those other ends only the interval is known, so there it is the interval's end that is told.
        """
        first, last = reach.first_ns or 0, reach.last_ns or 0
        if computed.first is None or computed.last is None:
            return first, last
        begin_ns = computed.first[1] * self._interval_ns
        if computed.window == "run":
            first = max(first, begin_ns)
        elif computed.first < self._place:
            first = begin_ns
        if computed.last < self._place and computed.window != "run":
            last = (computed.last[1] + 1) * self._interval_ns - 1
        return first, last

    def changed_names(self) -> tuple[set[str], dict[str, Any]] | None:
        """Return names that are results no longer, and a catalogue of those that are; None: no change."""
        if not self._names_changed:
            return None
        graph = self._accumulator.graph
        gone = self._published - set(graph.results)
        self._published = set(graph.results)
        self._names_changed = False
        catalogue = {
            name: {
                "operation": graph[name].kind,
                "owners": graph[name].owners,
                "since_version": graph.version,
            }
            for name in graph.results
        }
        return gone, catalogue

    # the checkpoint

    def to_plain(self) -> dict[str, Any]:
        """Return the whole state; nothing is copied, so encode it before the next batch."""
        return {
            "format": FORMAT,
            "applied": self.applied,
            "accumulator": self._accumulator.to_plain(),
            "interval_ns": self._interval_ns,
            "run_reach": asdict(self._run_reach),
            "interval_reach": asdict(self._interval_reach),
            "place": self._place,
            "published": self._published,
            "totals": asdict(self.totals),
            "run": self.run,
            "intervals": self.intervals,
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Take up what :meth:`to_plain` described."""
        self._accumulator = Accumulator.from_plain(plain["accumulator"], self._here)
        self.applied = {str(node): int(number) for node, number in plain["applied"].items()}
        self._interval_ns = int(plain["interval_ns"])
        self._run_reach = Reach(**plain["run_reach"])
        self._interval_reach = Reach(**plain["interval_reach"])
        run, interval = plain["place"]
        self._place = (int(run), int(interval))
        self._published = set(plain["published"])
        self.totals = Totals(**plain["totals"])
        self.run, self.intervals = int(plain["run"]), int(plain["intervals"])
