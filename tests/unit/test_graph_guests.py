"""What people's functions give and do: each value is itself or that event's error, and harms nobody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ami.event import Field, Schema, Slots
from ami.graph.execution.bind import reductions
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of

EVENTS = 60
INT, FLOAT = np.dtype(np.int64), np.dtype(np.float64)
SCHEMA = Schema((Field("x", INT), Field("image", INT, (2, 3))))
GIVEN = [0, 3, -1, 0.5, 2.0, float("nan"), float("inf"), True, 10**30]


def run(code: str, how: str = "") -> tuple[dict[str, Any], Any]:
    """Return the results of two people, one of whom has a function, and the errors."""
    text = f"functions:\n  f:\n    code: |\n{code}\n{how}results:\n  mine: sum_events(f(x))\n  n: count(x)\n"
    graph = graph_of(text).at_version(1)
    slots = Slots.allocate(SCHEMA, EVENTS)
    slots.columns["x"][:] = np.arange(EVENTS)
    slots.columns["image"][:] = np.arange(6).reshape(2, 3)
    slots.set_valid(SCHEMA.name_set)
    plan = WorkerPlan(graph, SCHEMA)
    partial = plan.partial(0)
    plan.run(slots, 0, partial)
    known = reductions(graph)
    found = {name: known[key].result(partial.states[key])
             for name in graph.results if (key := graph.fingerprint(name)) in partial.states}  # fmt: skip
    return found, partial.errors


def gives(values: list[Any]) -> str:
    return f"      def f(x): return {values!r}[x % {len(values)}]".replace("nan", "math.nan").replace(
        "inf", "math.inf"
    )


def fits(value: Any, dtype: np.dtype[Any]) -> bool:
    if dtype == FLOAT:
        return True
    return value == value and abs(value) < 2**62 and value == int(value)


@pytest.mark.parametrize("declared", ["", "int64"])
@pytest.mark.parametrize("seed", range(12))
def test_each_number_is_itself_or_that_events_error(seed: int, declared: str) -> None:
    random = np.random.default_rng(seed)
    values = [GIVEN[n] for n in random.integers(0, len(GIVEN), random.integers(1, 7))]
    found, errors = run(gives(values), f"    returns: {declared}\n" if declared else "")
    assert found["n"] == EVENTS
    kind = np.dtype(declared) if declared else FLOAT
    if not declared and isinstance(values[1 % len(values)], bool):
        return  # the trial, on ones, gave a truth: see below
    good = [value for value in (values[n % len(values)] for n in range(EVENTS)) if fits(value, kind)]
    bad = EVENTS - len(good)
    assert sum(record.count for record in errors.values()) == bad
    if good:
        np.testing.assert_allclose(float(found["mine"]), sum(map(float, good)), rtol=1e-12)


def test_what_was_a_truth_and_becomes_a_number_is_told() -> None:
    found, errors = run("      def f(x): return x > 5 if x < 50 else 0.5")
    assert found["n"] == EVENTS
    assert found["mine"] == 44
    (record,) = errors.values()
    assert record.count == 10
    assert "returns: float64" in record.text


@pytest.mark.parametrize("block", [False, True])
def test_nobody_can_write_into_what_he_is_given(block: bool) -> None:
    text = (
        "functions:\n  f:\n    code: |\n      def f(a):\n          a[...] = 0\n          return a"
        + (".sum(axis=(1, 2))" if block else ".sum()")
        + f"\n    block: {str(block).lower()}\n    returns: float64\n"
        "values: {shifted: image + 1}\n"
        "results: {mine: sum_events(f(shifted)), raw: sum_events(f(image)), most: max_events(max(shifted))}\n"
    )
    graph = graph_of(text).at_version(1)
    slots = Slots.allocate(SCHEMA, EVENTS)
    slots.columns["image"][:] = np.arange(6).reshape(2, 3)
    slots.set_valid(SCHEMA.name_set)
    plan = WorkerPlan(graph, SCHEMA)
    partial = plan.partial(0)
    plan.run(slots, 0, partial)
    known = reductions(graph)
    assert known[graph.fingerprint("most")].result(partial.states[graph.fingerprint("most")]) == 6
    assert (slots.columns["image"] == np.arange(6).reshape(2, 3)).all()
    assert sum(record.count for record in partial.errors.values()) == 2 * EVENTS
    assert all("read-only" in record.text for record in partial.errors.values())
