"""Three machines each play a share of one experiment: one run, the results of all, and who is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

import numpy as np
import pytest

from ami import offline
from ami.client import Client
from ami.cluster.supervised import PROJECT
from ami.cluster.supervisor import Supervisor
from ami.graph.language.text import graph_of
from ami.messages.message import read
from ami.messages.run_book import RunBook
from ami.result import Result
from ami.sources import open_source
from ami.stores import codec, keys, open_global
from ami.values import PickedEvents
from tests.nodes_rig import Nodes, nodes
from tests.system.test_recordings import TELESCOPE
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

STOP = 3000
RATE_HZ = 500
GRAPH = """
results:
  shots: count(monitor)
  sums: sum_events(laser)
  scan: mean_vs(monitor, key=delay)
  now: count(monitor, window=interval)
"""


@pytest.fixture(scope="module")
def three() -> Iterator[Nodes]:
    with nodes(3) as found:
        found.start()
        store = open_global(found[0].config.global_store, keys.prefix("ami", "source", 0))

        def all_play() -> bool:
            book = read(store, keys.RUN_BOOK, RunBook)
            return book is not None and len(book.runs[-1].begun) == len(list(found))

        with closing(store):
            # One that is stopped before it has begun takes up this run with its next input.
            wait_until(all_play, what="three sources in one run")
        yield found


def play(everyone: Nodes, client: Client, uri: str, graph: str) -> int:
    """Let each node play its share of an input in a new run; return the newest run before it."""
    # What ended has done so for good, until it is started anew.
    supervisors = [Supervisor(n.config.monitor.supervisor_socket, timeout_s=PATIENCE_S) for n in everyone]
    for supervisor in supervisors:
        with suppress(Fault):
            supervisor.stopProcess("source")
    earlier = max((one.run for one in client.results().values()), default=0)
    store = open_global(everyone[0].config.global_store, keys.prefix("ami", "source", 0))
    with closing(store), closing(open_source(uri)) as source:
        # What the sources will say of themselves: so the graph is there before the first event.
        store[keys.SCHEMA] = source.schema.to_json()
    client.set(graph, force=True)
    for number, (node, supervisor) in enumerate(zip(everyone, supervisors, strict=True)):
        path = Path(node.environment["AMI_CONFIG"])
        path.write_text(f"[source]\nuri = '{uri}&every=3&offset={number}&policy=wait'\n")
        supervisor.startProcess("source")
    return earlier


def signal_all(pids: list[int], signum: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def is_whole(result: Result) -> bool:
    return result.complete and len(result.nodes) == 3


def get(client: Client, name: str) -> Result:
    return client.get(name, wait_s=PATIENCE_S)


def test_shares_are_one_run_and_intervals_have_the_events_of_all(three: Nodes) -> None:
    with three.client() as client:
        play(three, client, f"sim://pump-probe?rate={RATE_HZ}&stop={STOP}", GRAPH)
        seen: dict[int, Result] = {}

        def is_over() -> bool:
            for name, result in client.results().items():
                if name == "now" and result.complete:
                    seen[result.interval] = result
            return bool(get(client, "shots").value == STOP)

        wait_until(is_over, what="all events of three nodes")
        shots, sums, now = (get(client, name) for name in ("shots", "sums", "now"))
    assert (shots.complete, shots.missing_nodes) == (True, ())
    assert shots.nodes == ("node1", "node2", "node3")
    assert shots.events.expected == shots.events.used == STOP
    assert sums.value == STOP // 2
    assert now.complete
    # 50 ms of 500 Hz, dealt to three: a node alone would have 8 or 9.
    whole = [one for one in seen.values() if one.nodes == shots.nodes]
    assert len(whole) > 10
    assert {int(one.value) for one in whole[1:-1]} == {25}


def of_input(value: Any) -> Any:
    """Return a value without the numbers that events had in rings: each node's begin with 0."""
    if isinstance(value, PickedEvents):
        return replace(value, sequences=np.zeros_like(value.sequences))
    return value


def test_a_recording_in_shares_gives_what_one_process_gives(three: Nodes, recordings: Path) -> None:
    """Bit by bit, whoever had which event."""
    uri = f"hdf5://{recordings}/sst1m_telescope.h5"
    with closing(open_source(uri)) as source:
        alone = offline.run(graph_of(TELESCOPE), source).results
    events = max(result.events.used for result in alone.values())
    with three.client() as client:
        earlier = play(three, client, f"{uri}?rate=20", TELESCOPE)

        def is_over() -> bool:
            found = client.results()
            return set(found) >= set(alone) and all(
                found[one].run > earlier and is_whole(found[one]) and found[one].events.expected == events
                for one in alone
            )

        wait_until(is_over, what="all events of the telescope")
        for one, result in alone.items():
            assert codec.equal(of_input(client.get(one).value), of_input(result.value)), one
            assert client.get(one).events == result.events


def test_a_node_that_stands_still_is_missed_and_is_back_with_all_of_its_events(three: Nodes) -> None:
    victim = three[2]
    with three.client() as client:
        earlier = play(three, client, f"sim://pump-probe?rate={RATE_HZ}", GRAPH)

        def look() -> Result:
            return get(client, "now")

        wait_until(lambda: look().run > earlier and is_whole(look()), what="results of all three")
        run, before = look().run, look().interval
        # Not its server, which has a third of the slots, and of which there is no replica here.
        frozen = [pid for pid, kind in victim.processes().items() if kind != "global-redis"]
        signal_all(frozen, signal.SIGSTOP)
        wait_until(lambda: look().interval > before + 100, what="results that go on without it")
        without = look()
        assert (without.missing_nodes, without.complete) == (("node3",), False)
        assert dict(get(client, "shots").late)["node3"] > 0
        assert get(client, "shots").missing_nodes == ("node3",)
        signal_all(frozen, signal.SIGCONT)
        wait_until(lambda: is_whole(look()), what="results of all three again")
        assert look().run == run
        shots = get(client, "shots")
        assert shots.events.expected == shots.events.used
        # Each event of each node is one of every third: from where they began to where they are.
        assert shots.value >= get(client, "sums").events.expected - RATE_HZ


def test_the_name_of_a_node_that_lives_is_refused_to_another(three: Nodes) -> None:
    node = three[0]
    environment = {
        **node.environment,
        "AMI_NODE_RUN_DIR": f"{node.config.node.run_dir}-other",
        "AMI_GLOBAL_STORE_PASSWORD_FILE": str(node.config.global_store.password_file),
    }
    told = three[1].machine.run(
        str(PROJECT / ".venv/bin/python"), "-m", "ami.daemons", "worker", env=environment, check=False
    )
    assert told.returncode == 2
    assert "two nodes have the name node1" in told.stdout + told.stderr
    assert str(node.config.node.run_dir) in told.stdout + told.stderr
