"""Equal steps that run as one: to the last bit what each by itself gives, and what numpy gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.event import Array, Field, Schema, Slots
from ami.graph.execution import together
from ami.graph.execution.partial import Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.library import LIBRARY
from ami.graph.library.accumulate import SumEvents
from ami.stores import codec
from tests.unit.graphs import of

DTYPES = ("f8", "f4", "f2", "i8", "u8", "i2", "u4", "u1", "?")
FIELDS = [Field(f"{dtype.strip('?') or 'b'}_{n}", np.dtype(dtype)) for dtype in DTYPES for n in range(3)]
SCHEMA = Schema.of([*FIELDS, Field("laser", np.dtype("i8"))])
NEVER = 1 << 30
MANY = sorted(name for name in LIBRARY if getattr(LIBRARY[name], "many", False))
# What may be computed together, beside what looks like it and may not. (Large ints are no floats' equals.)
TEXTS = (
    "{0}", "{0} + {1}", "{0} - {1}", "{1} * {0}", "{1} / {0}", "{0} * {1} - {1}", "{0} - {2}",
    "{0} / ({2} + {1})", "-{0} + {1}", "{0} ** {1}", "{0} * (2 + {1})", "{0} > {1}",
    "{0} + 9007199254740993", "sin({0}) + {1}",
)  # fmt: skip
NUMPY: dict[str, Callable[[Array], Any]] = {
    "count": len,
    "sum_events": lambda v: v.sum(dtype=float if v.dtype.kind == "f" else object),
    "mean_events": lambda v: v.astype(float).mean(),
    "min_events": np.min,
    "max_events": np.max,
    "std_events": lambda v: v.astype(float).std(ddof=1) if len(v) > 1 else math.nan,
}


def slots(count: int, seed: int, holes: float, nans: float) -> Slots:
    rng = np.random.default_rng(seed)
    made = Slots.allocate(SCHEMA, count)
    made.set_valid(SCHEMA.names)
    for field in FIELDS:
        column = made.columns[field.name]
        if field.dtype.kind == "f":
            column[:] = rng.normal(size=count) * 10.0 ** rng.integers(-4, 4, count)
            column[rng.random(count) < nans] = rng.choice([np.nan, np.inf, -0.0])
        else:
            top = 2 if field.dtype.kind == "b" else np.iinfo(field.dtype).max
            column[:] = rng.integers(0, top, count, np.uint64).astype(field.dtype)
        if rng.random() < 0.5:
            made.set_missing([field.name], rng.random(count) < holes)
    made.columns["laser"][:] = rng.integers(0, 2, count)
    made.timestamps[:] = 1000 + np.arange(count)
    return made


def run(graph: Graph, events: Slots, block: int, fewest: int) -> Partial:
    plan = WorkerPlan(graph, SCHEMA, fewest=fewest)
    partial = plan.partial()
    for start in range(0, events.count, block):
        plan.run(events.part(start, min(start + block, events.count)), start, partial)
    return partial


@st.composite
def definitions(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Reductions of one sort with the texts of what they reduce, in groups of 1 to 50, mixed up."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        kind, text = draw(st.sampled_from(MANY)), draw(st.sampled_from(TEXTS))
        dtype = draw(st.sampled_from(DTYPES)).strip("?") or "b"
        where = draw(st.sampled_from(["", "", " where laser == 1", f" where {dtype}_1 > 0"]))
        for number in range(draw(st.integers(1, 50))):
            constant = number + draw(st.sampled_from([0, 0.5]))
            value = text.format(f"{dtype}_{number % 3}", constant, f"{dtype}_{(number + 1) % 3}")
            window = draw(st.sampled_from(["run", "interval"]))
            made.append((f'{kind}({value}{where}, window="{window}")', value + where))
    return draw(st.permutations(made))


def bits(partial: Partial) -> dict[str, Any]:
    """Return what there is of each reduction, as bytes where an equal number may have others."""
    return {
        key: (bytes(codec.encode(state)), partial.used[key]) for key, state in sorted(partial.states.items())
    }


@settings(max_examples=40, deadline=None)
@given(
    definitions(),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_steps_that_run_together_give_what_each_by_itself_gives(
    made: list[tuple[str, str]], count: int, block: int, seed: int, holes: float
) -> None:
    graph = graph_of("results:\n" + "".join(f"  r{n}: '{text}'\n" for n, (text, _) in enumerate(made)))
    events = slots(count, seed, holes, 0.1)
    each, all_ = (run(graph, events, block, fewest) for fewest in (NEVER, 2))
    assert bits(all_) == bits(each)
    assert {n: (r.count, r.first_sequence) for n, r in all_.errors.items()} == {
        n: (r.count, r.first_sequence) for n, r in each.errors.items()
    }


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(NUMPY)),
    st.sampled_from(["f8", "f4", "i2"]),
    st.integers(4, 50),
    st.integers(1, 200),
    st.integers(0, 99),
)
def test_the_results_of_a_group_are_numpys(kind: str, dtype: str, group: int, block: int, seed: int) -> None:
    on = {n for n in range(group) if n % 3 == 0}
    texts = [f"{kind}({dtype}_{n % 3} - {n}{' where laser == 1' if n in on else ''})" for n in range(group)]
    graph = graph_of("results:\n" + "".join(f"  r{n}: {text}\n" for n, text in enumerate(texts)))
    events = slots(150, seed, 0.3, 0.0)
    plan = WorkerPlan(graph, SCHEMA)
    partial = run(graph, events, block, together.FEWEST)
    for n in range(group):
        name, key = f"{dtype}_{n % 3}", graph.fingerprint(f"r{n}")
        there = events.has(name) & ((events["laser"] == 1) if n in on else True)
        values = events[name][there]
        values = values - n if values.dtype.kind == "f" else values.astype(np.int64) - n
        assert partial.used[key] == len(values)
        got = plan.reductions[key].result(partial.states[key])
        tolerance = 1e-4 if dtype == "f4" else 1e-9
        if len(values):
            assert float(got) == pytest.approx(
                float(NUMPY[kind](values)), rel=tolerance, abs=1e-9, nan_ok=True
            )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Into how many states each call adds that is made for several."""
    found: list[int] = []
    add_many = SumEvents.add_many

    def note(self: SumEvents, states: Any, rows: Array) -> Any:
        found.append(len(states))
        return add_many(self, states, rows)

    monkeypatch.setattr(SumEvents, "add_many", note)
    return found


@pytest.mark.parametrize(
    "value",
    ["f8_0 + {0}", "f8_{1} * 2 - {0}", "f8_{1} ** {0} where laser", "f8_{1} where i2_0 > 9000 + {0} * 200"],
)
def test_a_hundred_means_are_few_steps(counted: list[int], value: str) -> None:
    texts = [f"  r{n}: mean_events({value.format(n, n % 3)}, window=interval)\n" for n in range(100)]
    graph = graph_of("results:\n" + "".join(texts))
    run(graph, slots(50, 1, 0.0, 0.0), 50, together.FEWEST)
    # Behind filters of their own the events differ, so these are added one by one.
    assert counted == ([] if ">" in value else [100])


def test_what_is_alike_runs_together_where_the_events_are_the_same(counted: list[int]) -> None:
    texts = [f"  r{n}: sum_events(f8_{n % 3} + {n}{' where laser' * (n % 2)})\n" for n in range(24)]
    events = slots(50, 1, 0.0, 0.0)
    events.set_missing(["f8_1"], range(7))
    run(graph_of("results:\n" + "".join(texts)), events, 50, together.FEWEST)
    # With and without a filter, with and without holes; both fields without holes count as one.
    assert sorted(counted) == [4, 4, 8, 8]


def test_a_longer_block_is_added_in_smaller_groups_and_a_long_one_by_each(counted: list[int]) -> None:
    graph = graph_of("results:\n" + "".join(f"  r{n}: sum_events(f4_{n % 3} + {n})\n" for n in range(20)))
    events = slots(together.LONGEST + 1, 1, 0.0, 0.0)
    each = run(graph, events, events.count, NEVER)
    assert bits(run(graph, events, events.count, together.FEWEST)) == bits(each)
    assert counted == []
    events = events.part(0, together.LONGEST)
    each = run(graph, events, events.count, NEVER)
    assert bits(run(graph, events, events.count, together.FEWEST)) == bits(each)
    assert counted == [8, 8, 4]


def test_what_a_group_is_to_add_later_is_the_same_object_in_none_of_them() -> None:
    graph = graph_of(
        "results:\n" + "".join(f"  r{n}: sum_events(i8_0, window='last {n + 1}')\n" for n in range(8))
    )
    events = slots(10, 1, 0.0, 0.0)
    partial, other = (run(graph, events, 10, 2) for _ in range(2))
    partial.merge(other, WorkerPlan(graph, SCHEMA).reductions)  # merges in place
    wanted = 2 * sum(events["i8_0"].tolist())
    for key, reduction in WorkerPlan(graph, SCHEMA).reductions.items():
        assert float(reduction.result(partial.states[key])) == pytest.approx(float(wanted))


def test_a_group_that_fails_is_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("all of them")

    graph = graph_of("results:\n" + "".join(f"  r{n}: mean_events(f8_0 - {n})\n" for n in range(9)))
    events = slots(40, 1, 0.0, 0.0)
    each = bits(run(graph, events, 9, NEVER))
    monkeypatch.setattr(SumEvents, "add_many", fail)
    assert bits(run(graph, events, 9, 2)) == each


@pytest.mark.parametrize("holes", [0.0, 0.4])
@pytest.mark.parametrize("block", [1, 40, 700])
def test_values_that_some_read_together_and_some_alone_are_the_same_for_all(block: int, holes: float) -> None:
    values, results = [], []
    for n in range(30):
        values += [f"  a{n}: f8_0 + {n}", f"  b{n}: a{(7 * n) % 30} * f8_1 - {n}"]
        results += [f"  ma{n}: mean_events(a{n})", f"  mb{n}: mean_events(b{n}, window=interval)"]
        if n % 3 == 0:
            values += [f"  c{n}: b{n} where laser == 1"]
            results += [f"  sa{n}: std_events(a{n})", f"  la{n}: last(a{n})", f"  mc{n}: max_events(c{n})"]
    graph = graph_of("\n".join(["values:", *values, "results:", *results]) + "\n")
    events = slots(700, 3, 0.0, 0.1)
    if holes:
        events.set_missing(["f8_1"], np.random.default_rng(1).random(700) < holes)
    assert bits(run(graph, events, block, 2)) == bits(run(graph, events, block, NEVER))


def test_a_function_that_gives_another_dtype_than_it_said_is_added_as_it_is() -> None:
    code = "def f(x):\n    return x.astype('f4') if x[0] > 0.5 else x"
    operations = [of(f"f{n}", "function", f"f8_{n}", code=code, block=True) for n in range(3)]
    sums = [of(f"s{n}", "sum_events", f"f{n}") for n in range(3)]
    graph = Graph(1, (*operations, *sums), tuple(one.name for one in sums))
    events = slots(40, 1, 0.0, 0.0)
    assert bits(run(graph, events, 8, 2)) == bits(run(graph, events, 8, NEVER))


def test_each_operation_is_told_its_share_of_what_a_group_took() -> None:
    graph = graph_of("results:\n" + "".join(f"  r{n}: mean_events(f8_{n % 3} + {n})\n" for n in range(20)))
    plan = WorkerPlan(graph, SCHEMA)
    events = slots(30, 1, 0.0, 0.0)
    events.set_missing(["f8_0"], [0, 1, 2])
    told: dict[str, list[tuple[int, int, int]]] = {}
    plan.run(
        events,
        0,
        plan.partial(),
        timing=lambda n, *took: told.setdefault(plan.operations[n - 1], []).append(took),
    )
    assert set(told) == set(plan.operations)
    assert all(len(found) == 1 for found in told.values())
    assert [told[f"r{n}"][0][2] for n in range(20)] == [27 if n % 3 == 0 else 30 for n in range(20)]
    assert len({told[f"r{n}"][0][:2] for n in range(20)}) == 1
