"""Put results into the global store: the newest by key, a notification, and a history of the scalars.

A large result may take longer to store than an interval lasts. It is then published as often as
a fixed share of the time allows, and its envelope says so; small results are never held up by it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import ami.messages  # noqa: F401  # registers the value types that results are made of
from ami.messages.pieces import PIECE_BYTES, Pieces, cut
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
        self._pieces: dict[str, list[str]] = {}  # by result, of what is stored in pieces
        self._piece = 0
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
            if count_bytes(result.value) < LARGE_BYTES:
                small[result.name] = result
            else:
                self.conflated += result.name in self._waiting
                self._waiting[result.name] = result
        large = self._waiting if now >= self._large_at else {}
        large = {name: replace(result, every_s=self._large_every_s) for name, result in large.items()}
        self.store({**small, **large})
        if large:
            self._waiting = {}
            self._large_every_s = (time.monotonic() - now) / LARGE_SHARE
            self._large_at = now + self._large_every_s

    def overdue(self) -> bool:
        """Whether large results wait that may be published now."""
        return bool(self._waiting) and time.monotonic() >= self._large_at

    def store(self, results: Mapping[str, Result]) -> None:
        """Store results that are published now, in one step; a very large value in pieces before it.

        Raises:
            Conflict: another global reducer holds the lease; nothing was published.
        """
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
        replaced = [piece for name in results for piece in self._pieces.get(name, ())]
        values = {keys.result(name): self._fit(result) for name, result in results.items()}
        try:
            self._store.commit(self._lease, values, notify=notify)
        except TypeError:
            # What an operation of another package gave cannot be stored: nobody else's result waits for it.
            values = {keys.result(name): _storable(result) for name, result in results.items()}
            self._store.commit(self._lease, values, notify=notify)
        if replaced:
            # Who reads them just now finds one missing, and the newer value in their place.
            self._store.delete_many(replaced)
        self.published += len(results)

    def _fit(self, result: Result) -> Result | Pieces:
        """Return the result, or, when it is too large for one value, its pieces, which are stored then."""
        self._pieces.pop(result.name, None)
        if count_bytes(result.value) <= PIECE_BYTES:
            return result
        names: list[str] = []
        self._pieces[result.name] = names
        nbytes = 0
        for piece in cut(result):
            self._piece += 1
            names.append(keys.result_piece(result.name, self._lease.token, self._piece))
            self._store.put(names[-1], piece)
            nbytes += piece.nbytes
        return Pieces(names=tuple(names), nbytes=nbytes)

    def remove_unknown_pieces(self) -> None:
        """Remove what earlier leaders stored in pieces. Publish anew after that."""
        self._store.delete_many([name for name in self._store if keys.is_result_piece(name)])

    def keep_pieces_of(self, names: Collection[str]) -> None:
        """Remove the pieces of all other results."""
        gone = [name for name in self._pieces if name not in names]
        self._store.delete_many([piece for name in gone for piece in self._pieces.pop(name)])

    def forget(self, names: Iterable[str], catalogue: Mapping[str, Any]) -> None:
        """Remove results that the graph does not have any more, and say which it has."""
        gone = [key for name in names for key in (keys.result(name), keys.history(name))]
        for name in names:
            self._waiting.pop(name, None)
            gone += self._pieces.pop(name, ())
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


def count_bytes(value: object) -> int:
    """Return about how many bytes a result's arrays have."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    fields = getattr(value, "__dataclass_fields__", None)
    return sum(count_bytes(getattr(value, name)) for name in fields) if fields else 0


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | np.generic) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    )
