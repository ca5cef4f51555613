"""A node whose graph has large results, without the loops of its daemons."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ami.client.updates import read_results
from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.daemons.reduction.assembly import Assembly
from ami.daemons.reduction.local_reducer import LocalReducerStage
from ami.daemons.worker.flush import Held
from ami.daemons.worker.large import LargeStates
from ami.event import Transition
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.messages import pieces
from ami.messages.large import LargeBatch, Parcel
from ami.messages.message import expect
from ami.result import Result
from ami.ring import RingReader, parcels
from ami.stores import codec, keys
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.membership import Members
from ami.stores.opened import Stores
from tests.daemons_rig import (
    SCHEMA,
    Faults,
    FaultyLink,
    Shift,
    config,
    die,
    put_graph,
    setup,
    steps,
)
from tests.journals import last
from tests.ring_rig import ARENA_BYTES

TEXT = """
results:
  shots: count(x)
  picture: sum_events(image)
  scan: mean_vs(image, key=x % 3)
  newest: last(image)
  per_shot: sum_events(image) / sum_events(x)
"""
LARGE = ("newest", "per_shot", "picture", "scan")
GRAPH = replace(graph_of(TEXT).at_version(1), large=tuple((name, 1) for name in LARGE))
PLAN = WorkerPlan(GRAPH, SCHEMA)
PLAN.by_key = frozenset({GRAPH.fingerprint("scan")})
COUNTS = (10, 1, 7, 4)  # events of each interval; a span ends after the second one
EVENTS, DROPPED = sum(COUNTS), 3
hosts = (f"host-large{number}" for number in itertools.count())


Links = tuple[LocalLink, ClusterLink, LocalStoreConfig, GlobalStoreConfig]


@contextmanager
def open_links(local: LocalStoreConfig, cluster: GlobalStoreConfig) -> Iterator[Links]:
    cluster = replace(cluster, append_to="memory")
    here, there = LocalLink(local), ClusterLink(cluster)
    yield here, there, local, cluster
    here.close()
    there.close()


class Hands:
    """A worker without a loop: runs what is there, in one flush an entry, and commits it."""

    def __init__(self, ring: str, stores: Stores, number: int) -> None:
        self.reader = RingReader(ring, number)
        self._large = LargeStates(self.reader, ARENA_BYTES)
        self._journal = stores.local("worker", number).journal(keys.FLUSHES)
        stores.local("local-reducer").set(keys.WORKERS).add(number)
        self._number = last(self._journal)

    def work(self, limit: int) -> int:
        block = self.reader.claim(limit)
        if block is None:
            return 0
        held = Held(block, PLAN, self._large)
        PLAN.run(block.slots, block.sequence, held.partial, interval=block.entry.interval)
        held.add(block)
        self._large.add(PLAN, held.split())
        self._number += 1
        flush, covered = held.to_flush(self.reader.ring_id, self._number)
        self._journal.append(covered.flush, flush, also={keys.COVERED: covered})
        self.reader.set_flushed(covered.runs)
        runs = self._large.store()
        assert runs is not None
        self.reader.commit(runs)
        return block.slots.count

    def close(self) -> None:
        self._large.close()
        self.reader.close()


class Node:
    """A ring and the stores of a host and a cluster that no other test has."""

    def __init__(self, ring: str, links: Links) -> None:
        local, cluster, *configs = links
        self.host = next(hosts)
        self.config = config(ring, *configs, host=self.host, cluster_name=f"of-{self.host}")
        self.local, self.cluster = local, cluster
        self.stores = Stores(self.config, local=local, cluster=cluster)
        self.reducer = self.stores.cluster("global-reducer")
        self.inbox = self.reducer.journal(keys.large_inbox(self.host))
        self.faults = Faults()
        put_graph(self.stores.cluster("graph-manager"), GRAPH)
        self.shift = Shift(ring)
        self.shift.large = True

    def run(self) -> None:
        """Put a run of two spans through two workers."""
        hands = [Hands(self.config.ring.name, self.stores, number) for number in range(2)]
        self.shift.transition(Transition.BEGIN_RUN)
        for place, count in enumerate(COUNTS):
            self.shift.interval(count, dropped=DROPPED if place == 2 else 0)
            if place == 1:
                self.shift.ring.end_span()
            while sum(one.work(3) for one in hands):
                pass
        self.shift.ring.end_span()
        self.shift.transition(Transition.END_RUN)
        for one in hands:
            one.close()

    def stage(self, kind: Any) -> Any:
        cluster = FaultyLink(self.cluster, self.faults)
        return kind(setup(self.config, local=self.local, cluster=cluster))

    def batches(self) -> list[LargeBatch]:
        values = [record.value for record in self.inbox.read(0, 1000)]
        whole = [codec.decode(parcels.look(one.name)) if isinstance(one, Parcel) else one for one in values]
        return [expect(LargeBatch, value) for value in whole]

    def parcels(self) -> set[str]:
        """Return the names of those that lie there."""
        return set(parcels.Parcels(self.config.ring.name).find())

    def close(self) -> None:
        self.shift.close()


def check_values(found: dict[str, Any]) -> None:
    numbers = np.arange(EVENTS + DROPPED)
    x = np.delete(numbers, [18, 19, 20])  # what the source dropped after the third interval
    assert (found["picture"] == EVENTS).all()
    assert found["picture"].shape == (2, 3)
    assert (found["newest"] == 1).all()
    np.testing.assert_allclose(found["per_shot"], np.full((2, 3), EVENTS / x.sum()))
    assert found["scan"].keys.tolist() == [0, 1, 2]
    assert found["scan"].counts.tolist() == np.bincount(x % 3).tolist()
    assert (found["scan"].means == 1).all()


def check_batches(node: Node) -> None:
    """See that the parts of the spans, one after the other, give all events once."""
    batches = node.batches()
    assert all(batch.complete for batch in batches)
    assert [batch.span for batch in batches if batch.last] == [1, 3]
    assembly = Assembly(lambda _version: GRAPH, large=True)
    for number, batch in enumerate(batches, start=1):
        assembly.apply_span(batch.node, number, batch)
    found = {result.name: result for result in assembly.results(Members(here=frozenset({node.host})))}
    assert set(found) == set(LARGE)
    check_values({name: result.value for name, result in found.items()})
    for result in found.values():
        account = result.events
        assert (account.expected, account.used, account.dropped) == (EVENTS + DROPPED, EVENTS, DROPPED)
        assert result.complete
        assert result.workers == tuple(keys.prefix(node.host, "worker", n) for n in range(2))


def sent_all(node: Node) -> bool:
    return node.shift.ring.released >= node.shift.ring.cursor.entries_closed


def send_all(node: Node) -> None:
    sender = node.stage(LocalReducerStage)
    sender.start()
    steps(sender, lambda: sent_all(node))
    die(sender)  # an orderly end brings parcels into the store


def value_of(node: Node, name: str) -> Result | None:
    return read_results(node.reducer, [name]).get(name)


def published_all(node: Node) -> bool:
    found = [value_of(node, name) for name in GRAPH.results]
    whole = all(one is not None and one.events.expected == EVENTS + DROPPED for one in found)
    return whole and node.inbox.pending() == 0


def check_published(node: Node) -> None:
    found = {name: value_of(node, name) for name in GRAPH.results}
    assert found["shots"] is not None
    assert found["shots"].value == EVENTS
    check_values({name: one.value for name, one in found.items() if one is not None})
    for one in found.values():
        assert one is not None
        assert (one.events.used, one.events.dropped, one.complete) == (EVENTS, DROPPED, True)
    stored = [node.reducer.get(keys.result(name)) for name in GRAPH.results]
    by_key = [one.value for one in stored if isinstance(one, Result) and isinstance(one.value, pieces.Keyed)]
    parts = [one for one in (*by_key, *stored) if isinstance(one, pieces.Keyed | pieces.Pieces)]
    named = {name for one in parts for name in one.names}
    left = {name for name in node.reducer if keys.is_result_piece(name)}
    # Of a scan by key, what the result before it named stays for who is reading it.
    assert left >= named if by_key else left == named
