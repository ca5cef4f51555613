"""Live Counters: whole numbers by key, on a Redis hash, that several processes may count up at once.

``update``, ``subtract`` and :meth:`Counter.add` are carried out by Redis, so no count of two processes is
lost, and of all who draw numbers with ``add`` nobody gets another's. ``counter[key] += 1`` is not atomic: it
reads, adds and writes, as it looks, and of two who do it at once one is forgotten. Counts are of 64 bits.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any

from ami.errors import Undecodable
from ami.stores import labels
from ami.stores.hash import FIELDS
from ami.stores.labels import Label
from ami.stores.link import Command, Part, Reply
from ami.stores.live import Live

_NOTHING = object()


def _count(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"counts are whole numbers, got {value!r}")
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"a count of {value} does not fit 64 bits")
    return int(value)


def _number(raw: bytes) -> int:
    try:
        return int(raw)
    except ValueError as error:
        raise Undecodable(f"a count is {raw[:40]!r}, which is no whole number") from error


class Counter(Live, MutableMapping[Any, int]):
    """A live collections.Counter. Operators return Python's own Counter."""

    redis_type = "hash"
    __hash__ = None  # type: ignore[assignment]  # as Python's Counter, which can change

    def reading(self) -> Command:
        return ("HGETALL", self._key)

    def plain(self, reply: Reply) -> collections.Counter[Label]:
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return collections.Counter({labels.decode(key): _number(value) for key, value in pairs})

    def filling(self, value: Any) -> list[Command]:
        parts: list[Part] = []
        for key, count in dict(value).items():
            parts += [labels.encode(key), _count(count)]
        return [("HSET", self._key, *parts[at : at + 2 * FIELDS]) for at in range(0, len(parts), 2 * FIELDS)]

    def __len__(self) -> int:
        return int(self._ask("HLEN"))

    def __iter__(self) -> Iterator[Label]:
        return iter([labels.decode(key) for key in self._ask("HKEYS")])

    def __contains__(self, key: object) -> bool:
        return bool(self._ask("HEXISTS", labels.encode(key)))

    def get(self, key: Label, default: Any = None) -> Any:
        found = self._ask("HGET", labels.encode(key))
        return default if found is None else _number(found)

    def __getitem__(self, key: Label) -> int:
        return int(self.get(key, 0))

    def __setitem__(self, key: Label, count: int) -> None:
        self._ask("HSET", labels.encode(key), _count(count))

    def __delitem__(self, key: Label) -> None:
        self._ask("HDEL", labels.encode(key))

    def add(self, key: Label, count: int = 1) -> int:
        """Add to one count and return what it is now: in one step, unlike ``counter[key] += count``."""
        return int(self._do("HINCRBY", labels.encode(key), _count(count)))

    def setdefault(self, key: Label, default: int = 0) -> int:
        name = labels.encode(key)
        commands: list[Command] = [
            ("HSETNX", self._key, name, _count(default)),
            ("HGET", self._key, name),
        ]
        return _number(self._link.atomic(self._key, commands, repeat=True)[1])

    def pop(self, key: Label, default: Any = _NOTHING) -> Any:
        name = labels.encode(key)
        found, _ = self._do_all([("HGET", self._key, name), ("HDEL", self._key, name)])
        if found is not None:
            return _number(found)
        if default is _NOTHING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Label, int]:
        popped: list[bytes] = []

        def change(reply: list[bytes]) -> list[Command]:
            if not reply:
                raise KeyError("popitem from an empty Counter")
            popped[:] = reply[-2:]
            return [("HDEL", self._key, reply[-2])]

        self._edit(change)
        return labels.decode(popped[0]), _number(popped[1])

    def _shift(self, counts: Mapping[Label, int], sign: int) -> None:
        commands: list[Command] = [
            ("HINCRBY", self._key, labels.encode(key), _count(sign * count)) for key, count in counts.items()
        ]
        if commands:
            self._do_all(commands)

    def update(self, other: Any = (), /, **more: int) -> None:
        """Add counts of a mapping, or count the elements of an iterable."""
        self._shift(_tally(other, more), 1)

    def subtract(self, other: Any = (), /, **more: int) -> None:
        self._shift(_tally(other, more), -1)

    def items(self) -> ItemsView[Any, int]:
        return self.copy().items()  # type: ignore[no-any-return]  # copy is Any

    def values(self) -> ValuesView[int]:
        return self.copy().values()  # type: ignore[no-any-return]  # copy is Any

    def elements(self) -> Iterator[Label]:
        return self.copy().elements()  # type: ignore[no-any-return]  # copy is Any

    def most_common(self, n: int | None = None) -> list[tuple[Label, int]]:
        return self.copy().most_common(n)  # type: ignore[no-any-return]  # copy is Any

    def total(self) -> int:
        return int(self.copy().total())

    # arithmetic

    def __add__(self, other: Any) -> Any:
        return self.copy() + _plain(other) if _is_counter(other) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self.copy() - _plain(other) if _is_counter(other) else NotImplemented

    def __and__(self, other: Any) -> Any:
        return self.copy() & _plain(other) if _is_counter(other) else NotImplemented

    def __or__(self, other: Any) -> Any:
        return self.copy() | _plain(other) if _is_counter(other) else NotImplemented

    def __pos__(self) -> collections.Counter[Label]:
        return +self.copy()  # type: ignore[no-any-return]  # copy is Any

    def __neg__(self) -> collections.Counter[Label]:
        return -self.copy()  # type: ignore[no-any-return]  # copy is Any

    def _become(self, choose: Callable[[collections.Counter[Label]], collections.Counter[Label]]) -> Counter:
        def change(reply: list[bytes]) -> list[Command]:
            return [("DEL", self._key), *self.filling(choose(self.plain(reply)))]

        self._edit(change)
        return self

    def __iadd__(self, other: Any) -> Counter:
        return self._become(lambda here: here + _plain(other))

    def __isub__(self, other: Any) -> Counter:
        return self._become(lambda here: here - _plain(other))

    def __iand__(self, other: Any) -> Counter:
        return self._become(lambda here: here & _plain(other))

    def __ior__(self, other: Any) -> Counter:
        return self._become(lambda here: here | _plain(other))

    def __eq__(self, other: object) -> bool:
        if _is_counter(other):
            return bool(self.copy() == _plain(other))
        return bool(dict(self.copy()) == other) if isinstance(other, dict) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return self.copy() <= _plain(other) if _is_counter(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return self.copy() < _plain(other) if _is_counter(other) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return self.copy() >= _plain(other) if _is_counter(other) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return self.copy() > _plain(other) if _is_counter(other) else NotImplemented


def _is_counter(other: object) -> bool:
    return isinstance(other, (collections.Counter, Counter))


def _plain(other: Any) -> collections.Counter[Label]:
    copy: collections.Counter[Label] = other.copy() if isinstance(other, Counter) else other
    return copy


def _tally(other: Any, more: Mapping[str, int]) -> collections.Counter[Label]:
    counts = collections.Counter(other.copy() if isinstance(other, Counter) else other)
    counts.update(more)
    return counts
