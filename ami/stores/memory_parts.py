"""What MemoryStore is made of: the world that its views share, and queues, leases and journals in it."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ami.errors import Conflict, Undecodable
from ami.stores import codec, keys
from ami.stores.codec import Value
from ami.stores.journal import BadRecord
from ami.stores.queue import from_item, to_item
from ami.stores.store import Item, Record, Store

LIVE = (list, dict, set, collections.deque, collections.Counter)


@dataclass
class Stream:
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    last: int = 0


@dataclass
class Place:
    """What has one key: bytes (a whole value), a live collection, or one of the structures."""

    content: Any
    ends: float = float("inf")  # on the monotonic clock


class World:
    """What all views share."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str], Place] = {}
        self.changed = threading.Condition(threading.RLock())

    def find(self, prefix: str, name: str) -> Place | None:
        place = self.places.get((prefix, name))
        if place is not None and place.ends <= time.monotonic():
            del self.places[prefix, name]
            return None
        return place

    def structure(self, prefix: str, name: str, make: Callable[[], Any]) -> Any:
        """Return the structure at a name, made if there is none; TypeError if it is something else."""
        place = self.find(prefix, name)
        if place is None:
            place = self.places[prefix, name] = Place(make())
        wanted = make()
        if type(place.content) is not type(wanted):
            raise TypeError(f"{prefix}:{name} is a {type(place.content).__name__}")
        return place.content

    def wait(self, look: Callable[[], Any], timeout_s: float) -> Any:
        """Return ``look()`` as soon as it says something, or after ``timeout_s``."""
        with self.changed:
            self.changed.wait_for(look, timeout_s)
            return look()


def checked(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names are str, got {type(name).__name__}")
    if not name or name[0] == "%":
        raise ValueError(f"a name has at least one character and does not start with '%', got {name!r}")
    return name


@dataclass
class _Items:
    waiting: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)


class MemoryQueue:
    """See :class:`ami.stores.store.Queue`."""

    def __init__(self, world: World, prefix: str, name: str) -> None:
        self._world = world
        self._place = (prefix, name)

    def _items(self) -> _Items:
        items: _Items = self._world.structure(*self._place, _Items)
        return items

    def put(self, value: Any) -> str:
        identifier = uuid4().hex
        raw = to_item(value, identifier)
        with self._world.changed:
            self._items().waiting.append(raw)
            self._world.changed.notify_all()
        return identifier

    def take(self, timeout_s: float) -> Item | None:
        with self._world.changed:
            self._world.wait(lambda: bool(self._items().waiting), timeout_s)
            items = self._items()
            if not items.waiting:
                return None
            raw = items.waiting.pop(0)
            item = from_item(raw)
            items.taken.append(raw)
            return item

    def done(self, item: Item) -> None:
        with self._world.changed:
            if item.raw in self._items().taken:
                self._items().taken.remove(item.raw)

    def recover(self) -> int:
        with self._world.changed:
            items = self._items()
            count = len(items.taken)
            items.waiting[:0] = items.taken
            items.taken.clear()
            return count

    def __len__(self) -> int:
        with self._world.changed:
            return len(self._items().waiting)


@dataclass
class _Office:
    owner: str = ""
    ends: float = 0.0
    token: int = 0


class MemoryLease:
    """See :class:`ami.stores.store.Lease`."""

    def __init__(self, world: World, prefix: str, name: str, ttl_s: float, place: str) -> None:
        self._world = world
        self._place = (prefix, name)
        self._ttl_s = ttl_s
        self._owner = f"{place} {uuid4().hex}"
        self._predecessor = f"{place} " if place else None
        self.token = 0

    def _office(self) -> _Office:
        office: _Office = self._world.structure(*self._place, _Office)
        return office

    def _is_ours(self) -> bool:
        office = self._office()
        return office.owner == self._owner and office.ends > time.monotonic() and self.token == office.token

    def acquire(self) -> bool:
        with self._world.changed:
            office = self._office()
            inherited, self._predecessor = self._predecessor, None
            free = office.ends <= time.monotonic()
            if inherited and office.owner != self._owner and office.owner.startswith(inherited):
                free = True
            if not free and office.owner != self._owner:
                self.token = 0
                return False
            if free:
                office.token += 1
            office.owner, office.ends = self._owner, time.monotonic() + self._ttl_s
            self.token = office.token
            return True

    def check(self) -> None:
        """Raise Conflict if the lease is not ours."""
        if not self._is_ours():
            raise Conflict(f"the lease {':'.join(self._place)} is not ours any more")

    def renew(self) -> None:
        with self._world.changed:
            try:
                self.check()
            except Conflict:
                self.token = 0
                raise
            self._office().ends = time.monotonic() + self._ttl_s

    def release(self) -> None:
        with self._world.changed:
            if self._is_ours():
                self._office().ends = 0.0
            self.token = 0


@dataclass
class _Records:
    payloads: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    last: int = 0


class MemoryJournal:
    """See :class:`ami.stores.store.Journal`."""

    def __init__(self, world: World, store: Store, name: str) -> None:
        self.world = world
        self._store = store
        self._name = name
        self.key = keys.full(store.prefix, name, tagged=False)

    def _records(self) -> _Records:
        records: _Records = self.world.structure(self._store.prefix, self._name, _Records)
        return records

    def append(
        self,
        number: int,
        value: Value,
        *,
        also: Mapping[str, Value] | None = None,
        expire_s: float | None = None,
    ) -> bool:
        if number < 1:
            raise ValueError(f"records are numbered from 1, got {number}")
        payload = bytes(codec.encode(value))
        ends = float("inf") if expire_s is None else time.monotonic() + expire_s
        with self.world.changed:
            records = self._records()
            if number <= records.last:
                return False
            self._store.update(also or {})
            records.payloads[number] = (payload, ends)
            records.last = number
            self.world.changed.notify_all()
            return True

    def read(self, after: int = 0, limit: int = 100) -> list[Record]:
        with self.world.changed:
            now = time.monotonic()
            found = [(n, p) for n, (p, ends) in self._records().payloads.items() if n > after and ends > now]
        records: list[Record] = []
        for number, payload in found[:limit]:
            try:
                records.append(Record(number, codec.decode(payload)))
            except Undecodable as error:
                if records:
                    return records
                raise BadRecord(self.key, number, str(error)) from error
        return records

    def remove(self, numbers: Iterable[int]) -> int:
        with self.world.changed:
            payloads = self._records().payloads
            return sum(payloads.pop(number, None) is not None for number in list(numbers))

    def trim(self, upto: int) -> int:
        with self.world.changed:
            return self.remove([number for number in self._records().payloads if number <= upto])

    def last(self) -> int:
        with self.world.changed:
            return self._records().last

    def fence(self) -> int:
        with self.world.changed:
            records = self._records()
            records.last += 1
            return records.last

    def pending(self) -> int:
        with self.world.changed:
            return len(self._records().payloads)


def read_many_in_memory(
    journals: Mapping[str, MemoryJournal], after: Mapping[str, int], timeout_s: float, limit: int
) -> list[tuple[str, Record]]:
    """See :func:`ami.stores.store.read_journals`."""

    def look() -> list[tuple[str, Record]]:
        return [
            (name, record)
            for name, journal in journals.items()
            for record in journal.read(after.get(name, 0), limit)
        ]

    found: list[tuple[str, Record]] = next(iter(journals.values())).world.wait(look, timeout_s)
    return found
