"""From one machine to three and back, with the commands of docs/nodes.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from ami.config import load
from tests.nodes_rig import MachineNode, Nodes, nodes
from tests.system.conftest import PATIENT
from tests.waiting import wait_until

FEW = PATIENT | {"AMI_EXPORT_URIS": "", "AMI_SOURCE_URI": "sim://pump-probe?rate=100"}


@pytest.fixture
def three() -> Iterator[Nodes]:
    """Three machines on which ami is installed, and nothing was started."""
    with nodes(3, joined=False, settings=FEW) as rig:
        yield rig


def cluster(node: MachineNode, *words: str) -> Any:
    """Return the answer of `ami cluster WORDS` on a machine."""
    said = node.ami("cluster", *words, "--json", check=False, timeout=200)
    assert said.returncode == 0, said.stderr
    print(said.stderr)  # noqa: T201  # pytest shows it
    return json.loads(said.stdout)


def refusal(node: MachineNode, *words: str) -> str:
    said = node.ami("cluster", *words, check=False)
    assert said.returncode == 1, said.stderr
    return said.stderr


def servers(told: Any) -> dict[str, tuple[str, int]]:
    return {server["address"]: (server["role"], server["slots"]) for server in told["servers"]}


def test_from_one_machine_to_three_and_back(three: Nodes) -> None:
    one, two, last = three
    # One machine, alone, with somebody's graph.
    one.ami("up")
    one.ami("graph", "add", "shots = count(monitor)")
    assert "stop it (`ami down`)" in refusal(one, "create", one.machine.address)
    one.ami("down")
    told = cluster(one, "create", one.machine.address)
    assert servers(told) == {f"{one.machine.address}:7379": ("primary", 16384)}
    assert cluster(one, "create", one.machine.address) == told

    # Without the secret, with a wrong one, with one that others may read.
    secret = two.run_dir / "secret"
    assert f"scp {one.machine.address}:" in refusal(two, "join", "node1")
    secret.touch(mode=0o644)
    assert "chmod 600" in refusal(two, "join", "node1")
    secret.chmod(0o600)
    secret.write_text("of-another-cluster\n")
    assert "does not accept user" in refusal(two, "join", "node1")
    for node in (two, last):
        shutil.copy(one.run_dir / "secret", node.run_dir / "secret")
    assert "cannot be reached" in refusal(two, "join", "node3")
    wait_until(
        lambda: "node1:monitor" in one.ami("keys", "--json", check=False).stdout, what="a heartbeat of node1"
    )
    named = ["env", "AMI_NODE_HOST=node1"]
    said = two.machine.run(*named, "bin/ami", "cluster", "join", "node1", env=two.environment, check=False)
    assert "is called 'node1'" in said.stderr, said.stderr

    cluster(two, "join", "node1")
    told = cluster(last, "join", "node2")
    assert sorted(slots for _, slots in servers(told).values()) == [5461, 5461, 5462]
    assert cluster(last, "join", "node2") == told
    for node in three:
        assert cluster(node, "add-replica")["primary"].split(":")[0] != node.machine.address
        wait_until(
            lambda node=node: not node.ami("cluster", "check", check=False).returncode, what="one view"
        )  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    found = json.loads(two.ami("doctor", "--json", check=False).stdout)["findings"]
    about = {finding["about"] for finding in found}
    assert about.isdisjoint({"cluster", "slots", "copies", "majority", "start_nodes", "agreement"}), found
    told = cluster(two, "status")
    assert sorted(role for role, _ in servers(told).values()) == ["primary"] * 3 + ["replica"] * 3
    assert told["hosts_with_two_primaries"] == []

    def graph_of(node: MachineNode) -> str:
        return node.ami("graph", "show").stdout

    assert all("shots" in graph_of(node) for node in three)

    # One is stopped for service: a copy takes its place before it goes, so that nobody misses it.
    assert "take the place of" in two.ami("down", timeout=200).stderr
    told = cluster(one, "status")
    assert told["slots"] == 16384
    assert not any(at.startswith(two.machine.address) and slots for at, (_, slots) in servers(told).items())
    two.ami("up")
    # At once, while the others have not heard of it again.
    assert cluster(one, "balance")["hosts_with_two_primaries"] == []

    # A machine dies for good: the copies of it take over, and the others forget it.
    last.end()
    assert "forgotten: " in one.ami("cluster", "remove", "node3", timeout=200).stdout
    told = cluster(one, "status")
    assert told["slots"] == 16384
    assert not any(address.startswith(last.machine.address) for address in servers(told))
    # Another leaves in order.
    assert cluster(two, "leave")["left"]
    told = cluster(one, "status")
    assert told["slots"] == 16384
    assert {address.split(":")[0] for address in servers(told)} == {one.machine.address}
    assert "shots" in graph_of(one)
    two.ami("up")
    assert load(environ=two.environment).global_store.start_nodes == ()
