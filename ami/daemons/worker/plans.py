"""Keep a worker's plan for each of the last few graph versions, without what is switched off in its ring."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.ring.reader import RingReader

logger = logging.getLogger(__name__)

KEPT = 4


class Plans:
    """The plans of the last few graph versions, for events of one ring.

    Args:
        graph: returns a version of the graph.
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
    """

    def __init__(self, graph: Callable[[int], Graph], ring: RingReader, here: str) -> None:
        self._graph = graph
        self._ring = ring
        self._here = here
        self._seen = -1  # of what was switched off when the plans were made
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
            graph, ring = self._graph(version), self._ring
            ring.forget_offences(version, {graph.fingerprint(one.name) for one in graph.operations})
            self._look()
            plan = self._plans[version] = WorkerPlan(
                graph, ring.schema, self._here, off=ring.list_offenders()
            )
            for name, reason in plan.broken.items():
                logger.error("graph version %d: operation %r cannot run: %s", version, name, reason)
            for old in sorted(self._plans)[:-KEPT]:
                del self._plans[old]
        return plan

    def _look(self) -> None:
        """Let go of all plans when an operation was switched off, or no longer is."""
        seen = self._ring.offences_seen
        if seen != self._seen:
            self._seen = seen
            self._plans.clear()
