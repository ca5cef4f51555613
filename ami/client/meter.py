"""Read what `ami top` shows: heartbeats, queues, the ring, and /proc for the processes of this host."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ami.client.load import Load, Queues, Usage, judge_load
from ami.client.status import ClusterStatus, ProcessStatus
from ami.client.survey import heartbeats, judged
from ami.cluster.programs import Program, programs
from ami.config import Config
from ami.errors import GraphError, RingError, StoreError
from ami.processes import SERVERS
from ami.stores import Store, keys, open_local

if TYPE_CHECKING:
    from ami.graph.graph import Graph

TICKS_HZ = os.sysconf("SC_CLK_TCK")


class Meter:
    """Looks again and again. The first look knows no shares from /proc: they lie between two looks."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._manager = store.view(keys.prefix(config.node.cluster, "graph-manager", 0))
        self._reducer = store.view(keys.prefix(config.node.cluster, "global-reducer", 0))
        self._graph: Graph | None = None
        self._before: dict[tuple[str, int], tuple[float, float]] = {}  # name, pid: when (s), CPU time (s)
        self._local: Store | None = None

    def look(self) -> Load:
        """Return what everything costs now.

        Raises:
            StoreUnavailable
        """
        here = programs(self._config.monitor.supervisor_socket) or ()
        beats = heartbeats(self._store)
        status = judged(self._config, self._store, beats, here)
        servers = [self._server(program) for program in here if program.type in SERVERS and program.runs]
        usages, shares = self._measured([*status.processes, *servers])
        return judge_load(
            status,
            beats,
            graph=self._graph_of(status),
            queues=self._queues(status),
            shares=shares,
            usages=usages,
            servers=servers,
        )

    def close(self) -> None:
        if self._local is not None:
            self._local.close()

    def _server(self, program: Program) -> ProcessStatus:
        return ProcessStatus(
            host=self._config.node.host,
            type=program.type,
            number=program.number,
            alive=True,
            state=program.state.lower(),
            pid=program.pid,
        )

    def _measured(self, processes: list[ProcessStatus]) -> tuple[dict[str, Usage], dict[str, float]]:
        """Return by name what this host's processes use, and what they took of a core since the last look."""
        usages: dict[str, Usage] = {}
        shares: dict[str, float] = {}
        seen: dict[tuple[str, int], tuple[float, float]] = {}
        for process in processes:
            if process.host != self._config.node.host or process.pid is None:
                continue
            usage, now = used(process.pid), time.monotonic()
            if usage is None:
                continue
            usages[process.name] = usage
            key = (process.name, process.pid)
            seen[key] = (now, usage.cpu_s)
            if key in self._before and now > self._before[key][0]:
                at, cpu_s = self._before[key]
                shares[process.name] = (usage.cpu_s - cpu_s) / (now - at)
        self._before = seen
        return usages, shares

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
        held = _held(self._config.ring.name)
        return Queues(
            inbox=sum(self._reducer.journal(keys.inbox(host)).pending() for host in hosts),
            requests=len(self._manager.queue(keys.REQUESTS)),
            flushes=self._flushes({p.number for p in status.processes if p.type == "worker"} | set(held)),
            held=held,
        )

    def _flushes(self, workers: set[int]) -> int | None:
        """Return how many flushes lie in the local store; None where there is none."""
        config = self._config
        if not config.local_store.socket.exists():
            return None
        try:
            if self._local is None:
                self._local = open_local(config.local_store, self._store.prefix)
            prefixes = [keys.prefix(config.node.host, "worker", number) for number in workers]
            return sum(self._local.view(prefix).journal(keys.FLUSHES).pending() for prefix in prefixes)
        except StoreError:  # it is being restarted: that does not end somebody's view of the rest
            return None


def used(pid: int) -> Usage | None:
    """Return what a process of this machine uses; None when there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    # The ring counts as RssShmem in each process that maps it, but it is there once.
    resident = sum(int(facts[name].split()[0]) for name in ("RssAnon", "RssFile") if name in facts)
    return Usage(cpu_s=(int(stat[11]) + int(stat[12])) / TICKS_HZ, resident_bytes=resident * 1024)


def _held(ring_name: str) -> dict[int, int]:
    """Return by worker how many slots of this host's ring it holds."""
    from ami.ring.observer import RingObserver

    try:
        with RingObserver(ring_name) as ring:
            return {number: place.owned for number, place in ring.workers().items()}
    except RingError:
        return {}
