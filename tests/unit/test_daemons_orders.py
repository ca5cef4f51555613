"""Borders that people order: drawn nodes promise in any order, or never; there is one border, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.daemons.process import orders
from ami.daemons.process.orders import NO_INTERVAL
from ami.daemons.source.ordered import before, border_of, list_borders
from ami.daemons.source.phase import NO_BORDER, Border, Phase
from ami.errors import GraphError
from ami.event import Transition
from ami.messages.run_book import RunBook, RunEntry, RunOrder, RunOrders

NODES = ("a", "b", "c")
INTERVAL_NS = 50_000_000
NONE: dict[str, tuple[str, str]] = {}


def order(action: str = "begin", **more: object) -> RunOrder:
    facts = {"number": 0, "id": "1", "value": 0.0, "client": "me", "asked_ns": 0, "awaited": NODES, **more}
    return RunOrder(action=action, **facts)  # type: ignore[arg-type]


def book(last: int = 4) -> RunBook:
    return RunBook(last=last, runs=(RunEntry(number=last, whole="", begun={"a": "x"}, ended=()),))


@given(
    st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, 1000)), min_size=1, max_size=12),
    st.sets(st.sampled_from(NODES), min_size=1),
    st.sampled_from(["begin", "end", "step"]),
)
def test_the_border_is_behind_what_each_node_that_lives_has_begun_and_never_moves(
    promises: list[tuple[str, int]], here: set[str], action: str
) -> None:
    now, known, first = order(action), book(), {}
    for node, interval in promises:
        first.setdefault(node, interval)
        was = now
        now, known = orders.decide(
            orders.promise(now, node, (4, 2, interval)), known, here | {node}, INTERVAL_NS
        )
        if was.border is not None:
            assert (now.border, now.run, now.step) == (was.border, was.run, was.step)
        elif here | {node} <= first.keys():
            assert now.border == max(first.values())
            assert (now.run, now.step) == {"begin": (5, 0), "end": (4, 2), "step": (4, 3)}[action]
    assert known.last == (5 if action == "begin" and now.border is not None else 4)


def test_a_border_is_refused_where_nodes_are_in_different_runs_or_minutes_apart_or_silent() -> None:
    def decide(action: str, **promised: tuple[int, int, int]) -> RunOrder:
        asked = order(action, awaited=tuple(promised), promised=promised)
        return orders.decide(asked, book(), promised.keys(), INTERVAL_NS)[0]

    assert decide("end", a=(4, 0, 7), b=(3, 0, 7)).refused == "nodes are in different runs: a in 4, b in 3"
    assert (
        "a are 75 s of event time behind those of b" in decide("begin", a=(4, 0, 0), b=(4, 0, 1500)).refused
    )
    assert decide("end-step", a=(4, 0, 7)).refused == "no step is open"
    assert decide("begin", a=(-1, 0, NO_INTERVAL)).refused == "no node has events yet"
    half = orders.promise(order(), "a", (4, 0, 7))
    assert orders.give_up(half, {"a"}).is_open  # who is gone is not waited for
    assert "source of b, c does not answer" in orders.give_up(half, NODES).refused


def test_what_is_not_ones_own_is_not_ordered() -> None:
    def ask(action: str, known: RunOrders = RunOrders(), **dictates: tuple[str, str]) -> RunOrders:  # noqa: B008
        return orders.ask(known, book(), order(action, id=action, asked_ns=10**9), dictates)

    with pytest.raises(GraphError, match=r"runs are not ordered here: a recording's \(b\)"):
        ask("end", a=("", ""), b=("a recording's", ""))
    with pytest.raises(GraphError, match="steps are not ordered here"):
        ask("step", a=("", "the simulation's"))
    with pytest.raises(GraphError, match="no source runs"):
        orders.ask(RunOrders(), book(), order(awaited=()), NONE)
    with pytest.raises(GraphError, match="unknown order 'pause'"):
        ask("pause")
    under_way = ask("begin", a=("", "the simulation's"))
    assert ask("begin", under_way) == under_way  # the same request again
    with pytest.raises(GraphError, match="'begin' by me is under way"):
        ask("end", under_way)
    decided, known = orders.decide(replace(order("end"), number=1, promised={"a": (4, 0, 7)}), book(), "a", 1)
    over = RunOrders(orders=(decided,))
    assert orders.find_last(over, known) == decided
    with pytest.raises(GraphError, match="run 4 was ended by me"):
        ask("step", over)
    assert ask("begin", over).orders[-1].number == 2
    assert orders.find_last(over, book(5)) is None  # another run began by itself


@given(st.lists(st.sampled_from(["begin", "end", "step", "end-step"]), max_size=12), st.integers(0, 3))
def test_a_ring_has_what_was_ordered_once_and_in_order_wherever_its_source_died(
    actions: list[str], die_every: int
) -> None:
    """Each border that is put into the ring is behind those before it; a successor puts the rest."""
    newest, here, run, step, told = Border(4), Phase(4), 4, 0, []
    is_open, in_step = True, False
    for action in actions:
        if (not is_open and action != "begin") or (action == "end-step" and not in_step):
            continue
        run, step = (run + 1, 0) if action == "begin" else (run, step + (action == "step"))
        given_ = replace(order(action), run=run, step=step, border=0, value=1.5)
        is_open, in_step = action != "end", action == "step"
        wanted = len(list_borders(given_, newest, here))
        for turn in range(9):
            left = list_borders(given_, newest, here) if border_of(given_) > newest else []
            for transition, phase in left[: 1 if die_every and turn % die_every == 0 else None]:
                assert Border.of(transition, phase) > newest
                newest, here = Border.of(transition, phase), phase
                told.append(transition)
                wanted -= 1
        assert wanted == 0
        assert newest == border_of(given_)
    for kind in ("RUN", "STEP"):
        balance = [1 if kind == "RUN" else 0]
        for one in told:
            balance.append(balance[-1] + {f"BEGIN_{kind}": 1, f"END_{kind}": -1}.get(Transition(one).name, 0))
        assert set(balance) <= {0, 1}


def test_a_node_that_begins_is_behind_all_that_is_over() -> None:
    begin, end = replace(order("begin"), run=9, border=0), replace(order("end"), run=9, border=0)
    assert NO_BORDER < before(begin) < border_of(begin) < before(end) == border_of(end)
