"""How a cluster is judged from what its processes say, and how that looks."""

import json
from dataclasses import replace
from itertools import chain, combinations

import pytest
from click import unstyle

from ami.cli.node import Troubles
from ami.cli.status import report
from ami.client import ClusterStatus, ProcessStatus
from ami.client.status import judge_cluster, judge_host, judge_process, split_prefix
from ami.client.survey import unstarted_exports
from ami.cluster.supervisor import Program, pick_reason
from ami.config import load
from ami.messages.heartbeat import Heartbeat

STAMP = "2026-01-02T03:04:05.678Z"
NOW_NS = 1_000_000_000_000_000_000
WELL = ("source:0", "worker:0", "local-reducer:0", "monitor:0", "global-reducer:0", "graph-manager:0")


def beat(
    *, age_s: float = 0.5, step_age_s: float = 0.0, state: str = "running", **counters: float
) -> Heartbeat:
    return Heartbeat(
        process="host:worker:0",
        pid=77,
        started_ns=NOW_NS - 60_000_000_000,
        beat_ns=NOW_NS - int(age_s * 1e9),
        steps=5,
        step_age_s=step_age_s,
        state=state,
        counters=counters,
    )


def process(name: str, seen: object = None) -> ProcessStatus:
    found = beat() if seen is None else seen
    return judge_process(f"host:{name}", found, now_ns=NOW_NS, patience_s=4.0)


def cluster(*processes: ProcessStatus, **named: object) -> ClusterStatus:
    return judge_cluster("ami", processes, this_host="host", **named)  # type: ignore[arg-type]


def test_a_process_with_a_fresh_heartbeat_is_alive() -> None:
    found = process("worker:3", beat(rate_hz=12.0))
    assert (found.alive, found.host, found.type, found.number) == (True, "host", "worker", 3)
    assert (found.age_s, found.up_s, found.rate_hz) == (0.5, 60.0, 12.0)


def test_a_process_without_a_heartbeat_for_too_long_is_dead() -> None:
    found = process("worker:0", beat(age_s=5.0))
    assert not found.alive
    assert found.state == "no heartbeat for 5 s (was: running)"


def test_a_process_that_beats_but_does_not_step_hangs() -> None:
    found = process("worker:0", beat(step_age_s=9.0))
    assert not found.alive
    assert found.state.startswith("hangs: no step for 10 s")


@pytest.mark.parametrize(
    "state", ["starting", "waiting: for the ring", "begins: reads camera for the first time"]
)
def test_a_process_that_begins_may_take_long(state: str) -> None:
    assert process("source:0", beat(step_age_s=9.0, state=state)).alive


@pytest.mark.parametrize(
    "seen",
    [
        "text",
        b"\x80\x05",
        {},
        {"beat_ns": NOW_NS},
        replace(beat(), counters={"rate_hz": "fast"}),
    ],
)
def test_a_heartbeat_that_cannot_be_read_is_reported_and_not_believed(seen: object) -> None:
    found = process("worker:0", seen)
    assert not found.alive
    assert found.state.startswith("its heartbeat cannot be read")


def test_a_cluster_in_which_everything_runs_is_well() -> None:
    assert cluster(*map(process, WELL)).well


@pytest.mark.parametrize("missing", WELL)
def test_what_should_run_and_does_not_is_a_problem(missing: str) -> None:
    seen = cluster(*(process(name) for name in WELL if name != missing))
    assert seen.problems == (f"host:{missing} does not run",)


def test_a_second_host_that_has_sent_events_needs_its_own_processes_but_no_manager() -> None:
    seen = cluster(*map(process, WELL), hosts=["host", "other"])
    assert {p.split()[0] for p in seen.problems} == {
        "other:source:0", "other:worker:0", "other:local-reducer:0", "other:monitor:0",
    }  # fmt: skip


def test_a_dead_worker_beside_a_living_one_is_a_problem() -> None:
    seen = cluster(*map(process, WELL), process("worker:1", beat(age_s=20.0)))
    assert [p.split(": ")[0] for p in seen.problems] == ["host:worker:1"]


def test_a_source_that_failed_is_a_problem_though_it_lives() -> None:
    failed = process("source:0", beat(state="failed: no such file"))
    seen = cluster(*map(process, WELL[1:]), failed)
    assert seen.problems == ("host:source:0 failed: no such file",)


def test_the_identity_is_that_of_the_reducer_that_counts() -> None:
    acting = process("global-reducer:0", beat(expected=100, reduced=90, dropped=7, set_aside=3))
    standby = process("global-reducer:1", beat(expected=0, reduced=0, dropped=0, set_aside=0))
    events = cluster(acting, standby).identity
    assert events is not None
    assert (events.published, events.reduced, events.dropped, events.set_aside) == (100, 90, 7, 3)
    assert events.under_way == 0


def test_the_report_shows_the_identity_with_what_is_still_under_way() -> None:
    reducer = process("global-reducer:0", beat(expected=1000, reduced=900, dropped=60, set_aside=0))
    text = report(cluster(reducer))
    assert "1,000 published = 900 reduced + 60 dropped + 0 set aside + 40 under way" in text


def test_the_report_marks_what_is_dead_and_cleans_what_others_wrote() -> None:
    text = report(cluster(process("worker:0", beat(age_s=9, state="\x1b[2Jrunning"))))
    assert "DEAD" in text
    assert "\x1b" not in text


def test_a_status_is_plain_enough_for_json() -> None:
    reducer = process("global-reducer:0", beat(expected=10, reduced=10, dropped=0, set_aside=0))
    seen = cluster(reducer, graph={"version": 4, "hash": "abc"})
    plain = json.loads(json.dumps(seen.to_plain()))
    assert (plain["graph_version"], plain["well"]) == (4, False)
    assert plain["events"] == {
        "published": 10, "reduced": 10, "dropped": 0, "set_aside": 0, "under_way": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "parts"),
    [
        ("host:worker:12", ("host", "worker", 12)),
        ("{host:worker:1}", ("host", "worker", 1)),
        ("a:b", ("a:b", "?", 0)),
        ("a:b:c", ("a:b:c", "?", 0)),
    ],
)
def test_a_prefix_is_host_type_and_number(prefix: str, parts: tuple[str, str, int]) -> None:
    assert split_prefix(prefix) == parts


@pytest.mark.parametrize("wanted", range(4))
@pytest.mark.parametrize(
    "started", [*chain.from_iterable(combinations(range(4), count) for count in range(5))], ids=str
)
def test_an_export_for_which_nothing_is_started_is_missed(wanted: int, started: tuple[int, ...]) -> None:
    uris = ",".join(f"prometheus://127.0.0.1:{number}" for number in range(wanted))
    here = tuple(
        Program("export", number, f"export:{number}", "RUNNING", pid=1, exit_code=0) for number in started
    )
    found = unstarted_exports(load(environ={"AMI_EXPORT_URIS": uris}), here)
    assert {program.number for program in found} == (set(range(wanted)) - {*started} if started else set())
    there = [process(name) for name in (*WELL, *(f"export:{number}" for number in started))]
    problems = cluster(*there, programs=(*here, *found)).problems
    assert [line.split()[0] for line in problems] == [f"host:export:{program.number}" for program in found]
    assert all("export.uris" in line for line in problems)


def program(name: str, state: str = "RUNNING", **named: object) -> Program:
    kind, _, number = name.partition(":")
    values = {"pid": 1, "exit_code": 0, **named}
    return Program(kind, int(number), name, state, **values)  # type: ignore[arg-type]  # as the tests give them


def test_what_somebody_stopped_is_named_and_is_a_problem_where_nobody_else_does_its_work() -> None:
    there = [process(name) for name in WELL if name != "source:0"]
    seen = cluster(*there, programs=[program("worker:1", "STOPPED"), program("source:0", "STOPPED")])
    assert seen.problems == ("host:source:0 was stopped by somebody (`supervisorctl start source:0`)",)
    assert seen.warnings == ("host:worker:1 was stopped by somebody (`supervisorctl start worker:1`)",)
    assert report(seen).count("  stopped  ") == 2
    assert "DEAD" not in report(seen)


@pytest.mark.parametrize("beats", [True, False])
def test_a_program_that_dies_again_and_again_is_named_once_with_its_reason(beats: bool) -> None:
    there = [process(name) for name in WELL if beats or name != "worker:0"]
    loop = program("worker:0", deaths=7, reason="KeyError: 'x'")
    assert cluster(*there, programs=[loop]).problems == (
        "host:worker:0 died 7 times within a minute: KeyError: 'x'",
    )
    assert cluster(*map(process, WELL), programs=[program("worker:0", deaths=2)]).well


def test_a_program_that_refuses_its_settings_is_named_with_its_reason() -> None:
    there = [process(name) for name in WELL if name != "worker:0"]
    dead = program("worker:0", "EXITED", exit_code=2, reason="worker.count must be an integer")
    (problem,) = cluster(*there, programs=[dead]).problems
    assert problem == "host:worker:0 does not run (supervisord: EXITED): worker.count must be an integer"


def test_a_daemon_that_was_started_just_now_is_not_dead_without_a_heartbeat() -> None:
    there = [process(name) for name in WELL if name != "worker:0"]
    seen = cluster(*there, programs=[program("worker:0", up_s=3.0)])
    assert seen.well
    assert [p.state for p in seen.processes if p.type == "worker"] == ["starting"]
    late = cluster(*there, programs=[program("worker:0", up_s=30.0)])
    assert late.problems == ("host:worker:0 runs, but has no heartbeat",)


@pytest.mark.parametrize("state", ["waiting: for a graph", "running, no events for 9 s"])
def test_a_source_that_waits_is_told(state: str) -> None:
    seen = cluster(*map(process, WELL[1:]), process("source:0", beat(state=state)))
    assert seen.well
    assert seen.warnings == (f"host:source:0 is {state}",)


def test_without_the_global_store_the_host_is_told_from_its_supervisord() -> None:
    programs = [
        program("global-redis:0", "BACKOFF", pid=0, reason="bind: Address already in use"),
        program("worker:0"), program("worker:1", "STOPPED", pid=0), program("export:0", "EXITED", pid=0),
    ]  # fmt: skip
    waits = program("local-redis:0", reason="waiting: others can read it")
    seen = judge_host("ami", "host", [*programs, waits], "no global store", None)
    assert seen.problems[0] == "no global store"
    assert seen.problems[1].endswith("(supervisord: BACKOFF): bind: Address already in use")
    assert seen.problems[2] == "host:local-redis:0 is waiting: others can read it"
    assert {p.name.removeprefix("host:"): p.alive for p in seen.processes} == {
        "worker:0": True, "worker:1": False, "global-redis:0": False, "local-redis:0": False,
    }  # fmt: skip
    assert len(seen.warnings) == 1
    json.dumps(seen.to_plain())


@pytest.mark.parametrize("width", [40, 80, 132])
def test_a_report_fits_the_terminal(width: int) -> None:
    states = ("running, but the newest graph waits for room: " + "many words " * 30, "running")
    seen = cluster(*(process(f"worker:{number}", beat(state=state)) for number, state in enumerate(states)))
    lines = report(seen, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert ("  pid" in lines[0]) == (width == 132)
    assert not {"lag", "dropped"} & set(lines[0].split())
    coloured = report(seen, width=width, colour=True)
    assert unstyle(coloured) == "\n".join(lines)
    assert coloured != unstyle(coloured)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", ""),
        (f"{STAMP} INFO     w:0 begun\n{STAMP} CRITICAL w:0 no port\n{STAMP} INFO     w:0 x", "no port"),
        (f"{STAMP} ERROR    w:0 stopped by a bug\n{STAMP} ERROR    w:0 | KeyError: 'x'", "KeyError: 'x'"),
        ("ami: conf/ami.toml [ring]: unknown setting 'x'\n", "conf/ami.toml [ring]: unknown setting 'x'"),
        ("one\n\ntwo: bind failed\n\n", "two: bind failed"),
    ],
)  # fmt: skip
def test_the_reason_is_the_last_line_that_tells_one(log: str, reason: str) -> None:
    assert pick_reason(log) == reason


def test_a_nodes_screen_tells_each_trouble_once_and_when_there_is_none_any_more() -> None:
    screen = Troubles()
    assert screen.tell([]) == []
    (line,) = screen.tell(["3 MiB left in /dev/shm"])
    assert line.endswith("! 3 MiB left in /dev/shm")
    (line,) = screen.tell(["2 MiB left in /dev/shm", "host:worker:0 does not run"])
    assert line.endswith("! host:worker:0 does not run")
    assert screen.tell(["1 MiB left in /dev/shm"]) == []
    assert [line.split()[1:] for line in screen.tell([])] == [["well", "again"]]
    assert screen.tell([]) == []
