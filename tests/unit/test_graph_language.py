"""The graph as a value: order, fingerprints, owners, edits, plain form."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.operation import Operation
from tests.unit.graphs import graphs, of

SPOT = of("spot", "roi", "camera", rows=(1, 3))
SIGNAL = of("signal", "expression", "spot", "monitor", text="_0 / _1")
MEAN = of("mean", "mean_events", "signal")


def test_operations_are_put_into_an_order_that_runs() -> None:
    graph = Graph(operations=(MEAN, SIGNAL, SPOT))
    assert [o.name for o in graph.operations] == ["spot", "signal", "mean"]


def test_graphs_are_equal_whatever_the_order_they_were_built_in() -> None:
    other = of("a", "count", "camera")
    assert Graph(operations=(SPOT, other)) == Graph(operations=(other, SPOT))
    assert hash(Graph(operations=(SPOT, other))) == hash(Graph(operations=(other, SPOT)))


def test_a_cycle_is_refused_and_walked_in_the_message() -> None:
    back = of("camera", "roi", "mean")
    with pytest.raises(
        GraphError, match="'spot' would close a cycle: spot -> signal -> mean -> camera -> spot"
    ):
        Graph(operations=(SPOT, SIGNAL, MEAN, back))


def test_a_value_has_one_producer() -> None:
    with pytest.raises(GraphError, match="two operations give 'spot'"):
        Graph(operations=(SPOT, of("spot", "count", "x")))


def test_a_result_that_no_operation_gives_is_refused() -> None:
    with pytest.raises(GraphError, match="'nothing' is to be a result"):
        Graph(operations=(SPOT,), results=("nothing",))


def test_steps_are_what_a_result_needs_and_no_more() -> None:
    graph = Graph(operations=(SPOT, SIGNAL, MEAN, of("other", "count", "spot")))
    assert [o.name for o in graph.steps_for("signal")] == ["spot", "signal"]
    assert [o.name for o in graph.steps_for(["other", "signal"])] == ["spot", "signal", "other"]


def test_fields_are_the_inputs_that_no_operation_gives() -> None:
    graph = Graph(operations=(SPOT, SIGNAL, of("t", "last", "timestamp")))
    assert graph.fields == {"camera", "monitor"}


def test_names_of_operations_do_not_show_in_fingerprints() -> None:
    renamed = Graph(operations=(of("s", "roi", "camera", rows=(1, 3)), of("m", "sum", "s")))
    graph = Graph(operations=(SPOT, of("n", "sum", "spot")))
    assert graph.fingerprint("n") == renamed.fingerprint("m")
    assert len(graph.fingerprint("n")) == 16


@pytest.mark.parametrize(
    "changed",
    [
        of("spot", "roi", "camera", rows=(1, 4)),
        of("spot", "roi", "camera2", rows=(1, 3)),
        of("spot", "sum", "camera", rows=(1, 3)),
        of("spot", "roi", "camera", rows=(1.0, 3)),
        of("spot", "roi", "camera", rows=(True, 3)),
        of("spot", "roi", "camera", cols=(1, 3)),
    ],
    ids=str,
)
def test_a_change_of_a_definition_shows_in_all_that_follows(changed: Operation) -> None:
    graph = Graph(operations=(SPOT, SIGNAL, MEAN))
    edited = Graph(operations=(changed, SIGNAL, MEAN))
    assert all(edited.fingerprint(name) != graph.fingerprint(name) for name in ("spot", "signal", "mean"))


def test_a_field_and_an_operation_of_one_fingerprint_text_differ() -> None:
    graph = Graph(operations=(SPOT, of("a", "sum", "spot")))
    forged = Graph(operations=(of("a", "sum", graph.fingerprint("spot")),))
    assert forged.fingerprint("a") != graph.fingerprint("a")


def test_an_unrelated_edit_keeps_fingerprints() -> None:
    graph = Graph(operations=(SPOT, SIGNAL, MEAN))
    edited = Graph(operations=(*graph.operations, of("other", "count", "spot")))
    assert edited.fingerprint("mean") == graph.fingerprint("mean")


def test_a_reset_changes_what_is_reset_and_all_that_follows_it() -> None:
    ratio = of("ratio", "expression", "mean", "other", text="_0 / _1")
    graph = Graph(operations=(SPOT, SIGNAL, MEAN, of("other", "count", "spot"), ratio))
    reset = replace(graph, resets=(("mean", 1), ("other", 1)))
    changed = {o.name for o in graph.operations if reset.fingerprint(o.name) != graph.fingerprint(o.name)}
    assert changed == {"mean", "other", "ratio"}
    assert replace(graph, resets=(("mean", 2),)).fingerprint("mean") != reset.fingerprint("mean")


def test_owners_and_version_do_not_show_in_the_hash_but_all_else_does() -> None:
    graph = Graph(operations=(SPOT, SIGNAL, MEAN), results=("mean",))
    owned = tuple(operation.with_owners(("alice",)) for operation in graph.operations)
    assert replace(graph, version=3, operations=owned).hash == graph.hash
    assert Graph(operations=(SPOT, SIGNAL)).hash != Graph(operations=graph.operations).hash != graph.hash
    assert replace(graph, resets=(("mean", 1),)).hash != graph.hash


def test_reductions_start_on_the_worker_and_what_follows_them_is_global() -> None:
    graph = graph_of("values: {s: sum(camera)}\nresults: {m: mean_events(s), r: m / 2}")
    assert [graph.stage(name) for name in ("s", "m", "r")] == ["worker", "worker", "global"]
    assert graph.reduced == {"m", "r"}


def test_an_unknown_value_is_refused_with_similar_names() -> None:
    with pytest.raises(GraphError, match="no operation gives 'signl'; did you mean 'signal'"):
        Graph(operations=(SPOT, SIGNAL)).fingerprint("signl")


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_the_plain_form_goes_through_json_and_back(graph: Graph) -> None:
    back = Graph.from_plain(json.loads(json.dumps(graph.to_plain())))
    assert back == graph
    assert back.hash == graph.hash


operation_like = st.dictionaries(
    st.sampled_from(["name", "kind", "inputs", "parameters", "owners", "else"]),
    st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=2)
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=2), inner, max_size=2)
        ),
        max_leaves=4,
    ),
)


@given(
    st.fixed_dictionaries(
        {"format": st.sampled_from([2, 2, 2, 1, None])},
        optional={
            "version": st.one_of(st.integers(), st.text(), st.floats()),
            "operations": st.one_of(st.none(), st.lists(st.one_of(operation_like, st.text()), max_size=3)),
            "results": st.one_of(st.text(), st.lists(st.one_of(st.text(max_size=2), st.integers()))),
            "resets": st.one_of(st.integers(), st.dictionaries(st.text(max_size=2), st.integers())),
        },
    )
)
@settings(deadline=None)
def test_a_hostile_plain_form_is_a_graph_error(plain: object) -> None:
    try:
        assert Graph.from_plain(plain).to_plain()["format"] == 2
    except GraphError as error:
        assert len(str(error)) < 2000


@pytest.mark.parametrize("plain", [None, 1, "x", [], {}, {"format": 1}], ids=str)
def test_what_is_no_graph_at_all_is_refused(plain: object) -> None:
    with pytest.raises(GraphError, match="not a graph of format 2"):
        Graph.from_plain(plain)


@pytest.mark.parametrize(
    "value",
    [1 << 70, float("nan"), object(), b"x", {"a": 1}, "\ud800", "x" * 200_000],
    ids=lambda v: type(v).__name__,
)
def test_a_parameter_that_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(GraphError, match="parameter 'a'"):
        of("x", "roi", "camera", a=value)


def test_reading_a_stored_graph_needs_no_yaml() -> None:
    graph = Graph(operations=(MEAN, SIGNAL, SPOT), results=("mean",))
    program = (
        "import json, sys; from ami.graph.graph import Graph;"
        "graph = Graph.from_plain(json.load(sys.stdin)); graph.fingerprint('mean'); graph.stage('mean');"
        "print(graph.hash, 'yaml' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(graph.to_plain()), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == [graph.hash, "False"]
