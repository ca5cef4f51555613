"""What people's functions give and do: each value is itself or that event's error, and harms nobody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ami.errors import GraphError
from ami.event import Array, Field, Schema, Slots
from ami.graph.check import check
from ami.graph.execution.bind import reductions
from ami.graph.execution.frame import CALLS
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.graph.library.user import read_only

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


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(5,), (5, 2, 3), (0, 2), (4, 1)])
def test_what_cannot_be_written_to_cannot_be_made_so(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype)
    for one in (array, array[::2], array.T, np.broadcast_to(array, (3, *shape))):
        locked = read_only(one)
        assert (locked.dtype, locked.shape) == (one.dtype, one.shape)
        assert np.array_equal(locked, one)
        for view in (locked, locked[:1], locked.reshape(-1)[:1]):
            if np.shares_memory(view, array):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    view.setflags(write=True)


@pytest.mark.parametrize("gives", ["out", "out[0]", "out[:1].reshape(())"])
def test_a_function_may_give_the_same_array_for_each_event(gives: str) -> None:
    found, errors = run(
        f"      out = np.zeros(2)\n      def f(x):\n          out[:] = x\n          return {gives}"
    )
    assert not errors
    assert np.ravel(found["mine"])[0] == sum(range(EVENTS))


def test_a_function_of_blocks_may_give_the_same_array_each_time() -> None:
    code = "out = np.zeros(100)\ndef f(x):\n    out[:len(x)] = 2 * x\n    return out[:len(x)]"
    assert rows_of(code, np.arange(40.0)) == ("", {})


def test_an_error_says_first_what_and_where_and_then_the_way_there() -> None:
    _, errors = run("      def f(x):\n          y = x - 5\n          return 1 / y")
    (record,) = errors.values()
    first, _, way = record.text.partition("\n")
    assert first == "ZeroDivisionError: division by zero, in line 3 of its code"
    assert way.startswith("Traceback")
    assert str(record).startswith(f"failed for 1 events, first for 5: {first}\n")


@pytest.mark.parametrize(
    "text",
    [
        "raise KeyboardInterrupt",
        "raise SystemExit(0)",
        "return 7",
        "return 'x' * n",
        "raise E()",
        "1 / 0",
    ],
)
def test_an_error_whose_text_fails_is_an_error_like_any_other(text: str) -> None:
    found, errors = run(
        "      n = 1 << 62\n      class E(Exception):\n"
        f"          def __str__(self): {text}\n"
        "          __repr__ = __str__\n"
        "      def f(x):\n          if x % 2: raise E()\n          return x",
        how="    returns: float64\n",
    )
    assert (found["n"], found["mine"]) == (EVENTS, sum(range(0, EVENTS, 2)))
    (record,) = errors.values()
    assert record.count == EVENTS // 2
    assert record.text.startswith("E: (it cannot be told: ")


def rows_of(code: str, x: Array) -> tuple[str, dict[str, Any]]:
    """Return why a function of blocks is refused ("": not), and else how it fails on real events."""
    lines = "".join(f"      {line}\n" for line in code.splitlines())
    how = "    block: true\n    returns: float64\n" if "declared" in code else "    block: true\n"
    text = (
        f"functions:\n  f:\n    code: |\n{lines}{how}results:\n  mine: sum_events(f(x))\n  other: count(x)\n"
    )
    graph, schema = graph_of(text).at_version(1), Schema((Field("x", x.dtype, x.shape[1:]),))
    try:
        check(graph, schema)
    except GraphError as error:
        return str(error), {}
    slots = Slots.allocate(schema, len(x))
    slots.columns["x"][:] = x
    slots.set_valid(schema.name_set)
    plan = WorkerPlan(graph, schema)
    partial = plan.partial(0)
    plan.run(slots, 0, partial)
    assert partial.used[graph.fingerprint("other")] == len(x)
    return "", partial.errors


@pytest.mark.parametrize(
    "code",
    [
        "x - x.mean()",
        "x / x.max()",
        "np.cumsum(x)",
        "np.sort(x)",
        "x[::-1]",
        "np.roll(x, 1)",
        "x - x[0]",
        "np.arange(len(x)) + 0 * x",
        "np.argsort(x)",
        "x > np.median(x)",
    ],
)
def test_a_function_of_blocks_whose_rows_depend_on_each_other_is_refused(code: str) -> None:
    told, _ = rows_of(f"def f(x):\n    return {code}", np.arange(8.0))
    assert "must not depend on which others are in its block" in told


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, np.bool_])
@pytest.mark.parametrize(
    "code",
    [
        "x.mean(axis=(1, 2))",
        "x - x.mean(axis=(1, 2), keepdims=True)",
        "np.einsum('kij,ij->k', x, np.ones(x.shape[1:]))",
        "x.reshape(len(x), -1) @ np.linspace(0, 1, x[0].size)",
        "np.log(x - 5.0).sum(axis=(1, 2))",
        "np.random.random(len(x)) * x[:, 0, 0]",
        "np.sqrt(x * 1e30).max(axis=(1, 2))",
    ],
)
def test_one_whose_rows_do_not_is_not(code: str, dtype: type) -> None:
    x = np.random.default_rng(1).uniform(0, 9, (50, 20, 20)).astype(dtype)
    told, errors = rows_of(f"def f(x):\n    with np.errstate(all='ignore'):\n        return {code}", x)
    assert (told, errors) == ("", {})


def test_what_shows_on_real_events_only_is_told_there() -> None:
    code = "def f(x):  # declared\n    return x - (x.mean() if (x > 100).any() else 0)"
    told, errors = rows_of(code, np.arange(90.0, 130.0))
    assert not told
    (record,) = errors.values()
    assert record.count == 40
    assert "must not depend on which others are in its block" in record.text.partition("\n")[0]


def test_an_endless_recursion_is_told_by_its_last_calls() -> None:
    _, errors = run("      def f(x): return f(x) if x > 5 else x")
    (record,) = errors.values()
    assert record.text.startswith("RecursionError: maximum recursion depth exceeded")
    assert record.text.count("<user function>") <= CALLS
