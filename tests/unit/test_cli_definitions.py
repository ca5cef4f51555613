"""What people type becomes a graph's text, and two graphs are told apart."""

import pytest

from ami.cli.graph import read_document
from ami.client.definitions import difference, to_yaml
from ami.client.first_graph import first_look, ready_graph
from ami.errors import GraphError
from ami.event import Field, Schema
from ami.graph.check import check
from ami.graph.graph import Graph
from ami.graph.language import edits
from ami.graph.language.lower import lower
from ami.graph.language.text import graph_of, parse, write
from ami.sources import open_source

RUNNING = parse("values: {double: x * 2}\nresults: {level: mean_events(x)}")


def typed(*texts: str) -> Graph:
    text, is_defined = to_yaml(texts)
    assert is_defined
    return lower(edits.publish(parse(text), RUNNING))


def test_a_definition_that_reduces_is_a_result() -> None:
    assert typed("bright = mean_vs(sum(camera), key=delay)").results == ("bright",)


def test_a_definition_for_each_event_is_a_value_for_others() -> None:
    made = typed("signal = sum(camera) / monitor", "level = mean_events(signal)")
    assert made.results == ("level",)
    assert "signal" in made


def test_arithmetic_on_a_result_of_the_running_graph_is_a_result() -> None:
    assert typed("offset = level - 3", "more = offset * 2").results == ("offset", "more")


def test_arithmetic_on_a_value_of_the_running_graph_is_a_value() -> None:
    assert typed("four = double * 2").results == ()


def test_several_definitions_may_stand_in_one_text_with_comments() -> None:
    made = typed("# mine\na = count(x)\n\nb = x == 1\n")
    assert (made.results, made["b"].kind) == (("a",), "expression")


def test_a_name_of_unusual_characters_stands_in_backticks() -> None:
    assert typed("`my count` = count(x)").results == ("my count",)


def test_a_yaml_text_is_handed_on_as_it_is() -> None:
    text = "results:\n  a: count(x)\n"
    assert to_yaml([text]) == (text, False)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a = count(x)", "a = count(y)"], "defined twice"),
        (["a = count(x)", "results: {b: count(x)}"], "is no definition"),
        (["# nothing"], "nothing is defined"),
        ([""], "nothing is defined"),
    ],
)
def test_what_is_no_definition_is_refused_with_the_reason(texts: list[str], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        to_yaml(texts)


def test_a_difference_names_what_was_added_removed_changed_and_reset() -> None:
    old = parse("version: 1\nresults: {a: count(x), b: count(y), c: mean_events(x)}")
    new = parse("version: 2\nresults: {b: count(z), c: mean_events(x), d: count(x)}\nresets: {c: 1}")
    found = difference(old, new)
    assert (found.added, found.removed, found.changed, found.reset) == (("d",), ("a",), ("b",), ("c",))
    assert "+  b: count(z)" in found.text.splitlines()


def test_owners_and_versions_are_no_difference() -> None:
    old = parse("version: 1\nresults: {a: count(x)}\nowners: {ann: [a]}")
    new = parse("version: 2\nresults: {a: count(x)}\nowners: {bob: [a]}")
    assert difference(old, new).text == ""
    assert write(old, whole=False) == write(new, whole=False)


def test_the_graph_of_the_simulated_experiment_suits_it() -> None:
    path = ready_graph("sim://pump-probe?rate=1000")
    assert path is not None
    source = open_source("sim://pump-probe")
    check(graph_of(path.read_text()), source.schema)
    source.close()


def test_a_first_look_shows_every_field_and_suits_the_source() -> None:
    schema = Schema.of([Field("x", "f8"), Field("my field", "i4"), Field("wave", "i2", (5,), variable=True)])
    graph = graph_of(first_look(schema))
    check(graph, schema)
    assert graph.fields == {"x", "my field", "wave", "wave.length"}


def test_an_unknown_source_has_no_ready_graph() -> None:
    assert ready_graph("hdf5:///data/run7.h5") is None


@pytest.mark.parametrize("source", ["sim://pump-probe?rate=5", "run 12.h5", "hdf5:///data/a.h5"])
def test_a_source_in_the_place_of_a_graph_is_said_to_be_one(source: str) -> None:
    with pytest.raises(GraphError, match="is a source; the graph stands before it"):
        read_document(source)
