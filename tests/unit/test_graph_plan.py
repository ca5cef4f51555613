"""A worker's plan: filters, holes, shared operations, errors, and what a partial says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.event import Field, Schema, Slots
from ami.graph.execution.partial import ErrorRecord, Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.operation import Operation
from tests.unit.graphs import of

F8 = np.dtype(np.float64)
SCHEMA = Schema.of(
    [
        Field("camera", np.dtype(np.uint16), (20, 30)),
        Field("x", F8),
        Field("y", F8),
        Field("laser", np.dtype(np.int64)),
    ]
)


def expression(name: str, text: str, *inputs: str) -> Operation:
    return of(name, "expression", *inputs, text=text)


def graph(*operations: Operation, results: tuple[str, ...] = ()) -> Graph:
    reductions = tuple(
        o.name for o in operations if "_events" in o.kind or o.kind in ("count", "last", "pick")
    )
    return Graph(1, operations, results or reductions)


def events(count: int = 8, **columns: Any) -> Slots:
    slots = Slots.allocate(SCHEMA, count)
    slots.columns["camera"][:] = np.arange(count)[:, None, None]
    slots.columns["x"][:] = np.arange(count)
    slots.columns["y"][:] = 1
    slots.columns["laser"][:] = np.arange(count) % 2
    for name, column in columns.items():
        slots.columns[name][:] = column
    slots.set_valid(SCHEMA.names)
    slots.timestamps[:] = 1000 + np.arange(count)
    return slots


def without(slots: Slots, name: str, rows: Any) -> Slots:
    slots.set_missing([name], rows)
    return slots


def run(plan: WorkerPlan, slots: Slots, block: int = 100, sequence: int = 0) -> Partial:
    partial = plan.partial()
    for start in range(0, slots.count, block):
        stop = min(start + block, slots.count)
        plan.run(slots.part(start, stop), sequence + start, partial)
    return partial


def results(graph: Graph, partial: Partial) -> dict[str, Any]:
    reductions = WorkerPlan(graph, SCHEMA).reductions
    keys = {name: graph.fingerprint(name) for name in graph.results}
    return {name: reductions[key].result(partial.states[key]) for name, key in keys.items()}


def computed(graph: Graph, slots: Slots, block: int = 100) -> dict[str, Any]:
    return results(graph, run(WorkerPlan(graph, SCHEMA), slots, block))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1), st.integers(0, 15), st.booleans()), min_size=1),
    st.integers(1, 20),
)
def test_filters_and_holes_in_blocks_give_what_a_loop_over_events_gives(
    shots: list[tuple[int, int, int, bool]], block: int
) -> None:
    slots = events(len(shots), x=[s[0] for s in shots], laser=[s[1] for s in shots])
    slots.valid[:] = [s[2] for s in shots]  # which of camera, x, y, laser are there
    if all(s[3] for s in shots):
        slots.set_valid(SCHEMA.names)
    g = graph(
        expression("sum_xy", "_0 + _1", "x", "y"),
        expression("lit", "_0 == 1", "laser"),
        expression("positive", "_0 > 0", "x"),
        of("on", "where", "sum_xy", "lit"),
        of("on_positive", "where", "on", "positive"),
        of("image", "where", "camera", "positive"),
        of("lit_image", "where", "image", "lit"),
        expression("product", "_0 * _1", "on_positive", "sum_xy"),
        of("a", "sum_events", "product"),
        of("b", "sum_events", "lit_image"),
        of("c", "count", "on_positive"),
        of("d", "last", "on"),
    )
    wanted: dict[str, Any] = {"a": None, "b": None, "c": 0, "d": None}
    for row in range(slots.count):
        camera, x, y, laser = (bool(slots.valid[0, row] & (1 << bit)) for bit in range(4))
        value = {name: slots.columns[name][row] for name in SCHEMA.names}
        if x and y and laser and value["laser"] == 1:
            wanted["d"] = value["x"] + value["y"]
            if value["x"] > 0:
                wanted["a"] = (wanted["a"] or 0) + (value["x"] + value["y"]) ** 2
                wanted["c"] += 1
        if camera and x and laser and value["x"] > 0 and value["laser"] == 1:
            wanted["b"] = (0 if wanted["b"] is None else wanted["b"]) + value["camera"].astype(int)
    got = computed(g, slots, block)
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_used_says_how_many_events_reached_each_reduction() -> None:
    g = graph(of("on", "where", "x", "laser"), of("n", "count", "on"), of("m", "mean_events", "y"))
    partial = run(WorkerPlan(g, SCHEMA), without(events(10), "y", [0, 1, 2]), block=3)
    assert partial.seen == 10
    assert partial.used == {g.fingerprint("n"): 5, g.fingerprint("m"): 7}


def test_a_reduction_that_no_event_reached_has_its_zero_in_the_partial() -> None:
    g = graph(
        expression("never", "_0 > 99", "x"), of("none", "where", "y", "never"), of("n", "count", "none")
    )
    partial = Partial(1)
    WorkerPlan(g, SCHEMA).run(events(), 0, partial)
    assert (partial.states, partial.used) == ({g.fingerprint("n"): 0}, {g.fingerprint("n"): 0})


def test_only_the_fields_of_needed_operations_are_read() -> None:
    g = Graph(1, (of("a", "sum_events", "x"), of("b", "sum_events", "y")), ("a",))
    plan = WorkerPlan(g, SCHEMA)
    assert plan.fields == {"x"}
    assert plan.operations == ("a",)


def test_equal_operations_of_two_clients_run_once() -> None:
    code = "def f(x):\n    return x + 1"
    g = graph(
        of("mine", "function", "x", code=code), of("yours", "function", "x", code=code),
        of("a", "sum_events", "mine"), of("b", "sum_events", "yours"),
    )  # fmt: skip
    plan = WorkerPlan(g, SCHEMA)
    partial = run(plan, events(4))
    assert len(plan.operations) == 2
    assert list(partial.used.values()) == [4]
    assert results(g, partial) == {"a": 10, "b": 10}


def test_timestamp_and_sequence_are_values_of_every_event() -> None:
    g = graph(of("t", "max_events", "timestamp"), of("s", "sum_events", "sequence"))
    partial = run(WorkerPlan(g, SCHEMA), events(5), block=2, sequence=100)
    assert results(g, partial) == {"t": 1004, "s": 510}


def test_breadcrumbs_tell_the_operation_before_it_runs() -> None:
    g = graph(expression("d", "_0 - 1", "x"), of("on", "where", "d", "laser"), of("m", "mean_events", "on"))
    plan = WorkerPlan(g, SCHEMA)
    crumbs: list[int] = []
    plan.run(events(), 0, plan.partial(), breadcrumb=crumbs.append)
    told = [plan.operations[crumb - 1] for crumb in dict.fromkeys(crumbs)]
    assert told == ["d", "on", "m"]


def test_one_bad_event_costs_itself_only_and_is_counted_with_its_sequence() -> None:
    code = "def f(x):\n    return 1 / (x - 3)"
    g = graph(
        of("f", "function", "x", code=code), of("n", "count", "f"), of("all", "count", "x"),
        expression("g", "_0 * 2", "f"), of("s", "sum_events", "g"),
    )  # fmt: skip
    partial = run(WorkerPlan(g, SCHEMA), events(8), block=5, sequence=50)
    assert results(g, partial)["n"] == 7
    assert results(g, partial)["all"] == 8
    assert results(g, partial)["s"] == pytest.approx(sum(2 / (x - 3) for x in range(8) if x != 3))
    record = partial.errors["f"]
    assert (record.count, record.first_sequence) == (1, 53)
    assert "ZeroDivisionError" in record.text
    assert list(partial.errors) == ["f"]


BLOCKWISE = """
def f(x):
    if (x > 5).any():
        raise (ValueError if x.sum() % 2 else SystemExit)('too much')
    return x * 2
"""


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=30))
def test_a_block_that_fails_as_a_whole_is_narrowed_down_to_its_bad_events(values: list[int]) -> None:
    g = graph(
        of("on", "where", "x", "laser"), of("f", "function", "on", code=BLOCKWISE, block=True),
        of("s", "sum_events", "f"), of("n", "count", "f"),
    )  # fmt: skip
    slots = events(len(values), x=values)
    partial = run(WorkerPlan(g, SCHEMA), slots)
    on = values[1::2]
    good = [value for value in on if value <= 5]
    bad = [2 * row + 1 for row, value in enumerate(on) if value > 5]
    assert results(g, partial)["n"] == len(good)
    assert results(g, partial)["s"] == (2 * sum(good) if good else None)
    assert partial.used[g.fingerprint("s")] == len(good)
    records = [(record.count, record.first_sequence) for record in partial.errors.values()]
    assert records == ([(len(bad), bad[0])] if bad else [])


def test_a_reduction_that_refuses_an_event_takes_the_others() -> None:
    g = graph(of("s", "sum_events", "x"))
    plan = WorkerPlan(g, SCHEMA)
    reduction = plan.reductions[g.fingerprint("s")]
    added = type(reduction).add

    def picky(state: Any, *arrays: Any, **more: Any) -> Any:
        if more.get("rows") is None and (arrays[0] == 3).any():
            raise ValueError("a three")
        return added(reduction, state, *arrays, **more)

    reduction.add = picky  # type: ignore[method-assign]
    partial = run(plan, events(6))
    assert results(g, partial)["s"] == 0 + 1 + 2 + 4 + 5
    assert partial.used[g.fingerprint("s")] == 5
    assert partial.errors["s"].first_sequence == 3


def test_a_users_function_may_say_that_an_event_has_no_value() -> None:
    code = "def f(x, image):\n    if x % 2:\n        return image[0] * x"
    g = graph(
        of("f", "function", "x", "camera", code=code), of("m", "sum_events", "f"), of("n", "count", "f")
    )
    got = computed(g, events(6))
    assert got["n"] == 3
    assert got["m"].tolist() == [1 + 9 + 25] * 30


def test_a_users_function_must_give_the_shape_of_the_sample() -> None:
    code = "def f(x):\n    return np.ones(2 if x < 3 else 3)"
    partial = run(
        WorkerPlan(graph(of("f", "function", "x", code=code), of("n", "count", "f")), SCHEMA), events(5)
    )
    assert partial.errors["f"].count == 2
    assert "(3,)" in partial.errors["f"].text


def test_division_by_zero_is_a_value_and_no_error() -> None:
    with np.errstate(all="raise"):
        g = graph(expression("r", "1 / _0", "x"), of("m", "max_events", "r"))
        partial = run(WorkerPlan(g, SCHEMA), events(3))
    assert results(g, partial) == {"m": np.inf}
    assert partial.errors == {}


def test_a_region_of_a_filtered_image_is_not_copied_before_it_is_summed() -> None:
    code = "def f(x):\n    return np.full(len(x), x.base is not None)"
    g = graph(
        of("on", "where", "camera", "laser"), of("spot", "roi", "on", rows=(2, 4), cols=(0, 5)),
        of("f", "function", "camera", code=code, block=True), of("s", "sum_events", "spot"),
        of("view", "min_events", "f"),
    )  # fmt: skip
    got = computed(g, events(6))
    assert got["s"].tolist() == [[1 + 3 + 5] * 5] * 2
    assert got["view"]


@pytest.mark.parametrize("size", [(10, 10, 100.0), (100, 100, 10000.0)])
@pytest.mark.parametrize("lit", [1, 0])
def test_the_scan_graph_gives_the_numbers_of_the_reference(size: tuple[int, int, float], lit: int) -> None:
    rows, cols, total = size
    schema = Schema.of(
        [
            Field("cspad", F8, (200, 200)),
            Field("laser", np.dtype(np.int64)),
            Field("delta_t", np.dtype(np.int64)),
        ]
    )
    g = Graph(
        1,
        (
            of("spot", "roi", "cspad", rows=(None, rows), cols=(None, cols)),
            of("signal", "sum", "spot"),
            expression("is_on", "_0 == 1", "laser"),
            expression("is_off", "_0 == 0", "laser"),
            of("on", "where", "signal", "is_on"),
            of("off", "where", "signal", "is_off"),
            of("on_vs", "mean_vs", "on", "delta_t"),
            of("off_vs", "mean_vs", "off", "delta_t"),
        ),
        ("on_vs", "off_vs"),
    )
    slots = Slots.allocate(schema, 2)
    slots.columns["cspad"][:] = 1
    slots.columns["laser"][:] = lit
    slots.columns["delta_t"][:] = [8, 3]
    slots.set_valid(schema.names)
    plan = WorkerPlan(g, schema)
    partials = [plan.partial(), plan.partial()]
    for partial in partials:
        plan.run(slots, 0, partial)
    partials[0].merge(partials[1], plan.reductions)
    lit_name, dark_name = ("on_vs", "off_vs") if lit else ("off_vs", "on_vs")
    scans = {
        name: plan.reductions[g.fingerprint(name)].result(partials[0].states[g.fingerprint(name)])
        for name in g.results
    }
    scan = scans[lit_name]
    assert (scan.keys.tolist(), scan.counts.tolist(), scan.means.tolist()) == ([3, 8], [2, 2], [total] * 2)
    assert scans[dark_name].keys.tolist() == []


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((of("m", "sum_events", "nothing"),), "nothing"),
        ((of("a", "no_such_kind", "x"), of("m", "sum_events", "a")), "no_such_kind"),
        ((of("m", "sum_events", "x", bins=3),), "bins"),
        ((of("m", "sum_events", "x", "y"),), "m"),
        ((expression("m", "_0 + 1", "x"),), "for each event"),
    ],
)
def test_what_cannot_run_fails_by_name_for_each_event_and_nothing_else(
    operations: tuple[Operation, ...], message: str
) -> None:
    other = of("other", "sum_events", "y")
    plan = WorkerPlan(Graph(1, (*operations, other), ("m", "other")), SCHEMA, "on worker:7 of lab")
    (broken,) = plan.broken
    partial = run(plan, events(8), block=5, sequence=50)
    assert partial.seen == 8
    assert list(partial.used.values()).count(8) == len(plan.reductions)
    assert other.name in plan.operations
    assert (partial.errors[broken].count, partial.errors[broken].first_sequence) == (8, 50)
    assert message in partial.errors[broken].text


def test_what_only_a_broken_operation_needs_is_not_computed_and_its_fields_are_not_read() -> None:
    operations = (
        of("region", "roi", "camera", rows=(0, 5)), of("a", "wobble", "region"),
        of("m", "sum_events", "a"), of("s", "sum_events", "x"),
    )  # fmt: skip
    plan = WorkerPlan(Graph(1, operations, ("m", "s")), SCHEMA, "on worker:7 of lab")
    assert plan.broken == {
        "a": "operation 'wobble' is not installed on worker:7 of lab; install the package that provides it"
        " (entry point group ami.operations)"
    }
    assert (plan.operations, plan.fields) == (("s",), {"x"})


def test_a_partial_of_another_version_is_refused() -> None:
    plan = WorkerPlan(graph(of("s", "sum_events", "x")), SCHEMA)
    with pytest.raises(GraphError, match="version 2"):
        plan.run(events(), 0, Partial(2))
    with pytest.raises(GraphError, match="versions 1 and 2"):
        plan.partial().merge(Partial(2), plan.reductions)
    with pytest.raises(GraphError, match="does not have"):
        plan.partial().merge(Partial(1, states={"0" * 16: 1}), plan.reductions)


def test_the_account_of_merged_partials_is_the_sum_and_the_earlier_error_is_told() -> None:
    plan = WorkerPlan(graph(of("s", "sum_events", "x")), SCHEMA)
    one, two = run(plan, events(3)), run(plan, events(5))
    one.errors["f"] = ErrorRecord(2, "later", 9)
    two.errors["f"] = ErrorRecord(1, "earlier", 4)
    one.set_aside, two.set_aside = 1, 2
    one.merge(two, plan.reductions)
    assert (one.seen, one.set_aside, list(one.used.values())) == (8, 3, [8])
    assert one.errors["f"] == ErrorRecord(3, "earlier", 4)


def test_a_plan_keeps_nothing_of_a_block() -> None:
    """A view that is kept would show the next event that is written to the slot."""
    plan = WorkerPlan(graph(of("s", "sum_events", "camera"), of("l", "last", "camera")), SCHEMA)
    run(plan, events())
    assert plan._frame.arrays == [None] * len(plan._frame.arrays)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)), st.lists(st.integers(0, 40), max_size=6))
def test_events_of_windows_of_n_events_are_the_same_whoever_had_which(
    order: list[int], cuts: list[int]
) -> None:
    """Pick-N of 10 on 4 workers gives 8 with today's AMI."""
    g = graph(of("p", "pick", "x", "y", count=10), of("s", "sum_events", "x", window="10 events"))
    plan = WorkerPlan(g, SCHEMA)
    slots = events(40)
    whole, total = plan.partial(), plan.partial()
    plan.run(slots, 0, whole)
    for share in np.split(np.array(order), sorted(cuts)):
        partial = plan.partial()
        for number in share.tolist():
            plan.run(slots.part(number, number + 1), number, partial)
        total.merge(partial, plan.reductions)
    got, at_once = results(g, total), results(g, whole)
    assert got["p"].sequences.tolist() == at_once["p"].sequences.tolist()
    assert len({*got["p"].sequences.tolist()}) == 10
    assert got["p"].values[0].tolist() == got["p"].sequences.tolist()
    assert got["s"] == got["p"].values[0].sum()


SCAN_TEXT = """
values:
  spot:   roi(camera, rows=0:10, cols=0:10)
  signal: sum(spot) / y
  on:     signal where laser == 1 and y > 0.1
  off:    signal where laser == 0 and y > 0.1
results:
  on_vs_x:    mean_vs(on, key=x)
  off_vs_x:   mean_vs(off, key=x)
  brightness: histogram(signal, 8, 0, 800)
  now:        last(camera)
  some:       sum_events(on, window="4 events")
"""


def test_the_text_that_a_scientist_writes_runs_as_it_reads() -> None:
    g = graph_of(SCAN_TEXT)
    got = computed(g, events(8), block=3)
    assert got["on_vs_x"].keys.tolist() == [1, 3, 5, 7]
    assert got["on_vs_x"].means.tolist() == [100, 300, 500, 700]
    assert got["off_vs_x"].means.tolist() == [0, 200, 400, 600]
    assert got["brightness"].counts.tolist() == [1] * 8
    assert (got["now"] == 7).all()
    assert got["some"] == 1600
