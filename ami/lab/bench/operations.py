"""Measure the worker's part of graphs alone: blocks of memory through the plan, no ring, no store."""

from __future__ import annotations

import numpy as np

from ami.event import Field, Schema, Slots
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.lab.bench import bare, graphs
from ami.lab.bench.end_to_end import POOL_EVENTS, SCALARS, events_of
from ami.lab.bench.figure import Measured
from ami.lab.bench.measure import Bench
from ami.lab.bench.rows import BLOCKS, OPERATIONS

COST_BLOCK = 256
COST_OPERATIONS = (2, 22)
SCALING_BLOCK = 4096
# A worker stores its partial and begins a new one about as often.
PARTIAL_BLOCKS = 100
NUMBERS = Schema((Field("x", np.dtype(np.float64)),))


def operation_cost(bench: Bench) -> dict[str, Measured]:
    """Measure what an expression more costs an event: many against few in a chain, in turn."""
    few, many = COST_OPERATIONS
    blocks = _blocks(_numbers(1 << 15), COST_BLOCK)
    seconds = bench.seconds(0.5, 0.2)
    costs, limits = [], []
    for _ in range(bench.times(7, 3)):
        rates = {n: plan_rate(_chain(n), NUMBERS, blocks, seconds) for n in (few, many)}
        costs.append((1 / rates[many] - 1 / rates[few]) / (many - few) * 1e6)
        limits.append(1e6 / _bare_addition(blocks, seconds))
    measured = Measured(
        samples=costs,
        limit=float(np.median(limits)),
        limit_is="numpy.add of the same blocks with a constant, into memory that is there",
        limited_by="the worker: Python's and numpy's calls, some µs a block whatever its length",
        notes=(f"difference of chains of {many} and {few} expressions",),
    )
    return {"operation_cost": measured}


def block_sizes(bench: Bench) -> dict[str, Measured]:
    """Measure the scalar graph by the length of a block, beside the same by hand."""
    events = events_of(SCALARS, POOL_EVENTS)
    return {
        f"block_{n}": _against_hand(_blocks(events, n), bench.seconds(0.5, 0.2), bench.times(3, 2))
        for n in BLOCKS
    }


def operation_numbers(bench: Bench) -> dict[str, Measured]:
    """Measure graphs of few and many operations."""
    blocks = _blocks(_numbers(1 << 17), SCALING_BLOCK)
    found = {}
    for n in OPERATIONS:
        seconds = bench.seconds(0.5, 0.2)
        samples = [plan_rate(_counts(n), NUMBERS, blocks, seconds) for _ in range(bench.times(3, 2))]
        limit = _bare_addition(blocks, seconds) / n
        found[f"operations_{n}"] = Measured(
            samples=samples,
            limit=limit,
            limit_is=f"{n} times numpy.add of the same blocks",
            limited_by="the worker",
        )
    return found


def plan_rate(text: str, schema: Schema, blocks: list[Slots], seconds: float) -> float:
    """Return events per second of the worker's part of a graph."""
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


def _against_hand(blocks: list[Slots], seconds: float, repeats: int) -> Measured:
    hand = bare.ScalarGraph()

    def by_hand() -> int:
        for block in blocks:
            hand.add(block)
        return len(blocks) * blocks[0].count

    schema = Schema(tuple(Field(name, column.dtype) for name, column in blocks[0].columns.items()))
    samples, limits = [], []
    for _ in range(repeats):
        samples.append(plan_rate(graphs.SCALAR, schema, blocks, seconds))
        limits.append(bare.rate(by_hand, seconds))
    return Measured(
        samples=samples,
        limit=float(np.median(limits)),
        limit_is="the same graph by hand with numpy, same blocks",
        limited_by="the worker",
    )


def _chain(count: int) -> str:
    """Return a graph of ``count`` expressions, each of the one before, and one reduction."""
    lines = [f"  e{n}: {f'e{n - 1}' if n else 'x'} + {n}.5" for n in range(count)]
    return "\n".join(["values:", *lines, "results:", f"  last_count: count(e{count - 1})", ""])


def _counts(count: int) -> str:
    values = [f"  e{n}: x + {n}.5" for n in range(count)]
    results = [f"  n{n}: count(e{n})" for n in range(count)]
    return "\n".join(["values:", *values, "results:", *results, ""])


def _numbers(count: int) -> Slots:
    events = Slots.allocate(NUMBERS, count)
    events["x"][:] = np.linspace(0.0, 1.0, count)
    events.valid[:] = NUMBERS.mask(NUMBERS.names)
    events.timestamps[:] = np.arange(count)
    return events


def _blocks(events: Slots, size: int) -> list[Slots]:
    # Not too many: what is measured is the plan, not how long the list takes to make.
    last = min(events.count, max(size * 8, 1 << 15))
    return [events.part(at, at + size) for at in range(0, last - size + 1, size)]


def _bare_addition(blocks: list[Slots], seconds: float) -> float:
    out = np.empty(blocks[0].count)
    columns = [block["x"] for block in blocks]

    def once() -> int:
        for column in columns:
            np.add(column, 0.5, out=out)
        return len(columns) * len(out)

    return bare.rate(once, seconds)
