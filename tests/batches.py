"""Batches as local reducers send them, for tests of those who merge them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ami.event import Slots, Transition
from ami.graph.execution.plan import WorkerPlan
from tests.daemons_rig import GRAPH, INTERVAL_NS, SCHEMA


def batch(
    interval: int, values: list[int], *, node: str = "here", run: int = 1, **facts: Any
) -> dict[str, Any]:
    """Return the batch of an interval whose events have these ``x``."""
    plan = WorkerPlan(GRAPH, SCHEMA)
    partial = plan.partial()
    if values:
        slots = Slots.allocate(SCHEMA, len(values))
        slots["x"][:] = values
        slots.valid[:] = 3
        slots.timestamps[:] = interval * INTERVAL_NS + np.arange(len(values))
        plan.run(slots, 0, partial)
    first_ns = interval * INTERVAL_NS
    return {
        "node": node, "ring": 7, "entry": interval, "interval": interval, "interval_ns": INTERVAL_NS,
        "run": run, "step": 0, "step_value": 0.0, "graph_version": 1, "transition": 0,
        "events": len(values), "expected": len(values), "dropped": 0, "complete": True, "supplement": False,
        "first_ns": first_ns if values else None, "last_ns": first_ns + len(values) - 1 if values else None,
        "workers": [f"{node}:worker:0"] if values else [],
        "partial": partial.to_plain() if values else None,
    } | facts  # fmt: skip


def border(transition: Transition, run: int, *, node: str = "here") -> dict[str, Any]:
    return batch(0, [], node=node, run=run, transition=int(transition))
