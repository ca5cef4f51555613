"""Put results into the global store: the newest by key, a notification, and a history of the scalars.

A large result may take longer to store than an interval lasts. It is then published as often as
a fixed share of the time allows, and its envelope says so; small results are never held up by it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import ami.messages  # noqa: F401  # registers the value types that results are made of
from ami.result import Result
from ami.stores import Lease, Store, codec, keys

LARGE_BYTES = 256 << 10
# What part of the time all large results together may take to publish.
LARGE_SHARE = 0.25


class Publisher:
    """Publishes the results of one global reducer, under its lease."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._large_at = self._large_every_s = 0.0
        self._waiting: dict[str, Result] = {}
        self._catalogue: dict[str, Any] | None = None
        self.published = 0
        self.conflated = 0

    def publish(self, results: Iterable[Result]) -> None:
        """Publish what one interval gave, in one round trip.

        Raises:
            Conflict: another global reducer holds the lease; nothing was published.
        """
        now = time.monotonic()
        small: dict[str, Result] = {}
        for result in results:
            if _bytes(result.value) < LARGE_BYTES:
                small[result.name] = result
            else:
                self.conflated += result.name in self._waiting
                self._waiting[result.name] = result
        large = self._waiting if now >= self._large_at else {}
        large = {name: replace(result, every_s=self._large_every_s) for name, result in large.items()}
        self._commit({**small, **large})
        if large:
            self._waiting = {}
            self._large_every_s = (time.monotonic() - now) / LARGE_SHARE
            self._large_at = now + self._large_every_s

    def overdue(self) -> bool:
        """Whether large results wait that may be published now."""
        return bool(self._waiting) and time.monotonic() >= self._large_at

    def _commit(self, results: Mapping[str, Result]) -> None:
        if not results:
            return
        newest = max(results.values(), key=lambda result: result.published_ns)
        notify: dict[str, Any] = {
            keys.RESULTS: {
                "run": newest.run,
                "interval": newest.interval,
                "names": sorted(results),
                "graph_version": newest.graph_version,
            }
        }
        for result in results.values():
            if _is_scalar(result.value):
                notify[keys.history(result.name)] = {
                    "interval": result.interval,
                    "time_ns": result.time_ns[1],
                    "value": float(result.value),
                    "used": result.events.used,
                }
        values = {keys.result(name): result for name, result in results.items()}
        try:
            self._store.commit(self._lease, values, notify=notify)
        except TypeError:
            # What an operation of another package gave cannot be stored: nobody else's result waits for it.
            values = {key: _storable(result) for key, result in values.items()}
            self._store.commit(self._lease, values, notify=notify)
        self.published += len(results)

    def forget(self, names: Iterable[str], catalogue: Mapping[str, Any]) -> None:
        """Remove results that the graph does not have any more, and say which it has."""
        gone = [key for name in names for key in (keys.result(name), keys.history(name))]
        for name in names:
            self._waiting.pop(name, None)
        if gone:
            self._store.delete_many(gone)
        if catalogue != self._catalogue:
            self._store.commit(self._lease, {keys.CATALOGUE: dict(catalogue)})
            self._catalogue = dict(catalogue)


def _storable(result: Result) -> Result:
    """Return the result, or the reason why it cannot be stored in its place."""
    try:
        codec.encode(result)
    except TypeError as error:
        return replace(result, value=None, error=str(error))
    return result


def _bytes(value: object) -> int:
    """Return about how many bytes a result's arrays have."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    fields = getattr(value, "__dataclass_fields__", None)
    return sum(_bytes(getattr(value, name)) for name in fields) if fields else 0


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | np.generic) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    )
