"""The figures of `ami top` from what processes say, and how they look."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ami.cli.top import frame, report, sort_operations
from ami.client.load import NOBODY, Load, Queues, judge_load
from ami.client.status import RingStatus, judge_cluster, judge_process
from ami.cluster.supervisor import Program
from ami.graph.graph import Graph
from ami.graph.language import edits
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import parse
from ami.messages.heartbeat import Heartbeat

NOW_NS = 1_000_000_000_000_000_000
TEXT = """
values:
  ratio: x / y
results:
  mean: mean_events(ratio)
"""


def owned() -> Graph:
    """Two owners: ratio is anna's and, as an operation of another name, ben's; mean is anna's."""
    anna = edits.add(Document(version=3), parse(TEXT), "anna")
    return lower(edits.add(anna, parse("results: {twin: mean_events(x / y)}"), "ben"))


def cost(
    share: float, *, us: float = 1.0, hz: float = 100.0, per_event: bool = False, errors: int = 0
) -> dict:
    return {
        "us_per_event": us, "events_hz": hz, "share_of_core": share, "per_event": per_event, "errors": errors,
    }  # fmt: skip


def beat(operations: dict[str, Any] | None = None, *, share: float = 0.0, **counters: float) -> Heartbeat:
    timing = {} if operations is None else {"share_of_core": share, "timed": 0.25}
    return Heartbeat(
        process="", pid=77, started_ns=NOW_NS - 60_000_000_000, beat_ns=NOW_NS - 1000, steps=5,
        step_age_s=0.0, state="running", counters=counters, operations=operations or {}, timing=timing,
    )  # fmt: skip


def load(beats: dict[str, Any], **named: Any) -> Load:
    processes = [judge_process(p, b, now_ns=NOW_NS, patience_s=4.0) for p, b in beats.items()]
    graph = named.get("graph")
    current = None if graph is None else {"version": graph.version, "hash": graph.hash}
    ring = RingStatus(
        published=10,
        dropped=2,
        slot_count=100,
        held=25,
        policy="drop",
        writer_alive=True,
        interval_ns=1,
        held_by={0: 64},
    )
    status = judge_cluster("ami", processes, this_host="here", graph=current, ring=ring)
    return judge_load(status, beats, **named)


def of(found: Load, name: str) -> Any:
    return next(p for p in found.processes if p.name == name)


def test_the_workers_costs_of_one_operation_are_added() -> None:
    beats = {
        "here:worker:0": beat({"mean": cost(0.2, us=2.0, hz=100.0)}, share=0.2),
        "here:worker:1": beat({"mean": cost(0.4, us=1.0, hz=300.0, errors=5)}, share=0.4),
    }
    (found,) = load(beats).operations
    assert (found.share, found.events_hz, found.errors, found.workers) == (pytest.approx(0.6), 400.0, 5, 2)
    assert found.us_per_event == pytest.approx((100 * 2.0 + 300 * 1.0) / 400)


def test_equal_operations_of_two_clients_are_one_with_both_names_and_both_owners() -> None:
    graph = owned()
    found = load({"here:worker:0": beat({"ratio": cost(0.5), "mean": cost(0.1)}, share=0.6)}, graph=graph)
    ratio = found.operations[0]
    assert (ratio.name, ratio.kind, ratio.owners) == ("ratio", "expression", ("anna", "ben"))
    assert len(ratio.names) == 2
    assert found.operations[1].names == ("mean", "twin")


def test_an_error_that_is_told_under_each_name_is_counted_once() -> None:
    told = {"mean": cost(0.5, errors=4), "twin": cost(0.0, errors=4)}
    (found,) = load({"here:worker:0": beat(told)}, graph=owned()).operations
    assert found.errors == 4


def test_what_several_own_is_shared_out_so_that_the_owners_shares_add_up() -> None:
    told = {"ratio": cost(0.5), "mean": cost(0.1), "older": cost(0.2)}
    found = load({"here:worker:0": beat(told, share=0.8)}, graph=owned())
    shares = {owner.owner: owner.share for owner in found.owners}
    assert shares == {"anna": pytest.approx(0.3), "ben": pytest.approx(0.3), NOBODY: pytest.approx(0.2)}
    assert sum(shares.values()) == pytest.approx(sum(o.share for o in found.operations))


def test_what_is_not_told_one_by_one_is_in_the_sum() -> None:
    found = load({"here:worker:0": beat({"mean": cost(0.5)}, share=0.7, busy=0.9)})
    assert found.untold == pytest.approx(0.2)
    assert found.besides == pytest.approx(0.2)
    assert found.timed == pytest.approx(0.25)


def test_the_share_of_a_core_is_that_of_proc_where_the_process_is_here() -> None:
    beats = {"here:worker:0": beat({}, busy=0.9), "there:worker:0": beat({}, busy=0.4)}
    found = load(beats, shares={"here:worker:0": 0.7}, resident={"here:worker:0": 4096})
    here, there = of(found, "here:worker:0"), of(found, "there:worker:0")
    assert (here.share, here.share_from, here.resident_bytes) == (0.7, "/proc", 4096)
    assert (there.share, there.share_from, there.resident_bytes) == (0.4, "busy", None)


def test_what_waits_stands_beside_the_process_that_it_waits_for() -> None:
    names = ("worker", "local-reducer", "global-reducer", "graph-manager")
    beats = {f"here:{name}:0": beat() for name in names}
    queues = Queues(inbox=3, requests=1, flushes=2)
    found = load({**beats, "there:worker:0": beat()}, resident=dict.fromkeys(beats, 1), queues=queues)
    assert [dict(of(found, f"here:{name}:0").queue) for name in names] == [
        {"slots": 64}, {"flushes": 2}, {"batches": 3}, {"requests": 1},
    ]  # fmt: skip
    assert of(found, "there:worker:0").queue == {}


@pytest.mark.parametrize(
    "operations",
    [
        {"mean": 5},
        {"mean": {}},
        {5: {"share_of_core": "much", "errors": None, "us_per_event": float("nan"), "events_hz": 10**400}},
    ],
)
def test_costs_that_are_no_numbers_count_as_none(operations: Any) -> None:
    beats = {"here:worker:0": beat({"mean": cost(0.5)}), "here:worker:1": beat(operations)}
    found = load(beats, graph=owned())
    assert found.operations[0].share == 0.5
    assert sum(operation.share for operation in found.operations) == 0.5
    assert "mean" in "\n".join(report(found))


def test_a_worker_that_is_dead_costs_nothing() -> None:
    late = replace(beat({"mean": cost(0.5)}), beat_ns=NOW_NS - 20_000_000_000)
    found = load({"here:worker:0": late})
    assert found.operations == ()
    assert any("DEAD" in line for line in report(found))


def test_everything_can_be_said_in_json() -> None:
    found = load(
        {"here:worker:0": beat({"mean": cost(0.5)}, busy=0.6)},
        graph=owned(),
        queues=Queues(inbox=1),
    )
    plain = json.loads(json.dumps(found.to_plain()))
    assert plain["operations"][0]["names"] == ["mean", "twin"]
    assert plain["owners"][0]["owner"] == "anna"
    assert plain["queues"]["ring"]["held"] == 25
    assert "held_by" not in plain["queues"]["ring"]


def some(count: int = 1) -> Load:
    told = {f"op{n:02}": cost(1 / (n + 2), per_event=n == 0) for n in range(count)}
    return load({"here:worker:0": beat(told, share=1.0, rate_hz=1e6, lag_intervals=3)}, graph=owned())


def test_operations_can_be_put_in_order_by_share_name_and_owner() -> None:
    told = {"ratio": cost(0.3), "mean": cost(0.5), "another": cost(0.1)}
    operations = load({"here:worker:0": beat(told)}, graph=owned()).operations
    assert [o.name for o in sort_operations(operations, "share")] == ["mean", "ratio", "another"]
    assert [o.name for o in sort_operations(operations, "name")] == ["another", "mean", "ratio"]
    assert [o.name for o in sort_operations(operations, "owner")] == ["another", "mean", "ratio"]


def test_the_screen_says_rate_lag_share_and_what_runs_per_event() -> None:
    text = "\n".join(report(some()))
    assert "1 M/s" in text
    assert "3 intervals" in text
    assert "per event" in text
    assert "25 of 100 slots held (25 %), 2 dropped, policy drop" in text


@pytest.mark.parametrize(("columns", "rows"), [(150, 60), (80, 24), (20, 5), (1, 1)])
def test_a_frame_fits_the_terminal_and_says_what_it_leaves_out(columns: int, rows: int) -> None:
    lines = frame(some(60), "share", "", columns, rows)
    assert len(lines) <= rows
    assert all(len(line) <= columns for line in lines)
    if rows == 24:
        assert any("more" in line for line in lines)
        assert any("op00" in line for line in lines)


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_what_an_operation_costs_is_seen_however_long_its_text_is(columns: int) -> None:
    name = "a_name_of_somebody_who_likes_long_names_and_has_time_to_type_them"
    found = load({"here:worker:0": beat({name: cost(0.5)}, busy=0.6)}, graph=owned())
    (line,) = [line for line in frame(found, "share", "", columns, 40) if line.startswith("a_name")]
    assert "50 %" in line


def test_a_frame_says_that_the_store_is_away_and_keeps_what_was_seen() -> None:
    lines = frame(some(), "share", "no answer from the store", 150, 40)
    assert "no answer from the store" in lines[0]
    assert any("op00" in line for line in lines)
    assert frame(None, "share", "no answer", 150, 40)[-1] == "nothing yet"


def test_what_others_wrote_cannot_command_the_terminal() -> None:
    found = load({"here:worker:0": beat({"\x1b[2Jop": cost(0.5)})})
    assert not any("\x1b" in line for line in (*report(found), *frame(found, "share", "", 100, 40)))


def row(group: str, name: str, state: str, *, pid: int = 0, exitstatus: int = 0) -> dict[str, Any]:
    return {"group": group, "name": name, "statename": state, "pid": pid, "exitstatus": exitstatus}


def expected(rows: list[dict[str, Any]]) -> list[Program]:
    return [program for program in map(Program.of, rows) if program.should_run]


def test_what_should_run_is_all_but_what_was_stopped_or_is_done() -> None:
    rows = [
        row("worker", "0", "RUNNING", pid=7), row("worker", "1", "FATAL"), row("worker", "2", "STOPPED"),
        row("source", "source", "EXITED"), row("monitor", "monitor", "EXITED", exitstatus=2),
        row("worker", "3", "BACKOFF"),
    ]  # fmt: skip
    found = {(p.type, p.number): (p.state, p.pid) for p in expected(rows)}
    assert found == {
        ("worker", 0): ("RUNNING", 7), ("worker", 1): ("FATAL", 0), ("monitor", 0): ("EXITED", 0),
        ("worker", 3): ("BACKOFF", 0),
    }  # fmt: skip


def test_a_worker_that_stays_dead_is_missed_after_its_heartbeat_is_gone() -> None:
    kinds = ("source:0", "worker:0", "local-reducer:0", "monitor:0", "global-reducer:0", "graph-manager:0")
    alive = [judge_process(f"here:{kind}", beat(), now_ns=NOW_NS, patience_s=4.0) for kind in kinds]
    rows = [
        row("worker", "0", "RUNNING", pid=7),
        row("worker", "1", "FATAL"),
        row("global-redis", "global-redis", "BACKOFF"),
    ]
    seen = judge_cluster("ami", alive, this_host="here", programs=expected(rows))
    assert seen.problems == (
        "here:worker:1 does not run (supervisord: FATAL)",
        "here:global-redis:0 does not run (supervisord: BACKOFF)",
    )
    assert [p.alive for p in seen.processes if p.name == "here:worker:1"] == [False]
    assert judge_cluster("ami", alive, this_host="here", programs=expected(rows[:1])).well


def test_a_server_that_runs_needs_no_heartbeat_but_a_worker_does() -> None:
    rows = [row("worker", "1", "RUNNING", pid=7), row("local-redis", "local-redis", "RUNNING", pid=8)]
    seen = judge_cluster("ami", [], this_host="here", programs=expected(rows))
    named = {p.name: p.state for p in seen.processes}
    assert named["here:worker:1"] == "runs, but has no heartbeat"
    assert "here:local-redis:0" not in named


def test_a_part_is_shown_with_its_definition_and_its_own_text() -> None:
    graph = lower(edits.add(Document(), parse("results: {mean: mean_events(x / y)}"), "anna"))
    beats = {"here:worker:0": beat({"mean/1": cost(0.5), "mean": cost(0.1), "gone/1": cost(0.1)}, share=0.7)}
    found = load(beats, graph=graph)
    assert [(one.name, one.shown) for one in found.operations] == [
        ("mean/1", ("mean: x / y",)), ("gone/1", ("gone/1",)), ("mean", ("mean",)),
    ]  # fmt: skip
    text = "\n".join(report(found))
    assert "mean: x / y" in text
    assert "mean/1" not in text
