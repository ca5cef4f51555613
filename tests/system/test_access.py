"""Roles and accounts on a whole node: nothing that it does is refused, and an account is who it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ami.client import connect
from ami.cluster.node import Node
from ami.config import Config
from ami.errors import AmiError, GraphError, StoreError
from ami.graph.language.text import write
from ami.stores import keys, roles
from ami.stores.link import NotAllowed
from ami.stores.opened import Stores
from ami.stores.server import ServerLink
from tests.system.conftest import PATIENT
from tests.waiting import PATIENCE_S, wait_until


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    served = {"AMI_WEB_HOST": "127.0.0.1"}
    with (
        Node(settings=PATIENT | served) as node,
        connect(node.config, name="owner", timeout_s=PATIENCE_S) as client,
    ):
        wait_until(client.schema, what="the source's fields")
        client.add("n = count(monitor)", "images = mean_vs(camera, key=delay)")
        yield node


def ami(node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "ami.cli", *words]
    return subprocess.run(
        command, env=node.environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def accounts(node: Node) -> dict[str, Path]:
    """Files of three accounts, by name."""
    found = {}
    for name, role in (("ann", "client"), ("bob", "client"), ("eve", "reader")):
        done = ami(node, "access", "add", name, "--role", role, "--json")
        assert done.returncode == 0, done.stderr
        found[name] = Path(json.loads(done.stdout)["file"])
    return found


def elsewhere(path: Path, folder: Path) -> Config:
    """Return the settings of who has nothing but an access file."""
    empty = replace(Config(), node=replace(Config().node, host="elsewhere", run_dir=folder))
    store = replace(empty.global_store, access_file=str(path), password_file=folder / "secret")
    return replace(empty, global_store=store, local_store=replace(empty.local_store, socket=folder / "none"))


def refusals(node: Node) -> list[str]:
    """Return what the server refused to whom since it was asked to forget it."""
    store = node.config.global_store
    with ServerLink(store, (store.host, store.port)) as server:
        entries: list[Any] = [
            dict(zip(e[::2], e[1::2], strict=True)) for e in server.ask("ACL", "LOG", "1000")
        ]
        server.ask("ACL", "LOG", "RESET")
    return [f"{e[b'username']} {e[b'reason']} {e[b'object']}" for e in entries]


def users(node: Node) -> set[str]:
    """Return as whom the server knows those who talk to it now."""
    store = node.config.global_store
    with ServerLink(store, (store.host, store.port)) as server:
        lines = server.text("CLIENT", "LIST").splitlines()
    return {dict(word.partition("=")[::2] for word in line.split())["user"] for line in lines}


def test_what_a_node_and_its_people_do_is_allowed(node: Node) -> None:
    """Each process is killed, so that what it does at its beginning is seen as well."""
    refusals(node)
    with connect(node.config, name="owner", timeout_s=PATIENCE_S) as client:
        client.add("twice = count(monitor)")
        client.undo()
        for name in (
            "worker:0",
            "local-reducer",
            "global-reducer",
            "graph-manager",
            "source",
            "export:0",
            "web",
        ):
            pid = node.kill(name)
            wait_until(lambda name=name, pid=pid: node.pid(name) not in (0, pid), what=name)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        runs = client.get("n", wait_s=PATIENCE_S).run
        wait_until(lambda: client.get("n").events.used > 0, what="results")
        assert client.get("images", wait_s=PATIENCE_S).events.used > 0
        assert client.get("n").run >= runs
        client.reset("n")
        client.history("n")
        assert any(process.alive for process in client.status().processes)
        views = client.keys()
        shown = [view.key for view in views]
        assert client.key(next(one for one in shown if one.endswith(keys.CATALOGUE)))
        client.meter().look()
    roles_of_processes = {"source", "worker", "reducer", "manager", "monitor", "export", "web"}
    wait_until(lambda: users(node) >= roles_of_processes, what="each process, as its role")
    assert refusals(node) == []


def test_edits_of_an_account_are_its_own_whatever_it_claims(
    node: Node, accounts: dict[str, Path], tmp_path: Path
) -> None:
    with connect(elsewhere(accounts["ann"], tmp_path), name="owner", timeout_s=PATIENCE_S) as ann:
        assert ann.name == "ann"
        ann.name = "owner"
        ann.add("hers = count(monitor)")
        assert ann.graph_history()[-1]["client"] == "ann"
        with pytest.raises(GraphError, match="owner"):
            ann.remove("n")
        assert ann.get("hers", wait_s=PATIENCE_S).value is not None
        assert any(process.alive for process in ann.status().processes)
        with pytest.raises(StoreError, match="ami access"):
            list(ann.keys())
        with pytest.raises(NotAllowed):
            ann._reducer.put(keys.result("n"), 0)
        with pytest.raises(NotAllowed):
            ann._manager.queue(keys.REQUESTS).put({}, surely=True)
        # Under another id the answer would go where somebody else fetches his.
        put = ann._manager.queue(keys.requests_of("ann")).put
        version = ann.graph_version()
        put(
            {
                "id": "bob.1",
                "client": "bob",
                "action": "add",
                "deadline_ns": 1 << 62,
                "text": "x = count(monitor)",
            }
        )
        put("no request")
        ann.remove("hers")
        assert ann.graph_version()[0] == version[0] + 1
        assert "x" not in write(ann.document())
    with connect(elsewhere(accounts["bob"], tmp_path), timeout_s=PATIENCE_S) as bob:
        assert bob._answer("bob.1", 0.2) is None


def test_a_reader_sees_and_changes_nothing(node: Node, accounts: dict[str, Path], tmp_path: Path) -> None:
    with connect(elsewhere(accounts["eve"], tmp_path), timeout_s=PATIENCE_S) as eve:
        assert eve.get("n", wait_s=PATIENCE_S).value is not None
        assert "n" in write(eve.document())
        with pytest.raises(NotAllowed):
            eve.add("hers = count(monitor)")
        with pytest.raises(NotAllowed):
            eve.order("begin")
    environment = {"AMI_ACCESS": str(accounts["eve"]), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-P", "-m", "ami.cli"]
    got = subprocess.run([*command, "get", "n"], env=environment, capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stderr
    said = subprocess.run([*command, "keys"], env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, "Traceback" in said.stderr) == (1, False)


def test_who_lost_access_is_out_at_once(node: Node, accounts: dict[str, Path], tmp_path: Path) -> None:
    listed = json.loads(ami(node, "access", "list", "--json").stdout)
    assert {(one["name"], one["role"]) for one in listed} >= {("ann", "client"), ("eve", "reader")}
    with connect(elsewhere(accounts["bob"], tmp_path), timeout_s=PATIENCE_S) as bob:
        assert ami(node, "access", "remove", "bob").returncode == 0
        with pytest.raises(AmiError):
            bob.graph_version()
    assert ami(node, "access", "remove", "bob").returncode == 1


def test_no_password_is_in_an_environment_a_command_line_or_a_log(
    node: Node, accounts: dict[str, Path]
) -> None:
    secret = node.config.global_store.password_file.read_text().strip()
    words = [secret, *(roles.derive(secret, role) for role in roles.ROLES)]
    words += [path.read_text().partition('password = "')[2].partition('"')[0] for path in accounts.values()]
    logs = [path.read_bytes() for path in (node.run_dir / "log").iterdir()]
    pids = [int(info["pid"]) for info in node.supervisor.getAllProcessInfo() if info["pid"]]
    seen = [Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids for what in ("cmdline", "environ")]
    assert not any(word.encode() in text for word in words for text in [*logs, *seen])


def test_a_fault_in_a_worker_writes_no_result(node: Node) -> None:
    stores = Stores(node.config, roles.of_process("worker"))
    try:
        with pytest.raises(NotAllowed):
            stores.cluster("global-reducer").put(keys.result("n"), 0)
        with pytest.raises(NotAllowed):
            stores.cluster("graph-manager").put(keys.CURRENT, {"version": 1, "hash": ""})
    finally:
        stores.close()
