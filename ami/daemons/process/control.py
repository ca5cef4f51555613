"""Follow the graph that Control holds: each version by its number, and the newest by push.

A thread blocks on the manager's notification stream; the loops of the daemons read one attribute
(0.05 microseconds a look). Client-side caching, publish/subscribe and keyspace notifications were
rejected: each goes silent or stale when a server dies or freezes.
"""

from __future__ import annotations

import logging
import threading

from ami.daemons.process.stage import Setup
from ami.errors import GraphError, StoreError, StoreUnavailable
from ami.graph.graph import Graph
from ami.stores import keys

logger = logging.getLogger(__name__)

RETRY_S = 0.2
VERSIONS_KEPT = 8


class GraphWatch:
    """The newest graph in Control, and any version by its number."""

    def __init__(self, setup: Setup) -> None:
        self._store = setup.stores.cluster("graph-manager")
        self._push_s = setup.waits.push_s
        self._versions: dict[int, Graph] = {0: Graph()}
        self._latest = self._versions[0]
        self._known = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen, if that was not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="graph-watch", daemon=True)
            self._thread.start()

    @property
    def latest(self) -> Graph:
        """The newest graph that this process heard of; version 0, empty, before the first."""
        return self._latest

    def wait_until_known(self, timeout_s: float) -> bool:
        """Wait until Control was read once; return whether it was."""
        return self._known.wait(timeout_s)

    def get(self, version: int) -> Graph:
        """Return a version of the graph.

        One that Control does not have any more (somebody emptied it) is an empty graph of that
        number: its events are counted, and nothing is computed of them.

        Raises:
            StoreUnavailable: it is not known here and cannot be read now.
        """
        with self._lock:
            graph = self._versions.get(version)
            if graph is not None:
                return graph
            try:
                graph = self._read(version)
            except GraphError as error:
                logger.error("%s; nothing is computed for its events", error)
                graph = Graph(version=version)
            self._remember(graph)
            return graph

    def close(self) -> None:
        """Listen no more. The thread, which the server may hold for `push_s` yet, is not waited for."""
        self._stop.set()

    def _read(self, version: int) -> Graph:
        plain = self._store.get(keys.graph(version))
        if plain is None:
            raise GraphError(f"Control has no graph version {version}; `ami graph history` lists what it has")
        return Graph.from_plain(plain)

    def _remember(self, graph: Graph) -> None:
        self._versions[graph.version] = graph
        for old in sorted(self._versions)[1:-VERSIONS_KEPT]:
            del self._versions[old]

    def _follow(self) -> None:
        after = "0"
        while not self._stop.is_set():
            try:
                self._refresh()
                heard = self._store.watch(keys.VERSIONS, after, self._push_s)
                if heard:
                    after = heard[-1][0]
            except StoreUnavailable:
                self._stop.wait(RETRY_S)
            except (StoreError, GraphError) as error:
                logger.error(
                    "the graph in Control cannot be read, version %d stays: %s", self._latest.version, error
                )
                self._stop.wait(1.0)

    def _refresh(self) -> None:
        current = self._store.get(keys.CURRENT)
        version = 0 if current is None else int(current["version"])
        if version != self._latest.version:
            graph = self._read(version)
            with self._lock:
                self._remember(graph)
            self._latest = graph
            logger.info("graph version %d: %d operations", version, len(graph.operations))
        self._known.set()
