"""The Python form says the same as the text form."""

from __future__ import annotations

import numpy as np
import pytest

from ami.errors import GraphError
from ami.graph.language.builder import Builder, Value, call
from ami.graph.language.text import graph_of


def test_what_is_built_equals_what_is_written() -> None:
    g = Builder()
    camera, monitor, laser, delay = g.fields("camera", "monitor", "laser", "delay")
    spot = g.value("spot", camera.roi(rows=(100, 140), cols=slice(80, 120)))
    signal = g.value("signal", spot.sum() / monitor)
    on = g.result("on", signal.where((laser == 1) & (monitor > 0.1)).mean_vs(key=delay))
    off = g.result("off", signal.where(~(laser == 1)).mean_vs(delay))
    g.result("difference", on - off)
    g.result("brightness", signal.histogram(200, 0, 10, window="last 20"))
    assert g.graph() == graph_of(
        """
        values:
          spot: roi(camera, rows=100:140, cols=80:120)
          signal: sum(spot) / monitor
        results:
          "on": mean_vs(signal where (laser == 1) & (monitor > 0.1), key=delay)
          "off": mean_vs(signal where ~(laser == 1), key=delay)
          difference: on - off
          brightness: histogram(signal, 200, 0, 10, window="last 20")
        """
    )


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda a, b: 1 / (a + 2) ** -b, "1 / (a + 2) ** -b"),
        (lambda a, b: -(a // 3) % b, "-(a // 3) % b"),
        (lambda a, b: 3 - a - (b - 2), "3 - a - (b - 2)"),
        (lambda a, b: (a & 4) << 2 | b ^ 1, "(a & 4) << 2 | b ^ 1"),
        (lambda a, b: a != b, "a != b"),
        (lambda a, b: a >= 0.5, "a >= 0.5"),
        (lambda a, b: np.sqrt(a) * np.float64(2.5) + np.arctan2(a, b), "sqrt(a) * 2.5 + arctan2(a, b)"),
        (lambda a, b: np.float64(2.5) * a, "2.5 * a"),
        (lambda a, b: abs(+a), "abs(+a)"),
        (lambda a, b: a.clip(0, b), "clip(a, 0, b)"),
        (lambda a, b: call("where", a > b, a, b), "where(a > b, a, b)"),
        (lambda a, b: (a.where(b)).where(a > 1), "a where b where a > 1"),
        (lambda a, b: a.histogram2d(b, 10, 0, 1, 20, 0, 2), "histogram2d(a, b, 10, 0, 1, 20, 0, 2)"),
        (lambda a, b: a.sum(axis=[0, 1]), "sum(a, axis=[0, 1])"),
        (lambda a, b: a.last(window="interval"), "last(a, window=interval)"),
    ],
)
def test_operators_and_methods_build_what_the_text_says(build, text: str) -> None:  # type: ignore[no-untyped-def]  # lambdas
    g = Builder()
    g.value("x", build(*g.fields("a", "b")))
    assert g.graph() == graph_of(f"values:\n  x: {text}\n")


def brightest(image):  # type: ignore[no-untyped-def]  # a user's code
    return image.max()


def test_a_users_function_is_taken_with_its_source() -> None:
    g = Builder()
    function = g.function(brightest)
    ratio = g.function("def ratio(a, b):\n    return a / b\n", block=True)
    peak = g.value("peak", function(g.field("camera")))
    g.result("mean_ratio", ratio(peak, g.field("monitor")).mean_events())
    graph = g.graph()
    assert str(graph["peak"].arguments["code"]).startswith("def brightest(image):")
    assert graph["mean_ratio/1"].arguments["block"] is True
    assert graph_of(g.text()) == graph


def test_a_value_has_no_truth() -> None:
    a = Builder().field("a")
    with pytest.raises(GraphError, match="combine conditions with & | ~"):
        bool(a > 1)


def test_an_unknown_operation_is_refused_with_similar_names() -> None:
    with pytest.raises(
        AttributeError, match="there is no operation 'men_events'; did you mean 'mean_events'"
    ):
        Builder().field("a").men_events()


def test_a_name_is_given_once() -> None:
    g = Builder()
    a = g.field("a")
    g.value("x", a + 1)
    with pytest.raises(GraphError, match="'x' has a definition already"):
        g.value("x", a + 2)
    assert [o.name for o in g.graph().operations] == ["x"]


def test_what_is_no_value_is_refused() -> None:
    g = Builder()
    a = g.field("a")
    with pytest.raises(GraphError, match="must be a value"):
        g.value("x", 3)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(GraphError, match="numbers, texts, lists and values are possible, got a object"):
        a + object()
    with pytest.raises(
        GraphError,
        match=r"'x': column 1: sum: got an unexpected keyword argument 'axes'; it reads sum\(value, axis=",
    ):
        g.value("x", a.sum(axes=1))


def test_a_definition_that_doubles_each_time_is_refused_before_memory_is_gone() -> None:
    with pytest.raises(GraphError, match="definition of .* characters; at most 20000"):
        _doubled(Builder().field("a"), 60)


def _doubled(value: Value, times: int) -> Value:
    return value if times == 0 else _doubled(value + value, times - 1)


def test_a_numpy_function_that_the_language_lacks_is_refused() -> None:
    with pytest.raises(GraphError, match="no function 'nextafter'"):
        np.nextafter(Builder().field("a"), 1.0)


def test_a_long_sum_needs_no_brackets_and_one_that_is_too_long_asks_for_names() -> None:
    g = Builder()
    a = g.field("a")
    g.value("x", sum((a for _ in range(40)), a))
    assert g.text() == f"values:\n  x: {' + '.join('a' * 41)}\n"
    with pytest.raises(GraphError, match="give parts of it names"):
        sum((a for _ in range(200)), a)
