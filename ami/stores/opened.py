"""Open the stores once a process, for its stage, its heartbeat and its watch on the graph.

Each part of a process had a link of its own before: up to four layouts of the cluster and four pools of
connections. Links are safe for threads: who talks has a connection for himself meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from ami.config import Config
from ami.stores import keys
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.held import HeldLink
from ami.stores.link import Link
from ami.stores.store import Store
from ami.stores.wire import Traffic


class Stores:
    """Both tiers, by whose values are wanted. Nothing is connected before a store is used.

    Args:
        role: as what to log in to the global store; "" is the administrator.
        local, cluster: links instead of those that ``config`` describes.
    """

    def __init__(
        self, config: Config, role: str = "", *, local: Link | None = None, cluster: Link | None = None
    ) -> None:
        self._node = config.node
        self._local = local or LocalLink(config.local_store)
        self._global = cluster or ClusterLink(config.global_store, role)
        links = {"local": self._local, "global": self._global}
        # Of each tier; links that tests put in between count nothing.
        self.traffic: Mapping[str, Traffic] = {
            tier: link.traffic for tier, link in links.items() if isinstance(link, HeldLink)
        }

    def local(self, process_type: str, number: int = 0) -> Store:
        """Return the values of one of this host's processes in the node's own store."""
        return Store(self._local, keys.prefix(self._node.host, process_type, number))

    def host(self, process_type: str, number: int = 0) -> Store:
        """Return the values of one of this host's processes in the global store."""
        return Store(self._global, keys.prefix(self._node.host, process_type, number))

    def cluster(self, process_type: str) -> Store:
        """Return the values in the global store of what there is once a cluster, whoever is it now."""
        return Store(self._global, keys.prefix(self._node.cluster, process_type, 0))

    def close(self) -> None:
        """Let go of every connection."""
        self._local.close()
        self._global.close()
