"""What outlives what: a node that is stopped and started, and one whose machine dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.client import connect
from ami.cluster import memory
from ami.cluster.node import Node
from ami.ring import reclaim
from tests.node_rig import running
from tests.system.conftest import PATIENT
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

SOURCE = "sim://pump-probe?rate=500&policy=wait"
FIRST, SECOND = "results: {shots: count(monitor)}", "results: {level: mean_events(monitor)}"


def edit(node: Node) -> tuple[int, list[str]]:
    """Add two results; return the last run and the actions of the history, once there are results."""
    with connect(node.config, name="anna", timeout_s=PATIENCE_S) as client:
        wait_until(client.schema, what="a source that has told its fields")
        client.add(FIRST)
        client.add(SECOND)
        client.get("level", wait_s=PATIENCE_S)
        return look(node)


def look(node: Node) -> tuple[int, list[str]]:
    with connect(node.config, name="anna", timeout_s=PATIENCE_S) as client:
        wait_until(lambda: client.graph_version()[0] == 2, what="the graph")
        wait_until(lambda: "level" in client.results(), what="a result")
        assert sorted(client.graph().results) == ["level", "shots"]
        assert client.document().definitions["shots"].owners == ("anna",)
        return client.get("shots").run, [str(entry["action"]) for entry in client.graph_history()]


def folders(node: Node) -> list[Path | None]:
    return [memory.find(memory.folder_of(node.config.node, tier)) for tier in ("local", "global")]


def test_a_node_that_is_stopped_leaves_no_memory_and_goes_on_from_the_disk() -> None:
    with running(Node(source=SOURCE, settings=PATIENT)) as node:
        last, actions = edit(node)
        assert actions == ["add", "add"]
        with connect(node.config, timeout_s=PATIENCE_S) as client:
            seen = client.status().memory
            assert seen is not None
            assert min(seen.ring, seen.local_store, seen.global_store) > 0
        places = folders(node)
        assert not node.stop(keep=True)
        assert None not in places
        assert not any(place.exists() for place in places if place is not None)
        node.start()
        assert look(node)[1] == ["add", "add"]
        with connect(node.config, timeout_s=PATIENCE_S) as client:
            wait_until(lambda: client.get("shots").run > last, what="the next run")


def test_after_a_power_cut_edits_and_run_numbers_go_on() -> None:
    with running(Node(source=SOURCE, settings=PATIENT | {"AMI_REDUCER_DURABLE_S": "0.2"})) as node:
        last, actions = edit(node)
        assert actions == ["add", "add"]
        windows = node.run_dir / "durable" / "ami" / "windows"
        wait_until(windows.exists, what="a copy of the windows")
        node.kill_all()
        for tier in memory.TIERS:
            memory.discard(memory.folder_of(node.config.node, tier))
        reclaim(node.config.ring.name)
        node.start()
        assert look(node)[1] == ["add", "add", "taken up"]
        assert "the store is empty: took up the windows of run" in node.logs("global-reducer")
        with connect(node.config, timeout_s=PATIENCE_S) as client:
            wait_until(lambda: client.get("shots").run > last, what="the next run, of a number of its own")
