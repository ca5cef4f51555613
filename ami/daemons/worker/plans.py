"""Keep a worker's plan for each of the last few graph versions."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ami.event import Schema
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph

logger = logging.getLogger(__name__)

KEPT = 4


class Plans:
    """The plans of the last few graph versions, for events of one schema.

    Args:
        graph: returns a version of the graph.
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
    """

    def __init__(self, graph: Callable[[int], Graph], schema: Schema, here: str) -> None:
        self._graph = graph
        self._schema = schema
        self._here = here
        self._plans: dict[int, WorkerPlan] = {}

    def get(self, version: int) -> WorkerPlan:
        """Return the plan of a graph version.

        Raises:
            StoreUnavailable: the version is not known yet and cannot be read now.
            GraphError: Control does not have it.
        """
        plan = self._plans.get(version)
        if plan is None:
            plan = self._plans[version] = WorkerPlan(self._graph(version), self._schema, self._here)
            for name, reason in plan.broken.items():
                logger.error("graph version %d: operation %r cannot run: %s", version, name, reason)
            for old in sorted(self._plans)[:-KEPT]:
                del self._plans[old]
        return plan
