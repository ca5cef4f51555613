"""The commands on a real cluster store and a real graph manager: what they print and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ami.cli import ami
from ami.cluster.node import Node
from ami.result import Events
from ami.stores import Store, keys, open_global
from tests.client_rig import SCHEMA, emptied, made, publish
from tests.node_rig import running
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """The two servers and the graph manager of a node."""
    with running(Node(programs=("local-redis", "global-redis", "graph-manager"))) as started:
        source = open_global(started.config.global_store, keys.prefix("ami", "source", 0))
        source.put(keys.SCHEMA, SCHEMA.to_json())
        source.close()
        yield started


@pytest.fixture
def reducer(node: Node) -> Iterator[Store]:
    store = emptied(node)
    yield store
    store.close()


@pytest.fixture
def run(node: Node) -> Run:
    def command(*arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(ami, list(arguments), input=text, env=node.environment)

    return command


def parsed(done: Result) -> object:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_shell_completes_names_of_results_and_fields(node: Node, reducer: Store) -> None:
    publish(reducer, made("level", 2.5), made("lever", 1), made("other", 1))

    def complete(words: str, place: int) -> list[str]:
        asked = {"_AMI_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        done = CliRunner().invoke(ami, [], env={**node.environment, **asked}, prog_name="ami")
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("ami get le", 2) == ["level", "lever"]
    assert complete("ami watch other l", 3) == ["level", "lever"]
    field = SCHEMA.names[0]
    assert f"m = count({field}" in complete(f"ami graph add 'm = count({field[:2]}", 3)


def test_get_answers_with_one_object_that_has_the_whole_envelope(run: Run, reducer: Store) -> None:
    publish(reducer, made("level", 2.5))
    found = json.loads(run("get", "level", "--json").stdout)
    assert found["value"] == 2.5
    assert found["events"] == {"expected": 10, "used": 9, "dropped": 1, "set_aside": 0}
    wanted = "name value interval time events nodes workers graph_version graph_hash complete age_s"
    assert set(wanted.split()) <= found.keys()


def test_get_shows_value_events_window_origin_and_age(run: Run, reducer: Store) -> None:
    publish(reducer, made("wave", np.arange(50.0), events=Events(expected=2000, used=1500, dropped=500)))
    lines = run("get", "wave").stdout.splitlines()
    assert lines[0] == "wave"
    assert any("█" in line for line in lines)
    assert any(line.startswith("events   1,500 used of 2,000 expected; 500 dropped") for line in lines)
    assert any(line.startswith("age ") for line in lines)


def test_a_missing_result_ends_with_1_and_one_line(run: Run, reducer: Store) -> None:
    done = run("get", "nothing")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("ami: no result 'nothing'")


def test_results_lists_each_with_its_account(run: Run, reducer: Store) -> None:
    publish(reducer, made("level", 3), made("broken", None, error="ZeroDivisionError", complete=False))
    text = run("results").stdout
    assert "error: ZeroDivisionError" in text
    assert "partial" in text
    assert list(parsed(run("results", "--json"))) == ["level", "broken"]  # type: ignore[call-overload]


def test_what_is_in_the_store_cannot_command_the_terminal(run: Run, reducer: Store) -> None:
    evil = "\x1b]0;mine\x07\x1b[2J\r\n"
    publish(reducer, made("level", evil, error=evil, nodes=(evil,), graph_hash=evil, window=evil))
    for command in (["results"], ["get", "level"], ["key", "ami:global-reducer:0:result:level"], ["keys"]):
        done = run(*command)
        assert done.exit_code == 0, done.output
        assert all(c.isprintable() or c == "\n" for c in done.stdout)


def test_watch_prints_a_line_for_each_update_in_a_pipe(run: Run, reducer: Store) -> None:
    publish(reducer, made("level", 1))
    timer = threading.Timer(0.5, publish, [reducer, made("level", 2)])
    timer.start()
    done = run("watch", "level", "--count", "2", "--timeout", "20")
    timer.join()
    assert done.exit_code == 0, done.output
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == [["level", "1"], ["level", "2"]]


def test_watch_prints_an_object_for_each_update_when_asked(run: Run, reducer: Store) -> None:
    publish(reducer, made("level", 1), made("other", 2))
    done = run("watch", "--count", "2", "--json")
    found = {r["name"]: r["value"] for r in map(json.loads, done.stdout.splitlines())}
    assert found == {"level": 1, "other": 2}


def test_watch_gives_up_after_the_time_out_when_nothing_comes(run: Run, reducer: Store) -> None:
    done = run("watch", "level", "--timeout", "0.3")
    assert done.exit_code == 1
    assert "waiting for it" in done.stderr
    assert "nothing new within 0.3 s" in done.stderr


def test_an_old_result_is_marked_as_stale(run: Run, reducer: Store) -> None:
    publish(reducer, made("level", 1, published_ns=time.time_ns() - 60_000_000_000))
    assert "STALE" in run("watch", "level", "--count", "1").stdout


def test_in_a_terminal_the_view_is_redrawn_until_ctrl_c(node: Node, reducer: Store) -> None:
    publish(reducer, made("level", 1), made("other", 5, published_ns=0))
    leader, follower = pty.openpty()
    command = [sys.executable, "-P", "-m", "ami.cli", "watch"]
    process = subprocess.Popen(command, env=node.environment, stdout=follower, stdin=follower)
    os.close(follower)
    os.set_blocking(leader, False)
    seen = bytearray()

    def shows(text: str) -> bool:
        with contextlib.suppress(OSError):  # there is nothing to read now, or no longer
            seen.extend(os.read(leader, 1 << 16))
        return text.encode() in seen

    try:
        wait_until(lambda: shows("STALE"), what="the stale result")
        publish(reducer, made("level", 4321))
        wait_until(lambda: shows("4,321"), what="the new value on the screen")
        process.send_signal(signal.SIGINT)
        # A terminal takes what is shown to the end; one that is full would hold the command.
        wait_until(lambda: shows("") and process.poll() is not None, what="the end of the command")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def test_a_reader_that_has_enough_ends_a_watch_without_complaint(node: Node, reducer: Store) -> None:
    publish(reducer, made("level", 0))
    command = [sys.executable, "-P", "-m", "ami.cli", "watch", "--json"]
    with subprocess.Popen(
        command, env=node.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["value"] == 0
        process.stdout.close()

        def ended() -> bool:
            publish(reducer, made("level", 1))
            return process.poll() is not None

        wait_until(ended, what="the end of the watch")
        assert (process.returncode, process.stderr.read()) == (0, "")


def test_keys_and_key_tell_owner_type_size_life_and_value(run: Run, reducer: Store) -> None:
    publish(reducer, made("image", np.full((3, 4), 7, np.uint16)))
    found = parsed(run("keys", "*result:image", "--json"))
    assert [(view["owner"], view["type"], view["ttl_s"]) for view in found] == [  # type: ignore[attr-defined]
        ("ami:global-reducer:0", "string", None)
    ]
    (view,) = parsed(run("key", "ami:global-reducer:0:result:image", "--json"))  # type: ignore[misc]
    array = view["value"]["value"]
    assert (array["dtype"], array["shape"], array["mean"]) == ("uint16", [3, 4], 7.0)
    assert "result:image" in run("keys").stdout
    assert "uint16" in run("key", "ami:global-reducer:0:result:image").stdout


def test_a_key_that_is_not_there_ends_with_1(run: Run) -> None:
    done = run("key", "ami:nobody:0:nothing")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)


def test_a_graph_is_set_edited_shown_and_taken_back(run: Run) -> None:
    first = parsed(run("graph", "set", "-", "--json", text="results: {n: count(x)}"))
    assert first["accepted"]  # type: ignore[index]
    added = run("graph", "add", "signal = sum(camera)", "mean = mean_events(signal)", "--as", "ann")
    assert added.exit_code == 0, added.output
    assert "mean: mean_events(signal)" in run("graph", "show").stdout
    shown = parsed(run("graph", "show", "--json"))
    assert shown["results"] == ["n", "mean"]  # type: ignore[index]
    changed = parsed(run("graph", "diff", "--json"))
    assert changed["added"] == ["mean", "signal"]  # type: ignore[index]
    said = added.stdout.splitlines()
    assert said[1:] == ["publishes mean", "only a value, for others to use: signal"]
    assert run("graph", "reset").exit_code == 1
    undone = run("graph", "undo", "--as", "ann").stdout.splitlines()
    assert undone[1:] == [f"takes back version {changed['new']}, add: +signal, +mean", "removed signal, mean"]  # type: ignore[index]
    assert "mean" not in run("graph", "show").stdout
    again = run("graph", "set", "-", "--force", text="results: {n: count(x)}")
    assert again.stdout.endswith(": nothing changed\n")
    actions = [record["action"] for record in parsed(run("graph", "history", "--json"))]  # type: ignore[attr-defined]
    assert actions[-3:] == ["set", "add", "undo"]
    assert "undo" in run("graph", "history").stdout


def test_an_edit_that_is_denied_ends_with_1_and_says_what_would_be_right(run: Run) -> None:
    done = run("graph", "add", "a = mean_events(camra)")
    assert done.exit_code == 1
    assert "camra" in done.stderr
    assert "camera" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_edit_of_a_version_that_is_past_is_denied(run: Run) -> None:
    assert run("graph", "add", "z = count(x)", "--expect", "0").exit_code == 1


def test_status_ends_with_1_while_processes_are_missing(run: Run) -> None:
    done = run("status", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    manager = next(p for p in found["processes"] if p["type"] == "graph-manager")
    assert manager["alive"]
    assert any("global-reducer:0 does not run" in problem for problem in found["problems"])
