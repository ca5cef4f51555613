"""A graph is checked against a schema, and a mistake is explained to its author."""

from __future__ import annotations

import operator
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.event import Field, Schema
from ami.graph.check import check
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.language.lower import library_kinds
from ami.graph.language.text import graph_of
from ami.graph.library import LIBRARY
from ami.graph.library.histograms import Histogram
from tests.unit.graphs import SCHEMA, of


def test_kinds_are_propagated_from_the_fields_to_the_results() -> None:
    graph = graph_of(
        """
        values:
          spot: roi(camera, rows=100:140, cols=80:100)
          signal: sum(spot) / monitor
          on: signal where laser == 1 and monitor > 0.1
        results:
          scan: mean_vs(on, key=delay)
          image: mean_events(camera)
          half: image / 2
          counts: histogram(signal, 20, 0, 10)
          when: last(timestamp)
        """
    )
    kinds = check(graph, SCHEMA)
    assert kinds["spot"] == Kind(np.dtype("u2"), (40, 20))
    assert kinds["signal/1"] == Kind(np.dtype("i8"))
    assert kinds["signal"] == kinds["on"] == Kind(np.dtype("f8"))
    assert kinds["on/1"] == Kind(np.dtype("?"))
    assert str(kinds["scan"]) == "reduced scan of float64"
    assert kinds["half"] == Kind(np.dtype("f8"), (200, 200), reduced=True)
    assert kinds["counts"].structure == "histogram"
    assert kinds["when"] == Kind(np.dtype("i8"), (), reduced=True)


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        (
            "x: mean_events(monitorr)",
            "'x': there is no value or field 'monitorr'; did you mean 'monitor'?\n  mean_events(monitorr)",
        ),
        ("x: mean_events(zzz)", "there are cam:stats.max, camera, delay, laser, monitor, wave"),
        (
            "x: camera / monitor",
            "result 'x' is there for each event; reduce it over events, for example with last(x) or "
            "mean_events(x)\n  camera / monitor",
        ),
        (
            "x: mean_events(camera) - monitor",
            "'x': mean_events(camera) is reduced over events, while 'monitor' is there for each event",
        ),
        (
            "m: mean_events(delay)\n  r: m / 2\n  x: r * monitor",
            "'r' is reduced over events (by mean_events(delay)), while 'monitor'",
        ),
        ("m: mean_events(delay)\n  x: mean_events(m)", "no events left for mean_events to go over"),
        (
            "m: mean_events(delay)\n  x: m where m > 3",
            "no events left to choose from; filter before the reduction",
        ),
        (
            "m: mean_events(delay)\n  x: last(monitor where m > 3)",
            "'x', in monitor where m > 3: m > 3 is reduced over events (by mean_events(delay))",
        ),
        (
            "x: last(camera   -wave)",
            "'x', in camera -wave: values of shapes (200, 200) and (100,) do not fit each other\n"
            "  last(camera   -wave)",
        ),
        ("x: last(monitor & 1)", "it cannot be computed from float32"),
        ("x: mean_vs(monitor, key=delay) > 3", "a scan can be used with + - * / only"),
        ("x: moments(monitor) * 3", "there is no arithmetic on moments; take a part of it"),
        ("x: histogram(monitor, 100, 0)", "argument: 'high'; it reads histogram(value, bins=, low=, "),
        ("x: histogram(monitor, 100, 0, 10, window=week)", "window 'week' is unknown; known: interval, run"),
        (
            "x: last(roi(camera, rows=500:600))",
            "'x', in roi(camera, rows=500:600): roi: the region lies outside",
        ),
        ("x: mean_vs(monitor, key=wave)", "\n  mean_vs(monitor, key=wave)"),
        ("delay: last(monitor)", "'delay' is a field of the source; choose another name"),
        ("x: pick(count=3)", "argument: 'value_1'; it reads pick(..., count="),
        ("x: expression(monitor, 'open(_0)')", "an expression has no function 'open'"),
        ("x: expression(monitor, 3)", "must be text, got int"),
    ],
)
def test_a_mistake_is_explained(definitions: str, message: str) -> None:
    with pytest.raises(GraphError) as refused:
        check(graph_of(f"results:\n  {definitions}\n"), SCHEMA)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def f(x):\n    y = 3\n    return x.maxx()\n",
            "object has no attribute 'maxx', line 3: return x.maxx()",
        ),
        ("def f(x):\n    return 3 +\n", "SyntaxError: invalid syntax, line 2: return 3 +"),
        (
            "import nonsense\ndef f(x):\n    return 1\n",
            "ModuleNotFoundError: No module named 'nonsense', line 1: import nonsense",
        ),
        ("def helper(x):\n    return x['a']\ndef f(x):\n    return helper(x)\n", "line 2: return x['a']"),
        ("x = 3\n", "the code defines no function"),
        ("def f(x):\n    return 'text'\n", "gives str; numbers are possible"),
    ],
)
def test_a_mistake_in_a_users_code_is_shown_with_its_line(code: str, message: str) -> None:
    graph = Graph(operations=(of("x", "function", "camera", code=code),))
    with pytest.raises(GraphError) as refused:
        check(graph, SCHEMA)
    assert message in str(refused.value)


def test_a_users_function_gives_the_kind_that_it_returns() -> None:
    code = "def f(image):\n    return image.sum(axis=0) / 2\n"
    graph = Graph(operations=(of("x", "function", "camera", code=code),))
    assert check(graph, SCHEMA)["x"] == Kind(np.dtype("f8"), (200,))


GUIDE = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text()


@pytest.mark.parametrize(
    "text", re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL), ids=lambda text: text[:20]
)
def test_each_example_of_the_guide_can_run(text: str) -> None:
    numbers = [Field(name, np.dtype("f8")) for name in ("lab:stage.temperature", "gain", "offset")]
    peaks = [Field(name, np.dtype("f8"), (9,), variable=True) for name in ("energy", "place")]
    schema = Schema.of([*SCHEMA.fields, *numbers, *peaks])
    graph = graph_of(text)
    assert all(kind.reduced for name, kind in check(graph, schema).items() if name in graph.results)
    assert graph.results


def test_the_guides_python_builds_a_graph_that_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(program, {"np": np})
    assert "difference" in check(graph_of(capsys.readouterr().out), SCHEMA)


def test_the_guide_names_every_operation_of_the_library() -> None:
    names = set(library_kinds()) - {"expression", "function"} | set(FUNCTIONS)
    assert {name for name in names if not re.search(rf"\b{name}\b", GUIDE)} == set()


def test_what_runs_and_misses_something_keeps_nobody_from_editing() -> None:
    """It was checked when it came; its package is gone since, or the source has other fields."""
    gone, after = of("focus", "sharpness", "camera"), of("mean", "mean_events", "focus")
    before = Graph(operations=(gone, after), results=("mean",))
    graph = Graph(operations=(gone, after, of("level", "mean_events", "monitor")), results=("mean", "level"))
    kinds = check(graph, SCHEMA, before)
    assert "level" in kinds
    assert not {"focus", "mean"} & kinds.keys()
    with pytest.raises(GraphError, match="'focus': 'sharpness' is not installed here; install the package"):
        check(before, SCHEMA)
    more = Graph(operations=(*before.operations, of("more", "last", "focus")))
    with pytest.raises(GraphError, match="'more': 'focus' cannot be computed: 'sharpness' is not installed"):
        check(more, SCHEMA, before)
    for expression in ("no_field + 1", "camera + wave", "camera + 1 where wave"):
        running = graph_of(f"results: {{a: 'count({expression})', b: a + 1}}")
        with pytest.raises(GraphError):
            check(running, SCHEMA)
        edited = graph_of(f"results: {{a: 'count({expression})', b: a + 1, c: count(monitor)}}")
        kinds = check(edited, SCHEMA, running)
        assert "c" in kinds
        assert not {"a", "b"} & kinds.keys()
        on_it = graph_of(f"results: {{a: 'count({expression})', d: a * 2}}")
        with pytest.raises(GraphError, match="'d': 'a' cannot be computed: "):
            check(on_it, SCHEMA, running)


def test_a_check_that_fails_in_an_operation_of_ours_denies_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def infer(self: object, *inputs: Kind) -> Kind:
        raise KeyError("__import__")

    monkeypatch.setattr(LIBRARY["roi"], "infer", infer)
    with pytest.raises(GraphError, match=r"roi fails on what it would get: KeyError\('__import__'\)"):
        check(graph_of("results: {image: 'mean_events(roi(camera, rows=1:3))'}"), SCHEMA)


BINS = st.tuples(st.sampled_from([1, 2, 100]), st.sampled_from([0, -1.0]), st.sampled_from([1, 2.5]))


@settings(max_examples=60)
@given(BINS, BINS, st.sampled_from("+-*/"), st.sampled_from(["", "2 * ", "-"]))
def test_histograms_are_combined_where_their_bins_are_equal_and_refused_by_name_elsewhere(
    one: tuple[Any, ...], other: tuple[Any, ...], sign: str, before: str
) -> None:
    a, b = (
        f"histogram({of}, {', '.join(map(str, bins))})" for of, bins in (("monitor", one), ("delay", other))
    )
    graph = graph_of(f"results:\n  a: {a}\n  b: {before}{b}\n  both: a {sign} b\n").at_version(1)
    if one == other:
        assert check(graph, SCHEMA)["both"].bins == one
        return
    with pytest.raises(GraphError, match="'both': 'a' and 'b': .*their bins must be equal") as refused:
        check(graph, SCHEMA)
    assert all(f"{n} bins over [{low:g}, {high:g})" in str(refused.value) for n, low, high in (one, other))
    # What is refused is what could not be computed.
    mine, theirs = (Histogram(*bins) for bins in (one, other))
    with pytest.raises(GraphError, match="different bins"):
        operator.add(mine.result(mine.zero()), theirs.result(theirs.zero()))


@pytest.mark.parametrize("array", ["mean_events(wave)", "sum_events(wave)"])
def test_no_array_goes_with_a_histogram(array: str) -> None:
    for bins in (1, 4):
        graph = graph_of(f"results: {{both: '{array} * histogram(monitor, {bins}, 0, 1)'}}")
        with pytest.raises(GraphError, match="with a histogram goes a number"):
            check(graph, SCHEMA)
