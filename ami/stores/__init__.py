"""Keep values in Redis: the node's own (local tier) and the cluster's (global tier), behind one interface."""

from __future__ import annotations

from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.codec import Value
from ami.stores.commit import ABSENT
from ami.stores.inspect import KeyFacts
from ami.stores.journal import BadRecord, Journal, Record
from ami.stores.lease import Lease
from ami.stores.queue import Item, Queue
from ami.stores.store import Store

__all__ = [
    "ABSENT",
    "BadRecord",
    "Item",
    "Journal",
    "KeyFacts",
    "Lease",
    "Queue",
    "Record",
    "Store",
    "Value",
    "open_global",
    "open_local",
]


def open_local(config: LocalStoreConfig, prefix: str) -> Store:
    """Return the values of ``prefix`` in the node's own Redis; connects when it is first used.

    Raises (each method of the store, too):
        StoreUnavailable: it cannot be reached now.
    """
    return Store(LocalLink(config), prefix)


def open_global(config: GlobalStoreConfig, prefix: str) -> Store:
    """Return the values of ``prefix`` in the cluster; connects when it is first used.

    A method waits up to ``config.timeout_s`` for a cluster that cannot answer now; to close the store ends
    the wait of other threads.

    Raises (each method of the store, too):
        StoreUnavailable: it cannot be reached now.
        NotLetIn: the user or password is wrong.
    """
    return Store(ClusterLink(config), prefix)
