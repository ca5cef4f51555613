"""Windows of results: which events are in them, and the account of these events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import GraphError
from ami.event import Field, Schema, Slots
from ami.graph.execution.partial import ErrorRecord, Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.graph.operation import Operation
from ami.values import Scan
from tests.unit.graphs import of

SCHEMA = Schema.of([Field("x", np.dtype(np.float64)), Field("key", np.dtype(np.int64))])


def summing(*windows: str, version: int = 1) -> Graph:
    """A graph of the sum of x over each of the windows, called after them."""
    return Graph(version, tuple(of(w, "sum_events", "x", window=w) for w in windows), windows)


def also(graph: Graph, new: Operation) -> Graph:
    """The next version of a graph, with one result more, or another one of its name."""
    rest = [operation for operation in graph.operations if operation.name != new.name]
    return Graph(graph.version + 1, (*rest, new), tuple(dict.fromkeys((*graph.results, new.name))))


def partial(graph: Graph, *values: float, sequence: int = 0, key: int = 0) -> Partial:
    slots = Slots.allocate(SCHEMA, len(values))
    slots.columns["x"][:] = values
    slots.columns["key"][:] = key
    slots.set_valid(SCHEMA.names)
    slots.timestamps[:] = sequence + np.arange(len(values))
    plan = WorkerPlan(graph, SCHEMA)
    made = plan.partial()
    plan.run(slots, sequence, made)
    return made


def values(accumulator: Accumulator, at: tuple[int, int] | None = None) -> dict[str, Any]:
    return {name: computed.value for name, computed in accumulator.results(at).items()}


def fill(accumulator: Accumulator, shots: list[tuple[int, int, float]]) -> None:
    """Apply one event each: run, interval, value."""
    for sequence, (run, interval, value) in enumerate(shots):
        made = partial(accumulator.graph, value, sequence=sequence)
        accumulator.apply(made, interval=interval, run=run, expected=1, dropped=0)


def test_each_window_has_its_events() -> None:
    a = Accumulator(summing("run", "interval", "last 2", "3 events"))
    fill(a, [(1, 1, 1), (1, 2, 10), (1, 2, 100), (1, 3, 1000)])
    assert values(a) == {"run": 1111, "interval": 1000, "last 2": 1110, "3 events": 111}
    assert [c.account.used for c in a.results().values()] == [4, 1, 3, 3]
    assert values(a, (1, 2)) == {"run": 1111, "interval": 110, "last 2": 111, "3 events": 111}


def test_a_supplement_goes_into_its_interval_once() -> None:
    a = Accumulator(summing("run", "interval", "last 2"))
    fill(a, [(1, 1, 1), (1, 2, 10), (1, 1, 5)])
    assert values(a) == {"run": 16, "interval": 10, "last 2": 16}
    assert values(a, (1, 1)) == {"run": 16, "interval": 6, "last 2": 6}
    assert values(a) == {"run": 16, "interval": 10, "last 2": 16}


def test_a_new_run_begins_the_windows_of_runs_anew_and_no_others() -> None:
    a = Accumulator(summing("run", "last 2"))
    fill(a, [(1, 7, 1)])
    a.begin_run(2)
    assert values(a)["run"] is None
    assert a.results()["run"].account.expected == 0
    fill(a, [(2, 8, 10)])
    assert values(a) == {"run": 10, "last 2": 11}


def test_a_supplement_of_the_run_before_goes_there() -> None:
    a = Accumulator(summing("run"))
    fill(a, [(1, 7, 1), (2, 8, 10), (1, 7, 2)])
    assert values(a) == {"run": 10}
    assert values(a, (1, 7)) == {"run": 3}


def test_what_comes_too_late_for_its_window_is_counted() -> None:
    a = Accumulator(summing("run", "interval"))
    fill(a, [(1, interval, 1) for interval in range(20)])
    fill(a, [(1, 2, 1)])
    assert a.too_late == 1
    assert values(a) == {"run": 21, "interval": 1}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12))
def test_accounts_are_the_sums_over_the_window(shares: list[tuple[int, int, int]]) -> None:
    """Events published + dropped = used + dropped + set aside, when all events have the value."""
    g = summing("run", "interval", "last 3")
    a = Accumulator(g)
    for interval, (used, dropped, aside) in enumerate(shares):
        made = partial(g, *range(used)) if used else Partial(1)
        made.set_aside = aside
        expected = used + dropped + aside
        a.apply(made, interval=interval, run=1, expected=expected, dropped=dropped)
    for name, reach in (("run", len(shares)), ("interval", 1), ("last 3", 3)):
        computed = a.results()[name]
        account = (computed.account.used, computed.account.dropped, computed.account.set_aside)
        assert account == tuple(sum(column) for column in zip(*shares[-reach:], strict=True))
        assert computed.account.expected == sum(account)
        assert computed.account.last == (1, len(shares) - 1)
        assert computed.account.first == (1, max(0, len(shares) - reach))


def test_picked_batches_have_exactly_n_events_and_no_event_twice() -> None:
    """Today's AMI gives 8 of 10 with four workers, and events twice with a rolling buffer."""
    g = Graph(1, (of("p", "pick", "x", count=10),), ("p",))
    a = Accumulator(g)
    seen: list[int] = []
    for interval in range(20):
        made = partial(g, *[1.0] * 7, sequence=7 * interval)
        a.apply(made, interval=interval, run=1, expected=7, dropped=0)
        computed = a.results()["p"]
        if computed.value is None:
            assert interval == 0
            continue
        assert (computed.account.used, len(computed.value.sequences)) == (10, 10)
        if computed.value.sequences[0] not in seen:
            seen += computed.value.sequences.tolist()
    assert seen == list(range(140))


def test_an_unrelated_edit_keeps_accumulations_and_a_changed_operation_begins_anew() -> None:
    a = Accumulator(summing("run"))
    fill(a, [(1, 1, 5)])
    g = also(a.graph, of("peak", "max_events", "x"))
    a.set_graph(g)
    assert values(a) == {"run": 5, "peak": None}
    fill(a, [(1, 2, 7)])
    assert values(a) == {"run": 12, "peak": 7}
    assert (a.results()["run"].account.expected, a.results()["peak"].account.expected) == (2, 1)
    a.set_graph(also(g, of("peak", "min_events", "x")))
    assert values(a) == {"run": 12, "peak": None}


def test_a_reset_begins_anew() -> None:
    a = Accumulator(summing("run"))
    fill(a, [(1, 1, 5)])
    a.set_graph(replace(a.graph, version=2, resets=(("run", 1),)))
    fill(a, [(1, 2, 7)])
    assert values(a) == {"run": 7}


def test_a_partial_of_the_version_before_counts_for_what_is_in_both() -> None:
    old = summing("run")
    a = Accumulator(old)
    a.set_graph(also(old, of("n", "count", "x")))
    a.apply(partial(old, 5), interval=1, run=1, expected=1, dropped=0)
    assert values(a) == {"run": 5, "n": 0}
    a.apply(Partial(1), interval=1, run=1, expected=4, dropped=4)
    assert (a.results()["run"].account.dropped, a.results()["n"].account.dropped) == (4, 0)


def test_operations_on_results_run_on_what_the_reductions_give() -> None:
    g = Graph(
        1,
        (
            of("scan", "mean_vs", "x", "key"),
            of("again", "mean_vs", "x", "key", window="interval"),
            of("difference", "expression", "scan", "again", text="_0 - _1"),
            of("total", "sum_events", "x"),
            of("n", "count", "x"),
            of("ratio", "expression", "total", "n", text="_0 / _1"),
            of("scaled", "expression", "scan", "ratio", text="_0 / _1"),
            of("counts", "part", "scan", part="counts"),
            of("most", "max", "counts"),
        ),
        ("difference", "ratio", "scaled", "most"),
    )
    a = Accumulator(g)
    a.apply(partial(g, 1, 3, key=3), interval=1, run=1, expected=2, dropped=0)
    a.apply(partial(g, 8, 8, key=3), interval=2, run=1, expected=2, dropped=0)
    got = values(a)
    assert isinstance(got["difference"], Scan)
    assert got["difference"].means.tolist() == [-3]
    assert got["ratio"] == 5
    assert got["scaled"].means.tolist() == [1]
    assert got["most"] == 4
    assert a.results()["difference"].account.used == 2


def test_an_operation_on_results_that_fails_tells_why_and_others_go_on() -> None:
    code = "def f(total):\n    if total == 5: raise ValueError('five')\n    return total"
    g = Graph(
        1,
        (
            of("s", "sum_events", "x"),
            of("f", "function", "s", code=code),
            of("behind", "expression", "f", text="_0 + 1"),
            of("n", "count", "x"),
        ),
        ("behind", "n"),
    )
    a = Accumulator(g)
    a.apply(partial(g, 5), interval=1, run=1, expected=1, dropped=0)
    got = a.results()
    assert got["behind"].value is None
    assert "five" in str(got["behind"].error)
    assert "'f'" in str(got["behind"].error)
    assert (got["n"].value, got["n"].error) == (1, None)
    a.apply(partial(g, 1), interval=2, run=1, expected=1, dropped=0)
    assert a.results()["behind"].value == 7
    assert a.results()["behind"].error is None


def test_errors_of_events_are_told_with_the_results_behind_them_until_the_run_ends() -> None:
    code = "def f(x):\n    return 1 / (x - 1)"
    g = Graph(1, (of("f", "function", "x", code=code, dtype="float64", shape=()), of("s", "sum_events", "f"),
                  of("n", "count", "x")), ("s", "n"))  # fmt: skip
    a = Accumulator(g)
    made = partial(g, 3, 1)
    assert made.errors["f"] == ErrorRecord(1, made.errors["f"].text, 1)
    a.apply(made, interval=1, run=1, expected=2, dropped=0)
    got = a.results()
    assert (got["s"].value, got["s"].account.used, got["s"].account.expected) == (0.5, 1, 2)
    assert "'f' failed for 1 events" in str(got["s"].error)
    assert got["n"].error is None
    a.begin_run(2)
    assert a.results()["s"].error is None


def test_results_do_not_change_when_the_accumulation_goes_on() -> None:
    g = Graph(
        1,
        (
            of("h", "histogram", "x", bins=3, low=0, high=3),
            of("m", "moments", "x"),
            of("v", "mean_vs", "x", "key"),
            of("p", "pick", "x", count=1),
        ),
        ("h", "m", "v", "p"),
    )
    a = Accumulator(g)
    a.apply(partial(g, 1), interval=1, run=1, expected=1, dropped=0)
    before = values(a)
    told = str(before)
    a.apply(partial(g, 2), interval=2, run=1, expected=1, dropped=0)
    assert str(before) == told
    assert str(values(a)) != told


def test_an_accumulator_goes_on_from_its_plain_form() -> None:
    g = summing("run", "interval", "last 2", "2 events")
    a = Accumulator(g)
    fill(a, [(3, 1, 1), (3, 2, 10), (3, 3, 100)])
    b = Accumulator.from_plain(a.to_plain())
    assert values(b) == values(a)
    fill(b, [(3, 3, 1000)])
    assert values(b) == {"run": 1111, "interval": 1100, "last 2": 1110, "2 events": 1100}
    assert b.results()["run"].account.expected == 4


@pytest.mark.parametrize("rubbish", [None, {}, {"format": 1}, {"format": 2}, 7])
def test_rubbish_is_no_accumulator(rubbish: Any) -> None:
    with pytest.raises(GraphError, match="accumulator"):
        Accumulator.from_plain(rubbish)


def test_nothing_yet_is_none_with_an_empty_account() -> None:
    for computed in Accumulator(summing("run", "interval", "last 2", "2 events")).results().values():
        assert (computed.value, computed.account.used, computed.account.expected, computed.error) == (
            None,
            0,
            0,
            None,
        )


def test_a_reduction_that_is_not_installed_here_fails_its_result_and_no_other() -> None:
    wobble = replace(of("w", "wobble", "x"), reduces=True)
    ratio = of("ratio", "expression", "w", "run", text="_0 / _1")
    g = also(also(summing("run"), wobble), ratio)
    a = Accumulator(g, "on global-reducer:0 of lab")
    for interval in (1, 2):
        made = partial(g, 1, 2, 3)
        made.errors.clear()  # the worker that sends this has the package
        made.states[g.fingerprint("w")], made.used[g.fingerprint("w")] = ["its state"], 3
        a.apply(made, interval=interval, run=1, expected=4, dropped=1)
        a = Accumulator.from_plain(a.to_plain(), "on global-reducer:0 of lab")
    found = a.results()
    assert (found["run"].value, found["run"].account.used, found["run"].error) == (12, 6, None)
    for name in ("w", "ratio"):
        told = found[name]
        assert (told.value, told.account.used, told.account.expected, told.account.dropped) == (None, 0, 8, 2)
        assert "operation 'w' failed for 6 events: " in str(told.error)
        assert "operation 'wobble' is not installed on global-reducer:0 of lab; install" in str(told.error)


@pytest.mark.parametrize(
    ("misplaced", "message"),
    [
        (of("m", "sum_events", "run"), "'run' is reduced over events"),
        (of("m", "expression", "run", "x", text="_0 + _1"), "the two meet nowhere"),
        (of("m", "expression", "x", text="_0 + 1"), "for each event"),
    ],
)
def test_an_operation_that_fits_nowhere_fails_its_result_and_no_other(
    misplaced: Operation, message: str
) -> None:
    a = Accumulator(also(summing("run"), misplaced))
    a.apply(partial(a.graph, 1, 2), interval=1, run=1, expected=2, dropped=0)
    assert message in str(a.results()["m"].error)
    assert values(a) == {"run": 3, "m": None}


def test_a_reducer_that_gets_the_missing_package_goes_on_with_an_honest_account() -> None:
    """Its window remembers the events that it could not take in."""
    g = Graph(1, (replace(of("h", "wobble", "x"), reduces=True),), ("h",))
    a = Accumulator(g)
    made = partial(g, 1, 2)
    a.apply(made, interval=1, run=1, expected=2, dropped=0)
    stored = a.to_plain()
    known = Graph(1, (of("h", "histogram", "x", bins=2, low=0, high=4),), ("h",))
    stored["graph"] = known.to_plain()
    stored["windows"] = {known.fingerprint("h"): stored["windows"][g.fingerprint("h")]}
    b = Accumulator.from_plain(stored)
    b.apply(partial(known, 1, 3), interval=2, run=1, expected=2, dropped=0)
    told = b.results()["h"]
    assert told.value.counts.tolist() == [1, 1]
    assert (told.account.used, told.account.expected) == (2, 4)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True).map(sorted),
    st.integers(1, 5),
)
def test_the_last_intervals_go_by_number_and_a_gap_is_a_gap(numbers: list[int], count: int) -> None:
    a = Accumulator(summing(f"last {count}"))
    for place, number in enumerate(numbers):
        fill(a, [(1, number, 1 << place)])
        right = sum(1 << n for n, one in enumerate(numbers[: place + 1]) if one > number - count)
        assert values(a) == {f"last {count}": right}
