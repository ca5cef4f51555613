"""Who is in the cluster: a name is held by one node, and lost, left or taken over as it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ami.config import GlobalStoreConfig, NodeConfig
from ami.daemons.process import name as process_name
from ami.daemons.process.name import NodeName
from ami.daemons.source import inputs
from ami.daemons.source.inputs import Inputs
from ami.errors import ConfigError, StoreUnavailable
from ami.event import Field, Schema
from ami.stores import Store, keys
from ami.stores.client import ClusterLink
from ami.stores.membership import Members, forget
from tests.conftest import empty

HERE = NodeConfig(host="a", run_dir=Path("/here"))
THERE = replace(HERE, run_dir=Path("/there"))


@pytest.fixture
def store(cluster: GlobalStoreConfig, link: ClusterLink) -> Store:
    empty(link)
    made = Store(link, "ami:global-reducer:0")
    made.set(keys.NODES).update(("a", "b"))
    return made


def test_all_processes_of_a_node_have_its_name_and_no_other_node_has(store: Store) -> None:
    one, another, foreign = NodeName(store, HERE), NodeName(store, HERE), NodeName(store, THERE)
    one.take()
    another.take()
    with pytest.raises(StoreUnavailable, match="folder /here"):
        foreign.take()
    assert (one.is_ours, another.is_ours, foreign.is_ours) == (True, True, False)
    assert Members.read(store) == Members(here=frozenset("a"), gone=frozenset("b"))


def test_who_waits_in_vain_for_a_name_says_who_has_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_name, "SLACK_S", -keys.NODE_LEASE_S)
    NodeName(store, HERE).take()
    foreign = NodeName(store, THERE)
    with pytest.raises(StoreUnavailable):
        foreign.take()
    with pytest.raises(ConfigError, match=r"two nodes have the name a: .*folder /there.*folder /here"):
        foreign.take()


def test_who_could_not_wait_for_the_name_takes_it_with_a_beat_or_hears_that_it_is_anothers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor, foreign = NodeName(store, HERE), NodeName(store, THERE)
    monitor.renew()
    assert (monitor.is_ours, monitor.taken_by) == (True, "")
    monkeypatch.setattr(process_name, "SLACK_S", -keys.NODE_LEASE_S)
    with pytest.raises(StoreUnavailable):
        foreign.renew()
    foreign.renew()
    assert "two nodes have the name a" in foreign.taken_by


def test_a_node_whose_name_was_taken_meanwhile_hears_of_it(store: Store) -> None:
    frozen, foreign = NodeName(store, HERE), NodeName(store, THERE)
    frozen.take()
    store.delete_many([keys.node("a")])  # its lease ran out
    foreign.take()
    frozen.renew()
    assert "folder /there" in frozen.taken_by
    foreign.renew()
    assert foreign.taken_by == ""


def test_a_node_that_stopped_in_order_is_missed_by_nobody_until_it_is_back(store: Store) -> None:
    local_reducer, monitor = NodeName(store, HERE), NodeName(store, HERE)
    local_reducer.take()
    monitor.take()
    local_reducer.leave()
    monitor.renew()  # it stops last
    assert Members.read(store) == Members(gone=frozenset("b"), left=frozenset("a"))
    NodeName(store, THERE).take()
    assert Members.read(store).here == frozenset("a")
    local_reducer.leave()  # too late: the name is another's
    assert Members.read(store).here == frozenset("a")


def test_a_node_that_does_not_come_back_can_be_forgotten(store: Store) -> None:
    source = store.view("ami:source:0")
    source[keys.input("b")] = {"schema": "[]", "interval_ns": 1}
    assert forget(store, source, "b")
    assert not forget(store, source, "b")
    assert Members.read(store) == Members(gone=frozenset("a"))
    assert keys.input("b") not in source


def test_a_source_waits_while_a_node_of_another_version_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The global reducer could not read what one of the two sends."""
    source, schema = store.view("ami:source:0"), Schema.of([Field("x", "f8")])
    NodeName(store, HERE).take()
    assert Inputs(source, store, "a").tell(schema, 1000) == ""
    newer = Inputs(source, store, "b")
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "sign_sent", lambda: "another")
        assert newer.tell(schema, 1000) == (
            "a runs another version of ami: install the same, and start both nodes again"
        )
        NodeName(store, HERE).leave()
        assert newer.tell(schema, 1000) == ""
    NodeName(store, HERE).take()
    assert newer.tell(schema, 1000) == ""
