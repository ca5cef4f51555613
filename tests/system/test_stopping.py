"""A whole cluster stops in order: drained, saved, with nothing killed, and comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ami.cluster import memory, orphans
from ami.ring import find_leaked
from tests.nodes_rig import Nodes, nodes
from tests.system.conftest import PATIENT
from tests.waiting import PATIENCE_S, wait_until

SIMULATED = PATIENT | {
    "AMI_EXPORT_URIS": "prometheus://127.0.0.1:0",
    "AMI_SOURCE_URI": "sim://pump-probe?rate=500",
}


NAMES = {"node1", "node2", "node3"}


@pytest.fixture
def three() -> Iterator[Nodes]:
    with nodes(3, settings=SIMULATED) as rig:
        yield rig.start()


def test_a_cluster_stops_drained_and_in_order_and_comes_back(three: Nodes) -> None:
    with three.client() as client:
        wait_until(client.schema, what="the fields")
        client.add("n = count(monitor)")
        wait_until(
            lambda: set(client.get("n", wait_s=PATIENCE_S).nodes) == NAMES, what="results of all three"
        )
        before = client.get("n")
        version = client.graph_version()
    said = three[1].ami("cluster", "stop", timeout=200)
    assert said.stderr.index("source") < said.stderr.index("graph-manager") < said.stderr.index("servers")
    for node in three:
        wait_until(lambda node=node: not node.is_alive(), what=f"the end of {node.machine.name}")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        # Without a ring nothing was left in it, and each process ended by itself.
        assert find_leaked(node.config.ring.name) == []
        assert orphans.find(node.config) == {}
        log = (node.run_dir / "log" / "supervisord.log").read_text()
        assert "killing" not in log
        ends = re.findall(r"stopped: (\S+) \((.*)\)", log)
        # One that was just being started knows no signal yet, and may end by it.
        assert {how for _, how in ends} <= {"exit status 0", "terminated by SIGTERM"}, ends
        order = [name for name, _ in ends]
        assert order.index("source") < order.index("local-reducer") < order.index("graph-manager")
        assert order.index("graph-manager") < order.index("global-redis")
        for tier in memory.TIERS:  # on the disk, for when the machine is switched off
            folder = memory.folder_of(node.config.node, tier)
            wait_until(lambda folder=folder: memory.find(folder) is None, what="the save")  # type: ignore[misc]  # mypy cannot infer a lambda with a default

    three.start()
    with three.client() as client:
        assert client.graph_version() == version
        wait_until(lambda: client.get("n").events.used > before.events.used, what="more events")
        wait_until(
            lambda: set(client.get("n", wait_s=PATIENCE_S).nodes) == NAMES, what="results of all three"
        )

        # What was asked of those before is not asked of these, however often their monitors look.
        now_ns = client._manager.time_ns()
        wait_until(lambda: client._manager.time_ns() > now_ns + 3e9, what="some looks")
    assert all(node.is_alive() and node.pid("source") for node in three)
