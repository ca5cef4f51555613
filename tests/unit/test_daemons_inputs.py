"""What fields there are on all nodes together, and what becomes of a graph on a node that lacks one."""

from __future__ import annotations

from dataclasses import fields, make_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.daemons.source.inputs import unite
from ami.event import Field, Schema, Slots
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.messages import sent

KINDS = [np.dtype(np.int64), np.dtype(np.float32)]
SCHEMAS = st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from("wxyz"), st.sampled_from(KINDS)), min_size=1
)


@given(SCHEMAS)
def test_a_field_is_there_if_all_nodes_that_have_it_have_the_same(
    nodes: dict[str, dict[str, np.dtype]],
) -> None:
    whole = unite({host: Schema.of([Field(n, d) for n, d in have.items()]) for host, have in nodes.items()})
    kinds: dict[str, set[np.dtype]] = {}
    for have in nodes.values():
        for name, dtype in have.items():
            kinds.setdefault(name, set()).add(dtype)
    assert {one.name: {one.dtype} for one in whole.fields} == {n: k for n, k in kinds.items() if len(k) == 1}
    assert whole.left_out.keys() == {name for name, k in kinds.items() if len(k) > 1}


def test_who_has_it_how_is_told_and_units_count() -> None:
    here, there = Schema.of([Field("x", "f8", unit="mJ")]), Schema.of([Field("x", "f8", unit="uJ")])
    reason = unite({"a": here, "b": there}).left_out["x"]
    assert reason == "it is float64, a number in mJ on a and float64, a number in uJ on b"


def test_a_variable_field_and_its_length_go_together() -> None:
    here = Schema.of([Field("x", "f8", (5,), variable=True)])
    whole = unite({"a": here, "b": Schema.of([Field("x.length", "f4")])})
    assert (whole.names, whole.left_out.keys()) == ((), {"x", "x.length"})


def test_what_is_left_out_on_one_node_is_there_if_another_has_it() -> None:
    lacks = Schema((), {"x": "its part is away", "y": "text"})
    whole = unite({"a": lacks, "b": Schema.of([Field("x", "f8")])})
    assert (whole.names, whole.left_out) == (("x",), {"y": "text"})


def test_what_needs_a_field_of_other_nodes_is_left_out_and_is_no_error() -> None:
    graph = graph_of("results: {here: count(x), there: count(y), wrong: count(z)}").at_version(1)
    schema = Schema.of([Field("x", "f8")])
    plan = WorkerPlan(graph, schema, elsewhere=frozenset({"x", "y"}))
    assert set(plan.broken) == {"wrong"}
    slots = Slots.allocate(schema, 3)
    slots["x"][:] = [1, 2, 3]
    slots.set_valid(schema.names)
    partial = plan.partial()
    plan.run(slots, 0, partial)
    assert list(partial.states.values()) == [3]
    assert set(partial.errors) == {"wrong"}


def test_with_each_field_that_is_sent_a_version_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    known = sent.SENT
    said = {sent.sign_sent.__wrapped__()}
    for number, one in enumerate(known):
        names = [field.name for field in fields(one)]
        other = make_dataclass(one.__name__, [*names[:-1], f"{names[-1]}_new"])
        monkeypatch.setattr(sent, "SENT", (*known[:number], other, *known[number + 1 :]))
        said.add(sent.sign_sent.__wrapped__())
    assert len(said) == len(known) + 1
