"""Live lists and deques: elements in order, on a Redis list.

Reading and writing at an index and both ends are one small command; what moves elements in the
middle (insert, remove, sort, slices) reads and writes the whole list, atomically.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any, SupportsIndex

from ami.stores import codec
from ami.stores.codec import Value
from ami.stores.link import Command, Link, Refused, Reply
from ami.stores.live import Live, asks, edits


class Elements(Live, MutableSequence[Any]):
    """What List and Deque share. Elements may be arrays, so equality is :func:`codec.equal`."""

    redis_type = "list"

    def reading(self) -> Command:
        return ("LRANGE", self._key, 0, -1)

    def filling(self, value: Any) -> list[Command]:
        return self._each("RPUSH", [codec.encode(element) for element in value])

    def __len__(self) -> int:
        return int(self._ask("LLEN"))

    def __iter__(self) -> Iterator[Value]:
        contents: Iterator[Value] = iter(self.copy())
        return contents

    def __contains__(self, value: object) -> bool:
        return any(codec.equal(element, value) for element in self)

    def count(self, value: Value) -> int:
        return sum(codec.equal(element, value) for element in self)

    def index(self, value: Value, start: int = 0, stop: int | None = None) -> int:
        return _index(self.copy(), value, start, stop)

    def remove(self, value: Value) -> None:
        self._edit(lambda contents: contents.__delitem__(_index(contents, value)))

    def __getitem__(self, index: Any) -> Any:
        found = self._ask("LINDEX", operator.index(index))
        if found is None:
            raise IndexError(f"index {operator.index(index)} is out of range")
        return codec.decode(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        try:
            self._ask("LSET", operator.index(index), codec.encode(value))
        except Refused as error:
            if "index out of range" in str(error) or "no such key" in str(error):
                raise IndexError(f"index {operator.index(index)} is out of range") from error
            raise

    def _pop(self, command: str) -> Value:
        found = self._do(command)
        if found is None:
            raise IndexError(f"pop from an empty {type(self).__name__}")
        return codec.decode(found)

    def __iadd__(self, values: Iterable[Value]) -> Any:  # type: ignore[misc]  # + makes a plain one
        self.extend(list(values))
        return self

    __delitem__, insert, reverse, __imul__ = map(edits, ("__delitem__", "insert", "reverse", "__imul__"))
    __reversed__, __add__, __mul__, __rmul__ = map(asks, ("__reversed__", "__add__", "__mul__", "__rmul__"))
    __lt__, __le__, __gt__, __ge__ = map(asks, ("__lt__", "__le__", "__gt__", "__ge__"))


def _index(contents: Any, value: Value, start: int = 0, stop: int | None = None) -> int:
    for place in range(*slice(start, stop).indices(len(contents))):
        if codec.equal(contents[place], value):
            return place
    raise ValueError(f"{value!r} is not in it")


class List(Elements):
    """A live list."""

    like = list

    def plain(self, reply: Reply) -> list[Value]:
        return [codec.decode(element) for element in reply]

    def __getitem__(self, index: Any) -> Any:
        return self.copy()[index] if isinstance(index, slice) else super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._edit(lambda contents: contents.__setitem__(index, value))
        else:
            super().__setitem__(index, value)

    def append(self, value: Value) -> None:
        self._do("RPUSH", codec.encode(value))

    def extend(self, values: Iterable[Value]) -> None:
        self._do_all(self.filling(values))

    def pop(self, index: SupportsIndex = -1) -> Value:
        place = operator.index(index)
        if place in (0, -1):
            return self._pop("RPOP" if place else "LPOP")
        return self._edit(lambda contents: contents.pop(place))

    def __radd__(self, other: Any) -> Any:
        return other + self.copy() if isinstance(other, list) else NotImplemented

    sort = edits("sort")


class Deque(Elements):
    """A live deque: the far elements fall out when there are more than ``maxlen``."""

    like = collections.deque

    def __init__(self, link: Link, key: str, maxlen: int | None = None) -> None:
        super().__init__(link, key)
        self.maxlen = maxlen

    def plain(self, reply: Reply) -> collections.deque[Value]:
        return collections.deque([codec.decode(element) for element in reply], self.maxlen)

    def _push(self, values: Iterable[Value], command: str) -> None:
        kept = collections.deque(values, self.maxlen)
        commands = self._each(command, [codec.encode(value) for value in kept])
        if self.maxlen is not None and commands:
            first, last = (-self.maxlen, -1) if command == "RPUSH" else (0, self.maxlen - 1)
            commands.append(("LTRIM", self._key, first, last))
        self._do_all(commands)

    def append(self, value: Value) -> None:
        self._push([value], "RPUSH")

    def appendleft(self, value: Value) -> None:
        self._push([value], "LPUSH")

    def extend(self, values: Iterable[Value]) -> None:
        self._push(values, "RPUSH")

    def extendleft(self, values: Iterable[Value]) -> None:
        self._push(values, "LPUSH")

    def pop(self) -> Value:  # type: ignore[override]  # as deque.pop, which takes no index
        return self._pop("RPOP")

    def popleft(self) -> Value:
        return self._pop("LPOP")

    rotate = edits("rotate")
