"""The large lane between arenas and results: each event once, whichever call fails and whoever goes on."""

from __future__ import annotations

import itertools

import pytest

from ami.daemons.process import beside
from ami.daemons.reduction import large_lane, span_sender, spans
from ami.daemons.reduction.global_reducer import GlobalReducerStage
from ami.daemons.reduction.local_reducer import LocalReducerStage
from ami.errors import StoreUnavailable
from ami.messages import pieces
from ami.messages.large import Parcel
from ami.ring import RingReader, arena
from ami.stores import keys
from tests.daemons_rig import (
    Faults,
    Shift,
    die,
    let_looks_be_time,
    steps,
)
from tests.large_rig import (
    COUNTS,
    GRAPH,
    Links,
    Node,
    check_batches,
    check_published,
    published_all,
    send_all,
    sent_all,
)
from tests.ring_rig import ring_name

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("parts", "least"), [(1, 1 << 30), (4, 1 << 30), (4, 0)], ids=["whole", "in parts", "in parcels"]
)
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
def test_whichever_call_of_a_local_reducer_fails_each_event_is_sent_once(
    links: Links, monkeypatch: pytest.MonkeyPatch, parts: int, least: int, answer_lost: bool
) -> None:
    monkeypatch.setattr(beside, "AGAIN_S", 0.0)
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", least)
    if parts > 1:
        monkeypatch.setattr(spans, "PART_BYTES", 64)
    # Each call where all goes in one part. Those for many parts are alike: every third of them, and others
    # where the answer is lost.
    for fails_at in itertools.count(1 + (answer_lost and parts > 1), 3 if parts > 1 else 1):
        with ring_name() as name:
            node = Node(name, links)
            node.run()
            faults = node.faults = Faults(fails_at, answer_lost=answer_lost)
            stage, started = node.stage(LocalReducerStage), False
            while not sent_all(node):
                try:
                    if not started:
                        stage.start()
                    started = True
                    stage.step()
                except StoreUnavailable:
                    stage.close()
                    stage, started = node.stage(LocalReducerStage), False
            die(stage)
            assert (len(node.batches()) > 2) == (parts > 1)
            check_batches(node)
            values = [record.value for record in node.inbox.read(0, 999)]
            assert node.parcels() == {value.name for value in values if isinstance(value, Parcel)}
            assert not (least and node.parcels())
            node.close()
            if not faults.met:
                break
    assert fails_at > 10


def test_arenas_hold_nothing_of_what_was_released_and_go_with_the_ring(links: Links) -> None:
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        assert len(arena.find(name)) == 2
        stage = node.stage(LocalReducerStage)
        stage.start()
        steps(stage, lambda: sent_all(node))
        node.shift.ring.close(unlink=True)
        steps(stage, lambda: stage.state.startswith("waiting: for "))
        assert arena.find(name) == []
        stage.close()


def test_what_a_replaced_ring_left_in_arenas_is_sent_when_its_workers_are_gone(links: Links) -> None:
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        node.shift.ring.close(unlink=True)
        node.shift = Shift(name, source_id="another input")
        stage = node.stage(LocalReducerStage)
        stage.start()
        steps(stage, lambda: len(node.batches()) == 2 and not arena.find(name))
        stage.close()
        batches = node.batches()
        assert not any(batch.complete for batch in batches)
        seen = [part.partial.seen for batch in batches for part in batch.intervals]
        assert seen == list(COUNTS)
        assert [part.expected for batch in batches for part in batch.intervals] == list(COUNTS)
        node.close()


@pytest.mark.parametrize("form", ["whole values", "in pieces", "by key"])
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
def test_whichever_call_of_a_global_reducer_fails_the_results_are_the_same(
    links: Links, monkeypatch: pytest.MonkeyPatch, answer_lost: bool, form: str
) -> None:
    let_looks_be_time(monkeypatch)
    monkeypatch.setattr(spans, "PART_BYTES", 64)
    monkeypatch.setattr(large_lane, "UNCHECKED_BYTES", 100)  # a checkpoint also in the middle of a span
    # Nobody publishes while this looks: what lies in pieces is there, or comes with a later step.
    monkeypatch.setattr("ami.client.updates.TRIALS", 1)
    monkeypatch.setattr("ami.client.updates.AGAIN_S", 0)
    if form == "by key":
        monkeypatch.setattr(large_lane, "BY_KEY_BYTES", 1)
    if form == "in pieces":
        monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)
        monkeypatch.setattr("ami.daemons.reduction.publisher.PIECE_BYTES", 20)
        monkeypatch.setattr(pieces, "PIECE_BYTES", 400)
    for fails_at in itertools.count(1, 7):
        with ring_name() as name:
            node = Node(name, links)
            node.run()
            send_all(node)
            faults = node.faults = Faults(fails_at, answer_lost=answer_lost)
            stage = run_to_the_end(node)
            stage._finish_large()
            check_published(node)
            die(stage)
            if node.parcels():  # a leader that died before it removed them has left that to the node's own
                send_all(node)
            assert not node.parcels()
            node.close()
            if not faults.met:
                break
    assert fails_at > 15


def run_to_the_end(node: Node) -> GlobalReducerStage:
    stage = node.stage(GlobalReducerStage)
    stage.start()
    while not published_all(node):
        try:
            stage.step()
        except StoreUnavailable:
            die(stage)
            stage = node.stage(GlobalReducerStage)
            stage.start()
    return stage


def test_what_the_global_reducer_lets_go_is_switched_off_once_on_the_node(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_looks_be_time(monkeypatch)
    with ring_name() as name:
        node = Node(name, links)
        # The three keys of the scan have more, all others less.
        monkeypatch.setattr(large_lane, "STATE_SHARE", 300 / node.config.global_store.max_memory_bytes)
        node.run()
        send_all(node)
        leader = node.stage(GlobalReducerStage)
        leader.start()
        scan = GRAPH.fingerprint("scan")
        steps(leader, lambda: node.reducer.get(keys.REFUSED))
        refused = node.reducer.get(keys.REFUSED)
        assert list(refused) == [scan]
        assert refused[scan][0] == 1
        die(leader)
        node.faults.hears = True
        local = node.stage(LocalReducerStage)
        local.start()
        with RingReader(name, 5) as reader:
            steps(local, reader.list_offenders)
            assert reader.list_offenders() == {scan: refused[scan][1]}
            # Whoever takes it out and puts it back may try again, whatever stands in the store.
            reader.forget_offences(2, ())
            for _ in range(20):
                local.step()
            assert reader.list_offenders() == {}
        local.close()
        node.close()
