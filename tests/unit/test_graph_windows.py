"""Windows of results: which events are in them, and the account of these events."""

from __future__ import annotations

import random
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
from ami.graph.library.keep import Pick
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


@given(st.lists(st.integers(0, 12), max_size=30))
def test_of_single_intervals_the_newest_five_are_kept_whatever_the_order(numbers: list[int]) -> None:
    a = Accumulator(summing("interval"))
    kept: dict[int, float] = {}
    too_late = 0
    for value, number in enumerate(numbers):
        fill(a, [(1, number, float(value))])
        if number not in kept and len(kept) == 5 and number < min(kept):
            too_late += 1
            continue
        kept[number] = kept.get(number, 0.0) + value
        if len(kept) > 5:
            del kept[min(kept)]
    assert {n: values(a, (1, n))["interval"] for n in range(13)} == {n: kept.get(n) for n in range(13)}
    assert a.too_late == too_late


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "?"])
def test_the_values_of_many_means_are_what_each_state_gives(dtype: str) -> None:
    schema = Schema.of([Field(f"x{n}", np.dtype(dtype if n % 2 else "f8")) for n in range(12)])
    graph = Graph(1, tuple(of(f"m{n}", "mean_events", f"x{n}") for n in range(12)), ("m1", "m2", "m5"))
    for results in (
        graph.results,
        tuple(f"m{n}" for n in range(1, 12, 2)),
        tuple(f"m{n}" for n in range(12)),
    ):
        plan = WorkerPlan(replace(graph, results=results), schema)
        slots = Slots.allocate(schema, 7)
        for n in range(12):
            slots.columns[f"x{n}"][:] = np.arange(n, n + 7) / 3
        slots.set_valid(schema.names)
        made = plan.partial()
        plan.run(slots, 0, made)
        each = {
            name: plan.reductions[key].result(made.states[key])
            for name in results
            if (key := graph.fingerprint(name)) in made.states
        }
        a = Accumulator(replace(graph, results=results))
        a.apply(made, interval=1, run=1, expected=7, dropped=0)
        found = values(a)
        assert found == each
        assert {type(value) for value in found.values()} == {np.float64}


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


INTERVAL_NS = 50_000_000
# Seconds, and over how many intervals that is, so many of them in a pane.
TIMES = [(0.001, 1, 1), (0.05, 1, 1), (0.051, 2, 1), (1, 20, 1), (3.2, 64, 1), (3.25, 65, 2), (10, 200, 4)]


def in_window(places: list[tuple[int, int]], at: tuple[int, int], count: int, pane: int) -> list[int]:
    """Which of the places are in a window that ends at one of them, where time does not go back."""
    first = (at[1] - count + 1) // pane * pane
    return [n for n, place in enumerate(places) if place <= at and first <= place[1]]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TIMES),
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0, 1, 1, 1, 3, 30, 90])), min_size=1, max_size=40),
    st.sets(st.integers(0, 39)),
)
def test_a_window_of_time_goes_by_the_time_of_the_events(
    time: tuple[float, int, int], steps: list[tuple[int, int]], stored: set[int]
) -> None:
    """Gaps, several entries an interval, new runs, and a reducer that goes on from what another one left."""
    seconds, count, pane = time
    a, where, places = Accumulator(summing(f"{seconds} s")), (1, 1000), []
    for number, (run, interval) in enumerate(steps):
        where = (where[0] + run, where[1] + interval)
        places.append(where)
        made = partial(a.graph, 1 << number)
        a.apply(made, interval=where[1], run=where[0], expected=1, dropped=0, interval_ns=INTERVAL_NS)
        if number in stored:
            a = Accumulator.from_plain(a.to_plain())
        right = in_window(places, where, count, pane)
        (found,) = a.results().values()
        one = count == pane == 1  # of one interval: another run is another interval
        right = [n for n in right if places[n] == where] if one else right
        assert found.value == sum(1 << n for n in right)
        assert (found.account.used, found.account.last) == (len(right), where)
        assert found.account.first == places[right[0]]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(12)), st.sampled_from(["last 5", "0.25 s", "last 100"]))
def test_what_comes_late_is_in_its_window(order: list[int], window: str) -> None:
    a = Accumulator(summing(window))
    reach = 100 if window == "last 100" else 5
    there: list[int] = []
    for number in order:
        made = partial(a.graph, 1 << number)
        a.apply(made, interval=number, run=1, expected=1, dropped=0, interval_ns=INTERVAL_NS)
        there.append(number)
        kept = [n for n in there if n > max(there) - reach]
        assert values(a) == {window: sum(1 << n for n in kept)}


def test_where_time_goes_back_the_run_before_is_not_near() -> None:
    a = Accumulator(summing("last 20", "1 s"))
    for run, interval in ((1, 500), (1, 501), (2, 490), (2, 510)):
        made = partial(a.graph, run * interval)
        a.apply(made, interval=interval, run=run, expected=1, dropped=0, interval_ns=INTERVAL_NS)
    assert values(a, (2, 490)) == {"last 20": 980, "1 s": 980}
    assert values(a, (2, 509)) == {"last 20": 980, "1 s": 980}
    assert values(a) == {"last 20": 1020, "1 s": 1020}


def test_intervals_of_another_length_begin_windows_of_intervals_anew() -> None:
    a = Accumulator(summing("run", "last 20", "10 s", "2 events"))
    for run, interval, length in ((1, 5000, 10**6), (1, 5001, 10**6), (2, 5, 10**9), (2, 6, 10**9)):
        made = partial(a.graph, interval, sequence=interval)
        a.apply(made, interval=interval, run=run, expected=1, dropped=0, interval_ns=length)
        a = Accumulator.from_plain(a.to_plain())
    assert values(a) == {"run": 11, "last 20": 11, "10 s": 11, "2 events": 11}


def test_of_a_long_window_there_are_a_few_states_only() -> None:
    a = Accumulator(summing("10 min"))
    made = partial(a.graph, 1)
    for interval in range(0, 20_000, 10):
        a.apply(replace(made, states=dict(made.states)), interval=interval, run=1, expected=1, dropped=0,
                interval_ns=INTERVAL_NS)  # fmt: skip
    (window,) = a.to_plain()["windows"].values()
    assert 60 < len(window["buckets"]) < 72
    (found,) = a.results().values()
    # 600 s are 12,000 intervals, in panes of 188.
    first = (19_990 - 12_000 + 1) // 188 * 188
    assert found.value == len(range(-(-first // 10) * 10, 20_000, 10))


def picking(count: int) -> Graph:
    return Graph(1, (of("p", "pick", "x", count=count), of("s", "sum_events", "x", window=f"{count} events")),
                 ("p", "s"))  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=8),
    st.integers(1, 6),
    st.sets(st.integers(0, 20)),
)
def test_events_are_picked_from_whole_intervals_however_many_parts_they_come_in(
    parts: list[list[int]], count: int, stored: set[int]
) -> None:
    g = picking(count)
    a, b = Accumulator(g), Accumulator(g)
    sequence = 0
    for interval, sizes in enumerate(parts):
        facts = {"interval": interval, "run": 1, "dropped": 0}
        b.apply(partial(g, *[1.0] * sum(sizes), sequence=sequence), expected=sum(sizes), **facts)
        for size in sizes:
            a.apply(partial(g, *[1.0] * size, sequence=sequence), expected=size, **facts)
            sequence += size
        if not sizes:
            a.apply(Partial(1), expected=0, **facts)
        if interval in stored:
            a = Accumulator.from_plain(a.to_plain())
        mine, whole = a.results(), b.results()
        assert str(mine["p"]) == str(whole["p"])
        assert (mine["s"].value, mine["s"].account.used) == (whole["s"].value, whole["s"].account.used)
        if mine["p"].value is not None:
            account = mine["p"].account
            bounds = np.cumsum([0, *map(sum, parts)])
            from_intervals = np.searchsorted(bounds, mine["p"].value.sequences, "right") - 1
            assert account.first <= (1, from_intervals.min())
            assert account.last == (1, from_intervals.max())
            assert account.used <= account.expected <= sum(map(sum, parts[account.first[1] : interval + 1]))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=10),
    st.integers(1, 6),
    st.sets(st.integers(0, 20)),
)
def test_a_dead_worker_s_events_come_late_and_do_not_show(
    parts: list[tuple[int, int, int]], count: int, stored: set[int]
) -> None:
    """Of each interval a part comes so many intervals later; at the end all are as if they had not."""
    g = picking(count)
    a, b = Accumulator(g), Accumulator(g)
    late: dict[int, list[tuple[int, Partial]]] = {}
    sequence = 0
    for interval in range(len(parts) + 6):
        if interval < len(parts):
            here, there, by = parts[interval]
            facts = {"interval": interval, "run": 1, "expected": here + there, "dropped": 0}
            b.apply(partial(g, *[1.0] * (here + there), sequence=sequence), **facts)
            a.apply(partial(g, *[1.0] * here, sequence=sequence), to_come=int(by > 0 or there > 0), **facts)
            rest = partial(g, *[1.0] * there, sequence=sequence + here)
            if by or there:
                late.setdefault(interval + by, []).append((interval, rest))
            sequence += here + there
        for place, rest in late.pop(interval, []):
            a.apply(rest, interval=place, run=1, expected=0, dropped=0, to_come=-1)
        if interval in stored:
            a = Accumulator.from_plain(a.to_plain())
    for name in ("p", "s"):
        assert str(a.results()[name]) == str(b.results()[name])
    assert all(
        bucket.to_come == 0 for w in a.to_plain()["windows"].values() for bucket in w["buckets"].values()
    )


def test_an_interval_whose_rest_never_comes_ends_with_its_run_or_when_many_wait() -> None:
    a = Accumulator(picking(1))
    for run, interval in [(1, 0), (2, 5), *((2, n) for n in range(6, 300))]:
        made = partial(a.graph, 1.0, sequence=1000 * run + interval)
        a.apply(made, interval=interval, run=run, expected=2, dropped=0, to_come=1)
        window = next(iter(a.to_plain()["windows"].values()))
        assert len(window["buckets"]) < 210
        assert a.results()["p"].value.sequences.tolist() == [1000 * run + interval]
        assert (1, 0) not in window["buckets"] or run == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 9), st.randoms(use_true_random=False))
def test_which_events_are_picked_does_not_depend_on_which_node_s_ring_they_were_in(
    owners: list[int], count: int, chance: random.Random
) -> None:
    """Each node counts the events in its ring from 0 on."""
    pick, times = Pick(count), np.array(chance.sample(range(10**9), len(owners)), np.int64)
    values = np.arange(len(owners))

    def state_of(rows: Any) -> Any:
        stamps = np.stack([times[rows], np.arange(len(rows))], axis=1)
        return pick.add(pick.zero(), values[rows], stamps=stamps) if len(rows) else pick.zero()

    found = pick.zero()
    for node in chance.sample(range(4), 4):
        found = pick.merge(found, state_of(np.flatnonzero(np.array(owners) == node)))
    alone = state_of(values)
    assert (found is None) == (alone is None)
    if found is not None:
        assert found[1][0].tolist() == alone[1][0].tolist()


def test_picked_events_are_spread_over_each_interval() -> None:
    """Of 1000 events 100 batches of 10: each of the ten parts of an interval is met about 100 times."""
    g = picking(10)
    a, met = Accumulator(g), np.zeros(10, np.int64)
    for interval in range(100):
        made = partial(g, *range(1000), sequence=1000 * interval)
        a.apply(made, interval=interval, run=1, expected=1000, dropped=0)
        picked = a.results()["p"]
        assert len({*picked.value.sequences.tolist()}) == 10
        assert (picked.value.sequences // 1000 == interval).all()
        assert (picked.account.used, picked.account.expected) == (10, 1000)
        assert picked.account.first_ns == picked.value.timestamps.min()
        met += np.bincount(picked.value.values[0].astype(np.int64) // 100, minlength=10)
    assert met.sum() == 1000
    # The standard deviation of each is 9.5; the chance of one beyond five of these is 1 in 200,000.
    assert (abs(met - 100) < 48).all()


@pytest.mark.parametrize("timestamps", [0, 10**18])
def test_events_of_one_time_are_told_apart_by_their_sequence(timestamps: int) -> None:
    reduction = Pick(3)
    stamps = np.stack([np.full(50, timestamps), np.arange(50)], axis=1)
    state = reduction.add(None, np.arange(50), stamps=stamps)
    assert 10 < np.mean(reduction.result(state).sequences) < 40


def test_every_state_that_a_partial_changes_is_told() -> None:
    """What is not told as changed is not written into the next checkpoint."""
    g = also(also(picking(3), of("run", "sum_events", "x")), of("t", "sum_events", "x", window="10 s"))
    a = Accumulator(g)

    def states() -> dict[tuple[str, tuple[int, int]], str]:
        plain = a.to_plain()["windows"]
        found = {
            (key, place): str(b.state) for key, one in plain.items() for place, b in one["buckets"].items()
        }
        return found | {(key, (0, 0)): found.get((key, (0, 0)), "") + str(one["batch"].state)
                        for key, one in plain.items() if one["batch"] is not None}  # fmt: skip

    for number, interval in enumerate((1, 1, 2, 3, 4, 3, 9)):
        made = partial(g, 1.0, 2.0, sequence=10 * number) if interval != 3 else Partial(g.version)
        told = {one[:2] for one in a.list_places(made, (1, interval))}
        before = states()
        a.apply(made, interval=interval, run=1, expected=2, dropped=0, interval_ns=INTERVAL_NS)
        assert {key for key, state in states().items() if before.get(key) != state} <= told
