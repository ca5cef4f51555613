"""Keep values in Redis: the node's own (local tier) and the cluster's (global tier), behind one interface.

What is named here is imported when it is asked for: who becomes a server wants ``roles`` and ``keys`` alone,
without numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ami.config import GlobalStoreConfig, LocalStoreConfig

if TYPE_CHECKING:
    from ami.stores.codec import Value
    from ami.stores.commit import ABSENT
    from ami.stores.inspect import KeyFacts
    from ami.stores.journal import BadRecord, Bell, Journal, Record
    from ami.stores.lease import Lease
    from ami.stores.queue import Item, Queue
    from ami.stores.store import Store

__all__ = [
    "ABSENT",
    "BadRecord",
    "Bell",
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


_MODULES = {
    "Value": "codec", "ABSENT": "commit", "KeyFacts": "inspect", "BadRecord": "journal", "Bell": "journal",
    "Journal": "journal", "Record": "journal", "Lease": "lease", "Item": "queue", "Queue": "queue",
    "Store": "store",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def open_local(config: LocalStoreConfig, prefix: str) -> Store:
    """Return the values of ``prefix`` in the node's own Redis; connects when it is first used.

    Raises (each method of the store, too):
        StoreUnavailable: it cannot be reached now.
    """
    from ami.stores.client import LocalLink
    from ami.stores.store import Store

    return Store(LocalLink(config), prefix)


def open_global(config: GlobalStoreConfig, prefix: str) -> Store:
    """Return the values of ``prefix`` in the cluster; connects when it is first used.

    A method waits up to ``config.timeout_s`` for a cluster that cannot answer now; to close the store ends
    the wait of other threads.

    Raises (each method of the store, too):
        StoreUnavailable: it cannot be reached now.
        NotLetIn: the user or password is wrong.
    """
    from ami.stores.client import ClusterLink
    from ami.stores.store import Store

    return Store(ClusterLink(config), prefix)
