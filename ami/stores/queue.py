"""A queue of requests on a Redis list. Whoever takes an item has it in a second list until it is done.

Items are JSON, never pickles: they come from clients.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ami.errors import StoreUnavailable, Undecodable
from ami.stores import keys
from ami.stores.link import Link, Script

_RECOVER = Script("""
local count = redis.call('LLEN', KEYS[1])
for _ = 1, count do redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT') end
return count
""")


@dataclass(frozen=True, slots=True)
class Item:
    """A queue's item: plain data, and the id that it was put under."""

    id: str
    value: Any
    raw: bytes = field(repr=False, compare=False, default=b"")


def to_item(value: Any, identifier: str) -> bytes:
    """Return the bytes of an item.

    Raises:
        TypeError: JSON cannot say ``value``.
    """
    try:
        text = json.dumps({"id": identifier, "value": value}, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise TypeError(f"this is no plain data: {error}") from error
    return text.encode()


def from_item(raw: bytes) -> Item:
    """Return the item of ``raw``.

    Raises:
        Undecodable: the bytes are not those of an item.
    """
    try:
        item = json.loads(raw)
        identifier, value = item["id"], item["value"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Undecodable(f"an item of a queue is broken: {raw[:60]!r}: {error!r:.100}") from error
    if not isinstance(identifier, str):
        raise Undecodable(f"an item of a queue has the id {identifier!r:.60}, which is no text")
    return Item(identifier, value, raw)


class Queue:
    """A list of requests: whoever takes one has it until it is done.

    An item may arrive twice (a consumer died before it was done), so whoever carries it out must know
    it by its id.
    """

    def __init__(self, link: Link, key: str) -> None:
        self._link = link
        self._key = key
        self._taken = keys.taken(key)
        self._held: set[bytes] = set()
        # Whether the answer to a take was lost: then an item may lie in `taken` that we never saw.
        self._doubtful = False

    def put(self, value: Any) -> str:
        """Append an item of plain data; return its id.

        Raises:
            TypeError: not what JSON can say.
            StoreUnavailable: it is not known whether the item was appended, if the connection broke.
        """
        identifier = uuid4().hex
        self._link.one(self._key, "RPUSH", to_item(value, identifier), repeat=False)
        return identifier

    def take(self, timeout_s: float) -> Item | None:
        """Return the oldest item, or None when there is none within ``timeout_s``.

        Raises:
            Undecodable: it was no item; it has been removed.
        """
        if self._doubtful:
            for raw in self._link.one(self._taken, "LRANGE", 0, -1, repeat=True):
                if raw not in self._held:
                    return self._receive(raw)
            self._doubtful = False
        for wait_s in self._link.waits(timeout_s):
            # A block of 0 would be one without end.
            word, block = ("BLMOVE", (f"{max(wait_s, 0.001):.3f}",)) if wait_s else ("LMOVE", ())
            try:
                raw = self._link.one(self._key, word, self._taken, "LEFT", "RIGHT", *block, repeat=False)
            except StoreUnavailable:
                self._doubtful = True
                raise
            if raw is not None:
                return self._receive(raw)
        return None

    def _receive(self, raw: bytes) -> Item:
        try:
            item = from_item(raw)
        except Undecodable:
            self._link.one(self._taken, "LREM", 1, raw, repeat=False)
            raise
        self._held.add(raw)
        return item

    def done(self, item: Item) -> None:
        """Remove an item that was taken."""
        self._link.one(self._taken, "LREM", 1, item.raw, repeat=True)
        self._held.discard(item.raw)

    def recover(self) -> int:
        """Put back, in order, what was taken and not done; only when no other consumer lives."""
        count = int(self._link.script(_RECOVER, [self._taken, self._key], repeat=True))
        self._held.clear()
        return count

    def __len__(self) -> int:
        """Return how many items wait to be taken."""
        return int(self._link.one(self._key, "LLEN", repeat=True))
