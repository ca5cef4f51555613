"""A store in this process's memory: the double of RedisStore for tests, under the same contract.

Live collections are Python's own types. Values go through the codec, so what Redis would refuse is
refused here, and what comes back is as read-only as from there. Views of one MemoryStore share it,
from any thread.
"""

from __future__ import annotations

import collections
import fnmatch
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ami.errors import Conflict, Undecodable
from ami.stores import codec, keys
from ami.stores.codec import Value
from ami.stores.journal import BadRecord
from ami.stores.queue import from_item, to_item
from ami.stores.store import ABSENT, Absent, Entries, Item, KeyFacts, Lease, Record, Store, Values

_LIVE = (list, dict, set, collections.deque, collections.Counter)


@dataclass
class _Stream:
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    last: int = 0


@dataclass
class _Place:
    """What has one key: bytes (a whole value), a live collection, or one of the structures."""

    content: Any
    ends: float = float("inf")  # on the monotonic clock


class _World:
    """What all views share."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str], _Place] = {}
        self.changed = threading.Condition(threading.RLock())

    def find(self, prefix: str, name: str) -> _Place | None:
        place = self.places.get((prefix, name))
        if place is not None and place.ends <= time.monotonic():
            del self.places[prefix, name]
            return None
        return place

    def structure(self, prefix: str, name: str, make: Callable[[], Any]) -> Any:
        """Return the structure at a name, made if there is none; TypeError if it is something else."""
        place = self.find(prefix, name)
        if place is None:
            place = self.places[prefix, name] = _Place(make())
        wanted = make()
        if type(place.content) is not type(wanted):
            raise TypeError(f"{prefix}:{name} is a {type(place.content).__name__}")
        return place.content

    def wait(self, look: Callable[[], Any], timeout_s: float) -> Any:
        """Return ``look()`` as soon as it says something, or after ``timeout_s``."""
        with self.changed:
            self.changed.wait_for(look, timeout_s)
            return look()


class MemoryStore(Store):
    """See :class:`ami.stores.store.Store`."""

    def __init__(self, prefix: str = "here:test:0", world: _World | None = None) -> None:
        if prefix.count(":") != 2:
            raise ValueError(f"a prefix is HOST:TYPE:ID, got {prefix!r}")
        self.prefix = prefix
        self._world = world or _World()

    def view(self, prefix: str) -> MemoryStore:
        return MemoryStore(prefix, self._world)

    def close(self) -> None:
        pass

    def _set(self, name: str, content: Any, expire_s: float | None = None) -> None:
        ends = float("inf") if expire_s is None else time.monotonic() + expire_s
        with self._world.changed:
            self._world.places[self.prefix, _checked(name)] = _Place(content, ends)
            self._world.changed.notify_all()

    def _find(self, name: str) -> Any:
        """Return bytes or a live collection; ABSENT for anything else."""
        with self._world.changed:
            place = self._world.find(self.prefix, _checked(name))
        return ABSENT if place is None or not isinstance(place.content, (bytes, *_LIVE)) else place.content

    # the mapping

    def __getitem__(self, name: str) -> Value:
        content = self._find(name)
        if content is ABSENT:
            raise KeyError(name)
        return codec.decode(content) if isinstance(content, bytes) else content

    def __setitem__(self, name: str, value: Value) -> None:
        if type(value) in _LIVE:
            codec.encode(value)
            self._set(name, value.copy())
        else:
            self.put(name, value)

    def __delitem__(self, name: str) -> None:
        with self._world.changed:
            if self._find(name) is ABSENT:
                raise KeyError(name)
            del self._world.places[self.prefix, name]

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or not name or name[0] == "%":
            return False
        return self._find(name) is not ABSENT

    def __iter__(self) -> Iterator[str]:
        with self._world.changed:
            names = [name for prefix, name in self._world.places if prefix == self.prefix]
            return iter([name for name in names if self._find(name) is not ABSENT])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def clear(self) -> None:
        self.delete_many(list(self))

    # values, whole

    def put(self, name: str, value: Value, *, expire_s: float | None = None) -> None:
        self._set(name, bytes(codec.encode(value)), expire_s)

    def update(self, mapping: Any = (), /, *, expire_s: float | None = None, **more: Value) -> None:
        encoded = {n: bytes(codec.encode(value)) for n, value in {**dict(mapping), **more}.items()}
        for name, content in encoded.items():
            self._set(name, content, expire_s)

    def get_many(self, names: Iterable[str]) -> Values:
        with self._world.changed:
            return {name: self[name] for name in names if name in self}

    def delete_many(self, names: Iterable[str]) -> int:
        with self._world.changed:
            found = [self._world.places.pop((self.prefix, _checked(name)), None) for name in names]
        return sum(place is not None for place in found)

    def expire(self, name: str, after_s: float) -> bool:
        with self._world.changed:
            place = self._world.find(self.prefix, _checked(name))
            if place is None:
                return False
            place.ends = time.monotonic() + after_s
            return True

    def take(self, name: str) -> Value:
        with self._world.changed:
            value = self[name]
            del self[name]
            return value

    def compare_and_set(self, name: str, expected: Value | Absent, new: Value) -> None:
        with self._world.changed:
            self._expect({name: expected})
            self.put(name, new)

    def _expect(self, expected: Mapping[str, Value | Absent]) -> None:
        for name, wanted in expected.items():
            content = self._find(name)
            if wanted is ABSENT:
                stands = self._world.find(self.prefix, name) is None
            else:
                stands = isinstance(content, bytes) and codec.equal(codec.decode(content), wanted)
            if not stands:
                raise Conflict(f"{self.prefix}:{name} is not what was expected")

    def commit(
        self,
        lease: Lease,
        values: Mapping[str, Value],
        *,
        expected: Mapping[str, Value | Absent] | None = None,
        notify: Mapping[str, Value] | None = None,
        keep: int = 1000,
    ) -> None:
        if not isinstance(lease, MemoryLease):
            raise TypeError(f"a lease of this store is needed, got a {type(lease).__name__}")
        for value in (*values.values(), *(notify or {}).values()):
            codec.encode(value)
        with self._world.changed:
            lease.check()
            self._expect(expected or {})
            self.update(values)
            for name, value in (notify or {}).items():
                self.notify(name, value, keep=keep)

    # streams

    def notify(
        self,
        name: str,
        value: Value,
        *,
        keep: int = 1000,
        also: Mapping[str, Value] | None = None,
        expire_s: float | None = None,
    ) -> str:
        entry = bytes(codec.encode(value))
        with self._world.changed:
            stream: _Stream = self._world.structure(self.prefix, _checked(name), _Stream)
            self.update(also or {}, expire_s=expire_s)
            stream.last = max(stream.last + 1, time.time_ns() // 1_000_000)
            stream.entries = [*stream.entries, (stream.last, entry)][-keep:]
            if expire_s is not None:
                self.expire(name, expire_s)
            self._world.changed.notify_all()
            return f"{stream.last}-0"

    def _stream(self, name: str) -> _Stream:
        place = self._world.find(self.prefix, _checked(name))
        return place.content if place is not None and isinstance(place.content, _Stream) else _Stream()

    def watch(self, name: str, after: str = "$", timeout_s: float = 0.0) -> Entries:
        with self._world.changed:
            beyond = self._stream(name).last if after == "$" else int(after.partition("-")[0])

        def look() -> Entries:
            return [entry for entry in self.history(name, 1 << 60) if int(entry[0][:-2]) > beyond]

        found: Entries = self._world.wait(look, timeout_s)
        return found

    def history(self, name: str, limit: int) -> Entries:
        with self._world.changed:
            entries = self._stream(name).entries[-limit:]
        return [(f"{number}-0", codec.decode(entry)) for number, entry in entries]

    # collections

    def _open(self, name: str, make: Callable[[], Any]) -> Any:
        with self._world.changed:
            return self._world.structure(self.prefix, _checked(name), make)

    def list(self, name: str) -> MutableSequence[Any]:
        return self._open(name, list)  # type: ignore[no-any-return]  # _open checked it

    def dict(self, name: str) -> MutableMapping[Any, Any]:
        return self._open(name, dict)  # type: ignore[no-any-return]  # _open checked it

    def set(self, name: str) -> MutableSet[Any]:
        return self._open(name, set)  # type: ignore[no-any-return]  # _open checked it

    def deque(self, name: str, maxlen: int | None = None) -> collections.deque[Any]:
        found: collections.deque[Any] = self._open(name, lambda: collections.deque(maxlen=maxlen))
        if maxlen is not None and found.maxlen != maxlen:
            raise TypeError(f"{self.prefix}:{name} is a deque {found.maxlen}, not a deque {maxlen}")
        return found

    def counter(self, name: str) -> collections.Counter[Any]:
        return self._open(name, collections.Counter)  # type: ignore[no-any-return]  # _open checked it

    def queue(self, name: str) -> MemoryQueue:
        return MemoryQueue(self._world, self.prefix, _checked(name))

    def journal(self, name: str) -> MemoryJournal:
        return MemoryJournal(self._world, self, _checked(name))

    def lease(self, name: str, ttl_s: float) -> MemoryLease:
        return MemoryLease(self._world, self.prefix, _checked(name), ttl_s)

    # inspection

    def scan(self, pattern: str = "*") -> Iterator[KeyFacts]:
        for prefix, name in list(self._world.places):
            place = self._world.find(prefix, name)
            key = keys.full(prefix, name, tagged=False)
            if place is None or not fnmatch.fnmatchcase(key, pattern):
                continue
            left_s = place.ends - time.monotonic()
            ttl_s = left_s if left_s < float("inf") else None
            if isinstance(place.content, bytes):
                yield KeyFacts(key, "string", len(place.content), ttl_s, prefix)
            else:
                yield KeyFacts(key, type(place.content).__name__.strip("_").lower(), 0, ttl_s, prefix)

    def look(self, key: str, limit: int = 10) -> Any:
        prefix, name = keys.parts(key)
        place = self._world.find(prefix, name)
        if place is None:
            raise KeyError(key)
        if isinstance(place.content, _LIVE):
            return place.content.copy()
        if isinstance(place.content, _Stream):
            return {f"{n}-0": codec.decode(entry) for n, entry in place.content.entries[-limit:]}
        return codec.decode(place.content) if isinstance(place.content, bytes) else repr(place.content)


def _checked(name: str) -> str:
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

    def __init__(self, world: _World, prefix: str, name: str) -> None:
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

    def __init__(self, world: _World, prefix: str, name: str, ttl_s: float) -> None:
        self._world = world
        self._place = (prefix, name)
        self._ttl_s = ttl_s
        self._owner = uuid4().hex
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
            free = office.ends <= time.monotonic()
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

    def __init__(self, world: _World, store: MemoryStore, name: str) -> None:
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
