"""The stage of all exports, on a real store: what an export is given, and what its faults cost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest

from ami.client.load import Load
from ami.config import Config, ExportConfig, GlobalStoreConfig, LocalStoreConfig, MonitorConfig, NodeConfig
from ami.daemons.process.stage import Setup, Stopping
from ami.errors import ConfigError, ExportError, StoreUnavailable
from ami.event import Schema
from ami.exports import stage as module
from ami.exports.stage import ExportStage
from ami.result import Result
from ami.stores import Store, keys, open_global
from ami.stores.opened import Stores
from tests.client_rig import made, publish


class Probe:
    """Notes what it is given; fails while ``trouble`` is set."""

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = names
        self.got: list[dict[str, object]] = []
        self.seen: list[Mapping[str, int]] = []
        self.schemas: list[Schema | None] = []
        self.trouble: Exception | SystemExit | None = None
        self.started = self.closed = 0

    @property
    def names(self) -> Collection[str] | None:
        return self._names

    @property
    def address(self) -> str:
        return "probe"

    def start(self, schema: Schema | None) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.started += 1
        self.schemas.append(schema)

    def put(self, results: Mapping[str, Result]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.got.append({name: result.value for name, result in results.items()})

    def see(self, load: Load, published_ns: Mapping[str, int]) -> None:
        self.seen.append(dict(published_ns))

    def close(self) -> None:
        self.closed += 1
        if self.trouble is not None:
            raise RuntimeError("close fails too")


@pytest.fixture
def config(cluster: GlobalStoreConfig, tmp_path: Path) -> Config:
    return Config(
        node=NodeConfig(run_dir=tmp_path),
        global_store=cluster,
        local_store=LocalStoreConfig(socket=tmp_path / "none.sock"),
        monitor=MonitorConfig(supervisor_socket=tmp_path / "none.sock"),
        export=ExportConfig(uris=("probe://here",)),
    )


@pytest.fixture
def reducer(cluster: GlobalStoreConfig) -> Iterator[Store]:
    store = open_global(cluster, keys.prefix("ami", "global-reducer", 0))
    yield store
    store.close()


def export(config: Config, number: int = 0, stopping: Stopping | None = None) -> ExportStage:
    made = Setup(config=config, stores=Stores(config), number=number, stopping=stopping or Stopping())
    stage = ExportStage(made)
    stage.start()
    return stage


@pytest.fixture
def run(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Probe], ExportStage]]:
    """Return a function that makes the stage of a probe; it retries at once."""
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    stages: list[ExportStage] = []

    def make(probe: Probe) -> ExportStage:
        monkeypatch.setattr(module, "open_export", lambda _uri: probe)
        stages.append(export(config))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


def test_an_export_gets_the_newest_of_what_it_names_and_nothing_else(
    run: Callable[[Probe], ExportStage], reducer: Store
) -> None:
    publish(reducer, made("level", 1.0), made("other", 5.0))
    probe = Probe(["level"])
    stage = run(probe)
    stage.step()
    stage.step()
    publish(reducer, made("level", 2.0))
    publish(reducer, made("level", 3.0), made("other", 6.0))
    stage.step()
    assert probe.got == [{"level": 1.0}, {"level": 3.0}]
    assert stage.counters["exported"] == 2


def test_an_export_of_everything_gets_names_that_come_later(
    run: Callable[[Probe], ExportStage], reducer: Store
) -> None:
    probe = Probe(None)
    stage = run(probe)
    stage.step()
    publish(reducer, made("born_later", 4.0))
    stage.step()
    assert probe.got == [{"born_later": 4.0}]


@pytest.mark.parametrize(
    "trouble",
    [
        ExportError("the wall is down"),
        ZeroDivisionError("a bug of theirs"),
        ConfigError("their settings"),
        StoreUnavailable("their store"),
        SystemExit("their wish"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_export_raises_is_told_and_the_newest_is_handed_on_afterwards(
    run: Callable[[Probe], ExportStage], reducer: Store, trouble: Exception | SystemExit
) -> None:
    probe = Probe(["level"])
    stage = run(probe)
    publish(reducer, made("level", 1.0))
    stage.step()
    probe.trouble = trouble
    stage.step()
    assert stage.state == f"failed: {trouble if isinstance(trouble, ExportError) else repr(trouble)}"
    assert stage.counters["failures"] == 1
    assert probe.closed == 1
    publish(reducer, made("level", 2.0))
    stage.step()  # begins again, in vain
    assert stage.counters["failures"] == 2
    probe.trouble = None
    stage.step()
    stage.step()
    assert probe.got[-1] == {"level": 2.0}
    assert stage.state == "running: probe"


def test_an_export_that_sees_the_cluster_hears_when_results_were_published(
    run: Callable[[Probe], ExportStage], reducer: Store
) -> None:
    probe = Probe(())
    stage = run(probe)
    stage.step()
    stage.step()
    assert probe.seen == [{}]
    publish(reducer, made("level", 1.0))
    stage._look_at = 0.0
    stage.step()
    assert list(probe.seen[-1]) == ["level"]
    assert probe.got == []
    reducer[keys.CATALOGUE] = {}  # its operation was removed
    stage._look_at = 0.0
    stage.step()
    assert probe.seen[-1] == {}


def test_an_export_for_which_there_is_no_entry_ends_as_asked(config: Config) -> None:
    stopping = Stopping()
    stage = export(config, 1, stopping)
    assert stopping.is_set()
    stage.close()


def test_a_port_that_is_taken_is_waited_for(cluster: GlobalStoreConfig, config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Config(
            node=config.node, global_store=cluster, monitor=config.monitor, local_store=config.local_store,
            export=ExportConfig(uris=(f"prometheus://127.0.0.1:{port}",)),
        )  # fmt: skip
        stage = export(settings)
        stage.step()
        assert stage.state.startswith(f"failed: cannot listen at 127.0.0.1:{port}")
    stage._again_at = 0.0
    stage.step()
    assert stage.state == f"running: http://127.0.0.1:{port}/metrics"
    stage.close()


def test_an_option_that_does_not_exist_is_a_wrong_setting(cluster: GlobalStoreConfig, config: Config) -> None:
    settings = Config(
        node=config.node, global_store=cluster, export=ExportConfig(uris=("prometheus://x:1?nmes=a",))
    )
    stage = export(settings)
    with pytest.raises(ConfigError, match="nmes"):
        stage.step()
    stage.close()
