"""Say whether the global store is of this machine alone, so that what it names may lie in shared memory."""

from __future__ import annotations

from collections.abc import Collection

from ami.config import Config


def is_alone(config: Config, nodes: Collection[str]) -> bool:
    """Whether nobody elsewhere may have to read what this node's processes leave for each other.

    Args:
        nodes: the names of all that belong to the cluster.
    """
    store = config.global_store
    here = ("127.", "localhost:", "[::1]:", f"{store.host}:")
    # A machine that has gone must not take with it what the store, on a disk or elsewhere, has accepted.
    return (
        store.append_to == "memory"
        and all(address.startswith(here) for address in store.start_nodes)
        and set(nodes) <= {config.node.host}
    )
