"""Measure what each operation costs on a worker, by timing some of its blocks.

About every 20 ms (of many operations less often, that timing may take a hundredth of the time), and on the
average at least every 256th, a block is timed step by step. What is told
of all is a ratio of the timed ones: nanoseconds per event of the block, times the worker's events per
second. So the timed ones must be like the others: how many blocks go by before the next one is drawn at
random, before anything is known of them. (Rejected: the first block after 20 ms; of a long and a short
one in turn, that would always be the short one. Rejected: every block; timing takes 15 µs of the 100 µs
of a block of 256 events.)

The time per event is by the clock, the share of a core by the thread's CPU time. They differ where a
function waits for something, and where the machine has more to do than it has cores.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from operator import add
from typing import Any

from ami.graph.execution.partial import ErrorRecord
from ami.graph.execution.plan import Timing, WorkerPlan

EVERY_S = 0.02
EVERY_S_AN_OPERATION = 100 * 1.5e-6  # to time one takes 1.5 us
EVERY_BLOCKS = 256
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
        self.core_ns = self.ns.copy()
        self.inputs = self.ns.copy()  # events that had its inputs, in timed blocks


class Costs:
    """Costs of the operations of the plan that a worker runs now.

    The main loop writes, the heartbeat's thread reads. So spans are replaced and never cleared: a
    reader has the ones or the others.
    """

    def __init__(self) -> None:
        self._spans: tuple[_Tally, _Tally] | None = None  # the one before, and this one
        self._errors: dict[str, int] = {}
        self._wait_blocks = self._waited_blocks = 1  # from one timed block to the next: left of it, all of it
        self._timed_at = 0.0
        self._into: _Tally | None = None  # where the block that is timed now counts
        self._last = (0, 0)  # number of the operation that was timed last, and its events

    def timing(self, plan: WorkerPlan, events: int) -> Timing | None:
        """Note that a block is run now; return what its steps are told to, if it is to be timed."""
        spans = self._spans
        if spans is None or spans[1].plan is not plan:
            spans = self._begin(plan)
        spans[1].events += events
        self._wait_blocks -= 1
        return None if self._wait_blocks else self._timed(spans[1], events)

    def _begin(self, plan: WorkerPlan) -> tuple[_Tally, _Tally]:
        now = time.monotonic()
        self._spans = (_Tally(plan, now), _Tally(plan, now))
        self._errors = {name: count for name, count in self._errors.items() if name in plan.operations}
        self._wait_blocks = 1
        return self._spans

    def _timed(self, tally: _Tally, events: int) -> Timing:
        now = time.monotonic()
        block_s = (now - self._timed_at) / self._waited_blocks
        every_s = max(EVERY_S, EVERY_S_AN_OPERATION * len(tally.plan.operations))
        blocks = max(1, min(EVERY_BLOCKS, int(every_s / max(block_s, 1e-9))))
        self._wait_blocks = self._waited_blocks = random.randrange(1, 2 * blocks)
        self._timed_at = now
        tally.timed_events += events
        if now - tally.began > SPAN_S:
            self._spans = (tally, _Tally(tally.plan, now))
        self._into, self._last = tally, (0, 0)
        return self._add

    def _add(self, number: int, took_ns: int, core_ns: int, events: int) -> None:
        tally = self._into
        assert tally is not None
        tally.ns[number] += took_ns
        tally.core_ns[number] += core_ns
        before, counted = self._last
        # A filter may have two steps, one after the other: it takes its events in once.
        tally.inputs[number] += events - counted if number == before else events
        self._last = (number, events)

    def count_errors(self, errors: Mapping[str, ErrorRecord]) -> None:
        """Count the errors of a partial."""
        for name, record in errors.items():
            self._errors[name] = self._errors.get(name, 0) + record.count

    def tell(self, events_hz: float) -> dict[str, Any]:
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
        ns = list(map(add, spans[0].ns, spans[1].ns))
        core_ns = list(map(add, spans[0].core_ns, spans[1].core_ns))
        inputs = list(map(add, spans[0].inputs, spans[1].inputs))
        scale = events_hz / timed if timed else 0.0
        errors = self._errors.copy()
        operations = {}
        for number in sorted(range(1, len(ns)), key=core_ns.__getitem__, reverse=True)[:TOLD]:
            name = plan.operations[number - 1]
            operations[name] = {
                "us_per_event": ns[number] / inputs[number] / 1e3 if inputs[number] else 0.0,
                "events_hz": inputs[number] * scale,
                "share_of_core": core_ns[number] * 1e-9 * scale,
                "per_event": name in plan.per_event,
                "errors": errors.pop(name, 0),
            }
        for name in [name for name in errors if name not in plan.operations][: TOLD - len(operations)]:
            operations[name] = dict(NOTHING, errors=errors[name])
        timing = {
            "graph_version": plan.graph_version,
            "operations": len(plan.operations),
            "share_of_core": sum(core_ns) * 1e-9 * scale,
            "timed": timed / max(1, sum(span.events for span in spans)),
        }
        return {"operations": operations, "timing": timing}
