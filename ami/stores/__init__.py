"""Keep values in Redis: the node's own (local tier) and the cluster's (global tier), behind one interface.

``redis`` is imported in ``client.py`` only, and that only when a store is opened. The rest of this room is
imported when it is first asked for: the process that becomes a Redis server needs ``server.py`` alone, and
without numpy it is there 0.1 s of CPU earlier, which after a kill is time without results.
"""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING

from ami.config import GlobalStoreConfig, LocalStoreConfig

if TYPE_CHECKING:
    from ami.stores.codec import Value
    from ami.stores.journal import BadRecord
    from ami.stores.mapping import RedisStore
    from ami.stores.memory import MemoryStore
    from ami.stores.store import ABSENT, Item, Journal, KeyFacts, Lease, Queue, Record, Store, read_journals

__all__ = [
    "ABSENT",
    "BadRecord",
    "Item",
    "Journal",
    "KeyFacts",
    "Lease",
    "MemoryStore",
    "Queue",
    "Record",
    "RedisStore",
    "Store",
    "Value",
    "open_global",
    "open_local",
    "read_journals",
]

_HOMES = {
    "Value": "codec",
    "BadRecord": "journal",
    "RedisStore": "mapping",
    "MemoryStore": "memory",
    **dict.fromkeys(("ABSENT", "Item", "Journal", "KeyFacts", "Lease"), "store"),
    **dict.fromkeys(("Queue", "Record", "Store", "read_journals"), "store"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def open_local(
    config: LocalStoreConfig, prefix: str, *, stopping: threading.Event | None = None
) -> RedisStore:
    """Return the values of ``prefix`` in the node's own Redis; connects when it is first used.

    Raises (each method of the store, too):
        StoreUnavailable: it cannot be reached now.
    """
    from ami.stores.client import LocalLink
    from ami.stores.mapping import RedisStore

    return RedisStore(LocalLink(config, stopping), prefix)


def open_global(
    config: GlobalStoreConfig, prefix: str, *, stopping: threading.Event | None = None
) -> RedisStore:
    """Return the values of ``prefix`` in the cluster; connects when it is first used.

    A method waits up to ``config.timeout_s`` for a cluster that cannot answer now; ``stopping`` ends the
    wait of a process that was asked to stop.

    Raises (each method of the store, too):
        StoreUnavailable: it cannot be reached now.
        ConfigError: the user or password is wrong.
    """
    from ami.stores.client import ClusterLink
    from ami.stores.mapping import RedisStore

    return RedisStore(ClusterLink(config, stopping), prefix)
