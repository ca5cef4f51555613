"""Put results into the global store: small ones in one table, others by key, and a history of the numbers.

What an interval gave is one value, one notification and one entry of a history, however many results there
are. A large result may take longer to store than an interval lasts. It is then published as often as a fixed
share of the time allows, and its envelope says so; small results are never held up by it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import ami.messages  # noqa: F401  # registers the value types that results are made of
from ami.daemons.process.rate import Flows
from ami.errors import Undecodable
from ami.messages.pieces import PIECE_BYTES, Keyed, Pieces, cut
from ami.messages.table import Moment, Table
from ami.result import Result, Row
from ami.stores import Lease, Store, codec, keys
from ami.stores.codec import Value

logger = logging.getLogger(__name__)

LARGE_BYTES = 256 << 10
# What part of the time all large results together may take to publish.
LARGE_SHARE = 0.25
# Of a value in the table. Who asks for one result reads the whole table.
TABLE_BYTES = 4 << 10
NUMBERS = frozenset({int, float, bool, np.float64, np.int64, np.float32})  # at a glance


class Publisher:
    """Publishes the results of one lane of one global reducer, under its lease.

    Args:
        history: how many intervals of the numbers are kept, about.
    """

    def __init__(self, store: Store, lease: Lease, *, lane: str = keys.SMALL, history: int = 1000) -> None:
        self._store = store
        self._lease = lease
        self._lane = lane
        self._history = history
        self._large_at = self._large_every_s = 0.0
        self._waiting: dict[str, Result] = {}
        self._catalogue: dict[str, Any] | None = None
        self._by_key: set[str] = set()  # of results that have a key of their own
        self._has_table = True  # an earlier leader may have left one
        self._pieces: dict[str, list[str]] = {}  # by result, of what is stored in pieces
        self._piece = 0
        self.flows = Flows()  # bytes of large results, by name
        self.published = 0
        self.conflated = 0

    def publish(self, results: Iterable[Result | Row]) -> None:
        """Publish what one interval gave, which is all results of the lane, in one round trip.

        Raises:
            Conflict: another global reducer holds the lease; nothing was published.
        """
        small: list[Result | Row] = []
        single: dict[str, Result] = {}
        for one in results:
            value = one.value
            size = 0 if type(value) in NUMBERS else count_bytes(value)
            if size <= TABLE_BYTES:
                small.append(one)
                continue
            result = one.to_result() if isinstance(one, Row) else one
            if size < LARGE_BYTES:
                single[result.name] = result
            else:
                self.conflated += result.name in self._waiting
                self._waiting[result.name] = result
        self._store_all(single, small)

    def publish_waiting(self) -> None:
        """Publish the large results that wait, if it is time.

        Raises:
            Conflict: another global reducer holds the lease; nothing was published.
        """
        self._store_all({}, None)

    def overdue(self) -> bool:
        """Whether large results wait that may be published now."""
        return bool(self._waiting) and time.monotonic() >= self._large_at

    def _store_all(self, single: Mapping[str, Result], small: Sequence[Result | Row] | None) -> None:
        now = time.monotonic()
        large = self._waiting if now >= self._large_at else {}
        large = {name: replace(result, every_s=self._large_every_s) for name, result in large.items()}
        self.store({**single, **large}, small)
        if large:
            self._waiting = {}
            self._large_every_s = (time.monotonic() - now) / LARGE_SHARE
            self._large_at = now + self._large_every_s

    def store(self, single: Mapping[str, Result], small: Sequence[Result | Row] | None = None) -> None:
        """Store results that are published now, in one step; a very large value in pieces before it.

        Args:
            single: by name, those that get a key of their own.
            small: those of the lane's table; None: it stays as it is.

        Raises:
            Conflict: another global reducer holds the lease; nothing was published.
        """
        rows = [one if isinstance(one, Row) else Row.of(one) for one in small or ()]
        values, notify = self._tabulate(None if small is None else rows)
        if single or rows:
            first = next(iter(single.values())) if single else rows[0].envelope
            notify[keys.RESULTS] = {
                "run": first.run,
                "interval": first.interval,
                "names": sorted(single),
                "lane": self._lane if rows else None,
                "graph_version": first.graph_version,
            }
        elif not values:
            return
        whole = {keys.result(name): self._fit(result) for name, result in single.items()}
        tabled = self._by_key.intersection(row.name for row in rows) if self._by_key else set()
        smaller = [name for name in single.keys() & self._pieces.keys()
                   if isinstance(whole[keys.result(name)], Result)]  # fmt: skip
        # In the same step: who reads by key alone would find what is in the table now as it was before.
        gone = [*map(keys.result, tabled), *(piece for name in smaller for piece in self._pieces[name])]
        commit = partial(self._store.commit, self._lease, notify=notify, keep=self._history, remove=gone)
        try:
            commit({**values, **whole})
        except TypeError:
            # What an operation of another package gave cannot be stored: nobody else's result waits for it.
            whole = {keys.result(name): _storable(result) for name, result in single.items()}
            commit({**values, **whole})
        for name in smaller:
            del self._pieces[name]
        self._by_key = (self._by_key - tabled) | single.keys()
        for name, result in single.items():
            self.flows.add(name, count_bytes(result.value))
        self.published += len(single) + len(rows)

    def _tabulate(self, small: Sequence[Row] | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the table to be stored, and the moment to be remembered, each under its name."""
        if small is None or not (small or self._has_table):
            return {}, {}
        self._has_table = bool(small)
        table = Table.of_rows(small)
        moment = Moment.of(small, table)
        return {keys.table(self._lane): table}, {} if moment is None else {keys.history(self._lane): moment}

    def _fit(self, result: Result) -> Result | Pieces:
        """Return the result, or, when it is too large for one value, its pieces, which are stored then."""
        if count_bytes(result.value) <= PIECE_BYTES:
            return result
        # First: for both there might be no room. Who reads meanwhile waits for the new one.
        self.remove(self._pieces.pop(result.name, ()))
        names: list[str] = []
        self._pieces[result.name] = names
        nbytes = 0
        for piece in cut(result):
            names.append(self.name_piece(result.name))
            self.put_piece(names[-1], piece)
            nbytes += piece.nbytes
        return Pieces(names=tuple(names), nbytes=nbytes)

    def name_piece(self, result: str) -> str:
        """Return a name that no piece of a result had."""
        self._piece += 1
        return keys.result_piece(result, self._lease.token, self._piece)

    def put_piece(self, name: str, piece: Value) -> None:
        """Store a piece of a result.

        Raises:
            Conflict: another global reducer holds the lease.
        """
        self._store.commit(self._lease, {name: piece})

    def remove(self, names: Collection[str]) -> None:
        """Remove what has these names; see :meth:`put_piece`."""
        if names:
            self._store.commit(self._lease, {}, remove=names)

    def take_over(self, results: Iterable[str]) -> tuple[set[str], dict[str, tuple[str, ...]]]:
        """Find what earlier leaders stored in pieces; return all that there are, and by result those by key.

        What a value was cut into goes when the result is published anew.
        """
        there = {name for name in self._store if keys.is_result_piece(name)}
        by_key: dict[str, tuple[str, ...]] = {}
        for name in results if there else ():
            try:
                found = self._store.get(keys.result(name))
            except Undecodable as error:
                logger.warning("result %r is published anew: %s", name, error)
                continue
            if isinstance(found, Pieces):
                self._pieces[name] = [piece for piece in found.names if piece in there]
            elif isinstance(found, Result) and isinstance(found.value, Keyed):
                by_key[name] = found.value.names
        return there, by_key

    def keep_pieces(self, there: Iterable[str], kept: Collection[str]) -> None:
        """Remove the pieces that belong to nothing: neither to a result in pieces nor among ``kept``."""
        known = {piece for pieces in self._pieces.values() for piece in pieces}.union(kept)
        self.remove([name for name in there if name not in known])

    def keep_pieces_of(self, names: Collection[str]) -> None:
        """Remove the pieces of all other results."""
        self._drop_pieces([name for name in self._pieces if name not in names])

    def _drop_pieces(self, names: Iterable[str]) -> None:
        self.remove([piece for name in list(names) for piece in self._pieces.pop(name)])

    def forget(self, names: Iterable[str], catalogue: Mapping[str, Any]) -> None:
        """Remove results that the graph does not have any more, and say which it has."""
        left = set(names)
        gone = [keys.result(name) for name in left]
        for name in left:
            self._waiting.pop(name, None)
            gone += self._pieces.pop(name, ())
        if gone:
            self._by_key -= left
            self.remove(gone)
            self._take_out(left)
        if catalogue != self._catalogue:
            self._store.commit(self._lease, {keys.CATALOGUE: dict(catalogue)})
            self._catalogue = dict(catalogue)
            # An earlier leader, or the other lane, may have stored by key what is in the table now.
            self._by_key.update(catalogue)

    def _take_out(self, names: set[str]) -> None:
        """Take results out of the tables of both lanes."""
        tables = self._store.get_many(map(keys.table, keys.LANES))
        without = {
            key: table.without(names)
            for key, table in tables.items()
            if isinstance(table, Table) and not names.isdisjoint(table.list_names())
        }
        if without:
            self._store.commit(self._lease, without)


def _storable(result: Result) -> Result:
    """Return the result, or the reason why it cannot be stored in its place."""
    try:
        codec.encode(result)
    except TypeError as error:
        return replace(result, value=None, error=str(error))
    return result


def count_bytes(value: object) -> int:
    """Return about how many bytes a result's arrays have."""
    if type(value) in NUMBERS:
        return 0
    if isinstance(value, np.ndarray):
        return value.nbytes
    fields = getattr(value, "__dataclass_fields__", None)
    return sum(count_bytes(getattr(value, name)) for name in fields) if fields else 0
