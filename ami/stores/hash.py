"""Live dicts and Counters, on a Redis hash. Unlike Python's, they do not keep the order of insertion."""

from __future__ import annotations

import collections
from collections.abc import Iterator, MutableMapping
from typing import Any

from ami.errors import Undecodable
from ami.stores import codec, labels
from ami.stores.codec import Value
from ami.stores.labels import Label
from ami.stores.link import Command, Part, Reply
from ami.stores.live import Live, asks, edits, plain

_NOTHING = object()


class Dict(Live, MutableMapping[Any, Any]):
    """A live dict. ``items`` and ``values`` are of one moment, not windows; ``popitem`` takes any."""

    like = dict
    redis_type = "hash"

    def _pack(self, value: Value) -> Part:
        return codec.encode(value)

    def _unpack(self, raw: bytes) -> Value:
        return codec.decode(raw)

    def reading(self) -> Command:
        return ("HGETALL", self._key)

    def plain(self, reply: Reply) -> dict[Label, Value]:
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return {labels.decode(key): self._unpack(value) for key, value in pairs}

    def filling(self, value: Any) -> list[Command]:
        pairs = [(labels.encode(key), self._pack(one)) for key, one in dict(value).items()]
        return self._each("HSET", [part for pair in pairs for part in pair])

    def __len__(self) -> int:
        return int(self._ask("HLEN"))

    def __iter__(self) -> Iterator[Label]:
        return iter([labels.decode(key) for key in self._ask("HKEYS")])

    def __contains__(self, key: object) -> bool:
        return bool(self._ask("HEXISTS", labels.encode(key)))

    def get(self, key: Label, default: Any = None) -> Any:
        found = self._ask("HGET", labels.encode(key))
        return default if found is None else self._unpack(found)

    def __getitem__(self, key: Label) -> Any:
        if (found := self.get(key, _NOTHING)) is _NOTHING:
            raise KeyError(key)
        return found

    def __setitem__(self, key: Label, value: Value) -> None:
        self._ask("HSET", labels.encode(key), self._pack(value))

    def __delitem__(self, key: Label) -> None:
        if not self._do("HDEL", labels.encode(key)):
            raise KeyError(key)

    def setdefault(self, key: Label, default: Any = None) -> Any:
        name = labels.encode(key)
        commands: list[Command] = [
            ("HSETNX", self._key, name, self._pack(default)),
            ("HGET", self._key, name),
        ]
        return self._unpack(self._do_all(commands, repeat=True)[1])

    def pop(self, key: Label, default: Any = _NOTHING) -> Any:
        name = labels.encode(key)
        found, _ = self._do_all([("HGET", self._key, name), ("HDEL", self._key, name)])
        if found is not None:
            return self._unpack(found)
        if default is _NOTHING:
            raise KeyError(key)
        return default

    def update(self, other: Any = (), /, **more: Value) -> None:
        self._do_all(self.filling({**dict(other), **more}), repeat=True)

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # | makes a dict
        self.update(other)
        return self

    popitem = edits("popitem")
    items, values, __or__, __ror__ = map(asks, ("items", "values", "__or__", "__ror__"))


class Counter(Dict):
    """A live collections.Counter: whole numbers of 64 bits.

    ``update``, ``subtract`` and :meth:`add` are carried out by Redis, so no count of two processes is
    lost, and of all who draw numbers with ``add`` nobody gets another's.
    """

    def _pack(self, value: Value) -> Part:
        if not isinstance(value, int):
            raise TypeError(f"counts are whole numbers, got {value!r}")
        if not -(1 << 63) <= value < 1 << 63:
            raise OverflowError(f"a count of {value} does not fit 64 bits")
        return int(value)

    def _unpack(self, raw: bytes) -> Value:
        try:
            return int(raw)
        except ValueError as error:
            raise Undecodable(f"a count is {raw[:40]!r}, which is no whole number") from error

    def plain(self, reply: Reply) -> collections.Counter[Label]:
        return collections.Counter(super().plain(reply))

    def __getitem__(self, key: Label) -> int:
        return int(self.get(key, 0))

    def __delitem__(self, key: Label) -> None:
        self._ask("HDEL", labels.encode(key))

    def add(self, key: Label, count: int = 1) -> int:
        """Add to one count and return what it is now: in one step, unlike ``counter[key] += count``."""
        return int(self._do("HINCRBY", labels.encode(key), self._pack(count)))

    def update(self, other: Any = (), /, **more: int) -> None:
        """Add counts of a mapping, or count the elements of an iterable."""
        counts = collections.Counter(plain(other))
        counts.update(more)
        self._do_all([("HINCRBY", self._key, labels.encode(key), self._pack(n)) for key, n in counts.items()])

    def subtract(self, other: Any = (), /, **more: int) -> None:
        counts = collections.Counter(plain(other))
        counts.update(more)
        self.update({key: -n for key, n in counts.items()})

    __hash__ = None  # type: ignore[assignment]  # as Python's Counter, which can change

    def __eq__(self, other: object) -> bool:
        # Python's own: to a Counter, no count is a count of 0.
        return bool(self.copy() == plain(other)) if isinstance(plain(other), dict) else NotImplemented

    elements, most_common, total = map(asks, ("elements", "most_common", "total"))
    __add__, __sub__, __and__, __or__ = map(asks, ("__add__", "__sub__", "__and__", "__or__"))
    __pos__, __neg__ = map(asks, ("__pos__", "__neg__"))
    __lt__, __le__, __gt__, __ge__ = map(asks, ("__lt__", "__le__", "__gt__", "__ge__"))
    __iadd__, __isub__, __iand__, __ior__ = map(edits, ("__iadd__", "__isub__", "__iand__", "__ior__"))
