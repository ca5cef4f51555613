"""A primary dies, and its copy, which was behind, takes its place: what somebody relies on is there.

In each round the copy stands still and is cut off before the primary is killed, so that it lacks all of the
last moments: an answer that did not wait for it would be to an edit that is gone. `AMI_TEST_FAILOVERS=20` is
more rounds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ami.client import Client, connect
from ami.config import Config, NodeConfig
from ami.errors import Conflict, StoreError, StoreUnavailable
from ami.lab.editors import Editors
from ami.lab.histories import check, count_lost
from ami.messages.run_book import RunBook
from ami.stores import ABSENT, Store, copies, keys, open_global
from ami.stores.client import ClusterLink
from tests.daemons_rig import SCHEMA, new_folder
from tests.failover_rig import Replicated, replicated
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

ROUNDS = int(os.environ.get("AMI_TEST_FAILOVERS", "2"))
LEASE_S = 2.0


@pytest.fixture(scope="module")
def rig(short_path: Path) -> Iterator[Replicated]:
    with replicated(short_path) as found:
        yield found


class Manager:
    """A graph manager of a host, as a process."""

    def __init__(self, rig: Replicated, host: str) -> None:
        run_dir = new_folder()
        (run_dir / "ami.toml").touch()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")}
        self._environment = environment | {
            "AMI_CONFIG": str(run_dir / "ami.toml"),
            "AMI_NODE_RUN_DIR": str(run_dir),
            "AMI_NODE_HOST": host,
            "AMI_GLOBAL_STORE_START_NODES": ",".join(rig.config.start_nodes),
            "AMI_GLOBAL_STORE_PASSWORD_FILE": str(rig.config.password_file),
            "AMI_MANAGER_LEASE_S": str(LEASE_S),
        }
        self._command = [sys.executable, "-P", "-m", "ami.daemons", "graph-manager"]
        self.host = host
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def signal(self, signum: int) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)


def leading(store: Store, managers: dict[str, Manager]) -> Manager | None:
    """Return the manager that has the lease."""
    try:
        held = store._link.one(keys.full(store.prefix, keys.LEASE, tagged=True), "GET", repeat=True)
    except StoreUnavailable:
        return None
    return None if held is None else managers.get(held.decode().split()[1].partition(":")[0])


@pytest.fixture
def managers(rig: Replicated) -> Iterator[dict[str, Manager]]:
    """Two of two hosts: one leads, the other stands by."""
    found = {host: Manager(rig, host) for host in ("one", "two")}
    for manager in found.values():
        manager.start()
    yield found
    for manager in found.values():
        manager.kill()


def test_what_clients_were_told_is_so_whoever_dies_or_stands_still(
    rig: Replicated, managers: dict[str, Manager]
) -> None:
    """Five clients, while primaries die whose copies are behind, and leaders die or stand still."""

    def client(name: str) -> Client:
        config = Config(node=NodeConfig(host="here", run_dir=new_folder()), global_store=rig.config)
        return connect(config, name=name, timeout_s=5.0)

    def lead() -> Manager:
        wait_until(lambda: leading(store, managers), what="a leader")
        return leading(store, managers) or lead()

    with (
        closing(open_global(rig.config, keys.prefix("ami", "graph-manager", 0))) as store,
        Editors(client, field="x") as editors,
    ):
        store.view(keys.prefix("ami", "source", 0))[keys.SCHEMA] = SCHEMA.to_json()

        def go_on() -> None:
            before = editors.acknowledged
            wait_until(lambda: editors.acknowledged > before + 10, what="edits that are acknowledged")

        for _ in range(ROUNDS):
            go_on()
            primary = rig.primary_of(store.prefix)
            copy = rig.copy_of(primary)
            rig.leave_behind(primary, copy)
            rig.fail_over(primary, copy)
            rig.revive(primary)
            go_on()
            killed = lead()
            killed.kill()
            go_on()
            killed.start()
            frozen = lead()
            frozen.signal(signal.SIGSTOP)
            wait_until(lambda: leading(store, managers) not in (None, frozen), what="another leader")  # noqa: B023
            go_on()
            frozen.signal(signal.SIGCONT)
            go_on()
        editors.stop()
        with client("last") as last:
            look, history = editors.look(last), last.graph_history()
    lost, acknowledged = count_lost(editors.edits, look), editors.acknowledged
    asked = len(editors.edits)
    print(f"{ROUNDS} rounds: {asked} edits asked for, {acknowledged} acknowledged, {lost} lost")  # noqa: T201  # pytest shows it
    assert lost == 0
    assert check(editors.edits, editors.looks) == []
    numbers = [record["version"] for record in history]
    assert numbers == sorted(numbers)
    assert len({(record["version"], record["hash"]) for record in history}) == len(set(numbers))


def test_a_batch_that_was_accepted_is_there_after_a_fail_over(rig: Replicated) -> None:
    with closing(open_global(rig.config, keys.prefix("ami", "global-reducer", 0))) as store:
        journal, accepted, over = store.journal("inbox:here"), list[int](), threading.Event()

        def send() -> None:
            number = 0
            while not over.is_set():
                number += 1
                while not over.is_set():
                    try:
                        journal.append(number, np.full(100, number), also={"mark:here": number})
                        accepted.append(number)
                        break
                    except StoreError:
                        continue

        sender = threading.Thread(target=send)
        sender.start()
        wait_until(lambda: len(accepted) > 100, what="batches")
        primary = rig.primary_of(store.prefix)
        copy = rig.copy_of(primary)
        rig.leave_behind(primary, copy)
        rig.fail_over(primary, copy)
        before = len(accepted)
        wait_until(lambda: len(accepted) > before + 100, what="batches after it")
        over.set()
        sender.join()
        rig.revive(primary)
        assert set(accepted) <= set(journal.numbers())
        assert store["mark:here"] in (accepted[-1], accepted[-1] + 1)


def test_where_no_copy_lives_it_goes_on_and_says_so_and_waits_again_for_one_that_is_back(
    rig: Replicated, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_global(rig.config, keys.prefix("alone", "test", 0))) as store:
        primary = rig.primary_of(store.prefix)
        copy = rig.copy_of(primary)
        journal = store.journal("j")
        assert journal.append(1, "with a copy")
        rig.running[copy].kill()
        assert journal.append(2, "without")
        assert f"127.0.0.1:{primary} has no copy that lives" in caplog.text
        for number in range(3, 50):
            assert journal.append(number, "without")
        assert caplog.text.count("has no copy that lives") == 1
        link = store._link
        assert isinstance(link, ClusterLink)
        known = link._copies["127.0.0.1", primary]
        assert not known.there
        rig.revive(copy)
        numbers = iter(range(50, 100_000))
        wait_until(lambda: journal.append(next(numbers), "again") and known.there, what="a copy that counts")


@pytest.mark.parametrize("is_heard", [True, False], ids=["late", "not heard of"])
def test_a_copy_that_may_take_the_place_is_not_passed_over(
    rig: Replicated, monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    """What is not on it is not done, as far as anybody may rely on it: the cluster has not said it failed."""
    if not is_heard:
        monkeypatch.setattr(copies, "LAG_S", -1)
    monkeypatch.setattr(copies, "STEP_S", 0.05)
    config = replace(rig.config, timeout_s=0.4)
    with closing(open_global(config, keys.prefix("late", "test", 0))) as store:
        primary = rig.primary_of(store.prefix)
        copy = rig.copy_of(primary)
        store.commit(None, {"a": 1}, copied=True)
        rig.signal(copy, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="no copy has taken what was written"):
                store.commit(None, {"a": 2}, copied=True)
            store.commit(None, {"b": 1})  # on which nobody relies
            monkeypatch.setattr(copies, "STALE_S", 0.1)
            if not is_heard:  # for longer than any copy may
                store.commit(None, {"a": 3}, copied=True)
        finally:
            rig.signal(copy, signal.SIGCONT)
        wait_until(rig.is_whole, what="six servers that agree")


def test_one_server_alone_is_sent_not_one_command_more(global_store: Store) -> None:
    link = global_store._link
    assert isinstance(link, ClusterLink)

    def calls() -> dict[str, int]:
        text = link.everywhere(lambda _node: [("INFO", "commandstats")])[0][0].decode()
        lines = [line.split(":") for line in text.splitlines() if line.startswith("cmdstat_")]
        return {name[8:]: int(told.split(",")[0].split("=")[1]) for name, told in lines}

    global_store.journal("j").append(1, "known to the server from now on")
    before = calls()
    assert global_store.journal("j").append(2, "a batch")
    after = calls()
    sent = {name: count - before.get(name, 0) for name, count in after.items()}
    assert sent.pop("info") == 1
    # Of the client: the payload, and the script; of the script: what it does.
    assert {name for name, count in sent.items() if count} == {
        "set", "evalsha", "exists", "xadd", "rename", "persist"
    }  # fmt: skip
    global_store.commit(None, {"a": 1}, expected={"a": ABSENT}, copied=True)
    assert "wait" not in calls()
    assert not link._copies
    with pytest.raises(Conflict):
        global_store.compare_and_set("a", 2, RunBook(last=0, runs=()))
