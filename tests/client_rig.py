"""Publish results as the global reducer does, for tests of those who read them."""

from __future__ import annotations

import time
from dataclasses import replace

import ami.messages  # noqa: F401  # so that results may travel
from ami.cluster.node import Node
from ami.event import Field, Schema
from ami.result import Events, Result
from ami.stores import Store, keys, open_global

SCHEMA = Schema((Field("x", "f8"), Field("delay", "f8"), Field("camera", "f4", (4, 6))))


def emptied(node: Node) -> Store:
    """Return what the global reducer writes through, with nothing in it."""
    store = open_global(node.config.global_store, keys.prefix("ami", "global-reducer", 0))
    store.delete_many([*store, keys.RESULTS, *map(keys.history, keys.LANES)])
    return store


def made(name: str, value: object, **changes: object) -> Result:
    result = Result(
        name=name, value=value, error=None, window="run", run=1, interval=5, interval_ns=50_000_000,
        time_ns=(0, 1), events=Events(expected=10, used=9, dropped=1), nodes=("n",), missing_nodes=(),
        workers=("n:worker:0",), graph_version=1, graph_hash="h", complete=True,
        published_ns=time.time_ns(),
    )  # fmt: skip
    return replace(result, **changes)  # type: ignore[arg-type]


def publish(reducer: Store, *results: Result) -> None:
    """Publish as the global reducer does what is too large for its table: each by key, in one step."""
    catalogue = dict(reducer.get(keys.CATALOGUE) or {})
    catalogue |= {result.name: {"window": result.window} for result in results}
    values = {keys.result(result.name): result for result in results}
    notice = {"interval": 5, "run": 1, "names": [result.name for result in results], "graph_version": 1}
    reducer.commit(None, {**values, keys.CATALOGUE: catalogue}, notify={keys.RESULTS: notice})
