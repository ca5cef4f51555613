"""Keep a worker's plan for each graph version, also where a part of the graph does not suit the events.

The manager checks graphs against the fields of the source. But the source can be exchanged afterwards;
then what still can be computed is computed, and for the rest each event counts as an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ami.errors import GraphError
from ami.event import Schema, Slots
from ami.graph.execution.partial import ErrorRecord, Partial, merge_errors
from ami.graph.execution.plan import Timing, WorkerPlan
from ami.graph.graph import Graph

logger = logging.getLogger(__name__)

KEPT = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run on a block, and the results that cannot be had from such events, with the reason."""

    plan: WorkerPlan
    impossible: dict[str, str] = field(default_factory=dict)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations by breadcrumb number, which begin at 1."""
        return self.plan.operations

    def run(
        self, slots: Slots, sequence: int, partial: Partial, breadcrumb: Callable[[int], None],
        timing: Timing | None = None,
    ) -> None:  # fmt: skip
        """Add the events to ``partial``; the first one has number ``sequence``."""
        self.plan.run(slots, sequence, partial, breadcrumb=breadcrumb, timing=timing)
        for name, text in self.impossible.items():
            merge_errors(partial.errors, {name: ErrorRecord(slots.count, text, sequence)})


class Plans:
    """The plans of the last few graph versions, for events of one schema."""

    def __init__(self, graph: Callable[[int], Graph], schema: Schema) -> None:
        self._graph = graph
        self._schema = schema
        self._plans: dict[int, Plan] = {}

    def get(self, version: int) -> Plan:
        """Return the plan of a graph version.

        Raises:
            StoreUnavailable: the version is not known yet and cannot be read now.
            GraphError: Control does not have it.
        """
        plan = self._plans.get(version)
        if plan is None:
            plan = self._plans[version] = _compiled(self._graph(version), self._schema)
            for old in sorted(self._plans)[:-KEPT]:
                del self._plans[old]
        return plan


def _compiled(graph: Graph, schema: Schema) -> Plan:
    try:
        return Plan(WorkerPlan(graph, schema))
    except GraphError as error:
        logger.error("graph version %d does not suit these events: %s", graph.version, error)
    possible: list[str] = []
    impossible: dict[str, str] = {}
    for name in graph.results:
        try:
            WorkerPlan(replace(graph, results=(name,)), schema)
        except GraphError as error:
            impossible[name] = str(error)
        else:
            possible.append(name)
    return Plan(WorkerPlan(replace(graph, results=tuple(possible)), schema), impossible)
