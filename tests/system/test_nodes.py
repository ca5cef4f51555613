"""Three nodes on three machines are one cluster, and a test can do to each what happens to machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.stores import Store, open_global
from ami.stores.client import ClusterLink
from ami.stores.server import LocalServerLink, ServerLink
from tests.nodes_rig import PORT, MachineNode, Nodes, nodes
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def three() -> Iterator[Nodes]:
    """Three nodes of those processes that the tests below look for."""
    with nodes(3, programs=["local-redis", "global-redis", "source", "monitor"]) as rig:
        yield rig.start()


def store_of(node: MachineNode) -> Store:
    """Return keys that a process of this node might have."""
    return open_global(node.config.global_store, f"{node.machine.name}:test:0")


def cluster_info(node: MachineNode) -> str:
    """Return what the servers say of their cluster."""
    link = ClusterLink(node.config.global_store)
    try:
        return "".join(reply.decode() for (reply,) in link.everywhere(lambda _: [("CLUSTER", "INFO")]))
    finally:
        link.close()


def test_three_nodes_share_all_slots_and_each_says_that_it_lives(three: Nodes) -> None:
    wait_until(lambda: cluster_info(three[0]).count("cluster_state:ok") == 3, what="the cluster")
    assert cluster_info(three[0]).count("cluster_slots_assigned:16384") == 3
    with three.client() as client:
        wait_until(
            lambda: {process.host for process in client.status().processes} == {"node1", "node2", "node3"},
            what="heartbeats of all three",
        )


def test_what_is_written_on_one_is_read_on_the_others(three: Nodes) -> None:
    for node in three:  # their keys are of different slots, so that no server has all
        store = store_of(node)
        store["address"] = node.machine.address
        store.close()
    for reader, writer in ((three[0], three[1]), (three[1], three[2]), (three[2], three[0])):
        said = reader.ami("key", f"{{{writer.machine.name}:test:0}}:address").stdout
        assert writer.machine.address in said


def test_a_monitor_leaves_its_server_alone_while_another_machines_share_is_down() -> None:
    hurried = {"AMI_MONITOR_HEARTBEAT_S": "0.3", "AMI_MONITOR_HANG_S": "2"}
    with nodes(3, programs=["local-redis", "global-redis", "monitor"], settings=hurried) as rig:
        one, *_, last = rig.start()
        wait_until(lambda: cluster_info(one).count("cluster_state:ok") == 3, what="the cluster")
        server = one.pid("global-redis")
        last.supervisor.stopProcess("global-redis")
        link = ServerLink(one.config.global_store, (one.machine.address, PORT))
        wait_until(lambda: link.facts("CLUSTER", "INFO")["cluster_state"] == "fail", what="its noticing")
        # Who does hang, from then on only, is found.
        frozen = one.kill("local-redis", signal.SIGSTOP)
        wait_until(lambda: one.pid("local-redis") not in (0, frozen), what="a new local-redis")
        wait_until(LocalServerLink(one.config.local_store).answers, what="its answer")
        assert one.pid("global-redis") == server
        assert link.facts("CLUSTER", "INFO")["cluster_state"] == "fail"
        link.close()


def test_what_a_killed_test_leaves_is_removed_by_the_next() -> None:
    script = (
        "import sys, time\n"
        "from tests.nodes_rig import nodes\n"
        "with nodes(1, programs=['local-redis', 'global-redis']) as rig:\n"
        "    node = rig.start()[0]\n"
        "    print(node.supervisor_pid, node.run_dir.parent, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    environment = os.environ | {"PYTHONPATH": "."}
    killed = subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert killed.stdout is not None
    with killed.stdout:
        pid, folder = killed.stdout.readline().split()
    os.kill(int(pid), signal.SIGKILL)  # supervisord first, so that it ends nothing
    killed.kill()
    killed.wait()
    assert Path(folder).is_dir()
    with nodes(1):
        assert not Path(folder).exists()
        assert not any(folder in command for command in commands())


def commands() -> list[str]:
    """Return the folder and the words of every process."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                found.append(f"{os.readlink(path / 'cwd')} {(path / 'cmdline').read_text()}")
            except OSError:
                continue
    return found
