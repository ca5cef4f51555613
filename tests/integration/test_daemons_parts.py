"""Parts of a large checkpoint: in shared memory while the store is of one machine; used by who follows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ami.daemons.process import durable
from ami.daemons.reduction import large_checkpoint, large_lane, part_store, publisher
from ami.daemons.reduction.global_reducer import GlobalReducerStage
from ami.daemons.reduction.part_store import PartStore
from ami.ring import parcels
from ami.ring.parcels import PART, Parcels
from ami.stores import keys
from tests.daemons_rig import die, let_looks_be_time, steps
from tests.large_rig import GRAPH, Links, Node, check_published, published_all, send_all, value_of
from tests.ring_rig import ring_name

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    let_looks_be_time(monkeypatch)
    monkeypatch.setattr(part_store, "PARCEL_BYTES", 0)
    monkeypatch.setattr(large_checkpoint, "SPLIT_BYTES", 1)
    monkeypatch.setattr(large_lane, "BY_KEY_BYTES", 1)


def begin(node: Node) -> Any:
    stage = node.stage(GlobalReducerStage)
    stage.start()
    return stage


def run_all(node: Node) -> Any:
    """Return a leader that has taken in, published and checkpointed all that a node has."""
    node.run()
    send_all(node)
    leader = begin(node)
    steps(leader, lambda: published_all(node))
    leader._finish_large()
    return leader


def parts(node: Node) -> set[str]:
    return set(Parcels(node.config.ring.name, PART).find())


def stored(node: Node) -> set[str]:
    return {name for name in node.reducer if keys.is_large_part(name)}


def pieces_of(node: Node) -> tuple[str, ...]:
    found = node.reducer[keys.result("scan")]
    return tuple(found.value.names)


def go_on(node: Node) -> Any:
    """Return another leader that has published what it took up."""
    before = value_of(node, "picture")
    assert before is not None
    leader = begin(node)
    steps(leader, lambda: (now := value_of(node, "picture")) and now.published_ns > before.published_ns)
    leader._finish_large()
    return leader


def test_who_follows_a_dead_leader_looks_at_its_parts_and_uses_its_pieces_again(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ring_name() as name:
        node = Node(name, links)
        leader = run_all(node)
        assert parts(node)
        assert not stored(node)
        left, pieces = parts(node), pieces_of(node)
        die(leader)
        node.faults.hears = True
        put: list[str] = []
        monkeypatch.setattr(publisher.Publisher, "put_piece", lambda _self, name, _piece: put.append(name))
        leader._large._parts._parcels(7).leave(9, [b"of one that did not come to its checkpoint"])
        foreign = Parcels(name, PART, "0" * 16).leave(9, [b"of another node"])
        leader = go_on(node)
        assert (parts(node), pieces_of(node), put) == ({*left, foreign}, pieces, [])
        check_published(node)
        die(leader)
        node.close()
    assert not list(Path("/dev/shm").glob(f"{name[1:]}*"))


@pytest.mark.parametrize("why", ["it stops", "another node is there"])
def test_parts_are_brought_into_the_store_when_shared_memory_is_not_enough(links: Links, why: str) -> None:
    with ring_name() as name:
        node = Node(name, links)
        leader = run_all(node)
        names = {*leader._large._checkpoints.values} - {keys.LARGE_CHECKPOINT}
        if why == "it stops":
            leader.close()
        else:
            node.reducer.set(keys.NODES).add("another")
            steps(leader, lambda: not parts(node))
            die(leader)
            node.faults.hears = True
            node.reducer.set(keys.NODES).discard("another")
        assert not parts(node)
        assert stored(node) == names
        leader = go_on(node)
        check_published(node)
        die(leader)
        node.close()


def test_a_window_whose_part_is_gone_begins_anew_and_no_other(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    with ring_name() as name:
        node = Node(name, links)
        leader = run_all(node)
        picture = GRAPH.fingerprint("picture")
        gone = next(part for where, part in leader._large._checkpoints._names.items() if where[0] == picture)
        parcels.remove([leader._large._parts._parcel(gone)])
        die(leader)
        node.faults.hears = True
        leader = go_on(node)
        assert "begins anew" in caplog.text
        picture_now, newest = value_of(node, "picture"), value_of(node, "newest")
        assert picture_now is not None
        assert newest is not None
        assert (picture_now.value, picture_now.events.used) == (None, 0)
        assert (newest.value == 1).all()
        die(leader)
        node.close()


def test_what_shared_memory_refuses_goes_into_the_store(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int, _buffers: Any) -> int:
        raise OSError("full")

    with ring_name() as name:
        node = Node(name, links)
        node.run()
        send_all(node)
        monkeypatch.setattr(os, "writev", refuse)
        leader = begin(node)
        steps(leader, lambda: published_all(node))
        leader._finish_large()
        assert stored(node)
        assert not parts(node)
        die(leader)
        node.close()


def test_parts_outlive_the_machine_with_the_windows(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    with ring_name() as name:
        node = Node(name, links)
        leader = run_all(node)
        leader._copy_windows(final=True)
        assert (durable.folder_of(node.config.node) / "windows").exists()
        die(leader)
        node.faults.hears = True
        parcels.remove(parts(node))  # the machine is off: shared memory and the store are empty
        node.reducer.clear()
        node.reducer.set(keys.NODES).add(node.host)
        leader = begin(node)
        steps(leader, lambda: value_of(node, "picture"))
        leader._finish_large()
        check = value_of(node, "picture")
        assert check is not None
        assert (check.value == check.events.used).all()
        die(leader)
        node.close()


def test_a_checkpoint_whose_answer_was_lost_keeps_its_parts(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the last one: whoever follows needs what it names."""
    with ring_name() as name:
        node = Node(name, links)
        leader = run_all(node)
        checkpoints, assembly = leader._large._checkpoints, leader._large._assembly
        assembly.dirty |= {where[:1] + where[2:] for where in checkpoints._names}
        commit = node.reducer.commit

        def lose(*arguments: Any, **more: Any) -> None:
            commit(*arguments, **more)
            raise OSError("the answer is lost")

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._store, "commit", lose)
            patch.setattr(PartStore, "remove", lambda *_: None)
            with pytest.raises(OSError, match="lost"):
                checkpoints.save(assembly, (), leader._large._by_key.describe(()))
        checkpoints._settle()
        die(leader)
        node.faults.hears = True
        leader = go_on(node)
        check_published(node)
        die(leader)
        node.close()
