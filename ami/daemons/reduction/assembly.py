"""Turn the nodes' batches into results of one lane, interval by interval or span by span; knows no store.

A batch is merged as soon as it comes: merging is commutative, so neither nodes nor supplements need an
order within a run. What is published says which nodes are in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import replace
from typing import Any

from ami.daemons.reduction.watermark import NEVER, Watermark
from ami.event import Transition
from ami.graph.execution.bucket import Place
from ami.graph.execution.partial import ErrorRecord, Partial
from ami.graph.execution.results import NO_PEOPLE, People
from ami.graph.execution.windows import Accumulator, ByKey, Changed
from ami.graph.graph import Graph
from ami.graph.library.base import State
from ami.graph.placing import name_part
from ami.messages.batch import Batch
from ami.messages.checkpoint import Checkpoint, Totals
from ami.messages.large import LargeBatch
from ami.result import Events, Result, Row
from ami.stores.membership import Members

logger = logging.getLogger(__name__)

NO_EVENTS = Events()
FAILING_TOLD = 5  # operations that status is told of
MOST_TOLD = 300  # characters of each


class Assembly:
    """The state of one lane of a global reducer.

    Attributes:
        graph: the newest version whose batches came, with the results of both lanes.

    Args:
        graph: returns a version of the graph.
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
        large: which lane.
        grace_s: for how long results of an interval wait for a node that is silent.
        people: who calls people's functions of results.
        time_ns: returns the time by the store's clock, since others look how old results are.
        monotonic: returns the time by which nodes are silent, s.
    """

    def __init__(
        self, graph: Callable[[int], Graph], here: str = "here", *, large: bool = False,
        people: People = NO_PEOPLE, grace_s: float = 2.0, time_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._graph = graph
        self._people = people
        self._time_ns = time_ns
        self._monotonic = monotonic
        self._here = here
        self._large = large
        self.graph = Graph()
        self._graph_plain = self.graph.to_plain()
        self._accumulator = Accumulator(Graph(), here)
        self._interval_ns = 0
        self.watermark = Watermark(grace_s)
        self._workers: dict[str, Place] = {}  # the newest place of which something came through its hands
        self._published: dict[str, int] = {}  # by name, the graph version since which it is a result
        self._names_changed = True
        # States that changed since they were last written into a checkpoint, and published.
        self.dirty: set[Changed] = set()
        self.unpublished: set[Changed] = set()
        self.applied: dict[str, int] = {}  # by node, the number of its last batch in here
        self.totals = Totals()
        self.run = 0
        self.intervals = 0

    def apply(self, node: str, number: int, batch: Batch) -> None:
        """Merge a batch.

        Raises:
            StoreUnavailable: its graph version cannot be read now; nothing was merged.
        """
        self._follow_graph(batch.entry.graph_version)
        self._interval_ns = batch.interval_ns
        self._follow_run(batch)
        if not batch.transition:
            self._merge(batch)
        self.applied[node] = number

    def apply_span(self, node: str, number: int, batch: LargeBatch) -> None:
        """Merge a batch of the large lane, or a part of one.

        Raises:
            StoreUnavailable: its graph version cannot be read now; nothing was merged.
        """
        self._follow_graph(batch.graph_version)
        self._interval_ns = batch.interval_ns
        if batch.run > self.run:
            self.run = batch.run
            self._accumulator.begin_run(batch.run)
        for part in batch.intervals:
            place = (batch.run, part.interval)
            self._meet(place, batch)
            changed = self._accumulator.list_places(part.partial, place)
            self.dirty |= changed
            self.unpublished |= changed
            self._accumulator.apply(
                part.partial, interval=part.interval, run=batch.run, expected=part.expected,
                dropped=part.dropped, interval_ns=batch.interval_ns,
                times=(part.covers.first_ns, part.covers.last_ns),
                to_come=int(batch.last and not batch.complete),
            )  # fmt: skip
        self.applied[node] = number

    def bound(self, most: int, of_what: str) -> None:
        """See :meth:`ami.graph.execution.windows.Accumulator.bound`."""
        self._accumulator.bound(most, of_what)

    @property
    def refused(self) -> dict[str, str]:
        """See :attr:`ami.graph.execution.windows.Accumulator.refused`."""
        return self._accumulator.refused

    def split(self, fingerprint: str, state: State) -> dict[Hashable, State]:
        """See :meth:`ami.graph.execution.windows.Accumulator.split`."""
        return self._accumulator.split(fingerprint, state)

    def is_dirty(self, fingerprint: str, place: Place, key: Hashable | None) -> bool:
        """Whether a state of a bucket changed since ``dirty`` was emptied: of a key, or, None, of any."""
        if key is not None:
            return (fingerprint, place, key) in self.dirty
        return any(one[:2] == (fingerprint, place) for one in self.dirty)

    @property
    def errors(self) -> dict[str, ErrorRecord]:
        """Errors by operation, of this run."""
        return self._accumulator.errors

    def list_failing(self) -> list[str]:
        """Return the operations that fail for most events, with owners, count and reason: a line each."""
        # A copy: the heartbeat's thread asks.
        graph, errors = self._accumulator.graph, dict(self.errors)
        worst = sorted(errors.items(), key=lambda one: -one[1].count)
        told = self._people.list_failing() | {name: str(record) for name, record in worst}
        return [
            f"operation {name_part(graph[name], graph)} of {', '.join(graph[name].owners) or 'nobody'} "
            + text.partition("\n")[0][:MOST_TOLD]
            for name, text in [one for one in told.items() if one[0] in graph][:FAILING_TOLD]
        ]

    def set_units(self, units: dict[str, str]) -> None:
        """Take up the units of the source's fields."""
        self._accumulator.set_units(units)

    def _follow_graph(self, version: int) -> None:
        if version > self.graph.version:
            self.set_graph(self._graph(version))

    def set_graph(self, graph: Graph) -> None:
        """Go over to this version, if it is a newer one."""
        if graph.version > self.graph.version:
            self._accumulator.set_graph(graph.lane(large=self._large))
            self._people.keep(self._accumulator.graph)
            self.graph, self._graph_plain = graph, graph.to_plain()
            self._names_changed = True

    def _follow_run(self, batch: Batch) -> None:
        run = batch.entry.run
        if run > self.run:
            self.run = run
            self.totals = Totals()
            self._accumulator.begin_run(run)
            logger.info("run %d", run)
        if batch.transition == Transition.BEGIN_RUN:
            self.watermark.meet(batch.node, (run, NEVER), self._monotonic())
        elif batch.transition == Transition.END_RUN:
            self.watermark.end(batch.node, run, self._monotonic())
            logger.info("run %d of %s ends: %s", run, batch.node, self.totals)

    def _merge(self, batch: Batch) -> None:
        place = (batch.entry.run, batch.entry.interval)
        self._meet(place, batch)
        if batch.entry.run == self.run:
            self.totals = self.totals.plus(batch)
        self._accumulator.apply(
            batch.partial or Partial(batch.entry.graph_version),
            interval=place[1],
            run=place[0],
            expected=batch.expected,
            dropped=batch.dropped,
            interval_ns=batch.interval_ns,
            times=(batch.covers.first_ns, batch.covers.last_ns),
            to_come=(not batch.complete) - batch.supplement,
        )

    def _meet(self, place: Place, batch: Batch | LargeBatch) -> None:
        self.intervals += self.watermark.meet(batch.node, place, self._monotonic())
        self._workers.update((name, max(place, self._workers.get(name, place))) for name in batch.workers)

    def look(self, members: Members) -> bool:
        """Go on to the interval that all nodes have passed; return whether that is another than it was."""
        moved = self.watermark.look(members.here, self._monotonic())
        at, top = self.watermark.place, self.watermark.top
        self._accumulator.hold(None if at == top else at)
        return moved

    def end_runs(self, small: Watermark) -> None:
        """Take over which runs are ended from the small lane, where a node's states are all in this one."""
        mine = self.watermark
        for node, run in small.ended.items():
            last = small.newest.get(node, (0, NEVER))
            is_whole = last[0] < run or mine.newest.get(node, (0, NEVER)) >= last
            if run > mine.ended.get(node, 0) and is_whole:
                mine.end(node, run, self._monotonic())

    def list_by_key(self, least: int) -> dict[str, ByKey]:
        """See :meth:`ami.graph.execution.windows.Accumulator.list_by_key`."""
        return self._accumulator.list_by_key(least)

    def results(
        self,
        members: Members,
        errors: Mapping[str, ErrorRecord] | None = None,
        without: Collection[str] = (),
    ) -> list[Result]:
        """Return what :meth:`rows` says as results."""
        return [row.to_result() for row in self.rows(members, errors, without)]

    def rows(
        self,
        members: Members,
        errors: Mapping[str, ErrorRecord] | None = None,
        without: Collection[str] = (),
    ) -> list[Row]:
        """Return what the lane's results are now, at the interval that all members have passed.

        Args:
            errors: of operations, where they are told to the other lane.
            without: reductions, by fingerprint, whose values are not computed.
        """
        self.look(members)
        place = self.watermark.place
        if place[0] == 0 or place[1] == NEVER:
            return []
        computed = self._accumulator.results(place, errors, without, self._people)
        # What many results have in common is made once.
        now_ns, one_in = self._time_ns(), dict(self.graph.large)
        late = self.watermark.list_late(members.expected, self._interval_ns)
        known_since: dict[Place, dict[str, Any]] = {}
        accounts: dict[Hashable, Events] = {}
        envelopes: dict[Hashable, Result] = {}
        rows = []
        for name, one in computed.items():
            of = one.account
            account = (of.expected, of.used, of.dropped, of.set_aside)
            events = accounts.get(account)
            if events is None:
                events = accounts[account] = one.events()
            said = (
                of.first, of.last, of.first_ns, of.last_ns, of.to_come > 0, one.window, one.error,
                id(one.label), one_in.get(name, 1) if one_in else 1,
            )  # fmt: skip
            envelope = envelopes.get(said)
            if envelope is None:
                since = of.first or (place[0], NEVER)
                facts = known_since.get(since)
                if facts is None:
                    facts = known_since[since] = self._say(since, members.expected, now_ns) | {"late": late}
                more = {"one_in": said[-1], "complete": facts["complete"] and of.to_come <= 0}
                made = replace(one, value=None).to_result("", NO_EVENTS, **(facts | more))
                envelope = envelopes[said] = made
            rows.append(Row(name, one.value, events, envelope))
        return rows

    def _say(self, since: Place, nodes: Collection[str], now_ns: int) -> dict[str, Any]:
        """Return what the envelopes say of all results whose windows begin at a place."""
        (run, interval), newest = self.watermark.place, self.watermark.newest
        there = {name for name in newest if self.watermark.reached(name) >= since}
        missing = (set(nodes) - there) | self.watermark.list_missing(nodes)
        return {
            "run": run,
            "interval": interval,
            "interval_ns": self._interval_ns,
            "nodes": tuple(sorted(there)),
            "missing_nodes": tuple(sorted(missing)),
            "workers": tuple(sorted(name for name, newest in self._workers.items() if newest >= since)),
            "graph_version": self.graph.version,
            "graph_hash": self.graph.hash,
            "complete": not missing,
            "published_ns": now_ns,
        }

    def changed_names(self) -> tuple[set[str], dict[str, Any]] | None:
        """Return names that are results no longer, and a catalogue of those that are; None: no change."""
        if not self._names_changed:
            return None
        graph = self.graph
        gone = self._published.keys() - set(graph.results)
        self._published = {name: self._published.get(name, graph.version) for name in graph.results}
        self._names_changed = False
        catalogue = {
            name: {
                "operation": graph[name].kind,
                "owners": graph[name].owners,
                "since_version": self._published[name],
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
            graph=self._graph_plain,
            interval_ns=self._interval_ns,
            nodes=self.watermark.newest,
            ended=self.watermark.ended,
            workers=self._workers,
            newest=self.watermark.top,
            place=self.watermark.place,
            published=self._published,
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
        self.graph, self._graph_plain = Graph.from_plain(checkpoint.graph), checkpoint.graph
        self.applied = checkpoint.applied
        self._interval_ns = checkpoint.interval_ns
        self._workers = checkpoint.workers
        self.watermark.restore(
            checkpoint.place, checkpoint.newest, checkpoint.nodes, checkpoint.ended, self._monotonic()
        )
        self._published = checkpoint.published
        self.totals, self.run, self.intervals = checkpoint.totals, checkpoint.run, checkpoint.intervals
