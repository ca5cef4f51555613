"""Turn the nodes' batches into results, interval by interval; knows no store.

A batch is merged as soon as it comes: merging is commutative, so neither nodes nor supplements need an
order within a run. What is published says which nodes are in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from ami.event import Transition
from ami.graph.execution.partial import Partial
from ami.graph.execution.results import Computed
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.messages.batch import Batch
from ami.messages.checkpoint import Checkpoint, Reach, Totals
from ami.result import Result

logger = logging.getLogger(__name__)


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
        self._newest = (0, 0)  # run and interval of `_interval_reach`
        self._published: set[str] = set()
        self._names_changed = True
        self.applied: dict[str, int] = {}  # by node, the number of its last batch in here
        self.totals = Totals()
        self.run = 0
        self.intervals = 0

    def apply(self, node: str, number: int, batch: Batch) -> None:
        """Merge a batch.

        Raises:
            StoreUnavailable: its graph version cannot be read now; nothing was merged.
        """
        graph = self._accumulator.graph
        if batch.entry.graph_version > graph.version:
            graph = self._graph(batch.entry.graph_version)
        self._set_graph(graph)
        self._interval_ns = batch.interval_ns
        self._follow_run(batch)
        if not batch.transition:
            self._merge(batch)
        self.applied[node] = number

    def set_units(self, units: dict[str, str]) -> None:
        """Take up the units of the source's fields."""
        self._accumulator.set_units(units)

    def _set_graph(self, graph: Graph) -> None:
        if graph is not self._accumulator.graph:
            self._accumulator.set_graph(graph)
            self._names_changed = True

    def _follow_run(self, batch: Batch) -> None:
        if batch.entry.run > self.run:
            self.run = batch.entry.run
            self.totals, self._run_reach = Totals(), Reach()
            self._accumulator.begin_run(self.run)
            logger.info("run %d", self.run)
        if batch.transition == Transition.END_RUN:
            logger.info("run %d ends: %s", self.run, self.totals)

    def _merge(self, batch: Batch) -> None:
        place = (batch.entry.run, batch.entry.interval)
        if place > self._newest:
            self._newest, self._interval_reach = place, Reach()
            self.intervals += 1
        if place == self._newest:
            self._interval_reach = self._interval_reach.plus(batch)
        if batch.entry.run == self.run:
            self._run_reach = self._run_reach.plus(batch)
            self.totals = self.totals.plus(batch)
        self._accumulator.apply(
            batch.partial or Partial(batch.entry.graph_version),
            interval=place[1],
            run=place[0],
            expected=batch.expected,
            dropped=batch.dropped,
        )

    def results(self, nodes: Iterable[str]) -> list[Result]:
        """Return what the graph's results are now; ``nodes`` are those that should be in them."""
        if self._newest[0] == 0:
            return []
        now_ns = time.time_ns()
        known = set(nodes)
        computed = self._accumulator.results(self._newest)
        return [self._result(name, known, now_ns, found) for name, found in computed.items()]

    def _result(self, name: str, nodes: set[str], now_ns: int, computed: Computed) -> Result:
        reach = self._run_reach if computed.window == "run" else self._interval_reach
        missing = nodes - reach.nodes
        graph = self._accumulator.graph
        return computed.to_result(
            name,
            run=self._newest[0],
            interval=self._newest[1],
            interval_ns=self._interval_ns,
            time_ns=self._span(reach, computed),
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
        elif computed.first < self._newest:
            first = begin_ns
        if computed.last < self._newest and computed.window != "run":
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

    def to_checkpoint(self) -> Checkpoint:
        """Return the whole state; nothing is copied, so encode it before the next batch."""
        return Checkpoint(
            applied=self.applied,
            accumulator=self._accumulator.to_plain(),
            interval_ns=self._interval_ns,
            run_reach=self._run_reach,
            interval_reach=self._interval_reach,
            newest=self._newest,
            published=frozenset(self._published),
            totals=self.totals,
            run=self.run,
            intervals=self.intervals,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up what :meth:`to_checkpoint` described.

        Raises:
            GraphError: the accumulator is of another format.
        """
        self._accumulator = Accumulator.from_plain(checkpoint.accumulator, self._here)
        self.applied = checkpoint.applied
        self._interval_ns = checkpoint.interval_ns
        self._run_reach, self._interval_reach = checkpoint.run_reach, checkpoint.interval_reach
        self._newest = checkpoint.newest
        self._published = set(checkpoint.published)
        self.totals, self.run, self.intervals = checkpoint.totals, checkpoint.run, checkpoint.intervals
