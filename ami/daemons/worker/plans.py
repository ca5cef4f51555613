"""Keep a worker's plan for each of the last few graph versions, without what is switched off in its ring."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from ami.daemons.worker.kinds import Kinds
from ami.errors import SourceError
from ami.event import Schema
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.ring.reader import RingReader
from ami.stores import Store, keys

logger = logging.getLogger(__name__)

KEPT = 4


class Graphs(Protocol):
    """Who knows the versions of the graph."""

    @property
    def latest(self) -> Graph: ...

    def get(self, version: int) -> Graph: ...


class Plans:
    """The plans of the last few graph versions, for events of one ring.

    Args:
        graphs: returns a version of the graph, and the latest.
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
        everywhere: returns the fields of all nodes.
        kinds: of people's functions.
    """

    def __init__(
        self,
        graphs: Graphs,
        ring: RingReader,
        here: str,
        everywhere: Callable[[], frozenset[str]],
        kinds: Kinds,
    ) -> None:
        self._kinds = kinds
        self._graphs = graphs
        self._ring = ring
        self._here = here
        self._everywhere = everywhere
        self._seen = -1  # of what was switched off when the plans were made
        self._latest = graphs.latest
        self._plans: dict[int, WorkerPlan] = {}

    def get(self, version: int) -> WorkerPlan:
        """Return the plan of a graph version.

        Raises:
            StoreUnavailable: the version is not known yet and cannot be read now.
            GraphError: Control does not have it.
        """
        self._look()
        plan = self._plans.get(version)
        if plan is None:
            graph, ring = self._graphs.get(version), self._ring
            ring.forget_offences(version, _fingerprints(graph))
            self._look()
            off, elsewhere = ring.list_offenders() | self._list_gone(graph), self._everywhere()
            plan = self._plans[version] = self._kinds.make(
                lambda find_kind: WorkerPlan(
                    graph, ring.schema, self._here, off=off, elsewhere=elsewhere, find_kind=find_kind
                )
            )
            for name, reason in plan.broken.items():
                logger.error("graph version %d: operation %r cannot run: %s", version, name, reason)
            for old in sorted(self._plans)[:-KEPT]:
                del self._plans[old]
        return plan

    def _look(self) -> None:
        """Let go of all plans when an operation was switched off, or no longer is; of some after an edit."""
        seen, latest = self._ring.offences_seen, self._graphs.latest
        if seen != self._seen:
            self._seen = seen
            self._plans.clear()
        if latest is not self._latest:
            self._latest, there = latest, _fingerprints(latest)
            # Another plan is another flush: only where somebody's function has gone.
            self._plans = {v: p for v, p in self._plans.items() if v >= latest.version or p.people <= there}

    def _list_gone(self, graph: Graph) -> dict[str, str]:
        """Return people's functions that the latest graph has no more: what waits for them need not be run.

        Else the node were well only when events of an hour had been through a function of a second.
        """
        latest = self._graphs.latest
        people = {graph.fingerprint(one.name) for one in graph.operations if one.kind == "function"}
        if graph.version >= latest.version or not people:
            return {}
        return dict.fromkeys(people - _fingerprints(latest), "it was removed")


def read_fields(source: Store) -> frozenset[str]:
    """Return the fields that there are on any node; none where it is not known.

    Raises:
        StoreUnavailable
    """
    text = source.get(keys.SCHEMA)
    try:
        return Schema.from_json(text).name_set if isinstance(text, str) else frozenset()
    except SourceError:
        return frozenset()


def _fingerprints(graph: Graph) -> set[str]:
    return {graph.fingerprint(one.name) for one in graph.operations}
