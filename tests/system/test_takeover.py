"""Three machines whose servers have copies: the one whose manager leads is cut off, and is back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from ami.client import Client
from ami.errors import AmiError, StoreUnavailable
from ami.lab.editors import Editors
from ami.lab.histories import check, count_lost
from ami.result import Result
from ami.stores import Store, keys, open_global
from tests.nodes_rig import MachineNode, Nodes, nodes
from tests.system.conftest import PATIENT
from tests.system.test_nodes_one_experiment import GRAPH, play
from tests.waiting import wait_until

pytestmark = pytest.mark.system

RATE_HZ = 150


@pytest.fixture
def three() -> Iterator[Nodes]:
    with nodes(3, copies=True, settings=PATIENT) as found:
        yield found.start()


def leader(everyone: Nodes, store: Store) -> MachineNode | None:
    """Return the node whose process has the lease among these values."""
    try:
        held = store._link.one(keys.full(store.prefix, keys.LEASE, tagged=True), "GET", repeat=True)
    except StoreUnavailable:
        return None
    host = "" if held is None else held.decode().split()[1].partition(":")[0]
    return next((node for node in everyone if node.machine.name == host), None)


def read(client: Client, name: str) -> Result | None:
    try:
        return client.results().get(name)
    except AmiError:
        return None


def is_whole(client: Client) -> bool:
    result = read(client, "now")
    return result is not None and result.complete and len(result.nodes) == 3


@pytest.mark.timeout(600)
def test_a_leader_that_was_cut_off_does_no_harm(three: Nodes) -> None:
    config = three[0].config
    with (
        three.client() as client,
        closing(open_global(config.global_store, keys.prefix("ami", "graph-manager", 0))) as managers,
    ):
        play(three, client, f"sim://pump-probe?rate={RATE_HZ}", GRAPH)
        wait_until(lambda: is_whole(client), what="results of all three")

        def last_interval() -> int:
            result = read(client, "now")
            return 0 if result is None else result.interval

        def go_on_without(stop: Callable[[MachineNode], None], go: Callable[[MachineNode], None]) -> None:
            wait_until(lambda: leader(three, managers), what="a leader")
            victim = leader(three, managers)
            assert victim is not None
            acknowledged, interval = editors.acknowledged, last_interval()
            stop(victim)
            wait_until(lambda: leader(three, managers) not in (None, victim), what="another leader")
            wait_until(lambda: editors.acknowledged > acknowledged + 5, what="edits without it")
            wait_until(lambda: last_interval() > interval + 5, what="results without it")
            go(victim)
            wait_until(lambda: is_whole(client), what="results of all three again")

        with Editors(lambda name: three.client(name=name, timeout_s=8.0), field="monitor") as editors:
            go_on_without(lambda node: node.machine.cut(), lambda node: node.machine.plug())
        look = editors.look(client)
        assert count_lost(editors.edits, look) == 0
        assert check(editors.edits, editors.looks) == []
