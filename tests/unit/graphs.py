"""Hypothesis strategies for definitions and graphs, and a schema to check graphs against."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.event import Field, Schema
from ami.graph.expression.elementary import FUNCTIONS as ELEMENTARY
from ami.graph.expression.spelling import COMPARISONS, LOGIC, PAIRS, SIGNS, spell
from ami.graph.graph import Graph
from ami.graph.language.document import Definition, Document
from ami.graph.language.lower import define
from ami.graph.language.text import graph_of, read_function
from ami.graph.library import LIBRARY
from ami.graph.library.base import Reduction
from ami.graph.operation import Operation, Plain

SCHEMA = Schema.of(
    [
        Field("camera", np.dtype("u2"), (200, 200)),
        Field("wave", np.dtype("f4"), (100,)),
        Field("monitor", np.dtype("f4")),
        Field("laser", np.dtype("u1")),
        Field("delay", np.dtype("f8")),
        Field("cam:stats.max", np.dtype("i4")),
    ]
)


def of(name: str, kind: str, *inputs: str, **parameters: object) -> Operation:
    """Return an operation that reduces if the library says so."""
    reduces = issubclass(LIBRARY.get(kind, object), Reduction)
    return Operation(name, kind, inputs, tuple(parameters.items()), reduces=reduces)  # type: ignore[arg-type]  # checked there


odd_names = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs", "Cn", "Co", "Cf"), exclude_characters="`"
    ),
    min_size=1,
    max_size=6,
)
names = st.one_of(
    st.sampled_from(
        ["a", "b", "on", "true", "Where", "null", "1", "1e3", "~", "a/1", "a/2", "b/1", "a.b:c", "x y"]
    ),
    odd_names.filter(str.isprintable),
)
numbers = st.one_of(st.integers(-5, 1000), st.floats(-1e9, 1e9), st.just(float("inf")))
code = st.sampled_from(
    [
        "def f(x):\n    return x\n",
        "def g(x): return x  # short",
        "not python",
        "def f(x):\n\treturn 'ü'\r\n",
        "",
    ]
)
plain: st.SearchStrategy[Plain] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8), names, code),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)


def trees(leaves: st.SearchStrategy[ast.expr]) -> st.SearchStrategy[ast.expr]:
    """Return trees of expressions whose names are drawn from ``leaves``."""
    constants = st.one_of(numbers, st.booleans()).map(ast.Constant)
    return st.recursive(st.one_of(leaves, constants), _wider, max_leaves=8)


def call(function: str, *arguments: ast.expr) -> ast.Call:
    """Return a call as the language's reader makes it."""
    return ast.Call(ast.Attribute(attr=function), list(arguments), [])  # type: ignore[call-arg]  # of nothing


@st.composite
def _wider(draw: st.DrawFn, inner: st.SearchStrategy[ast.expr]) -> ast.expr:
    """Return a node of parts drawn from ``inner``.

    One strategy for all sorts of nodes, because hypothesis names each level by all that it may be.
    """
    first = draw(inner)
    match draw(st.sampled_from(["pair", "sign", "compare", "chain", "logic", "call", "where"])):
        case "pair":
            operator = draw(st.sampled_from([sign for sign in PAIRS if sign != "where"]))
            return ast.BinOp(first, PAIRS[operator], draw(inner))
        case "sign":
            operator = draw(st.sampled_from(["+", "~", "not", "-"]))
            # The reader makes one number of a minus and a number.
            one = operator == "-" and isinstance(first, ast.Constant)
            return first if one else ast.UnaryOp(SIGNS[operator], first)
        case "compare":
            return ast.Compare(first, [COMPARISONS[draw(st.sampled_from([*COMPARISONS]))]], [draw(inner)])
        case "chain":
            return ast.Compare(first, [ast.Lt(), ast.LtE()], [draw(inner), draw(inner)])
        case "logic":
            rest = draw(st.lists(inner, min_size=1, max_size=2))
            return ast.BoolOp(LOGIC[draw(st.sampled_from(["and", "or"]))], [first, *rest])
        case "call":
            one_value = [name for name, (_, count) in ELEMENTARY.items() if count == 1]
            return call(draw(st.sampled_from(one_value)), first)
        case _:
            return call("where", first, draw(inner), draw(inner))


placeholders = st.integers(0, 3).map(lambda index: ast.Name(f"_{index}"))
expression_texts = trees(placeholders).map(spell)


@st.composite
def operations(draw: st.DrawFn, known: list[str], name: str) -> Operation:
    inputs = draw(st.lists(st.sampled_from([*known, "camera", "odd field", "timestamp"]), max_size=4))
    kind, parameters = draw(
        st.one_of(
            st.tuples(st.just("expression"), st.fixed_dictionaries({"text": expression_texts})),
            st.tuples(st.just("expression"), st.just({"text": "_0 / _1"})),
            st.tuples(
                st.sampled_from(["where", "sum", "mean_events", "count", "pick", "mean_vs"]), st.just({})
            ),
            st.tuples(st.just("roi"), st.just({"rows": (1, 3), "cols": (None, 5)})),
            st.tuples(st.just("histogram"), st.just({"bins": 3, "low": 0, "high": 1.5, "window": "last 3"})),
            st.tuples(
                st.just("mean_events"),
                st.fixed_dictionaries({"window": st.sampled_from(["run", "3 events"])}),
            ),
            st.tuples(st.just("function"), st.fixed_dictionaries({"code": code, "block": st.booleans()})),
            st.tuples(st.just("function"), st.fixed_dictionaries({"code": code})),
            st.tuples(names, st.dictionaries(names, plain, max_size=3)),
        )
    )
    owners = draw(st.lists(st.sampled_from(["alice", "bob", "no one"]), max_size=2))
    return Operation(name, kind, tuple(inputs), tuple(parameters.items()), tuple(owners))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph that can exist, sensible or not."""
    made: list[Operation] = []
    for name in draw(st.lists(names, unique=True, max_size=6)):
        made.append(draw(operations([o.name for o in made], name)))
    given = [o.name for o in made]
    some = st.lists(st.sampled_from(given), unique=True) if given else st.just([])
    return Graph(
        version=draw(st.integers(0, 1 << 40)),
        operations=tuple(draw(st.permutations(made))),
        results=tuple(draw(some)),
        resets=tuple((name, draw(st.integers(0, 9))) for name in draw(some)),
    )


FUNCTIONS = {  # users' functions; two bodies each, as two people would write them
    "twice": ("def twice(x):\n    return 2 * x\n", "def twice(x): return x + x  # ü\r\n\t"),
    "ratio": ("def ratio(a, b):\n    return a / b\n", ""),
}
OPERANDS = ("a", "b", "camera", "`cam:stats.max`", "`a/1`", "`on`")
TEMPLATES = (
    "{0}", "{0}  /  {1}", " sum({0})", "roi({0}, rows=1:3)", "mean_events({0} - {1}, window=interval)",
    "count({0} where {1} > 3)", "twice({0})", "mean_events(ratio({0},{1}))", "histogram({0}, 3, 0, 1.5)",
    "sum(mean({0}) +\n mean({1}))", 'last({0}, window="last 3")', "{0} ** -2.50",
)  # fmt: skip
texts = st.builds(
    lambda template, *operands: template.format(*operands),
    st.sampled_from(TEMPLATES), st.sampled_from(OPERANDS), st.sampled_from(OPERANDS),
).filter(lambda text: text not in OPERANDS)  # fmt: skip
people = st.sampled_from(["alice", "bob", "no one"])


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any document that can be written, whether its graph has cycles or not."""
    functions = {
        name: read_function(name, draw(st.sampled_from(bodies))) for name, bodies in FUNCTIONS.items()
    }
    made: dict[str, Definition] = {}
    for name in draw(st.lists(st.one_of(names, st.just("a")), unique=True, max_size=6)):
        text, owners = draw(texts), draw(st.lists(people, unique=True, max_size=2))
        new = define(name, text, functions)
        made[name] = replace(new, result=draw(st.booleans()), owners=tuple(sorted(owners)))
    reset = draw(st.lists(st.sampled_from(sorted(made)), unique=True)) if made else []
    resets = {name: draw(st.integers(0, 9)) for name in reset}
    return Document(draw(st.integers(0, 1 << 40)), made, functions, resets)


def refusal(text: str) -> str:
    """Return why a text is refused; fail if it is not."""
    try:
        graph = graph_of(text)
    except GraphError as error:
        return str(error)
    raise AssertionError(f"was accepted: {graph}")
