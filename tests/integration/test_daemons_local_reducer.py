"""The local reducer on a real ring, between two real stores: every batch once, whenever it dies."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ami.config import Config, GlobalStoreConfig, LocalStoreConfig, ReducerConfig
from ami.daemons.reduction import local_reducer
from ami.daemons.reduction.local_reducer import LocalReducerStage
from ami.daemons.worker.flush import Held
from ami.daemons.worker.large import LargeStates
from ami.daemons.worker.worker import WorkerStage
from ami.errors import ConfigError, StoreUnavailable
from ami.event import Transition
from ami.graph.execution.bind import reductions
from ami.graph.execution.plan import WorkerPlan
from ami.messages.batch import Batch
from ami.messages.message import expect
from ami.ring import RingReader
from ami.ring.block import Block
from ami.stores import Record, journal, keys
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.opened import Stores
from tests.daemons_rig import (
    GRAPH,
    SCHEMA,
    SHORT,
    Faults,
    FaultyLink,
    Shift,
    config,
    publish_graph,
    setup,
    steps,
)
from tests.journals import last
from tests.ring_rig import ring_name
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

PLAN = WorkerPlan(GRAPH, SCHEMA)
SUM = GRAPH.fingerprint("total")
hosts = (f"host{number}" for number in itertools.count())


class Hands:
    """A worker without a loop: runs what is there, in one flush an entry, and commits it."""

    def __init__(self, ring: str, stores: Stores, number: int = 0) -> None:
        self.reader = RingReader(ring, number)
        self._journal = stores.local("worker", number).journal(keys.FLUSHES)
        stores.local("local-reducer").set(keys.WORKERS).add(number)
        self._number = last(self._journal)

    def work(self, limit: int = 1 << 16) -> int:
        """Run and store at most ``limit`` events; return how many there were."""
        return self.run(self.reader.claim(limit))

    def run(self, block: Block | None) -> int:
        """Run and store what was claimed; return how many events there were."""
        if block is None:
            return 0
        held = Held(block, PLAN, LargeStates(self.reader, 1 << 20))
        PLAN.run(block.slots, block.sequence, held.partial)
        held.add(block)
        self._number += 1
        flush, covered = held.to_flush(self.reader.ring_id, self._number)
        self._journal.append(covered.flush, flush, also={keys.COVERED: covered})
        self.reader.commit(covered.runs)
        return block.slots.count


class Node:
    """One node's ring and stores, with a host name that no other test has."""

    def __init__(
        self, local: LocalStoreConfig, cluster: GlobalStoreConfig, ring: str, link: ClusterLink | None = None,
        **parts: Any,
    ) -> None:  # fmt: skip
        self.host = next(hosts)
        self.config: Config = config(ring, local, cluster, host=self.host, **parts)
        self.shift = Shift(ring)
        self.local = LocalLink(local)
        self.own_cluster = None if link else ClusterLink(cluster)
        self.cluster = link or self.own_cluster
        self.stores = Stores(self.config, local=self.local, cluster=self.cluster)
        self.reducer = self.stores.cluster("global-reducer")
        self.inbox = self.reducer.journal(keys.inbox(self.host))
        self.faults = Faults()
        self.waits = SHORT

    def hands(self, number: int = 0) -> Hands:
        return Hands(self.config.ring.name, self.stores, number)

    def new_stage(self) -> LocalReducerStage:
        assert self.cluster is not None
        cluster = FaultyLink(self.cluster, self.faults)
        return LocalReducerStage(
            setup(self.config, local=FaultyLink(self.local, self.faults), cluster=cluster, waits=self.waits)
        )

    def stage(self) -> LocalReducerStage:
        stage = self.new_stage()
        stage.start()
        return stage

    def batches(self) -> list[Batch]:
        records: list[Record] = self.inbox.read(0, 1000)
        numbers = [record.number for record in records]
        assert numbers == sorted(set(numbers))
        return [expect(Batch, record.value) for record in records]

    def flushes_left(self) -> int:
        workers = (self.stores.local("worker", number) for number in range(2))
        return sum(worker.journal(keys.FLUSHES).pending() for worker in workers)

    def close(self) -> None:
        self.shift.close()
        self.local.close()
        if self.own_cluster is not None:
            self.own_cluster.close()


@pytest.fixture
def node(local_redis: LocalStoreConfig, cluster: GlobalStoreConfig) -> Iterator[Node]:
    publish_graph(cluster, GRAPH)
    with ring_name() as name:
        node = Node(local_redis, cluster, name)
        yield node
        node.close()


def total(batches: list[Batch]) -> int:
    states = [batch.partial.states for batch in batches if batch.partial]
    reduction = reductions(GRAPH)[SUM]
    return sum(int(reduction.result(state[SUM])) for state in states if SUM in state)


def a_run(node: Node) -> int:
    """Put three intervals between the borders of a run through two workers; return how many events."""
    hands = [node.hands(number) for number in range(2)]
    node.shift.transition(Transition.BEGIN_RUN)
    for count in (10, 1, 7):
        node.shift.interval(count)
        while sum(one.work(4) for one in hands):
            pass
    node.shift.interval(0, dropped=3)
    node.shift.transition(Transition.END_RUN)
    for one in hands:
        one.reader.close()
    return 18


def check_the_run(node: Node) -> None:
    batches = node.batches()
    assert [(b.entry.index, b.transition, b.covers.events, b.expected) for b in batches] == [
        (0, 1, 0, 0), (1, 0, 10, 10), (2, 0, 1, 1), (3, 0, 7, 7), (4, 0, 0, 3), (5, 2, 0, 0),
    ]  # fmt: skip
    assert all(batch.complete and not batch.supplement for batch in batches)
    assert total(batches) == sum(range(18))


def test_each_entry_becomes_one_batch_and_its_flushes_leave_the_local_store(node: Node) -> None:
    a_run(node)
    stage = node.stage()
    steps(stage, lambda: node.inbox.pending() == 6)
    steps(stage, lambda: node.flushes_left() == 0)
    check_the_run(node)
    assert node.batches()[1].workers == tuple(keys.prefix(node.host, "worker", n) for n in range(2))
    assert stage.state == "running"
    assert (stage.counters["batches"], stage.counters["entries"], stage.counters["incomplete"]) == (6, 6, 0)
    assert stage.counters["lag_intervals"] == 0
    stage.close()
    assert node.shift.ring.is_drained()  # the places in the table are free again
    assert node.host in set(node.reducer.set(keys.NODES))


def test_a_backlog_takes_many_steps_and_each_is_short(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(node)
    node.waits = replace(SHORT, step_s=0.0)
    stage = node.stage()
    sent = [0]
    with monkeypatch.context() as patch:
        patch.setattr(journal, "READ_BYTES", 1)
        while sent[-1] < 6 or node.flushes_left():
            stage.step()
            sent.append(last(node.inbox) - 1)  # without the number of the fence
    assert max(after - before for before, after in itertools.pairwise(sent)) == 1
    assert len(sent) > 10
    check_the_run(node)
    stage.close()


def test_while_there_is_no_ring_it_says_that_it_waits_for_one(
    local_redis: LocalStoreConfig, cluster: GlobalStoreConfig
) -> None:
    stage = LocalReducerStage(setup(config("/ami-not-there", local_redis, cluster)))
    stage.step()
    assert stage.state.startswith("waiting: for ")
    assert "/ami-not-there" in stage.state
    stage.close()


@pytest.mark.parametrize("kind", [LocalReducerStage, WorkerStage])
def test_a_ring_of_another_version_is_waited_for_until_it_is_one_of_ours(
    node: Node, kind: type[LocalReducerStage | WorkerStage]
) -> None:
    file = Path("/dev/shm" + node.config.ring.name)
    with file.open("r+b") as segment:
        segment.seek(8)
        version = segment.read(1)
        segment.seek(8)
        segment.write(b"\x63")
        segment.flush()
        stage = kind(setup(node.config, local=node.local, cluster=node.cluster))
        stage.start()
        for _ in range(3):
            stage.step()
            assert stage.state.startswith("waiting: for ")
            assert "layout version 99" in stage.state
        segment.seek(8)
        segment.write(version)
    steps(stage, lambda: stage.state == "running")
    stage.close()


@pytest.mark.parametrize("then", ["a successor", "the same process"])
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("backlog", [False, True], ids=["all at once", "one by one"])
def test_whichever_call_to_a_store_fails_every_event_is_in_one_batch(
    local_redis: LocalStoreConfig,
    cluster: GlobalStoreConfig,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
    answer_lost: bool,
    backlog: bool,
) -> None:
    publish_graph(cluster, GRAPH)
    link = ClusterLink(cluster)
    for fails_at in itertools.count(1):
        with ring_name() as name:
            node = Node(local_redis, cluster, name, link)
            node.waits = replace(SHORT, step_s=0.0 if backlog else SHORT.step_s)
            a_run(node)
            faults = node.faults = Faults(fails_at, answer_lost=answer_lost)
            with monkeypatch.context() as patch:
                if backlog:  # as if each flush and each batch took a step's time
                    patch.setattr(journal, "READ_BYTES", 1)
                run_through(node, same_process=then == "the same process")
            check_the_run(node)
            assert node.flushes_left() == 0, f"after a fault at call {fails_at}"
            node.close()
            if not faults.met:
                break
    link.close()
    assert fails_at > 15


def run_through(node: Node, *, same_process: bool) -> None:
    """Step until the run is sent. A call fails: go on with the stage, or with a successor."""
    stage, started = node.new_stage(), False
    deadline = time.monotonic() + PATIENCE_S
    while node.inbox.pending() < 6 or node.flushes_left() > 0:
        assert time.monotonic() < deadline, f"{node.flushes_left()} flushes are in no batch"
        try:
            if not started:
                stage.start()
            started = True
            stage.step()
        except StoreUnavailable:
            if not same_process:
                stage.close()  # nothing is handed on: as good as dead
                stage, started = node.new_stage(), False
    stage.close()


def test_a_late_part_follows_as_a_supplement_also_when_its_first_part_was_sent_by_a_predecessor(
    local_redis: LocalStoreConfig, cluster: GlobalStoreConfig
) -> None:
    publish_graph(cluster, GRAPH)
    with ring_name() as name:
        node = Node(local_redis, cluster, name, reducer=ReducerConfig(grace_s=0.0, barrier_s=60))
        hands, slow = node.hands(), node.hands(1)
        node.shift.interval(10)
        assert hands.work(4) == 4
        under_way = slow.reader.claim(6)
        node.shift.interval(1)
        assert hands.work() == 1  # so the other is not late because everybody is
        stage = node.stage()
        steps(stage, lambda: node.inbox.pending() == 2)
        assert stage.counters["incomplete"] == 1
        stage.close()
        stage = node.stage()
        stage.step()
        assert slow.run(under_way) == 6
        steps(stage, lambda: node.inbox.pending() == 3)
        stage.close()
        first, other, second = node.batches()
        assert (first.complete, first.expected, first.covers.events) == (False, 10, 4)
        assert (second.supplement, second.expected, second.covers.events) == (True, 0, 6)
        assert total([first, other, second]) == sum(range(11))
        hands.reader.close()
        slow.reader.close()
        node.close()


def test_a_replaced_ring_is_left_when_all_is_sent_and_what_comes_of_it_later_is_sent_too(node: Node) -> None:
    hands = node.hands()
    node.shift.interval(5)
    hands.work()
    stage = node.stage()
    steps(stage, lambda: node.inbox.pending() == 1)
    node.shift.interval(4)
    node.shift.ring.close(unlink=False)
    new = node.shift = Shift(node.config.ring.name, source_id="another input")
    assert not new.ring.resumed
    assert hands.work(4) == 4  # this worker is not finished with the old one
    new.interval(3)
    fresh = node.hands(1)
    fresh.work()
    steps(stage, lambda: node.inbox.pending() == 3)
    stage.close()
    batches = node.batches()
    assert sorted(batch.covers.events for batch in batches) == [3, 4, 5]
    assert len({batch.entry.ring for batch in batches}) == 2
    for one in (hands, fresh):
        one.reader.close()


def test_when_the_global_reducer_is_far_behind_nothing_more_is_sent(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_reducer, "BATCHES_AHEAD", 3)
    stage = node.stage()
    hands = node.hands()
    for _ in range(8):
        node.shift.interval(1)
        hands.work()
        stage.step()
        stage.step()
    assert 3 <= last(node.inbox) < 8
    assert stage.state == "waiting: for the global reducer"
    sent = last(node.inbox)
    steps(stage, lambda: True)
    node.inbox.trim(sent)  # the global reducer wrote its checkpoint
    steps(stage, lambda: last(node.inbox) > sent)
    stage.close()
    hands.reader.close()


def test_a_flush_that_cannot_be_read_is_put_away_with_a_word_and_stops_nothing(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    hands = node.hands()
    node.shift.interval(5)
    hands.work()
    spoil(node, keys.payload(keys.FLUSHES, 1))
    node.shift.interval(3)
    hands.work()
    stage = node.stage()
    steps(stage, lambda: node.inbox.pending() == 2)
    stage.close()
    assert [batch.covers.events for batch in node.batches()] == [0, 3]
    assert "flushes" in caplog.text
    assert node.flushes_left() == 0
    hands.reader.close()


def test_a_flush_of_another_version_is_put_away_with_a_word(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.stores.local("local-reducer").set(keys.WORKERS).add(0)
    node.stores.local("worker").journal(keys.FLUSHES).append(1, {"ring": 7, "entry": 0})
    stage = node.stage()
    steps(stage, lambda: node.flushes_left() == 0)
    stage.close()
    assert "there is a dict where a Flush should be" in caplog.text


def test_a_mark_of_another_version_is_refused_with_what_to_do(node: Node) -> None:
    node.reducer.put(keys.mark(node.host), {"ring": 7, "next_entry": 3})
    stage = node.new_stage()
    with pytest.raises(ConfigError, match=f"mark:{node.host} cannot be read: there is a dict where a Mark"):
        stage.start()
    stage.close()


def spoil(node: Node, name: str) -> None:
    """Put bytes that are no value of ours where a worker's payload is."""
    key = keys.full(keys.prefix(node.host, "worker", 0), name, tagged=False)
    node.local.one(key, "SET", b"\x80\x05 not ours", repeat=True)


def test_a_second_local_reducer_waits_while_the_first_one_lives(node: Node) -> None:
    first, second = node.stage(), node.stage()
    first.step()
    second.step()
    assert "is the local reducer of ring" in second.state
    first.close()
    second.step()
    assert second.state == "running"
    second.close()
