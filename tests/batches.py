"""Batches as local reducers send them, for tests of those who merge them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ami.event import Slots, Transition
from ami.graph.execution.plan import WorkerPlan
from ami.messages.batch import Batch
from ami.messages.flush import Covers, EntryFacts
from tests.daemons_rig import GRAPH, INTERVAL_NS, SCHEMA


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
    **more: Any,
) -> Batch:
    """Return the batch of an interval whose events have these ``x``."""
    plan = WorkerPlan(GRAPH, SCHEMA)
    partial = plan.partial()
    covers = Covers()
    if values:
        slots = Slots.allocate(SCHEMA, len(values))
        slots["x"][:] = values
        slots.set_valid(SCHEMA.names)
        slots.timestamps[:] = interval * INTERVAL_NS + np.arange(len(values))
        plan.run(slots, 0, partial)
        partial.graph_version = graph_version
        first_ns = interval * INTERVAL_NS
        covers = Covers(events=len(values), first_ns=first_ns, last_ns=first_ns + len(values) - 1)
    said: dict[str, Any] = {
        "expected": len(values), "dropped": 0, "complete": True, "supplement": False, "transition": 0,
        "workers": (f"{node}:worker:0",) if values else (), "partial": partial if values else None,
    }  # fmt: skip
    entry = facts(interval, run=run, graph_version=graph_version)
    return Batch(node=node, entry=entry, interval_ns=INTERVAL_NS, covers=covers, **{**said, **more})


def border(transition: Transition, run: int, *, node: str = "here") -> Batch:
    return batch(0, [], node=node, run=run, transition=int(transition))
