"""A sender deals to three machines; it, a node's source and a machine die: each event counts once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ami.cluster.supervised import PROJECT
from ami.errors import StoreUnavailable
from ami.lab.machines import OWN_ADDRESS
from ami.ring import reclaim
from ami.sources import open_source, take
from ami.sources.live.curve import make_keys
from ami.stores import keys, open_global
from tests.nodes_rig import MachineNode, Nodes, nodes
from tests.waiting import PATIENCE_S, wait_until

EVENTS = 30_000
URI = f"sim://pump-probe?rate=3000&stop={EVENTS}&step_events=5000&camera=16x16&samples=8"
GRAPH = """
results:
  shots: count(laser)
  lit: sum_events(laser)
  mean_energy: mean_events(energy)
"""
PROGRAMS = [
    "local-redis", "global-redis", "source", "worker", "local-reducer", "global-reducer", "graph-manager",
]  # fmt: skip


class Sender:
    """`ami-daq` on the test's own machine."""

    def __init__(self, folder: Path, address: str, key: Path) -> None:
        self._folder = folder
        self._command = [
            str(PROJECT / "bin" / "ami-daq"), URI, "--bind", address, "--keys", str(key), "--lease", "10",
            "--book", str(folder / "book"), "--json",
        ]  # fmt: skip
        self._path = folder / "figures"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, nodes: int) -> None:
        with self._path.open("wb") as file:
            self.process = subprocess.Popen([*self._command, "--nodes", str(nodes)], stdout=file)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def figures(self) -> dict[str, Any]:
        lines = self._path.read_text().split("\n")[:-1]
        return json.loads(lines[-1]) if lines else {"dealt": 0, "position": 0}

    def is_at(self, position: int) -> bool:
        return bool(self.figures()["position"] >= position)


@pytest.fixture
def dealing() -> Iterator[tuple[Nodes, Sender]]:
    with ExitStack() as stack:
        rig = stack.enter_context(nodes(3, programs=PROGRAMS))
        folder = rig[0].run_dir.parent
        sender_key, node_key = make_keys(folder / "keys")
        network = rig[0].machine.address.rpartition(".")[0]
        address = f"{network}.{OWN_ADDRESS}:5577"
        for node in rig:
            uri = f"daq://{address}?keys={node_key}"
            Path(node.environment["AMI_CONFIG"]).write_text(f"[source]\nuri = '{uri}'\n")
        rig.start()
        sender = Sender(folder, address, sender_key)
        stack.callback(sender.kill)
        yield rig, sender


def burn(node: MachineNode) -> None:
    """Let a machine be gone, ring and all; but for its part of the store, which has no replica here."""
    os.kill(node.supervisor_pid, signal.SIGKILL)
    for pid, kind in node.processes().items():
        if kind not in ("global-redis", "supervisord"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_until(lambda: set(node.processes().values()) <= {"global-redis", "supervisord"}, what="the fire")
    reclaim(node.config.ring.name)


def tell(rig: Nodes, schema: str) -> bool:
    """Tell the fields, so that the graph is there before the first event; whether that was possible."""
    store = open_global(rig[0].config.global_store, keys.prefix("ami", "source", 0))
    try:
        store[keys.SCHEMA] = schema
    except StoreUnavailable:
        return False
    finally:
        store.close()
    return True


def test_each_event_counts_once_whoever_dies(dealing: tuple[Nodes, Sender]) -> None:
    rig, sender = dealing
    with closing(open_source(URI)) as source:
        schema, lit = source.schema.to_json(), int(take(source, 0, EVENTS, ["laser"])["laser"].sum())
        energy = take(source, 0, EVENTS, ["energy"])["energy"].mean()
    wait_until(lambda: tell(rig, schema), what="the store")
    with rig.client() as client:
        client.set(GRAPH, force=True)
        sender.start(3)
        wait_until(lambda: sender.is_at(EVENTS // 4), what="a quarter")
        sender.kill()
        rig[1].kill("source")
        sender.start(1)
        wait_until(lambda: sender.is_at(EVENTS // 2), what="a half")
        burn(rig[2])
        assert sender.process is not None
        assert sender.process.wait(PATIENCE_S) == 0
        figures = sender.figures()
        assert (figures["state"], figures["lost"], figures["kept_bytes"]) == ("finished", 0, 0)
        assert figures["again"] > 0
        wait_until(lambda: client.results()["shots"].value == EVENTS, what="all events in the result")
        results = client.results()
        assert results["lit"].value == lit
        assert results["mean_energy"].value == pytest.approx(energy, rel=1e-12)
        assert (results["lit"].events.expected, results["lit"].events.dropped) == (EVENTS, 0)
