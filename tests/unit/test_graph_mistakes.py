"""What people mistype is answered in one line: what was seen, what was wanted, what to do next."""

from __future__ import annotations

import numpy as np
import pytest

from ami.errors import GraphError
from ami.event import Field, Schema
from ami.graph.check import check, list_cautions
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.grammar import parse
from ami.graph.expression.habits import OPERATIONS, OTHERS, explain_operation
from ami.graph.language.text import graph_of
from ami.graph.library import LIBRARY
from ami.graph.operation import definition_of

EVENT = Schema((Field("camera", np.dtype("f4"), (96, 128)), Field("x", np.dtype("f8"))))


def refusal(definition: str) -> str:
    """Return why a definition is refused."""
    with pytest.raises(GraphError) as refused:
        check(graph_of(f"results:\n  m: >-\n    {definition}\n"), EVENT)
    return str(refused.value)


@pytest.mark.parametrize(
    ("definition", "seen", "advice"),
    [
        ("mean_events(camera[1:3])", "got '['", "roi(image, rows=1:3"),
        ("mean_events(camera)[1:3]", "got '['", "roi(image, rows=1:3"),
        ("m = mean_events(x)", "got '='", "'==' compares"),
        ("mean_events(x if x > 1 else 0)", "got 'if'", "where(condition, a, b)"),
        ("if x > 1", "got 'x'", "where(condition, a, b)"),
        ("for y in x", "got 'y'", "no loops"),
        ("lambda y: y", "got 'y'", "code of your own goes under functions"),
        ("count(x where x is 3)", "got 'is'", "'==' compares"),
        ("count(x where x > 1 && x < 3)", "got '&'", "both is 'and'"),
        ("count(x where !x)", "'!'", "'not' turns"),
        ("mean_events(x.sum())", "'.'", "sum(x)"),
        ("np.mean(x)", "'.'", "mean(x)"),
        ("last(x, 5)", "got 5", "pick(x, count=5)"),
        ("mean_events(x, window=20)", "got 20", "'last 5' are intervals"),
        ("mean_evnts(x)", "no operation 'mean_evnts'", "did you mean 'mean_events'"),
        ("frobnicate(x)", "no operation 'frobnicate'", "`ami operations` lists"),
        ("mean_events(camra)", "no value or field 'camra'", "did you mean 'camera'"),
        ("mean_events(region(camera))", "no operation 'region'", "roi(image, rows=1:3"),
        ("mean_events(where(x, x > 3))", "got 2", "x where x > 3"),
        ("mean_events(x, where=x > 3)", "argument 'where'", "x where x > 3"),
        ("mean_events(m)", "'m' is computed from itself", "call this something else"),
    ],
)
def test_a_typical_mistake_is_answered_with_what_to_write(definition: str, seen: str, advice: str) -> None:
    said = refusal(definition)
    assert seen in said
    assert advice in said
    assert len(said) < 400


@pytest.mark.parametrize("definition", ["mean_events(camera[1:3])", "sum([x])", "sum({x})", "mean_events(x"])
def test_a_bracket_within_a_flow_mapping_is_said_to_be_yaml_s(definition: str) -> None:
    with pytest.raises(GraphError) as refused:
        graph_of(f"results: {{m: {definition}}}")
    assert ("within { } brackets are YAML's: put the definition into quotes" in str(refused.value)) == (
        "[" in definition or "{" in definition
    )


def test_a_letter_that_only_looks_right_is_named() -> None:
    said = refusal("mean_events(сamera)")
    assert "CYRILLIC SMALL LETTER ES" in said


@pytest.mark.parametrize("definition", ["count(x where x &)", "mean_events(x where", "histogram(x, 10,, 3)"])
def test_other_mistakes_get_no_advice_that_does_not_fit(definition: str) -> None:
    assert ";" not in refusal(definition).partition("\n")[0]


@pytest.mark.parametrize("name", [*OPERATIONS, *OTHERS])
def test_an_operation_of_other_libraries_is_answered_with_that_of_this_one(name: str) -> None:
    assert name not in LIBRARY
    assert name not in FUNCTIONS
    assert explain_operation(name) in refusal(f"last({name.upper()}(x))")


def test_slices_are_refused_just_where_nothing_lies_in_them() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        ends = [int(n) for n in rng.integers(-9, 10, rng.integers(2, 4))]
        text = f"roi(x, rows={':'.join(map(str, ends))})"
        ends += [1] * (3 - len(ends))
        # Whether negative ends meet depends on the shape, which only a source knows.
        empty = min(ends[:2]) >= 0 and ends[2] > 0 and not range(100)[slice(*ends)]
        try:
            parse(text)
        except GraphError as error:
            assert empty, text
            assert "nothing lies in" in str(error)
        else:
            assert not empty, text


def test_a_region_is_cautioned_of_just_where_it_goes_beyond_the_image() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        rows, columns = (sorted(int(n) for n in rng.choice(140, 2, replace=False)) for _ in "rc")
        text = (
            f"results: {{m: 'last(roi(camera, rows={rows[0]}:{rows[1]}, cols={columns[0]}:{columns[1]}))'}}"
        )
        graph = graph_of(text)
        if rows[0] >= 96 or columns[0] >= 128:
            with pytest.raises(GraphError, match="lies outside"):
                check(graph, EVENT)
            continue
        cautions = list_cautions(graph, check(graph, EVENT))
        assert bool(cautions) == (rows[1] > 96 or columns[1] > 128)
        assert all(definition_of(name, graph) == "m" for name, _ in cautions)
        assert all(said.startswith("'m', in roi(") and "is cut there" in said for _, said in cautions)
        assert not list_cautions(graph, check(graph, EVENT), graph), "nobody is told twice"


@pytest.mark.parametrize(
    "text",
    ["results: {a: mean_vs(b, key=c)}", "results: {a: count(x), b: histogram(x, 10, 0, 1)}",
     "{results: {a: sum(roi(camera, rows=1:3)) / 3}}"],
)  # fmt: skip
def test_a_definition_that_yaml_cuts_at_a_comma_is_answered_with_quotes(text: str) -> None:
    with pytest.raises(
        GraphError, match=r"line 1, column \d+: [ab]: '.*' is cut at the comma, .* into quotes"
    ):
        graph_of(text)


def test_a_bracket_that_is_missing_within_braces_is_not_taken_for_a_comma() -> None:
    with pytest.raises(GraphError, match="expected ',' or '\\)', got the end"):
        graph_of("results: {a: mean_events(x}")


def test_a_definition_in_quotes_or_without_a_comma_may_stand_within_braces() -> None:
    assert graph_of("results: {a: 'mean_vs(b, key=c)', b2: count(c)}").results == ("a", "b2")


def test_a_function_that_the_library_has_is_told_from_one_that_has_no_name() -> None:
    with pytest.raises(GraphError, match="'sum': the library has one; try my_sum"):
        graph_of("functions: {sum: 'def f(x): return x'}")
    with pytest.raises(GraphError, match="'a b': it is no plain name"):
        graph_of("functions: {a b: 'def f(x): return x'}")
