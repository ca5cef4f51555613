"""The state of a global reducer: what is in it, what is said of it, and that a copy goes on as it would."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.daemons.reduction.assembly import Assembly, Totals
from ami.errors import StoreUnavailable
from ami.event import Transition
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.messages.batch import Batch
from ami.result import Events, Result
from ami.stores import codec
from ami.stores.membership import Members
from ami.values import PickedEvents
from tests.batches import batch, border
from tests.daemons_rig import GRAPH

FOR_EVER_S = 1e9  # a machine that stands still is no reason to pass a node over


def graphs(version: int) -> Graph:
    return Graph() if version == 0 else GRAPH.at_version(version)


def members(*here: str) -> Members:
    return Members(here=frozenset(here))


def assembled(*batches: Batch) -> Assembly:
    assembly = Assembly(graphs, grace_s=FOR_EVER_S)
    for number, one in enumerate(batches, start=1):
        assembly.apply(one.node, number, copy.deepcopy(one))
    return assembly


def results(assembly: Assembly, *nodes: str) -> dict[str, Result]:
    return {result.name: result for result in assembly.results(members(*(nodes or ("here",))))}


def test_before_the_first_interval_there_are_no_results() -> None:
    assert assembled().results(members("here")) == []
    assert assembled(border(Transition.BEGIN_RUN, 1)).results(members("here")) == []


def test_results_are_those_of_the_newest_interval_and_of_the_run_so_far() -> None:
    found = results(assembled(border(Transition.BEGIN_RUN, 1), batch(5, [1, 2]), batch(6, [10, 20, 30])))
    assert (found["shots"].value, found["total"].value, found["now"].value) == (5, 63, 60)
    total, now = found["total"], found["now"]
    assert (total.run, total.interval, total.interval_ns) == (1, 6, 1000)
    assert (total.time_ns, now.time_ns) == ((5000, 6002), (6000, 6002))
    assert total.events == Events(expected=5, used=5)
    assert now.events == Events(expected=3, used=3)
    assert total.workers == ("here:worker:0",)
    assert (total.graph_version, total.graph_hash) == (1, GRAPH.hash)
    assert total.complete
    assert total.error is None


def test_the_account_of_a_run_closes() -> None:
    assembly = assembled(
        batch(5, [1, 2], expected=9, dropped=4, complete=False),
        batch(5, [7], expected=0, supplement=True),
        batch(6, [], expected=3, dropped=3),
    )
    totals = assembly.totals
    assert (totals.expected, totals.reduced, totals.dropped) == (12, 3, 7)


def test_nodes_are_merged_and_a_node_that_is_silent_is_named() -> None:
    assembly = assembled(batch(5, [1], node="a"), batch(5, [2, 3], node="b"), batch(6, [4], node="a"))
    everyone = Members(here=frozenset("ab"), gone=frozenset("c"))
    found = {one.name: one for one in assembly.results(everyone)}
    assert found["total"].value == 10
    assert (found["total"].nodes, found["total"].missing_nodes) == (("a", "b"), ("c",))
    # The newest interval that both of them passed; c does not live, so nobody waits for it.
    assert (found["now"].interval, found["now"].value) == (5, 6)
    assert (found["now"].nodes, found["now"].missing_nodes) == (("a", "b"), ("c",))
    assert not found["total"].complete
    assert results(assembly, "a", "b")["total"].complete
    alone = {one.name: one for one in assembly.results(Members(here=frozenset("a"), gone=frozenset("bc")))}
    assert (alone["now"].interval, alone["now"].value) == (6, 4)
    assert (alone["now"].nodes, alone["now"].missing_nodes) == (("a",), ("b", "c"))
    assert (alone["total"].nodes, alone["total"].missing_nodes) == (("a", "b"), ("b", "c"))
    assert alone["total"].late == (("b", 1e-6),)
    left = assembly.results(Members(here=frozenset("a"), left=frozenset("bc")))
    assert all(one.complete for one in left)


def test_a_node_that_lags_adds_to_its_own_interval_and_takes_nobody_back() -> None:
    batches = [batch(6, [4], node="a"), batch(5, [1], node="b")]
    found = results(assembled(*batches), "a", "b")
    assert (found["now"].interval, found["now"].value, found["total"].value) == (5, 1, 5)
    found = results(assembled(*batches, batch(6, [5], node="b"), batch(5, [7], node="a")), "a", "b")
    assert (found["now"].interval, found["now"].value, found["total"].value) == (6, 9, 17)


def test_a_result_is_incomplete_until_the_supplement_came() -> None:
    early, late = batch(5, [1], expected=3, complete=False), batch(5, [2, 3], expected=0, supplement=True)
    before = results(assembled(early))
    assert not before["total"].complete
    assert not before["now"].complete
    assert before["total"].events == Events(expected=3, used=1)
    after = results(assembled(early, late))
    assert after["total"].complete
    assert after["now"].complete
    assert after["now"].value == 6
    assert after["total"].events == Events(expected=3, used=3)


def test_a_new_run_begins_from_nothing_and_a_straggler_does_not_bring_the_old_one_back() -> None:
    assembly = assembled(
        batch(5, [1, 2]),
        border(Transition.END_RUN, 1),
        border(Transition.BEGIN_RUN, 2),
        batch(9, [5], run=2),
        batch(5, [100], run=1, expected=0, supplement=True),
    )
    assert results(assembly)["total"].value == 5
    assert assembly.run == 2
    assert assembly.totals == Totals(expected=1, reduced=1)


def test_the_run_s_numbers_stay_until_the_first_interval_of_the_next() -> None:
    assembly = assembled(batch(5, [1, 2]), border(Transition.END_RUN, 1), border(Transition.BEGIN_RUN, 2))
    assert (results(assembly)["total"].run, results(assembly)["total"].value) == (1, 3)


def test_when_the_graph_cannot_be_read_nothing_is_merged() -> None:
    def unavailable(version: int) -> Graph:
        raise StoreUnavailable("not now")

    assembly = Assembly(unavailable)
    with pytest.raises(StoreUnavailable):
        assembly.apply("here", 1, batch(5, [1]))
    assert assembly.applied == {}
    assert assembly.totals == Totals()
    assembly._graph = graphs  # the store is back
    assembly.apply("here", 1, batch(5, [1]))
    assert results(assembly)["total"].value == 1


def test_an_older_graph_version_of_a_slower_node_is_merged_into_the_newer_one() -> None:
    assembly = assembled(batch(5, [1], node="a", graph_version=2), batch(5, [2], node="b"))
    assert results(assembly, "a", "b")["total"].value == 3
    assert results(assembly, "a", "b")["total"].graph_version == 2


def test_names_that_came_and_went_are_told_once() -> None:
    other = graph_of("results: {shots: count(x)}").at_version(2)
    assembly = Assembly(lambda version: GRAPH if version == 1 else other)
    assembly.apply("here", 1, batch(5, [1]))
    changed = assembly.changed_names()
    assert changed is not None
    assert (changed[0], set(changed[1])) == (set(), {"shots", "total", "now"})
    assert changed[1]["total"]["operation"] == "sum_events"
    assert assembly.changed_names() is None
    assembly.apply("here", 2, batch(6, [], graph_version=2))
    changed = assembly.changed_names()
    assert changed is not None
    assert (changed[0], set(changed[1])) == ({"total", "now"}, {"shots"})


def through_the_store(assembly: Assembly) -> Assembly:
    checkpoint = codec.decode(bytes(codec.encode(assembly.to_checkpoint())))
    restored = Assembly(graphs, grace_s=FOR_EVER_S)
    restored.restore(checkpoint)
    return restored


BATCHES = st.lists(
    st.builds(
        batch,
        st.integers(1, 6),
        st.lists(st.integers(-100, 100), max_size=4),
        node=st.sampled_from(["a", "b"]),
        run=st.integers(1, 3),
        complete=st.booleans(),
        supplement=st.booleans(),
        dropped=st.integers(0, 3),
        graph_version=st.integers(1, 2),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(batches=BATCHES, cuts=st.sets(st.integers(0, 7)))
def test_a_state_that_went_through_the_store_at_any_point_goes_on_as_if_it_had_not(
    batches: list[Batch], cuts: set[int]
) -> None:
    straight, interrupted = (Assembly(graphs, grace_s=FOR_EVER_S) for _ in range(2))
    for number, one in enumerate(batches, start=1):
        for assembly in (straight, interrupted):
            assembly.apply(one.node, number, copy.deepcopy(one))
        if number in cuts:
            interrupted = through_the_store(interrupted)
        everyone = Members(here=frozenset("ab"), gone=frozenset("c"))
        want, got = (
            shown({result.name: result for result in one.results(everyone)})
            for one in (straight, interrupted)
        )
        assert got == want
        assert interrupted.totals == straight.totals
        assert interrupted.applied == straight.applied
        assert (interrupted.run, interrupted.intervals) == (straight.run, straight.intervals)


def shown(found: dict[str, Result]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in result.to_plain().items() if key not in ("published_ns", "age_s")}
        for name, result in found.items()
    }


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_order_in_which_nodes_come_does_not_show(data: st.DataObject) -> None:
    by_node = {node: [batch(i, [i, len(node)], node=node) for i in range(1, 4)] for node in ("a", "bb")}
    order = data.draw(st.permutations(["a"] * 3 + ["bb"] * 3))
    waiting = {node: iter(batches) for node, batches in by_node.items()}
    found = results(assembled(*[next(waiting[node]) for node in order]), "a", "bb")
    assert (found["total"].value, found["shots"].value) == (12 + 3 * 3, 12)
    assert found["now"].value == 3 + 3 + 1 + 2
    assert found["now"].complete


PICKING = graph_of("""
results:
  now: sum_events(x, window=interval)
  some: pick(x, count=3)
  mean: mean_events(x, window="4 events")
""").at_version(1)
ALL = ("a", "b", "c", "d")
GRACE_S = 2.0


class Played:
    """Nodes that play shares of a run, in drawn orders, some late, some from the midst on, some never.

    Events are numbered through; each has its number as ``x``, a time of its own, and in its node's ring the
    next sequence there.
    """

    def __init__(self, data: st.DataObject) -> None:
        sizes = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
        self.whole: dict[int, list[int]] = {}
        self.shares = {node: [border(Transition.BEGIN_RUN, 1, node=node)] for node in ALL}
        self.parts: dict[tuple[str, int], list[int]] = {}
        begins = {node: data.draw(st.sampled_from([0, 0, 0, 2, 99])) for node in ALL}
        begins["a"] = 0
        sequences = dict.fromkeys(ALL, 0)
        for interval, size in enumerate(sizes, start=1):
            there = [node for node in ALL if begins[node] < interval]
            whose = data.draw(st.lists(st.sampled_from(there), min_size=size, max_size=size))
            first = sum(sizes[: interval - 1])
            self.whole[interval] = list(range(first, first + size))
            for node in there:
                mine = [number for number, owner in enumerate(whose) if owner == node]
                self.parts[node, interval] = values = [first + number for number in mine]
                self.shares[node].append(
                    batch(interval, values, node=node, graph=PICKING, sequence=sequences[node], times=mine)
                )
                sequences[node] += len(values)
        for node in ALL:
            if begins[node] == 99:
                self.shares[node] = []  # it lives, and has no event
            else:
                self.shares[node].append(border(Transition.END_RUN, 1, node=node))

    def play_alone(self) -> dict[int, dict[str, Any]]:
        """Return what one process has after each interval."""
        alone, found = Assembly(lambda _version: PICKING), {}
        for interval, values in self.whole.items():
            alone.apply("a", interval, batch(interval, values, node="a", graph=PICKING))
            found[interval] = {one.name: one.value for one in alone.results(members("a"))}
        return found


def said(value: Any) -> str:
    return str((value.timestamps, value.values) if isinstance(value, PickedEvents) else value)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_complete_is_what_one_process_has_whoever_comes_when(data: st.DataObject) -> None:
    """Members begin at drawn times, or never; some are silent for longer than they are waited for."""
    played, now = Played(data), 0.0
    alone = played.play_alone()
    assembly = Assembly(lambda _version: PICKING, grace_s=GRACE_S, monotonic=lambda: now)
    left = {node: list(share) for node, share in played.shares.items()}
    never = {node for node, share in left.items() if not share}
    number = dict.fromkeys(ALL, 0)
    passed_over = False
    while any(left.values()):
        node = data.draw(st.sampled_from([node for node in ALL if left[node]]))
        number[node] += 1
        assembly.apply(node, number[node], copy.deepcopy(left[node].pop(0)))
        now += data.draw(st.sampled_from([0.0, 0.0, 0.01, 3.0]))
        found = {one.name: one for one in assembly.results(members(*ALL))}
        if not found:
            continue
        place = assembly.watermark.place[1]
        if (one := found["now"]).complete:
            assert not never
            assert (one.value or 0) == sum(played.whole[place]), f"of interval {place}"
        missing = set(one.missing_nodes)
        assert missing == {other for other in ALL if assembly.watermark.reached(other) < (1, place)}
        passed_over |= bool(missing - never)
        if not passed_over and place in alone:
            assert {name: said(found[name].value) for name in ("some", "mean")} == {
                name: said(alone[place][name]) for name in ("some", "mean")
            }
