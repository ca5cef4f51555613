"""The text form: round trips, what it says, and what it refuses."""

from __future__ import annotations

import ast
import contextlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.graph.expression.grammar import parse as tree_of
from ami.graph.expression.spelling import COMPARISONS, LOGIC, PAIRS, SIGNS, spell
from ami.graph.graph import Graph
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import graph_of, parse, restore, write
from tests.unit.graphs import documents, names, of, refusal, trees

PUMP_PROBE = """\
values:
  spot: roi(camera, rows=100:140, cols=80:120)
  signal: sum(spot) / monitor
  on: signal where laser == 1 and monitor > 0.1
  off: signal where laser == 0 and monitor > 0.1
results:
  on_vs_delay: mean_vs(on, key=delay)
  off_vs_delay: mean_vs(off, key=delay)
  difference: on_vs_delay - off_vs_delay
  camera_now: last(camera)
  brightness: histogram(signal, 200, 0, 10)
"""


def test_the_text_of_a_scientist_comes_back_as_it_was() -> None:
    assert write(parse(PUMP_PROBE)) == PUMP_PROBE


def test_calls_within_calls_become_operations_of_their_own() -> None:
    graph = graph_of("values: {signal: 'sum(roi(camera, rows=1:3)) / monitor'}")
    assert graph.operations == (
        of("signal/1", "roi", "camera", rows=(1, 3)),
        of("signal/2", "sum", "signal/1"),
        of("signal", "expression", "signal/2", "monitor", text="_0 / _1"),
    )


def test_a_filter_has_a_value_and_a_condition() -> None:
    graph = graph_of("values: {on: signal where laser == 1 and monitor > 0.1}")
    assert graph["on"] == of("on", "where", "signal", "on/1")
    assert graph["on/1"] == of("on/1", "expression", "laser", "monitor", text="_0 == 1 and _1 > 0.1")


@pytest.mark.parametrize(
    ("written", "parameters"),
    [
        ("roi(x, rows=100:140)", {"rows": (100, 140)}),
        ("roi(x, rows=:140, cols=-10:)", {"rows": (None, 140), "cols": (-10, None)}),
        ("roi(x, 1:2, 3:4)", {"rows": (1, 2), "cols": (3, 4)}),
        ("roi(x, samples=::2)", {"samples": (None, None, 2)}),
        ("sum(x, axis=[0, 1])", {"axis": (0, 1)}),
        ("mean_events(x, window=interval)", {"window": "interval"}),
        ('mean_events(x, window="last 20")', {"window": "last 20"}),
        ("mean_events(x, window='100 events')", {"window": "100 events"}),
        ("histogram(x, 200, -1.5, 1e3)", {"bins": 200, "low": -1.5, "high": 1000.0}),
        ("part(x, variance)", {"part": "variance"}),
    ],
)
def test_arguments_are_shared_out_over_parameters(written: str, parameters: dict[str, object]) -> None:
    graph = graph_of(f"values: {{y: '{written.replace(chr(39), chr(34))}'}}")
    assert graph["y"].arguments == parameters
    assert graph["y"].inputs == ("x",)


def test_yaml_words_such_as_on_and_off_are_names() -> None:
    text = "values:\n  on: a + b\n  yes: c - d\n  null_: on * yes\n"
    assert [o.name for o in graph_of(text).operations] == ["on", "yes", "null_"]
    assert write(parse(text)) == text


def test_names_with_dots_and_colons_are_written_in_backticks() -> None:
    document = parse("values: {x: '`cam:stats.max` - 3'}")
    assert lower(document).fields == {"cam:stats.max"}
    assert parse(write(document)) == document


def test_a_users_function_is_called_by_its_name() -> None:
    text = """\
functions:
  brightest: |
    def brightest(image):
        return image.max()
  ratio:
    block: true
    code: |
      def ratio(a, b):
          return a / b
values:
  peak: brightest(camera)
  relative: ratio(peak, monitor)
"""
    graph = graph_of(text)
    assert graph["peak"].arguments == {"code": "def brightest(image):\n    return image.max()\n"}
    assert graph["relative"].arguments["block"] is True
    assert graph["relative"].inputs == ("peak", "monitor")
    assert write(parse(text)) == text


@given(documents())
@settings(deadline=None, max_examples=150)
def test_every_document_is_read_back_from_its_text_to_the_letter(document: Document) -> None:
    assert parse(write(document)) == document
    assert parse(write(document, whole=False)).definitions.keys() == document.definitions.keys()


@given(documents())
@settings(deadline=None, max_examples=60)
def test_every_document_is_lowered_to_the_same_graph_each_time(document: Document) -> None:
    """Also after a way through a store, and whoever owns what."""
    try:
        graph = lower(document)
    except GraphError as error:  # a cycle, or a name that is taken
        assert str(error)
        return
    back = restore(write(document), json.loads(json.dumps(graph.to_plain())))
    assert (back, lower(back)) == (document, graph)
    assert all(back[name].means(known) for name, known in document.definitions.items())
    again = lower(parse(write(back)))
    assert again == graph
    assert [again.fingerprint(o.name) for o in graph.operations] == [
        graph.fingerprint(o.name) for o in graph.operations
    ]


@given(trees(names.map(ast.Name)))
@settings(deadline=None)
def test_every_definition_is_read_back_from_its_spelling(tree: ast.expr) -> None:
    assert ast.dump(tree_of(spell(tree))) == ast.dump(tree)


@given(trees(st.sampled_from([ast.Name("a"), ast.Name("b")])))
@settings(deadline=None)
def test_spelling_keeps_pythons_precedence(tree: ast.expr) -> None:
    """Python reads the spelling as it reads the same tree with every bracket that there can be."""
    assert ast.dump(ast.parse(spell(tree))) == ast.dump(ast.parse(_bracketed(tree)))


def _bracketed(node: ast.AST) -> str:
    """Return the text with every bracket that there can be."""
    match node:
        case ast.Call(ast.Attribute(attr=function), arguments):
            return f"{function}({', '.join(map(_bracketed, arguments))})"
        case ast.UnaryOp(operator, operand):
            return f"({sign_of(operator)} {_bracketed(operand)})"
        case ast.BinOp(left, operator, right):
            return f"({_bracketed(left)} {sign_of(operator)} {_bracketed(right)})"
        case ast.Compare(left, operators, others):
            pairs = zip(operators, others, strict=True)
            rest = "".join(f" {sign_of(operator)} {_bracketed(x)}" for operator, x in pairs)
            return f"({_bracketed(left)}{rest})"
        case ast.BoolOp(operator, operands):
            return "(" + f" {sign_of(operator)} ".join(map(_bracketed, operands)) + ")"
        case _:
            return f"({spell(node)})"


def sign_of(operator: ast.AST) -> str:
    signs: dict[str, ast.AST] = {**PAIRS, **COMPARISONS, **LOGIC}
    (sign,) = [sign for sign, one in [*signs.items(), *SIGNS.items()] if type(one) is type(operator)]
    return sign


def test_where_binds_less_tightly_than_all_else() -> None:
    for text in ("a + b where c or d", "(a where b) + 1", "a where b where c", "a where (b where c)"):
        assert spell(tree_of(text)) == text
    assert isinstance(tree_of("a + b where c or d"), ast.BinOp)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("sum(spot", "column 9: expected ',' or '\\)', got the end"),
        ("a + * b", r"column 5: expected a value, a number or '\(', got '\*'"),
        ("cam.image", "column 4: '.' is part of no name; write names with dots in backticks"),
        ("a = 3", "column 3: expected an operator or the end, got '='; '==' compares"),
        ("`a", "column 1: ` is opened and never closed"),
        ("roi(a, rows=1:b)", "the ends of a slice must be numbers"),
        ("smu(a)", "column 1: there is no operation 'smu'; did you mean 'sum'"),
        (
            "histogram(a, 2, 0, 1, windw=run)",
            "histogram: .* unexpected keyword argument 'windw'; it reads .* window=",
        ),
        ("mean_vs(a)", "mean_vs: missing a required argument: 'key'; it reads mean_vs"),
        ("sum(3)", "sum works on a value, got 3"),
        ("3 + 4", "uses no value"),
        ("", "column 1: expected a value"),
        ("a $ b", "column 3: '\\$' has no meaning here"),
        ("(a, b)", "a list is written in \\[ \\]"),
        ("a b", "column 3: expected an operator or the end, got 'b'"),
        ("sum(a, x=1, 2)", "expected NAME="),
        ("sum(a, axis=0, axis=1)", "'axis' stands twice"),
        ("9" * 30 + " * a", "more than 64 bits"),
    ],
)
def test_a_mistake_is_shown_with_its_column_and_what_was_expected(definition: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph_of("values:\n  y: " + _quoted(definition))


def _quoted(definition: str) -> str:
    return "'" + definition.replace("'", "''") + "'"


@pytest.mark.parametrize(
    "definition",
    [
        "__import__('os')",
        "a.__class__",
        "(lambda x: x)(a)",
        "[x for x in a]",
        "a if b else c",
        "a := 3",
        "a[0]",
        "f'{a}'",
        "{1: a}",
        "a; b",
        "exec(a)",
        "open(a)",
        "eval(a)",
        "await a",
        "*a",
        "print(a)",
        "a @ b",
        "a\\",
        "'a' 'b'",
        '"\\N{foo}" + a',
        "...",
        "1j * a",
        "0b1 + a",
        "0777 * a where",
    ],
)
def test_python_beyond_expressions_is_refused(definition: str) -> None:
    with pytest.raises(GraphError):
        graph_of("values:\n  y: " + _quoted(definition))


@pytest.mark.parametrize(
    "definition",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "-" * 5000 + "a",
        "not " * 4000 + "a",
        "a" + " + a" * 4000,
        "a" + " ** a" * 3000,
        "a" + " where a" * 2000,
        "abs(" * 3000 + "a",
        "sum(1 + 2 * " * 150 + "a" + ")" * 150,
        "sum(a, axis=" + "[" * 3000,
        "a" * 30_000,
        "a < " * 4000 + "a",
    ],
    ids=lambda d: d[:8],
)
def test_a_definition_nested_too_deeply_is_refused(definition: str) -> None:
    refused = None
    try:
        graph_of("values:\n  y: " + _quoted(definition))
    except GraphError as error:
        refused = str(error)
    # A long chain of comparisons is one level wide, not deep.
    assert refused is not None or definition.startswith("a < ")


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("values: [a, b]", "values must be lines 'name: ...' without a dash"),
        ("just words", "a graph's text has sections"),
        ("valeus: {}", "there is no section 'valeus'; did you mean 'values'"),
        ("values: {a: 3}", "'a' must be a definition such as"),
        ("values: {a: [1]}", "'a' must be a definition such as"),
        ("values: {a: {kind: roi, inputs: [b]}}", "'a' must be a definition such as"),
        ("values: {a: b + c, a: b - c}", "'a' stands twice"),
        ("values: {a: b + c}\nresults: {a: b + c}", "'a' stands under values and under results"),
        ("values: {1: b}", "must be a name; write it in quotes"),
        ("values: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("values: {x: &r a, y: *r}", "references"),
        (BOMB, "references"),
        ("[" * 2000, "nested deeper"),
        ("values:\n  x: `a.b` + 1", "put a definition that begins with a backtick into quotes"),
        ("values: {x: 'a + b'", "line 1, column 20: "),
        ("version: -1", "version must be a count"),
        ("version: yes", "version must be a count"),
        ("resets: {x: 1}", "there is no definition of 'x'"),
        ("owners: {alice: [x]}", "'alice' cannot own 'x'"),
        ("functions: {sum: 'def f(x): return x'}", "a function cannot be called 'sum'"),
        ("functions: {f: {block: true}}", "with 'code'"),
        ("functions: {f: {code: x, blok: true}}", "has no 'blok'; did you mean 'block'"),
        ('values: {"a\\nb": c + d}', "the name of a value cannot be"),
        ("\x00", "no YAML"),
        ("x" * (5 << 20), "at most"),
    ],
    ids=lambda text: text[:24],
)
def test_a_hostile_or_mistaken_text_is_refused_with_the_reason(text: str, message: str) -> None:
    assert re.search(message, refusal(text)), refusal(text)


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_a_graph_or_a_graph_error(text: str) -> None:
    for content in (text, f"values:\n  x: {text}", "values:\n  x: " + _quoted(text)):
        with contextlib.suppress(GraphError):
            assert parse(write(parse(content))) == parse(content)


def test_an_empty_text_is_the_empty_graph() -> None:
    assert graph_of("") == Graph()
    assert write(Document()) == "{}\n"


def test_a_part_of_a_definition_cannot_be_used_by_its_inner_name() -> None:
    with pytest.raises(
        GraphError, match=r"'y': 'x/1' is a part of 'x', last\(sum\(a\)\); give the part a name"
    ):
        graph_of("results: {x: last(sum(a)), y: 'last(`x/1`)'}")
    with pytest.raises(GraphError, match="'x/1': 'x/1' is a part of 'x'"):
        graph_of("results: {x: last(sum(a)), x/1: last(a)}")
    assert graph_of("results: {x: last(a), x/1: last(a)}").results == ("x", "x/1")


def test_a_cycle_is_told_in_the_names_that_people_gave() -> None:
    with pytest.raises(GraphError, match="'a' would close a cycle: c -> a -> b -> c|: c -> b -> a -> c"):
        graph_of("values: {a: sum(b) + 1, b: sum(abs(c) + 1), c: max(sum(a))}")


def test_a_reset_of_a_definition_is_one_of_its_reductions() -> None:
    text = "results: {x: mean_events(a) / mean_events(b), y: mean_events(a)}\n"
    before, after = graph_of(text), graph_of(text + "resets: {x: 2}")
    assert dict(after.resets) == {"x/1": 2, "x/2": 2}
    changed = {o.name for o in before.operations if before.fingerprint(o.name) != after.fingerprint(o.name)}
    assert changed == {"x", "x/1", "x/2"}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("results:\n\ta: count(x)\n", "line 2, column 1: .* begins with a tab; put blanks"),
        ("results:\n  a: count(x)\n b: count(y)\n", "line 3, column 2: .* begin at the same column"),
        ("results\n  a: count(x)\n", "line 2, column 4: .* does the line before it lack its colon"),
        ("results:\n  a: last(x): 3\n", "line 2, column 13: .* put a definition with a colon .* into quotes"),
        ("results:\n  a: 'count(x)\n", "a quote is not closed"),
        ("results: {a: count(x)\n", "a bracket is not closed"),
        ("results:\n  a: @x\n", "line 2, column 6: .* put the definition into quotes"),
        ("results:\n  - a: count(x)\n", "without a dash before them"),
    ],
)
def test_what_yaml_does_not_take_is_said_as_people_see_it(text: str, hint: str) -> None:
    with pytest.raises(GraphError, match=hint):
        graph_of(text)
