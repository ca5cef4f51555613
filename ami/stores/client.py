"""Speak to Redis: the only module that touches the client library.

Commands go over held connections (``wire.py``), packed by us (``link.pack``), parsed by hiredis. redis-py's
own ``execute_command`` costs 50 µs a call and its packers join large values; its ``Connection`` (connect,
authenticate), its errors, and its ``RedisCluster`` (who has which slot) are what we use.

Errors of the library end here, as ours; what is done when a connection breaks is in ``held.py``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import redis
from redis import exceptions
from redis._parsers import BaseParser
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.retry import Retry

from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.errors import ConfigError, StoreFull
from ami.stores.held import Address, HeldLink, NotSent
from ami.stores.link import Refused, Reply
from ami.stores.wire import Wire

Connection: TypeAlias = Any  # redis-py's, which is annotated in parts only

LOCAL_TIMEOUT_S = 10.0  # an unix socket does not lose packets: what takes longer hangs
# A frozen master is noticed by this. Shorter, and a disk that is slow to sync looks like one.
CLUSTER_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 0.5
REFRESH_S = 0.2  # no two looks at the cluster's layout within this

# Redis says one of these instead of carrying out a command.
_NOT_DONE = (
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.ReadOnlyError,
    exceptions.BusyLoadingError,
)


def _connected(connection: Connection) -> Wire:
    """Connect and log in with redis-py, and talk over its socket ourselves."""
    try:
        connection.connect()
    except (exceptions.AuthenticationError, exceptions.AuthorizationError):
        raise
    except (exceptions.RedisError, OSError) as error:
        raise NotSent(str(error)) from error

    def close_it() -> None:
        with suppress(Exception):  # closing what is broken already
            connection.disconnect()

    # The one private name of redis-py that we use; setup.cfg pins its major version.
    return Wire(connection._sock, connection.socket_timeout, BaseParser.parse_error, close_it)


class _RedisLink(HeldLink):
    """What the tiers share: how an error of Redis becomes ours."""

    def _checked(self, replies: list[Reply]) -> list[Reply]:
        for reply in replies:
            if isinstance(reply, Exception):
                _raise(reply)
        last = replies[-1]
        if isinstance(last, list):  # of a transaction
            for reply in last:
                if isinstance(reply, Exception):
                    _raise(reply)
        return replies


class LocalLink(_RedisLink):
    """The node's own Redis, behind a unix socket."""

    tagged = False
    block_s = LOCAL_TIMEOUT_S / 2

    def __init__(self, config: LocalStoreConfig, stopping: threading.Event | None = None) -> None:
        super().__init__(f"the local store at {config.socket}", 0.0, stopping)
        self._path = str(config.socket)

    def _connect(self, address: Address) -> Wire:
        kind: Any = redis.UnixDomainSocketConnection
        retry = Retry(NoBackoff(), 0)
        connection = kind(path=self._path, socket_timeout=LOCAL_TIMEOUT_S, retry=retry, protocol=2)
        try:
            return _connected(connection)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise ConfigError(
                f"{self._what} asks for a password ({error}), so it is not the one that ami starts; "
                f"set local_store.socket to a path of its own"
            ) from error

    def _address(self, key: str) -> Address:
        return ("", 0)

    def _addresses(self) -> list[Address]:
        return [("", 0)]

    def _look_again(self) -> None:
        pass


class ClusterLink(_RedisLink):
    """The Redis Cluster. Each key's node is asked directly; who has what is RedisCluster's knowledge."""

    tagged = True

    def __init__(self, config: GlobalStoreConfig, stopping: threading.Event | None = None) -> None:
        self._config = config
        self._nodes = [_parted(node) for node in config.start_nodes] or [(config.host, config.port)]
        listed = ", ".join(f"{host}:{port}" for host, port in self._nodes)
        super().__init__(f"the global store at {listed}", config.timeout_s, stopping)
        self._timeout_s = min(CLUSTER_TIMEOUT_S, config.timeout_s)
        self.block_s = self._timeout_s / 2
        self._cluster: Any = None  # a RedisCluster, which is annotated in parts only
        self._layout = threading.Lock()
        self._looked_at = 0.0

    def _settings(self) -> dict[str, Any]:
        return {
            "username": self._config.username,
            "password": self._password(),
            "socket_timeout": self._timeout_s,
            "socket_connect_timeout": min(CONNECT_TIMEOUT_S, self._config.timeout_s),
            "socket_keepalive": True,
            "protocol": 2,
        }

    def _password(self) -> str:
        path = Path(self._config.password_file)
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            # The server writes it when it starts for the first time.
            raise NotSent(f"there is no password file {path} yet") from error
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"global_store.password_file: cannot read {path}: {error}; it is read by the "
                f"user that runs ami, who is user {os.getuid()} now"
            ) from error

    def _connect(self, address: Address) -> Wire:
        kind: Any = redis.Connection
        connection = kind(host=address[0], port=address[1], retry=Retry(NoBackoff(), 0), **self._settings())
        try:
            return _connected(connection)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise ConfigError(
                f"{self._what} does not accept user {self._config.username!r} with the password in "
                f"{self._config.password_file} ({error}); copy the file from the node where the store "
                f"runs, or set global_store.username and global_store.password_file"
            ) from error

    def _address(self, key: str) -> Address:
        cluster = self._cluster or self._look()
        try:
            node = cluster.nodes_manager.get_node_from_slot(key_slot(key.encode("utf-8", "surrogateescape")))
        except exceptions.RedisError as error:
            raise NotSent(str(error)) from error
        return (str(node.host), int(node.port))

    def _addresses(self) -> list[Address]:
        cluster = self._cluster or self._look()
        return sorted((str(node.host), int(node.port)) for node in cluster.get_primaries())

    def _look(self) -> Any:
        """Ask the cluster who has which slot."""
        with self._layout:
            if self._cluster is not None:
                return self._cluster
            settings = self._settings()
            node_of: Any = ClusterNode
            nodes = [node_of(host, port) for host, port in self._nodes]
            try:
                cluster: Any = RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **settings)
            except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
                self._explain(error)
            finally:
                _disconnect(nodes)
            # Only its knowledge is needed; a connection a node and process would lie idle.
            _disconnect(cluster.get_nodes())
            for node in cluster.get_nodes():
                self._remember((str(node.host), int(node.port)))
            self._cluster = cluster
            return cluster

    def _remember(self, address: Address) -> None:
        """Start from this node, too, the next time: the first ones may have died by then."""
        if address not in self._nodes:
            self._nodes.append(address)

    def _explain(self, error: Exception) -> NoReturn:
        """RedisCluster hides why it cannot connect: ask the nodes ourselves."""
        for address in self._nodes:
            with suppress(NotSent):
                self._connect(address).close()
        raise NotSent(str(error)) from error

    def _look_again(self) -> None:
        with self._layout:
            now = time.monotonic()
            if self._cluster is not None and now - self._looked_at > REFRESH_S:
                self._looked_at = now
                with suppress(Exception):  # closing what is broken already
                    self._cluster.close()
                self._cluster = None


def _parted(node: str) -> Address:
    host, _, port = node.rpartition(":")
    return (host.strip("[]"), int(port))


def _disconnect(nodes: Iterable[Any]) -> None:
    """Close the connections of RedisCluster's nodes."""
    for node in nodes:
        if node.redis_connection is not None:
            node.redis_connection.connection_pool.disconnect()


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, _NOT_DONE):
        raise NotSent(str(error)) from error
    if isinstance(error, exceptions.OutOfMemoryError):
        raise StoreFull(
            f"the store has no memory left: {error}; wait until somebody takes values out, or raise "
            f"max_memory_bytes of its tier"
        ) from error
    code = getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
    if "OOM" in str(error)[:200] and "maxmemory" in str(error):
        raise StoreFull(f"the store has no memory left: {error}") from error
    raise Refused(str(code), str(error)) from error
