"""What people are told of operations that fail, and the guests of `ami chaos --guests`."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ami.cli.chaos import report_guests
from ami.cli.get import card
from ami.cli.results import listing, one_line_of, reasons
from ami.client.costs import list_failing
from ami.daemons.reduction.assembly import FAILING_TOLD, Assembly
from ami.errors import GraphError
from ami.event import Field, Schema
from ami.graph.check import check
from ami.graph.execution.lanes import with_lanes
from ami.graph.execution.partial import OFF, ErrorRecord
from ami.graph.language.text import graph_of
from ami.lab.guests import GUESTS, SQUARE, asking
from ami.lab.witness import WITNESSES, Notice
from ami.messages.heartbeat import Heartbeat
from ami.result import Events, Result
from tests.batches import batch

WHY = "operation 'signal' failed for 1200 events, first for 7: ZeroDivisionError: division by zero, in line 2"
WAY = "Traceback (most recent call last):\n  File x, line 2\noperation of theirs\nZeroDivisionError: division"
OTHER = "operation 'b' failed for 3 events: switched off: kills the process (SIGSEGV) (event 9)"


def result(value: object, error: str | None) -> Result:
    return Result(name="signal", value=value, error=error, window="run", events=Events(expected=9, used=8))


def test_a_value_that_is_there_is_shown_with_what_failed_on_the_way_to_it() -> None:
    there = result(2.5, f"{WHY}\n{WAY}\n{OTHER}\nTraceback")
    assert one_line_of(there) == f"2.5; error: {WHY}; error: {OTHER}"
    assert "2.5; error: operation 'signal' failed" in listing({"signal": there})
    text = card(there)
    assert text.index("2.5") < text.index(f"error: {WHY}") < text.index(f"error: {OTHER}")
    assert "Traceback" not in text


def test_one_that_is_not_there_is_not_shown() -> None:
    gone = result(None, f"{WHY}\n{WAY}")
    assert one_line_of(gone) == f"error: {WHY}"
    assert "none" not in card(gone).lower().partition("error")[0]


def test_one_of_which_nothing_failed_is_as_it_was() -> None:
    assert one_line_of(result(2.5, None)) == "2.5"
    assert reasons(result(2.5, None)) == []


def test_status_is_told_what_fails_for_most_events_with_owner_count_and_reason() -> None:
    names = [f"f{number}" for number in range(FAILING_TOLD + 3)]
    text = "results:\n" + "".join(f"  {name}: sum_events(x + {n})\n" for n, name in enumerate(names))
    graph = graph_of(text).at_version(1)
    graph = replace(graph, operations=tuple(one.with_owners(("mira",)) for one in graph.operations))
    assembly = Assembly(lambda _version: graph)
    one = batch(5, [1, 2])
    for number, name in enumerate(names):
        one.partial.errors[name] = ErrorRecord(number + 1, f"ValueError: no {name}\nTraceback", 40)
    assembly.apply(one.node, 1, one)
    told = assembly.list_failing()
    worst = f"operation {names[-1]!r} of mira failed for {len(names)} events, first for 40"
    assert told[0] == f"{worst}: ValueError: no {names[-1]}"
    assert len(told) == FAILING_TOLD
    beat = Heartbeat(
        process="", pid=1, started_ns=0, beat_ns=0, steps=0, step_age_s=0, state="", counters={}, failing=told
    )
    assert list_failing([None, beat, "torn", beat]) == told


def test_that_an_operation_was_switched_off_is_told_whatever_failed_before() -> None:
    early, off = ErrorRecord(2, "ValueError", 3), ErrorRecord(5, f"{OFF}hangs", 90)
    for both in (early.merged(off), off.merged(early)):
        assert (both.count, both.text, both.first_sequence) == (7, f"{OFF}hangs", 3)


SCHEMA = Schema((Field("monitor", np.dtype(np.float64)), Field("camera", np.dtype(np.float32), (4, 4))))


def test_the_witnesses_of_the_guests_can_be_computed_and_no_two_do_the_same() -> None:
    check(graph_of(WITNESSES), SCHEMA)
    assert len({guest.deed for guest in GUESTS}) == len(GUESTS)


PUMP_PROBE = Schema((
    Field("monitor", np.dtype(np.float64)),
    Field("delay", np.dtype(np.float64)),
    Field("camera", np.dtype(np.float32), (96, 128)),
))  # fmt: skip


@pytest.mark.parametrize(
    ("expressions", "refused"),
    [
        (["pick(camera, count=1000000000)"], True),
        ([SQUARE.format(number) for number in range(20)], False),
        (["mean_vs(camera, key=timestamp)"], False),
    ],
    ids=["picks", "histograms", "scan"],
)
def test_what_guests_ask_for_is_refused_for_its_size_or_goes_the_large_way(
    expressions: list[str], refused: bool
) -> None:
    asked, removed = [], []
    place = SimpleNamespace(client=SimpleNamespace(add=asked.append, remove=lambda *n: removed.extend(n)))
    guest = asking("deed", expressions)
    guest.come(place)  # type: ignore[arg-type]  # all that he uses of one
    graph = graph_of(asked[0])
    kinds = check(graph, PUMP_PROBE)
    if refused:
        with pytest.raises(GraphError, match="MiB"):
            with_lanes(graph, kinds, 50_000_000)
    else:
        assert {name for name, _ in with_lanes(graph, kinds, 50_000_000).large} == set(graph.results)
    guest.go(place)  # type: ignore[arg-type]
    assert sorted(removed) == sorted(graph.results)


@pytest.mark.parametrize("exact", [True, False])
def test_a_row_of_the_table_says_who_did_what_and_what_it_cost(exact: bool) -> None:
    one = Notice(
        deed="`a | b`",
        told="denied: no",
        usual_age=0.06,
        oldest=1.25,
        late=0.0,
        set_aside=3,
        exact=exact,
        well=0.5,
    )
    row = report_guests([one]).splitlines()[-1]
    told = "yes" if exact else "NO"
    assert row == f"| `a \\| b` | denied: no | 1.25 s (0.06) | never late | 3 | {told} | 0.50 s |"
