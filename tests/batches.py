"""Batches as local reducers send them, for tests of those who merge them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ami.event import Slots, Transition
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.messages.batch import Batch
from ami.messages.flush import Covers, EntryFacts
from tests.daemons_rig import GRAPH, INTERVAL_NS, SCHEMA

_plans: dict[str, WorkerPlan] = {}  # to make one takes much longer than to run it


def facts(interval: int = 1, *, ring: int = 7, run: int = 1, graph_version: int = 1) -> EntryFacts:
    return EntryFacts(
        ring=ring, index=interval, interval=interval, run=run, step=0, step_value=0.0,
        graph_version=graph_version,
    )  # fmt: skip


def batch(
    interval: int,
    values: list[int],
    *,
    node: str = "here",
    run: int = 1,
    graph_version: int = 1,
    graph: Graph = GRAPH,
    sequence: int = 0,
    times: list[int] | None = None,
    **more: Any,
) -> Batch:
    """Return the batch of an interval whose events have these ``x``, at these times in the interval, ns."""
    if (plan := _plans.get(graph.hash)) is None:
        plan = _plans[graph.hash] = WorkerPlan(graph, SCHEMA)
    partial = plan.partial()
    covers = Covers()
    if values:
        slots = Slots.allocate(SCHEMA, len(values))
        slots["x"][:] = values
        slots.set_valid(SCHEMA.names)
        slots.timestamps[:] = interval * INTERVAL_NS + np.array(times or range(len(values)))
        plan.run(slots, sequence, partial)
        partial.graph_version = graph_version
        first_ns, last_ns = int(slots.timestamps[0]), int(slots.timestamps[-1])
        covers = Covers(events=len(values), first_ns=first_ns, last_ns=last_ns)
    said: dict[str, Any] = {
        "expected": len(values), "dropped": 0, "complete": True, "supplement": False, "transition": 0,
        "workers": (f"{node}:worker:0",) if values else (), "partial": partial if values else None,
    }  # fmt: skip
    entry = facts(interval, run=run, graph_version=graph_version)
    return Batch(node=node, entry=entry, interval_ns=INTERVAL_NS, covers=covers, **{**said, **more})


def border(transition: Transition, run: int, *, node: str = "here") -> Batch:
    return batch(0, [], node=node, run=run, transition=int(transition))
