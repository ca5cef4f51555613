"""Speak to Redis: the only module that touches the client library.

Commands go over held connections (``wire.py``), packed by us (``link.pack``), parsed by hiredis. redis-py's
own ``execute_command`` costs 50 µs a call and its packers join large values; its ``Connection`` (connect,
authenticate), its errors, and its ``RedisCluster`` (who has which slot) are what we use.

When a connection breaks, nobody knows whether the last commands were carried out. Those that may be
repeated are: at once on a fresh connection, and on the cluster again and again, with back-off, until
``timeout_s`` is over, because a master that died takes seconds to be replaced. Those that may not
(a push, a script that changes something) end as StoreUnavailable. What Redis certainly did not carry out
(no connection; the slot has moved; it is still loading) is always tried again. redis-py's own retries
are off: they know no difference (one RPUSH became two) and do not wait between tries.
"""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
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
from ami.errors import ConfigError, StoreError, StoreFull, StoreUnavailable
from ami.stores.link import Command, Link, Refused, Reply, pack
from ami.stores.wire import Broken, Wire

Address: TypeAlias = tuple[str, int]  # of a node; the local tier has ("", 0)
Connection: TypeAlias = Any  # redis-py's, which is annotated in parts only

LOCAL_TIMEOUT_S = 10.0  # an unix socket does not lose packets: what takes longer hangs
# A frozen master is noticed by this. Shorter, and a disk that is slow to sync looks like one.
CLUSTER_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 0.5
BACK_OFF_S = (0.02, 0.5)  # first and longest pause between tries
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


class _NotSent(Exception):
    """Nothing was carried out: there was no connection, or Redis sent us elsewhere."""


def _connected(connection: Connection) -> Wire:
    """Connect and log in with redis-py, and talk over its socket ourselves."""
    try:
        connection.connect()
    except (exceptions.AuthenticationError, exceptions.AuthorizationError):
        raise
    except (exceptions.RedisError, OSError) as error:
        raise _NotSent(str(error)) from error

    def close_it() -> None:
        with suppress(Exception):  # closing what is broken already
            connection.disconnect()

    # The one private name of redis-py that we use; setup.cfg pins its major version.
    return Wire(connection._sock, connection.socket_timeout, BaseParser.parse_error, close_it)


class _HeldLink(Link):
    """Held connections, and what is done when they break. Safe for threads and after a fork."""

    tagged = False

    def __init__(self, what: str, patience_s: float, stopping: threading.Event | None) -> None:
        self._what = what
        self._patience_s = patience_s
        self._stopping = stopping or threading.Event()
        self._idle: dict[Address, list[Wire]] = {}
        self._process = os.getpid()
        self._closed = False

    # what the tiers differ in

    @abstractmethod
    def _connect(self, address: Address) -> Connection: ...

    @abstractmethod
    def _address(self, key: str) -> Address:
        """Return the node that has ``key``; _NotSent when that is not known now."""

    @abstractmethod
    def _addresses(self) -> list[Address]: ...

    @abstractmethod
    def _look_again(self) -> None:
        """Forget which node has what."""

    # what they share

    def call(self, key: str, commands: Sequence[Command], *, repeat: bool) -> list[Reply]:
        pieces = pack(commands)
        count = len(commands)

        def exchange(wire: Wire) -> list[Reply]:
            return _good(wire.converse(pieces, count))

        replies: list[Reply] = self._with_wire(lambda: self._address(key), exchange, repeat=repeat)
        return replies

    def change(
        self, key: str, reads: Sequence[Command], decide: Callable[[list[Reply]], Sequence[Command] | None]
    ) -> bool:
        written = False

        def exchange(wire: Wire) -> bool:
            nonlocal written
            writes = None
            try:
                seen = _good(wire.converse(pack([("WATCH", key), *reads]), 1 + len(reads)))
                writes = decide(seen[1:])
            finally:
                if not writes:
                    # The wire goes back to others: a watch left on it would void their transactions.
                    wire.converse(pack([("UNWATCH",)]), 1)
            if not writes:
                return True
            written = True
            replies = _good(wire.converse(pack([("MULTI",), *writes, ("EXEC",)]), 2 + len(writes)))
            return replies[-1] is not None

        done: bool = self._with_wire(lambda: self._address(key), exchange, repeat=lambda: not written)
        return done

    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Reply]]:
        results: list[list[Reply]] = []
        addresses: list[Address] = self._with_wire(None, lambda _wire: self._addresses(), repeat=True)
        for number, address in enumerate(addresses):
            batch = commands(number)
            if not batch:
                results.append([])
                continue

            def exchange(wire: Wire, batch: Sequence[Command] = batch) -> list[Reply]:
                return _good(wire.converse(pack(batch), len(batch)))

            def where(address: Address = address) -> Address:
                return address

            results.append(self._with_wire(where, exchange, repeat=True))
        return results

    def close(self) -> None:
        self._closed = True
        self._drop_idle()

    def _with_wire(
        self,
        where: Callable[[], Address] | None,
        exchange: Callable[[Any], Any],
        *,
        repeat: bool | Callable[[], bool],
    ) -> Any:
        """Let ``exchange`` talk over a wire, and try again where that is allowed and useful."""
        started: float | None = None
        pause = BACK_OFF_S[0]
        while True:
            try:
                return self._once(where, exchange, check=repeat is False)
            except Broken as error:
                if not (repeat() if callable(repeat) else repeat):
                    raise StoreUnavailable(
                        f"{self._what}: the connection broke, so it is not known whether the last command "
                        f"was carried out ({error})"
                    ) from error
                problem: Exception = error
            except _NotSent as error:
                problem = error
            self._drop_idle()
            self._look_again()
            now = time.monotonic()
            if started is None:
                started = now
                if isinstance(problem, Broken) and problem.stale:
                    continue
            if now + pause - started > self._patience_s or self._stopping.is_set() or self._closed:
                raise StoreUnavailable(f"{self._what} cannot be reached: {problem}") from problem
            self._stopping.wait(pause)
            pause = min(2 * pause, BACK_OFF_S[1])

    def _once(
        self, where: Callable[[], Address] | None, exchange: Callable[[Any], Any], *, check: bool
    ) -> Any:
        if where is None:
            return exchange(None)
        address = where()
        wire = self._take(address, check=check)
        try:
            result = exchange(wire)
        except (Broken, exceptions.RedisError, OSError):
            wire.close()
            raise
        except BaseException as error:
            # Our own errors come after all replies were read; anything else (Ctrl-C) may come before.
            if isinstance(error, (StoreError, _NotSent)):
                self._give_back(address, wire)
            else:
                wire.close()
            raise
        self._give_back(address, wire)
        return result

    def _take(self, address: Address, *, check: bool) -> Wire:
        if self._process != os.getpid():
            # The wires belong to the process that we were forked from: not even to be closed.
            self._idle, self._process = {}, os.getpid()
        idle = self._idle.get(address)
        while idle:
            try:
                wire = idle.pop()
            except IndexError:
                break
            # What may be done only once must not be sent into a connection that is known to be dead.
            if not check or wire.is_open():
                return wire
            wire.close()
        try:
            return _connected(self._connect(address))
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise ConfigError(self._wrong_password(error)) from error

    def _wrong_password(self, error: Exception) -> str:
        return f"{self._what} refused us: {error}"

    def _give_back(self, address: Address, wire: Wire) -> None:
        if self._closed:
            wire.close()
        else:
            self._idle.setdefault(address, []).append(wire)

    def _drop_idle(self) -> None:
        for idle in list(self._idle.values()):
            while idle:
                with suppress(IndexError):  # another thread took it
                    idle.pop().close()


class LocalLink(_HeldLink):
    """The node's own Redis, behind a unix socket."""

    tagged = False
    block_s = LOCAL_TIMEOUT_S / 2

    def __init__(self, config: LocalStoreConfig, stopping: threading.Event | None = None) -> None:
        super().__init__(f"the local store at {config.socket}", 0.0, stopping)
        self._path = str(config.socket)

    def _connect(self, address: Address) -> Connection:
        kind: Any = redis.UnixDomainSocketConnection
        return kind(
            path=self._path,
            socket_timeout=LOCAL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def _address(self, key: str) -> Address:
        return ("", 0)

    def _addresses(self) -> list[Address]:
        return [("", 0)]

    def _look_again(self) -> None:
        pass


class ClusterLink(_HeldLink):
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
            raise _NotSent(f"there is no password file {path} yet") from error
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"global_store.password_file: cannot read {path}: {error}; it is read by the "
                f"user that runs ami, who is user {os.getuid()} now"
            ) from error

    def _wrong_password(self, error: Exception) -> str:
        return (
            f"{self._what} does not accept user {self._config.username!r} with the password in "
            f"{self._config.password_file} ({error}); copy the file from the node where the store runs, or "
            f"set global_store.username and global_store.password_file (AMI_GLOBAL_STORE_USERNAME, …)"
        )

    def _connect(self, address: Address) -> Connection:
        host, port = address
        kind: Any = redis.Connection
        return kind(
            host=host,
            port=port,
            retry=Retry(NoBackoff(), 0),
            **self._settings(),
        )

    def _address(self, key: str) -> Address:
        cluster = self._cluster or self._look()
        try:
            node = cluster.nodes_manager.get_node_from_slot(key_slot(key.encode("utf-8", "surrogateescape")))
        except exceptions.RedisError as error:
            raise _NotSent(str(error)) from error
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
            # Only its knowledge is needed; a connection a node and process would lie idle.
            for node in cluster.get_nodes():
                if node.redis_connection is not None:
                    node.redis_connection.connection_pool.disconnect()
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
            try:
                _connected(self._connect(address)).close()
            except (exceptions.AuthenticationError, exceptions.AuthorizationError) as refused:
                raise ConfigError(self._wrong_password(refused)) from refused
            except _NotSent:
                continue
        raise _NotSent(str(error)) from error

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


def _good(replies: list[Reply]) -> list[Reply]:
    """Return ``replies`` when none of them, nor of a transaction's, is an error; raise our error else."""
    for reply in replies:
        if isinstance(reply, Exception):
            _raise(reply)
    last = replies[-1]
    if isinstance(last, list):
        for reply in last:
            if isinstance(reply, Exception):
                _raise(reply)
    return replies


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, _NOT_DONE):
        raise _NotSent(str(error)) from error
    if isinstance(error, exceptions.OutOfMemoryError):
        raise StoreFull(
            f"the store has no memory left: {error}; wait until somebody takes values out, or raise "
            f"max_memory_bytes of its tier"
        ) from error
    code = getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
    if "OOM" in str(error)[:200] and "maxmemory" in str(error):
        raise StoreFull(f"the store has no memory left: {error}") from error
    raise Refused(str(code), str(error)) from error
