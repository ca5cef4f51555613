"""Read what `ami top` shows: heartbeats, queues, the ring, and /proc for the processes of this host."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ami.client.costs import list_warnings
from ami.client.load import Load, Queues, judge_load
from ami.client.status import ClusterStatus, ProcessStatus
from ami.client.survey import heartbeats, judge, read_graph
from ami.cluster import proc
from ami.cluster.supervisor import Program, list_programs
from ami.config import Config
from ami.errors import StoreError
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
        # By name and pid: when (s), CPU time (s), bytes written to the disk.
        self._before: dict[tuple[str, int], tuple[float, float, int]] = {}

    def look(self) -> Load:
        """Return what everything costs now.

        Raises:
            StoreUnavailable
        """
        here = list_programs(self._config.monitor.supervisor_socket)
        beats = heartbeats(self._stores)
        status = judge(self._config, self._stores, beats, here)
        servers = [self._server(program) for program in here if program.type in SERVERS and program.runs]
        resident, shares, written = self._measure([*status.processes, *servers])
        load = judge_load(
            status,
            beats,
            graph=self._graph_of(status),
            queues=self._queues(status),
            shares=shares,
            resident=resident,
            servers=servers,
            written=written,
        )
        warnings = (*status.warnings, *list_warnings(status, load.results))
        return replace(load, status=replace(status, warnings=warnings))

    def _server(self, program: Program) -> ProcessStatus:
        return ProcessStatus(
            host=self._config.node.host,
            type=program.type,
            number=program.number,
            alive=True,
            state=program.state.lower(),
            pid=program.pid,
        )

    def _measure(
        self, processes: list[ProcessStatus]
    ) -> tuple[dict[str, int], dict[str, float], dict[str, float]]:
        """Return of this host's processes the memory, and since the last look the share of a core and the
        bytes that they wrote to the disk, per second.
        """
        resident: dict[str, int] = {}
        shares: dict[str, float] = {}
        written: dict[str, float] = {}
        seen: dict[tuple[str, int], tuple[float, float, int]] = {}
        for process in processes:
            if process.host != self._config.node.host or process.pid is None:
                continue
            size, cpu_s, now = proc.resident_bytes(process.pid), proc.cpu_s(process.pid), time.monotonic()
            if not size:  # it is gone
                continue
            resident[process.name] = size
            key = (process.name, process.pid)
            seen[key] = (now, cpu_s, proc.written_bytes(process.pid))
            if key in self._before and now > self._before[key][0]:
                at, before_s, before_bytes = self._before[key]
                shares[process.name] = (cpu_s - before_s) / (now - at)
                written[process.name] = (seen[key][2] - before_bytes) / (now - at)
        self._before = seen
        return resident, shares, written

    def _graph_of(self, status: ClusterStatus) -> Graph | None:
        """Return the graph that runs; read again only when there is another."""
        if self._graph is None or self._graph.version != status.graph_version:
            self._graph = read_graph(self._manager, status.graph_version)
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
