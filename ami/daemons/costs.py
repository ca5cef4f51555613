"""Measure what each operation costs on a worker, by timing some of its blocks.

Every 16th block is timed step by step, and one a tenth of a second at the least, so that slow blocks
do not hide for long. What is told of all blocks is a ratio of the timed ones: nanoseconds per event
of the block, times the worker's events per second. It is right as long as timed blocks are like the others,
and how many of the events were timed is told with it. (Rejected: timing every block; with a graph of
20 operations in blocks of 256 events that takes 5 % of the time.)
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from typing import Any

from ami.graph.partial import ErrorRecord
from ami.graph.plan import Timing, WorkerPlan

EVERY_BLOCKS = 16
EVERY_S = 0.1
# What is told reaches back one to two spans of this length.
SPAN_S = 5.0
# Operations in a heartbeat: those that take the largest shares. The others are in its sums.
TOLD = 50
NOTHING: dict[str, Any] = {"us_per_event": 0.0, "events_hz": 0.0, "share_of_core": 0.0, "per_event": False}


class _Tally:
    """What was counted in one span of time under one plan, by number of the operation."""

    def __init__(self, plan: WorkerPlan, began: float) -> None:
        self.plan = plan
        self.began = began  # monotonic, s
        self.events = 0  # of all blocks
        self.timed_events = 0  # of the timed ones
        self.ns = [0] * (len(plan.operations) + 1)
        self.inputs = [0] * (len(plan.operations) + 1)  # events that had its inputs, in timed blocks


class Costs:
    """Costs of the operations of the plan that a worker runs now.

    The main loop writes, the heartbeat's thread reads. So spans are replaced and never cleared: a
    reader has the ones or the others.
    """

    def __init__(self) -> None:
        self._spans: tuple[_Tally, _Tally] | None = None  # the one before, and this one
        self._errors: dict[str, int] = {}
        self._wait_blocks = 0  # until the next timed one
        self._timed_at = 0.0
        self._last = (0, 0)  # number of the operation that was timed last, and its events

    def timing(self, plan: WorkerPlan, events: int) -> Timing | None:
        """Note that a block is run now; return what its steps are told to, if it is to be timed."""
        now = time.monotonic()
        if self._spans is None or self._spans[1].plan is not plan:
            self._begin(plan, now)
            assert self._spans is not None
        tally = self._spans[1]
        self._wait_blocks -= 1
        if self._wait_blocks > 0 and now - self._timed_at < EVERY_S:
            tally.events += events
            return None
        self._wait_blocks, self._timed_at = EVERY_BLOCKS, now
        if now - tally.began > SPAN_S:
            tally = _Tally(plan, now)
            self._spans = (self._spans[1], tally)
        tally.events += events
        tally.timed_events += events
        self._last = (0, 0)
        return self._add

    def _begin(self, plan: WorkerPlan, now: float) -> None:
        self._spans = (_Tally(plan, now), _Tally(plan, now))
        self._errors = {name: count for name, count in self._errors.items() if name in plan.operations}
        self._wait_blocks = 0

    def _add(self, number: int, took_ns: int, events: int) -> None:
        assert self._spans is not None
        tally = self._spans[1]
        tally.ns[number] += took_ns
        before, counted = self._last
        # A filter may have two steps, one after the other: it takes its events in once.
        tally.inputs[number] += events - counted if number == before else events
        self._last = (number, events)

    def failed(self, errors: Mapping[str, ErrorRecord]) -> None:
        """Count the errors of a partial."""
        for name, record in errors.items():
            self._errors[name] = self._errors.get(name, 0) + record.count

    def told(self, events_hz: float) -> dict[str, Any]:
        """Return what the heartbeat says, for a worker that runs so many events per second now.

        ``operations``: by name, the :data:`TOLD` most expensive ones: ``us_per_event`` (of the events that
        have its inputs), ``events_hz`` (these events per second), ``share_of_core``, ``per_event``, and
        ``errors``, in events since the worker started (of what it cannot run at all: since it got the graph).
        ``timing``: ``graph_version``; ``operations`` and ``share_of_core`` of all operations; ``timed``, the
        share of the events that were timed.
        """
        if self._spans is None:
            return {}
        spans = self._spans
        plan, timed = spans[1].plan, sum(span.timed_events for span in spans)
        ns = [a + b for a, b in zip(spans[0].ns, spans[1].ns, strict=True)]
        inputs = [a + b for a, b in zip(spans[0].inputs, spans[1].inputs, strict=True)]
        scale = events_hz / timed if timed else 0.0
        errors = self._errors.copy()
        operations = {}
        for number in heapq.nlargest(TOLD, range(1, len(ns)), key=ns.__getitem__):
            name = plan.operations[number - 1]
            operations[name] = {
                "us_per_event": ns[number] / inputs[number] / 1e3 if inputs[number] else 0.0,
                "events_hz": inputs[number] * scale,
                "share_of_core": ns[number] * 1e-9 * scale,
                "per_event": name in plan.per_event,
                "errors": errors.pop(name, 0),
            }
        for name in [name for name in errors if name not in plan.operations][: TOLD - len(operations)]:
            operations[name] = dict(NOTHING, errors=errors[name])
        timing = {
            "graph_version": plan.graph_version,
            "operations": len(plan.operations),
            "share_of_core": sum(ns) * 1e-9 * scale,
            "timed": timed / max(1, sum(span.events for span in spans)),
        }
        return {"operations": operations, "timing": timing}
