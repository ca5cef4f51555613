"""A node that is gone is one living monitor's, which calls the operator's command once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ami.config import GlobalStoreConfig, MonitorConfig, NodeConfig
from ami.daemons.monitor import neighbours
from ami.daemons.monitor.neighbours import Neighbours, who_watches
from ami.messages.heartbeat import Heartbeat
from ami.stores import keys
from ami.stores.client import ClusterLink
from ami.stores.opened import Stores
from tests.daemons_rig import Faults, FaultyLink, config
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

HOSTS = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("gone", "here", "watcher"),
    [("b", "acd", "c"), ("d", "abc", "a"), ("c", "ab", "a"), ("a", "d", "d"), ("a", "", "")],
)
def test_who_is_gone_is_the_next_ones_who_lives(gone: str, here: str, watcher: str) -> None:
    assert who_watches(gone, set(here)) == watcher


class Rig:
    """Monitors of four nodes, and the names of those that live."""

    def __init__(self, link: ClusterLink, cluster: GlobalStoreConfig, folder: Path, gone_s: float) -> None:
        self.told = folder / "told"
        script = folder / "call"
        script.write_text(f'#!/bin/sh\necho "$@" >> {self.told}\n')
        script.chmod(0o700)
        self.faults = Faults()
        base = config("/ami-not-there", cluster=cluster, cluster_name=f"neighbours{gone_s}{folder.name}"[:60])
        monitor = MonitorConfig(gone_s=gone_s, gone_command=(str(script), "now"))
        self.stores = Stores(base, cluster=FaultyLink(link, self.faults))
        self.reducer = self.stores.cluster("global-reducer")
        self.reducer.set(keys.NODES).update(HOSTS)
        self.monitors = {}
        for host in HOSTS:
            own = replace(base, node=NodeConfig(host=host, cluster=base.node.cluster), monitor=monitor)
            self.monitors[host] = Neighbours(own, self.reducer, self.stores.cluster("monitor"))
            self.live(host, 60)

    def live(self, host: str, for_s: float) -> None:
        self.reducer.claim(keys.node(host), for_s, f"machine of {host}").take()

    def beat(self, host: str, **counters: float) -> None:
        """Store a heartbeat of a node's source."""
        own = self.reducer.view(keys.prefix(host, "source", 0))
        told = Heartbeat(
            process=own.prefix, pid=1, started_ns=0, beat_ns=0, steps=1, step_age_s=0.0, state="running",
            counters=counters,
        )  # fmt: skip
        own.put(keys.HEARTBEAT, told)

    def die(self, *hosts: str) -> None:
        self.reducer.delete_many(map(keys.node, hosts))

    def look(self, *hosts: str) -> None:
        for host in hosts:
            self.monitors[host]._look_at = 0.0
            self.monitors[host].look()

    def calls(self) -> list[str]:
        for one in self.monitors.values():
            one._reap(0.0)
        if any(one._running for one in self.monitors.values()):
            return []  # what it writes, and its end
        return self.told.read_text().splitlines() if self.told.exists() else []


def test_a_node_that_is_gone_is_called_about_once_by_the_next_one_that_lives(
    link: ClusterLink, cluster: GlobalStoreConfig, tmp_path: Path
) -> None:
    rig = Rig(link, cluster, tmp_path, 0.0)
    rig.look(*HOSTS)
    assert rig.calls() == []
    rig.beat("b", position=42)
    rig.die("b", "c")
    for _ in range(3):
        rig.look("a", "d")
    wait_until(lambda: len(rig.calls()) == 2, what="two calls")
    assert sorted(rig.calls()) == ["now b", "now c"]
    assert rig.monitors["a"].gone == ["b", "c"]
    # How far its source was is known longer than its heartbeat is there.
    assert [rig.stores.cluster("monitor").get(keys.last(host)) for host in "bc"] == [42, None]
    # The watcher goes, too: what it called about is not called about again.
    rig.die("d")
    for _ in range(3):
        rig.look("a")
    wait_until(lambda: len(rig.calls()) == 3, what="one more call")
    assert rig.calls()[-1] == "now d"
    # Back, and gone once more within some minutes: somebody should look himself.
    rig.live("b", 60)
    rig.look("a")
    assert rig.monitors["a"].gone == ["c", "d"]
    rig.die("b")
    rig.look("a")
    assert len(rig.calls()) == 3


def test_who_is_silent_for_a_while_or_stopped_in_order_is_not_gone_and_without_a_store_nobody_is(
    link: ClusterLink, cluster: GlobalStoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(neighbours.time, "monotonic", lambda: now)
    rig = Rig(link, cluster, tmp_path, 10.0)
    rig.die("b")
    rig.look("c")
    now += 9
    rig.look("c")
    rig.live("b", 60)
    now += 2
    rig.look("c")
    assert rig.monitors["c"].gone == []
    rig.die("b")
    rig.look("c")
    rig.faults.down = True
    now += 20
    rig.look("c")  # nobody knows
    rig.faults.down = False
    rig.look("c")
    assert rig.monitors["c"].gone == []
    rig.reducer.claim(keys.node("d"), 60, "machine of d").leave()
    now += 11
    rig.look("c")
    assert rig.monitors["c"].gone == ["b"]
    wait_until(lambda: rig.calls() == ["now b"], what="one call")
