"""A leader that stood still, or was cut off, while another took over: whatever it does afterwards is refused.

The freeze is put before a call that the leader sends to the store: as if SIGSTOP had hit it there, its lease
had ended, and SIGCONT came when somebody else led.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from ami.config import GlobalStoreConfig, ManagerConfig
from ami.daemons.manager.graph_manager import GraphManagerStage
from ami.daemons.reduction import large_checkpoint, large_lane, publisher, span_sender, spans
from ami.daemons.reduction.global_reducer import GlobalReducerStage
from ami.errors import Conflict, StoreError
from ami.graph.language.text import graph_of
from ami.messages import pieces
from ami.stores import Store, keys
from ami.stores.client import ClusterLink
from ami.stores.link import Command, Link, Reply
from ami.stores.opened import Stores
from tests.batches import batch
from tests.daemons_rig import (
    SCHEMA,
    SHORT,
    Faults,
    FaultyLink,
    config,
    let_looks_be_time,
    put_graph,
    setup,
)
from tests.large_rig import Links, Node, published_all, send_all
from tests.ring_rig import ring_name

pytestmark = pytest.mark.integration

clusters = (f"taken-over{number}" for number in itertools.count())
MORE_STEPS = 100
DRAWN = 15
READS = {"GET", "MGET", "TIME", "EXISTS", "LLEN", "LRANGE", "XLEN", "XRANGE", "XREAD", "STRLEN", "SMEMBERS"}


class Freeze(Faults):
    """Lets somebody else lead before the n-th call; calls go through all the same, as after SIGCONT."""

    def __init__(self, at: int, link: Link, store: Store, leader: str) -> None:
        super().__init__()
        self._at = at
        self._link, self._store = link, store
        self._one = threading.Lock()  # the lanes are threads
        self.other = store.lease(keys.LEASE, 600, place="elsewhere")
        # In one step: or who waits for the lease has it in between.
        self.other._predecessor = f"{leader} "
        self.seen: dict[bytes, bytes] = {}

    def around(self, call: Callable[[], Any]) -> Any:
        if threading.current_thread().name == "graph-watch":
            return call()
        with self._one:
            self.calls += 1
            if self.calls == self._at:
                assert self.other.acquire()
                self.seen = self.look()
        return call()

    def beside(self, put: Callable[[], object]) -> None:
        """Let the test itself put something into the store."""
        with self._one:
            put()
            self.seen = self.look() if self.seen else {}

    def look(self) -> dict[bytes, bytes]:
        """Return all that is stored, by key; but what only arrives: it expires, and nobody reads it."""
        head = keys.full(self._store.prefix, "", tagged=True)
        (names,) = self._link.everywhere(lambda _node: [("KEYS", f"{head}*")])
        there = [name for name in sorted(names[0]) if not name.endswith(b":new")]
        values = self._link.everywhere(lambda _node: [("DUMP", name) for name in there]) if there else [[]]
        return dict(zip(there, values[0], strict=True))


class Changing(FaultyLink):
    """Counts only calls that may change something."""

    def call(
        self, key: str, commands: Sequence[Command], *, repeat: bool, copied: bool = False
    ) -> list[Reply]:
        if READS.issuperset(command[0] for command in commands):
            return self._link.call(key, commands, repeat=repeat, copied=copied)
        return super().call(key, commands, repeat=repeat, copied=copied)


def step_all(stage: Any, until: Callable[[], object]) -> None:
    """Step until something is so, or as often as would have been enough."""
    for _ in range(MORE_STEPS):
        if until():
            return
        try:
            stage.step()
        except StoreError as error:
            assert isinstance(error, Conflict), error


def check_nothing_changed(freeze: Freeze) -> None:
    now = freeze.look()
    changed = {name for name in freeze.seen.keys() | now.keys() if freeze.seen.get(name) != now.get(name)}
    assert not changed, f"frozen before call {freeze.calls}"
    freeze.other.renew()


def test_a_manager_that_another_followed_changes_nothing(
    cluster: GlobalStoreConfig, link: ClusterLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no request, answers none, lets go of none, and publishes nothing."""
    monkeypatch.setattr(publisher, "LARGE_BYTES", 16)
    for at in itertools.count(1):
        settings = config("/ami-not-there", cluster=cluster, cluster_name=next(clusters))
        settings = replace(settings, manager=ManagerConfig(keep_versions=1))
        stores = Stores(settings, cluster=link)
        store = stores.cluster("graph-manager")
        stores.cluster("source")[keys.SCHEMA] = SCHEMA.to_json()
        freeze = Freeze(at, link, store, keys.prefix("here", "graph-manager", 0))
        faulty = Changing(link, freeze)
        stage = GraphManagerStage(setup(settings, cluster=faulty, waits=SHORT))
        queue = store.queue(keys.REQUESTS)
        queue.put("no request")
        for number, (client, text) in enumerate(
            [("anna", "shots: count(x)"), ("ben", "odd: sum(nothing)"), ("anna", "total: sum_events(x)")]
        ):
            more = {"action": "add", "text": f"results: {{{text}}}"}
            queue.put({"id": f"r{number}", "client": client, **more})
        step_all(stage, lambda: stage.counters["requests"] == 3)  # noqa: B023  # called in this round only
        if not freeze.seen:
            assert stage.counters["version"] == 2
            break
        # What comes meanwhile is for the other one.
        freeze.beside(lambda: queue.put({"id": "late", "client": "carl", "action": "undo"}))  # noqa: B023
        step_all(stage, lambda: False)
        stage.close()
        check_nothing_changed(freeze)
    assert at > 10


@pytest.mark.parametrize("seed", range(3))
def test_a_global_reducer_that_another_followed_changes_nothing(
    links: Links, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Neither lane publishes or leaves a checkpoint, and what others sent stays in the inboxes."""
    let_looks_be_time(monkeypatch)
    monkeypatch.setattr(publisher, "TABLE_BYTES", 8)
    monkeypatch.setattr(publisher, "PIECE_BYTES", 16)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 16)
    monkeypatch.setattr(large_lane, "BY_KEY_BYTES", 16)
    monkeypatch.setattr(large_checkpoint, "SPLIT_BYTES", 1)
    monkeypatch.setattr(spans, "PART_BYTES", 64)
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 1 << 30)

    def work(at: int) -> int:
        """Freeze it before this call; return how many there were."""
        with ring_name() as name, closing(Node(name, links)) as node:
            node.run()
            send_all(node)
            place = keys.prefix(node.host, "global-reducer", 0)
            freeze = Freeze(at, node.cluster, node.reducer, place)
            link = Changing(node.cluster, freeze)
            stage = GlobalReducerStage(setup(node.config, local=node.local, cluster=link))
            stage.start()
            step_all(stage, lambda: published_all(node))
            freeze.beside(lambda: let_results_go(node))
            step_all(stage, lambda: False)
            stage.close()
            if freeze.seen:
                check_nothing_changed(freeze)
            return freeze.calls

    calls = work(0)
    assert calls > 50
    for at in random.Random(seed).sample(range(1, calls + 1), DRAWN):
        work(at)


def let_results_go(node: Node) -> None:
    """Publish a graph with fewer results, and send a batch of it."""
    put_graph(node.stores.cluster("graph-manager"), graph_of("results: {shots: count(x)}").at_version(2))
    node.reducer.journal(keys.inbox("b")).append(1, batch(9, [1], node="b", graph_version=2))
    node.reducer.set(keys.NODES).add("b")
