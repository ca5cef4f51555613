"""A server that is a cluster by itself begins as the copy of none, and takes over what it has itself."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ami.cluster import alone, topology
from ami.config import load
from ami.stores.client import ClusterLink
from ami.stores.server import ServerLink
from tests.conftest import Server, answers, free_ports
from tests.waiting import wait_until

OWN = "a" * 40
ALONE = f"{OWN} 127.0.0.1:7379@17379,,tls-port=0,shard-id={OWN} myself,master - 0 0 7 connected 0-16383\n"
COPY = f"{OWN} 127.0.0.1:7380@17380 myself,slave {'b' * 40} 0 0 7 connected\n"
OTHER = f"{'b' * 40} 127.0.0.2:7379@17379 master - 0 0 7 connected 0-8000\n"
VARS = "vars currentEpoch 9 lastVoteEpoch 8\n"


@pytest.fixture
def environment(short_path: Path) -> dict[str, str]:
    (port,) = free_ports(1)
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")}
    (short_path / "ami.toml").touch()
    return inherited | {
        "AMI_CONFIG": str(short_path / "ami.toml"),
        "AMI_NODE_RUN_DIR": str(short_path),
        "AMI_GLOBAL_STORE_PORT": str(port),
        "AMI_GLOBAL_STORE_APPEND_TO": "disk",
    }


def test_it_has_what_it_had_and_knows_of_nobody_else_whenever_it_is_killed(
    environment: dict[str, str],
) -> None:
    config = load(environ=environment)
    nodes = config.node.run_dir / "global-store" / "nodes.conf"
    command = [sys.executable, "-P", "-m", "ami.cluster.servers", "global"]
    epochs = []
    for number in range(3):
        with (
            Server(command, environment=environment).running(),
            closing(ClusterLink(config.global_store)) as link,
        ):
            wait_until(lambda: answers(link), what="a server that takes what it is given")
            assert link.one("{a}", "GET", repeat=True) == (str(number - 1).encode() if number else None)
            link.one("{a}", "SET", str(number), repeat=True)
            assert not link.has_copies
            own = config.global_store
            with ServerLink(own, (own.host, own.port)) as server:
                wait_until(
                    lambda: topology.read(server.text("CLUSTER", "NODES")).is_alone,
                    what="a server that has forgotten whose place it took",
                )
                epochs.append(int(server.facts("CLUSTER", "INFO")["cluster_my_epoch"]))
        if number:  # killed before it had taken over
            assert alone.prepare(nodes)
    # Each time it took over, which is what spares it the 2 s.
    assert all(after > before for before, after in itertools.pairwise(epochs))


@pytest.mark.parametrize("others", [OTHER, COPY.replace(OWN, "c" * 40).replace("myself,", "")])
def test_who_knows_of_others_begins_as_it_is(tmp_path: Path, others: str) -> None:
    path = tmp_path / "nodes.conf"
    for text in (ALONE + others + VARS, COPY + OTHER + VARS, COPY + VARS, ALONE[:-8] + "1\n" + VARS):
        path.write_text(text)
        assert not alone.prepare(path)
        assert path.read_text() == text
    assert not alone.prepare(tmp_path / "no such file")


def test_what_was_begun_is_taken_back_where_nobody_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "nodes.conf"
    path.write_text(ALONE + VARS)
    assert alone.prepare(path)
    assert alone.prepare(path), "again, after a death"
    seen = topology.read("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert not seen.me.is_primary
    assert not alone.prepare(path, hurried=False)
    seen = topology.read("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert (seen.is_alone, seen.me.slot_count, seen.me.id) == (True, topology.SLOTS, OWN)
    assert path.read_text().endswith(VARS)
