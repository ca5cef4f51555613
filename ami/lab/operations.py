"""Measure the worker's part of graphs alone: blocks of memory through the plan, no ring, no store."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ami.event import Field, Schema, Slots
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.lab import bare, graphs
from ami.lab.figures import Bench, Measured, measure_in_turn

COST_BLOCK = 256
COST_OPERATIONS = (2, 22)
BLOCKS = (16, 64, 256, 1024, 4096, 8192)
# A worker stores its partial and begins a new one about as often.
PARTIAL_BLOCKS = 100
NUMBERS = Schema((Field("x", np.dtype(np.float64)),))


def operation_cost(bench: Bench) -> Mapping[str, Measured]:
    """Measure what an expression more costs an event: many against few in a chain, in turn."""
    few, many = COST_OPERATIONS
    blocks = _blocks(_numbers(1 << 15), COST_BLOCK)
    seconds = bench.choose(0.5, 0.2)
    out = np.empty(COST_BLOCK)

    def add() -> int:
        for block in blocks:
            np.add(block["x"], 0.5, out=out)
        return len(blocks) * COST_BLOCK

    def cost() -> float:
        long, short = (plan_rate(_chain(n), blocks, seconds) for n in (many, few))
        return (1 / long - 1 / short) / (many - few) * 1e6

    measured = Measured(
        **measure_in_turn(bench.choose(7, 3), cost, lambda: 1e6 / bare.rate(add, seconds)),
        limit_is="numpy.add of the same blocks with a constant, into memory that is there",
        limited_by="the worker: Python's and numpy's calls, some µs a block whatever its length",
        notes=(f"difference of chains of {many} and {few} expressions",),
    )
    return {"operation_cost": measured}


def block_sizes(bench: Bench) -> Mapping[str, Measured]:
    """Measure the scalar graph by the length of a block, beside the same by hand."""
    events = graphs.first_events(graphs.SCALARS, graphs.POOL_EVENTS)
    hand, seconds = bare.ScalarGraph(), bench.choose(0.5, 0.2)

    def measure(blocks: list[Slots]) -> Measured:
        return Measured(
            **measure_in_turn(
                bench.choose(3, 2),
                lambda: plan_rate(graphs.SCALAR, blocks, seconds),
                lambda: bare.rate(lambda: sum(map(hand.add, blocks)), seconds),
            ),
            limit_is="the same graph by hand with numpy, same blocks",
            limited_by="the worker",
        )

    return {f"block_{n}": measure(_blocks(events, n)) for n in BLOCKS}


def plan_rate(text: str, blocks: list[Slots], seconds: float) -> float:
    """Return events per second of the worker's part of a graph."""
    schema = Schema(tuple(Field(name, column.dtype) for name, column in blocks[0].columns.items()))
    plan = WorkerPlan(graph_of(text), schema)
    partial, done = plan.partial(), 0

    def once() -> int:
        nonlocal partial, done
        for block in blocks:
            if done % PARTIAL_BLOCKS == 0:
                partial = plan.partial()
            plan.run(block, 0, partial, breadcrumb=_nothing)
            done += 1
        return len(blocks) * blocks[0].count

    return bare.rate(once, seconds)


def _nothing(_operation: int) -> None:
    """Take the place of the ring's breadcrumb, which costs as much as a call."""


def _chain(count: int) -> str:
    """Return a graph of ``count`` expressions, each of the one before, and one reduction."""
    lines = [f"  e{n}: {f'e{n - 1}' if n else 'x'} + {n}.5" for n in range(count)]
    return "\n".join(["values:", *lines, "results:", f"  last_count: count(e{count - 1})", ""])


def _numbers(count: int) -> Slots:
    events = Slots.allocate(NUMBERS, count)
    events["x"][:] = np.linspace(0.0, 1.0, count)
    events.set_valid(NUMBERS.names)
    events.timestamps[:] = np.arange(count)
    return events


def _blocks(events: Slots, size: int) -> list[Slots]:
    # Not too many: what is measured is the plan, not how long the list takes to make.
    last = min(events.count, max(size * 8, 1 << 15))
    return [events.part(at, at + size) for at in range(0, last - size + 1, size)]
