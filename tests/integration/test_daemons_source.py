"""The source's stage and streams: what it waits for, what it cannot open, and what it finds after a death."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ami.client.status import TROUBLE
from ami.config import GlobalStoreConfig, SourceConfig
from ami.daemons.source import source as module
from ami.daemons.source.source import SourceStage
from ami.errors import RingUnfit, StoreUnavailable
from ami.event import Schema
from ami.ring import RingObserver
from ami.ring.layout import WORKER_LOCK
from ami.ring.locks import RecordLocks
from ami.stores import keys
from ami.stores.opened import Stores
from tests.daemons_rig import config, setup
from tests.ring_rig import ring_name
from tests.waiting import wait_until
from tests.zmq_rig import Sender

NOW = 1_700_000_000 * 10**9


class Sources:
    """Starts one source after the other on one ring, as a node does."""

    def __init__(self, ring: str, cluster: GlobalStoreConfig) -> None:
        self.ring = ring
        self._cluster = cluster
        self.made: list[SourceStage] = []
        self.stores: list[Stores] = []

    def stage(self, uri: str) -> SourceStage:
        source = SourceConfig(uri=uri, drain_s=0.0)
        made_from = setup(config(self.ring, None, self._cluster, source=source))
        self.stores.append(made_from.stores)
        made = SourceStage(made_from)
        made.start()
        self.made.append(made)
        return made

    def die(self, stage: SourceStage) -> None:
        """Let go of what the kernel takes from a killed process, and of nothing else."""
        if stage._ring is not None:
            stage._ring.close(unlink=False)
        if stage._source is not None:
            stage._source.close()
        stage._graphs.close()
        stage._ordered.close()
        self.made.remove(stage)


@pytest.fixture
def sources(cluster: GlobalStoreConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    monkeypatch.setattr(module, "REOPEN_S", 0.0)
    with ring_name() as name:
        found = Sources(name, cluster)
        yield found
        for stage in found.made:
            stage.close()
        for stores in found.stores:
            stores.close()


@pytest.fixture
def sender() -> Iterator[Sender]:
    with Sender() as sender:
        yield sender


def step_until(stage: SourceStage, words: str) -> None:
    def stepped() -> bool:
        with suppress(StoreUnavailable):  # as the process does: it tries again
            stage.step()
        return words in stage.state

    wait_until(stepped, what=f"a source that says {words!r}; it says {stage.state!r}")


def step_to(stage: SourceStage, position: int) -> None:
    def stepped() -> bool:
        stage.step()
        return stage.counters.get("position") == position

    wait_until(stepped, what=f"position {position}")


def test_a_protocol_that_is_not_installed_is_refused_by_name_until_it_is_installed(
    sources: Sources, plugin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events.csv").write_text(f"timestamp,x\n{NOW},1.5\n")
    stage = sources.stage(f"lines://{tmp_path}/events.csv")
    step_until(stage, "failed: ")
    assert "unknown protocol 'lines'" in stage.state
    assert "entry point 'lines' of the group 'ami.sources'" in stage.state
    monkeypatch.syspath_prepend(plugin_folder)
    step_to(stage, 1)
    assert stage.state == "running"
    assert stage.counters["published"] == 1


@pytest.mark.parametrize("seed", range(6))
def test_what_cannot_be_a_ring_is_removed_when_nobody_uses_it(sources: Sources, seed: int) -> None:
    first = sources.stage("static://?rate=max")
    step_until(first, "running")
    sources.die(first)
    chance = random.Random(seed)
    file = Path("/dev/shm" + sources.ring)
    if seed % 3 == 2:
        os.truncate(file, chance.randrange(8, file.stat().st_size))
    else:
        with file.open("r+b") as segment:  # the layout version, or somewhere in the header
            segment.seek(8 if seed % 3 == 0 else chance.randrange(16, 64))
            segment.write(b"\xf7")
    with pytest.raises(RingUnfit):
        RingObserver(sources.ring)
    with file.open("r+b") as used:
        assert RecordLocks(used.fileno()).take(WORKER_LOCK)
        stage = sources.stage("static://?rate=max")
        step_until(stage, "waiting: for the ring: ")
        assert "worker 0" in stage.state
    step_until(stage, "running")
    RingObserver(sources.ring).close()


def test_an_address_that_is_taken_is_waited_for(sources: Sources) -> None:
    with Sender(kind="pull") as other:
        stage = sources.stage(f"zmq://127.0.0.1:{other.port}?bind&socket=pull")
        step_until(stage, "failed: ")
        assert f"cannot bind to tcp://127.0.0.1:{other.port}: Address already in use" in stage.state
    step_until(stage, "waiting: for the first event of zmq://")


def test_a_stream_that_fell_silent_is_gone_on_with_after_a_death_and_the_gap_is_counted(
    sources: Sources, sender: Sender
) -> None:
    uri = f"zmq://127.0.0.1:{sender.port}"
    stage = sources.stage(uri)
    step_until(stage, "waiting: for the first event of zmq://")
    sender.wait_for()
    for number in range(5):
        sender.send(NOW + number, x=1.0, y=2.0)
    step_to(stage, 5)
    sources.die(stage)
    sender.wait_for(b"\x00")
    for number in range(3):
        sender.send(NOW + number, x=1.0)
    after = sources.stage(uri)
    step_to(after, 5)  # without any event: its fields are those of the ring
    sender.wait_for()
    sender.send(NOW + 9, x=1.0)
    step_to(after, 9)
    assert (after.counters["published"], after.counters["dropped"], after.counters["lost"]) == (6, 3, 3)
    with RingObserver(sources.ring) as ring:
        assert ring.schema.names == ("x", "y")


def test_after_a_restart_the_fields_are_agreed_anew(sources: Sources, sender: Sender) -> None:
    uri = f"zmq://127.0.0.1:{sender.port}"
    for number, fields in enumerate(({"x": 1.0}, {"x": 1, "y": 2.0})):
        stage = sources.stage(uri)
        step_until(stage, "waiting: for the first event")
        sender.wait_for()
        sender.send(NOW + number, **fields)
        step_to(stage, number + 1)
        schema = Schema.from_json(str(stage._store[keys.SCHEMA]))
        assert (
            [(f.name, f.dtype.kind) for f in schema.fields] == [("x", "f")]
            if number == 0
            else [("x", "i"), ("y", "f")]
        )
        stage._ring.close(unlink=True)  # type: ignore[union-attr]  # as one that was drained
        stage._ring = stage._feeder = None
        stage.close()
        sources.made.remove(stage)
        sender.wait_for(b"\x00")


def test_a_full_shared_memory_is_waited_for_and_told(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1000]
    for module_name in ("segment", "configurations"):
        monkeypatch.setattr(f"ami.ring.{module_name}.free_bytes", lambda: free[0])
    stage = sources.stage("sim://scalars?rate=10kHz")
    step_until(stage, "waiting: no room: /dev/shm has 0 MiB free, ")
    assert (
        f"MiB wanted for ring {sources.ring}: make room there, lower ring.bytes, or make /dev/shm larger"
        in stage.state
    )
    assert stage.state.startswith(TROUBLE)
    free[0] = 1 << 40
    step_until(stage, "running")
    assert stage.counters["ring_s"] > 1


def test_a_ring_that_is_too_small_for_the_cadence_is_told(sources: Sources) -> None:
    stage = sources.stage("sim://scalars?rate=10MHz")
    step_until(stage, "running, but the ring holds 0.1 s of the stream: raise ring.bytes, or ask for less")
    assert stage.state.startswith(TROUBLE)
    assert stage.counters["ring_s"] == pytest.approx((1 << 20) / 1e7)
