"""Read what `ami top` shows: heartbeats, queues, the ring, and /proc for the processes of this host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ami.client.load import Load, Queues, judge_load
from ami.client.status import ClusterStatus, ProcessStatus
from ami.client.survey import heartbeats, judge
from ami.cluster import proc
from ami.cluster.supervisor import Program, list_expected
from ami.config import Config
from ami.errors import GraphError, StoreError
from ami.processes import SERVERS
from ami.stores import keys
from ami.stores.opened import Stores

if TYPE_CHECKING:
    from ami.graph.graph import Graph


class Meter:
    """Looks again and again. The first look knows no shares from /proc: they lie between two looks."""

    def __init__(self, config: Config, stores: Stores) -> None:
        self._config = config
        self._stores = stores
        self._manager = stores.cluster("graph-manager")
        self._reducer = stores.cluster("global-reducer")
        self._graph: Graph | None = None
        self._before: dict[tuple[str, int], tuple[float, float]] = {}  # name, pid: when (s), CPU time (s)

    def look(self) -> Load:
        """Return what everything costs now.

        Raises:
            StoreUnavailable
        """
        here = list_expected(self._config.monitor.supervisor_socket)
        beats = heartbeats(self._stores)
        status = judge(self._config, self._stores, beats, here)
        servers = [self._server(program) for program in here if program.type in SERVERS and program.runs]
        resident, shares = self._measure([*status.processes, *servers])
        return judge_load(
            status,
            beats,
            graph=self._graph_of(status),
            queues=self._queues(status),
            shares=shares,
            resident=resident,
            servers=servers,
        )

    def close(self) -> None:
        """Let go of what was measured: the stores are the client's."""

    def _server(self, program: Program) -> ProcessStatus:
        return ProcessStatus(
            host=self._config.node.host,
            type=program.type,
            number=program.number,
            alive=True,
            state=program.state.lower(),
            pid=program.pid,
        )

    def _measure(self, processes: list[ProcessStatus]) -> tuple[dict[str, int], dict[str, float]]:
        """Return the memory of this host's processes, and their shares of a core since the last look."""
        resident: dict[str, int] = {}
        shares: dict[str, float] = {}
        seen: dict[tuple[str, int], tuple[float, float]] = {}
        for process in processes:
            if process.host != self._config.node.host or process.pid is None:
                continue
            size, cpu_s, now = proc.resident_bytes(process.pid), proc.cpu_s(process.pid), time.monotonic()
            if not size:  # it is gone
                continue
            resident[process.name] = size
            key = (process.name, process.pid)
            seen[key] = (now, cpu_s)
            if key in self._before and now > self._before[key][0]:
                at, before_s = self._before[key]
                shares[process.name] = (cpu_s - before_s) / (now - at)
        self._before = seen
        return resident, shares

    def _graph_of(self, status: ClusterStatus) -> Graph | None:
        """Return the graph that runs; read again only when there is another."""
        from ami.graph.graph import Graph

        version = status.graph_version
        if not version:
            self._graph = None
        elif self._graph is None or self._graph.version != version:
            plain = self._manager.get(keys.graph(version))
            try:
                self._graph = None if plain is None else Graph.from_plain(plain)
            except GraphError:
                self._graph = None  # then nobody's owners are known; the costs are shown all the same
        return self._graph

    def _queues(self, status: ClusterStatus) -> Queues:
        hosts = {str(host) for host in self._reducer.get(keys.NODES) or ()}
        held = () if status.ring is None else status.ring.held_by
        return Queues(
            inbox=sum(self._reducer.journal(keys.inbox(host)).pending() for host in hosts),
            requests=len(self._manager.queue(keys.REQUESTS)),
            flushes=self._flushes({p.number for p in status.processes if p.type == "worker"} | set(held)),
        )

    def _flushes(self, workers: set[int]) -> int | None:
        """Return how many flushes lie in the local store; None where there is none."""
        if not self._config.local_store.socket.exists():
            return None
        stores = [self._stores.local("worker", number) for number in workers]
        try:
            return sum(store.journal(keys.FLUSHES).pending() for store in stores)
        except StoreError:  # it is being restarted: that does not end somebody's view of the rest
            return None
