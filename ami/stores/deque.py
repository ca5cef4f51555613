"""Live deques: elements in order, of which the far ones fall out when there are more than ``maxlen``."""

from __future__ import annotations

import collections
import operator
from collections.abc import Iterable, MutableSequence
from typing import Any, SupportsIndex

from ami.stores import codec
from ami.stores.codec import Value
from ami.stores.link import Command, Link, Reply
from ami.stores.live import raw
from ami.stores.sequence import Elements


class Deque(Elements, MutableSequence[Any]):
    """A live collections.deque."""

    __hash__ = None  # type: ignore[assignment]  # as Python's deque, which can change

    def __init__(self, link: Link, key: str, maxlen: int | None = None) -> None:
        super().__init__(link, key)
        self.maxlen = maxlen

    def plain(self, reply: Reply) -> collections.deque[Value]:
        return collections.deque([codec.decode(element) for element in reply], self.maxlen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("a deque has no slices")
        return self._at(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            raise TypeError("a deque has no slices")
        self._set_at(index, value)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, slice):
            raise TypeError("a deque has no slices")
        self._delete_at(index)

    def _push(self, values: Iterable[Value], command: str) -> None:
        pushed = list(values)
        if self.maxlen is not None:
            pushed = pushed[max(0, len(pushed) - self.maxlen) :]
        commands = self._pushing([codec.encode(value) for value in pushed], command=command)
        if not commands:
            return
        if self.maxlen is not None:
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

    def insert(self, index: SupportsIndex, value: Value) -> None:
        new = raw(value)

        def change(raws: list[bytes]) -> None:
            if self.maxlen is not None and len(raws) >= self.maxlen:
                raise IndexError("deque already at its maximum size")
            raws.insert(operator.index(index), new)

        self._rewrite(change)

    def rotate(self, steps: int = 1) -> None:
        def change(raws: list[bytes]) -> None:
            turned = collections.deque(raws)
            turned.rotate(steps)
            raws[:] = turned

        self._rewrite(change)

    def __iadd__(self, values: Iterable[Value]) -> Deque:  # type: ignore[misc]  # + makes a deque
        self.extend(list(values))
        return self

    def __imul__(self, times: int) -> Deque:
        def change(raws: list[bytes]) -> None:
            raws[:] = collections.deque(raws * times, self.maxlen)

        self._rewrite(change)
        return self

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, (collections.deque, Deque)):
            return NotImplemented
        return self.copy() + _contents(other)

    def __mul__(self, times: int) -> Any:
        return self.copy() * times

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (collections.deque, Deque)):
            return NotImplemented
        return codec.equal(self.copy(), _contents(other))

    def filling(self, value: Any) -> list[Command]:
        kept = list(value)
        if self.maxlen is not None:
            kept = kept[max(0, len(kept) - self.maxlen) :]
        return super().filling(kept)


def _contents(other: collections.deque[Any] | Deque) -> Any:
    return other if isinstance(other, collections.deque) else other.copy()
