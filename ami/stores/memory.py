"""A store in this process's memory: the double of RedisStore for tests, under the same contract.

Live collections are Python's own types. Values go through the codec, so what Redis would refuse is
refused here, and what comes back is as read-only as from there. Views of one MemoryStore share it,
from any thread.
"""

from __future__ import annotations

import collections
import fnmatch
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any

from ami.errors import Conflict
from ami.stores import codec, keys
from ami.stores.codec import Value
from ami.stores.memory_parts import (
    LIVE,
    MemoryJournal,
    MemoryLease,
    MemoryQueue,
    Place,
    Stream,
    World,
    checked,
)
from ami.stores.store import ABSENT, Absent, Entries, KeyFacts, Lease, Store, Values


class MemoryStore(Store):
    """See :class:`ami.stores.store.Store`."""

    def __init__(self, prefix: str = "here:test:0", world: World | None = None) -> None:
        if prefix.count(":") != 2:
            raise ValueError(f"a prefix is HOST:TYPE:ID, got {prefix!r}")
        self.prefix = prefix
        self._world = world or World()

    def view(self, prefix: str) -> MemoryStore:
        return MemoryStore(prefix, self._world)

    def close(self) -> None:
        pass

    def _set(self, name: str, content: Any, expire_s: float | None = None) -> None:
        ends = float("inf") if expire_s is None else time.monotonic() + expire_s
        with self._world.changed:
            self._world.places[self.prefix, checked(name)] = Place(content, ends)
            self._world.changed.notify_all()

    def _find(self, name: str) -> Any:
        """Return bytes or a live collection; ABSENT for anything else."""
        with self._world.changed:
            place = self._world.find(self.prefix, checked(name))
        return ABSENT if place is None or not isinstance(place.content, (bytes, *LIVE)) else place.content

    # the mapping

    def __getitem__(self, name: str) -> Value:
        content = self._find(name)
        if content is ABSENT:
            raise KeyError(name)
        return codec.decode(content) if isinstance(content, bytes) else content

    def __setitem__(self, name: str, value: Value) -> None:
        if type(value) in LIVE:
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
            found = [self._world.places.pop((self.prefix, checked(name)), None) for name in names]
        return sum(place is not None for place in found)

    def expire(self, name: str, after_s: float) -> bool:
        with self._world.changed:
            place = self._world.find(self.prefix, checked(name))
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
            stream: Stream = self._world.structure(self.prefix, checked(name), Stream)
            self.update(also or {}, expire_s=expire_s)
            stream.last = max(stream.last + 1, time.time_ns() // 1_000_000)
            stream.entries = [*stream.entries, (stream.last, entry)][-keep:]
            if expire_s is not None:
                self.expire(name, expire_s)
            self._world.changed.notify_all()
            return f"{stream.last}-0"

    def _stream(self, name: str) -> Stream:
        place = self._world.find(self.prefix, checked(name))
        return place.content if place is not None and isinstance(place.content, Stream) else Stream()

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
            return self._world.structure(self.prefix, checked(name), make)

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
        return MemoryQueue(self._world, self.prefix, checked(name))

    def journal(self, name: str) -> MemoryJournal:
        return MemoryJournal(self._world, self, checked(name))

    def lease(self, name: str, ttl_s: float, *, place: str = "") -> MemoryLease:
        return MemoryLease(self._world, self.prefix, checked(name), ttl_s, place)

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
        if isinstance(place.content, LIVE):
            return place.content.copy()
        if isinstance(place.content, Stream):
            return {f"{n}-0": codec.decode(entry) for n, entry in place.content.entries[-limit:]}
        return codec.decode(place.content) if isinstance(place.content, bytes) else repr(place.content)
