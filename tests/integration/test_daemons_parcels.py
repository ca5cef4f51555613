"""Batches in parcels: in shared memory while the store is of one machine, else through the store."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ami.cluster import whose
from ami.daemons.reduction import span_sender
from ami.daemons.reduction.global_reducer import GlobalReducerStage
from ami.daemons.reduction.local_reducer import LocalReducerStage
from ami.errors import RingBusy
from ami.messages.large import LargeBatch, Parcel
from ami.ring import parcels
from ami.stores import codec, keys
from tests.daemons_rig import (
    Shift,
    die,
    let_looks_be_time,
    steps,
)
from tests.large_rig import (
    COUNTS,
    Links,
    Node,
    check_batches,
    check_published,
    published_all,
    send_all,
    value_of,
)
from tests.ring_rig import ring_name

pytestmark = pytest.mark.integration


def test_a_parcel_that_no_record_names_is_removed(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        left = [parcels.Parcels(name).leave(number, [b"of a dead one"]) for number in (1, 9, 1 << 40)]
        Path(f"/dev/shm{left[0]}.new").touch()
        send_all(node)
        assert node.parcels().isdisjoint(left)
        check_batches(node)
        node.close()
    assert not list(Path("/dev/shm").glob(f"{name[1:]}*"))


def test_batches_go_through_the_store_when_shared_memory_is_full(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)

    def refuse(_fd: int, _buffers: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ring_name() as name:
        node = Node(name, links)
        node.run()
        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", refuse)
            send_all(node)
        assert not list(Path("/dev/shm").glob(f"{name[1:]}.p*"))
        assert all(isinstance(record.value, LargeBatch) for record in node.inbox.read())
        check_batches(node)
        node.close()


@pytest.mark.parametrize("by", ["another node", "its start nodes", "its disk", "its end"])
def test_parcels_are_sent_when_the_store_becomes_a_cluster_or_the_node_is_stopped(
    links: Links, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        send_all(node)
        names = node.parcels()
        assert len(names) == 2
        if by == "another node":
            node.reducer.set(keys.NODES).add("another")
        elif by != "its end":
            more = (
                {"start_nodes": ("198.51.100.7:7379",)} if by == "its start nodes" else {"append_to": "disk"}
            )
            store = replace(node.config.global_store, **more)  # type: ignore[arg-type]
            node.config = replace(node.config, global_store=store)
        sender = node.stage(LocalReducerStage)
        sender.start()
        assert bool(node.parcels()) == (by == "its end")
        (sender.close if by == "its end" else lambda: die(sender))()
        assert node.parcels() == set()
        assert all(isinstance(record.value, LargeBatch) for record in node.inbox.read())
        check_batches(node)
        node.close()


def test_a_batch_that_is_unpacked_after_its_record_was_read_is_taken_from_the_store(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_looks_be_time(monkeypatch)
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        send_all(node)
        look = parcels.look

        def unpack_first(parcel: str, **how: Any) -> memoryview:
            if parcel in node.parcels():
                node.inbox.replace(int(parcel.partition(".p")[2].partition("-")[0], 16), look(parcel))
                parcels.remove([parcel])
            return look(parcel, **how)

        monkeypatch.setattr(parcels, "look", unpack_first)
        stage = node.stage(GlobalReducerStage)
        stage.start()
        steps(stage, lambda: published_all(node))
        check_published(node)
        stage.close()
        node.close()


def test_a_batch_whose_parcel_is_gone_is_passed_over(
    links: Links, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_looks_be_time(monkeypatch)
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        send_all(node)
        parcels.remove([min(node.parcels())])
        stage = node.stage(GlobalReducerStage)
        stage.start()
        steps(stage, lambda: node.inbox.pending() == 0)
        stage.close()
        assert "its parcel cannot be had" in caplog.text
        found = value_of(node, "picture")
        assert found is not None
        assert found.events.used == COUNTS[2] + COUNTS[3]
        node.close()


def test_a_batch_in_a_parcel_of_another_machine_is_waited_for(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_looks_be_time(monkeypatch)
    with ring_name() as name:
        node = Node(name, links)
        node.run()
        send_all(node)
        (first, raw), *_ = [(one.number, bytes(codec.encode(one.value))) for one in node.inbox.read()]
        elsewhere = Parcel(name=f"{name}.p1-{'0' * 16}", bytes=len(raw))
        node.inbox.replace(first, bytes(codec.encode(elsewhere)))
        away = replace(node.config, node=replace(node.config.node, host="another"))
        node.config, config = away, node.config
        stage = node.stage(GlobalReducerStage)
        node.config = config
        stage.start()
        for _ in range(20):
            stage.step()
        assert value_of(node, "picture") is None
        node.inbox.replace(first, raw)
        steps(stage, lambda: published_all(node))
        check_published(node)
        die(stage)
        node.close()


def test_a_node_that_was_given_anothers_ring_takes_no_parcel_away(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own inbox names none of them."""
    monkeypatch.setattr(span_sender, "PARCEL_BYTES", 0)
    with ring_name() as name:
        node = Node(name, links)
        node.shift.close()
        node.shift = Shift(name, source_id=whose.sign(node.config, "rig"))
        node.shift.large = True
        node.run()
        send_all(node)
        names = node.parcels()
        assert len(names) == 2
        own = node.config
        elsewhere = replace(own.local_store, socket=Path("/elsewhere/local.sock"))
        node.config = replace(own, node=replace(own.node, host="other"), local_store=elsewhere)
        stage = node.stage(LocalReducerStage)
        with pytest.raises(RingBusy, match="of another node"):
            stage.start()
        stage.close()
        node.config = own
        assert node.parcels() == names
        check_batches(node)
        node.close()
