"""Graphs of thousands of operations are handled in steps in proportion, whatever their shape."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.event import Field, Schema
from ami.graph.check import check, list_cautions
from ami.graph.execution.lanes import with_lanes
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.results import GlobalPlan
from ami.graph.graph import Graph
from ami.graph.language.lower import lower
from ami.graph.language.text import parse, restore, write
from ami.graph.operation import Operation

SCHEMA = Schema.of([Field("x", np.dtype(np.float64)), Field("k", np.dtype(np.int64))])


def wide(count: int) -> str:
    lines = [f"  r{n}: mean_events(x * {n} + k)" for n in range(count)]
    return "\n".join(["results:", *lines])


def chain_of_results(count: int) -> str:
    lines = ["  r0: mean_events(x)", *(f"  r{n}: r{n - 1} + {n}" for n in range(1, count))]
    return "\n".join(["results:", *lines])


def count_calls(work: Callable[[], object]) -> int:
    """Return how many functions are called while something is done, Python's and C's."""
    calls = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("shape", [wide, chain_of_results])
def test_twice_as_many_operations_take_twice_the_work(shape: Callable[[int], str]) -> None:
    def edit_of(count: int) -> dict[str, int]:
        document = parse(shape(count))
        text, graph = write(document), lower(document).at_version(1)
        kinds = check(graph, SCHEMA)
        plain = graph.to_plain()
        after = lower(document).at_version(2)  # with nothing computed before
        return {
            "lower": count_calls(lambda: lower(document)),
            "check": count_calls(lambda: check(after, SCHEMA, graph)),
            "lanes": count_calls(lambda: with_lanes(after, kinds, 10**9)),
            "cautions": count_calls(lambda: list_cautions(after, kinds, graph)),
            "restore": count_calls(lambda: restore(text, plain)),
            "plan": count_calls(lambda: WorkerPlan(lower(document), SCHEMA)),
            "results": count_calls(lambda: GlobalPlan(lower(document))),
        }

    edit_of(10)  # what is imported and cached at first
    once, twice = edit_of(100), edit_of(200)
    assert {what: twice[what] / calls for what, calls in once.items() if twice[what] > 2.2 * calls} == {}


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=3), max_size=40), st.data())
def test_what_a_value_needs_and_what_needs_it_are_those_with_a_way_between_them(
    inputs: list[list[int]], data: st.DataObject
) -> None:
    # Value n may use those before it; all other numbers are fields.
    names = [f"v{n:02}" for n in range(len(inputs))]
    operations = tuple(
        Operation(names[n], "expression", tuple(f"v{i:02}" if i < n else f"f{i}" for i in some))
        for n, some in enumerate(inputs)
    )
    graph = Graph(operations=operations)
    reach = np.zeros((len(names), len(names)), bool)  # from, to
    for n, some in enumerate(inputs):
        reach[n, n] = True
        for i in some:
            if i < n:
                reach[:, n] |= reach[:, i]
    wanted = data.draw(st.sets(st.sampled_from(names))) if names else set()
    chosen = [names.index(name) for name in wanted]
    needed = {names[n] for n in np.flatnonzero(reach[:, chosen].any(axis=1))}
    there = graph.steps_for(wanted)
    assert {step.name for step in there} == needed
    assert list(there) == [step for step in graph.operations if step.name in needed]
    behind = {names[n] for n in np.flatnonzero(reach[chosen].any(axis=0))}
    assert graph.flow(lambda operation: operation.name in wanted) == behind
