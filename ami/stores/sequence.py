"""Live lists, and what they share with live deques: elements in order, on a Redis list.

Reading and writing at an index and both ends are one small command; what moves elements in the
middle (insert, remove, sort, slices) reads and writes the whole list, atomically.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from typing import Any, SupportsIndex

from ami.stores import codec
from ami.stores.codec import Value
from ami.stores.link import Command, Refused, Reply
from ami.stores.live import Live, raw

PUSH = 1000  # elements a command


class Elements(Live):
    """What List and Deque share."""

    redis_type = "list"

    def reading(self) -> Command:
        return ("LRANGE", self._key, 0, -1)

    def _pushing(self, raws: Iterable[Any], *, command: str = "RPUSH") -> list[Command]:
        parts = list(raws)
        return [(command, self._key, *parts[at : at + PUSH]) for at in range(0, len(parts), PUSH)]

    def filling(self, value: Any) -> list[Command]:
        return self._pushing(codec.encode(element) for element in value)

    def _rewrite(self, change: Callable[[list[Any]], object]) -> None:
        """Let ``change`` change the list of raw elements in place, and store what came of it."""

        def commands(raws: list[bytes]) -> list[Command]:
            after: list[Any] = list(raws)
            change(after)
            if after == raws:
                return []
            return [("DEL", self._key), *self._pushing(after)]

        self._edit(commands)

    def __len__(self) -> int:
        return int(self._ask("LLEN"))

    def __iter__(self) -> Iterator[Value]:
        contents: Iterator[Value] = iter(self.copy())
        return contents

    def __reversed__(self) -> Iterator[Value]:
        contents: list[Value] = list(self.copy())
        return reversed(contents)

    def __contains__(self, value: object) -> bool:
        return any(codec.equal(element, value) for element in self)

    def count(self, value: Value) -> int:
        return sum(codec.equal(element, value) for element in self)

    def index(self, value: Value, start: int = 0, stop: int | None = None) -> int:
        contents = list(self.copy())
        for place in range(*slice(start, stop).indices(len(contents))):
            if codec.equal(contents[place], value):
                return place
        raise ValueError(f"{value!r} is not in it")

    def _at(self, index: SupportsIndex) -> Value:
        found = self._ask("LINDEX", operator.index(index))
        if found is None:
            raise IndexError(f"index {operator.index(index)} is out of range")
        return codec.decode(found)

    def _set_at(self, index: SupportsIndex, value: Value) -> None:
        try:
            self._ask("LSET", operator.index(index), codec.encode(value))
        except Refused as error:
            if "index out of range" in str(error) or "no such key" in str(error):
                raise IndexError(f"index {operator.index(index)} is out of range") from error
            raise

    def _delete_at(self, index: SupportsIndex | slice) -> None:
        def change(raws: list[Any]) -> None:
            del raws[index]

        self._rewrite(change)

    def remove(self, value: Value) -> None:
        def change(raws: list[bytes]) -> None:
            for place, one in enumerate(raws):
                if codec.equal(codec.decode(one), value):
                    del raws[place]
                    return
            raise ValueError(f"{value!r} is not in it")

        self._rewrite(change)

    def reverse(self) -> None:
        self._rewrite(list.reverse)

    def _pop(self, command: str) -> Value:
        found = self._do(command)
        if found is None:
            raise IndexError(f"pop from an empty {type(self).__name__}")
        return codec.decode(found)


class List(Elements, MutableSequence[Any]):
    """A live list."""

    __hash__ = None  # type: ignore[assignment]  # as Python's list, which can change

    def plain(self, reply: Reply) -> list[Value]:
        return [codec.decode(element) for element in reply]

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return self._at(index)
        return self.copy()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, slice):
            self._set_at(index, value)
            return
        new = [raw(element) for element in value]

        def change(raws: list[bytes]) -> None:
            raws[index] = new

        self._rewrite(change)

    def __delitem__(self, index: Any) -> None:
        self._delete_at(index)

    def insert(self, index: SupportsIndex, value: Value) -> None:
        new = raw(value)
        self._rewrite(lambda raws: raws.insert(operator.index(index), new))

    def append(self, value: Value) -> None:
        self._do("RPUSH", codec.encode(value))

    def extend(self, values: Iterable[Value]) -> None:
        commands = self.filling(list(values))
        if commands:
            self._do_all(commands)

    def pop(self, index: SupportsIndex = -1) -> Value:
        place = operator.index(index)
        if place in (0, -1):
            return self._pop("RPOP" if place else "LPOP")
        popped: list[bytes] = []

        def change(raws: list[bytes]) -> None:
            popped[:] = [raws.pop(place)]

        self._rewrite(change)
        return codec.decode(popped[0])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        def sorting(one: bytes) -> Any:
            value = codec.decode(one)
            return value if key is None else key(value)

        self._rewrite(lambda raws: raws.sort(key=sorting, reverse=reverse))

    def __iadd__(self, values: Iterable[Value]) -> List:  # type: ignore[misc]  # + makes a list
        self.extend(values)
        return self

    def __imul__(self, times: int) -> List:
        def change(raws: list[bytes]) -> None:
            raws[:] = raws * times

        self._rewrite(change)
        return self

    def __add__(self, other: Any) -> Any:
        return self.copy() + _contents(other) if isinstance(other, (list, List)) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return other + self.copy() if isinstance(other, list) else NotImplemented

    def __mul__(self, times: int) -> list[Value]:
        copy: list[Value] = self.copy()
        return copy * times

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return codec.equal(self.copy(), _contents(other))

    def __lt__(self, other: Any) -> Any:
        return self.copy() < _contents(other) if isinstance(other, (list, List)) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return self.copy() <= _contents(other) if isinstance(other, (list, List)) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return self.copy() > _contents(other) if isinstance(other, (list, List)) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return self.copy() >= _contents(other) if isinstance(other, (list, List)) else NotImplemented


def _contents(other: list[Any] | List) -> list[Any]:
    contents: list[Any] = other if isinstance(other, list) else other.copy()
    return contents
