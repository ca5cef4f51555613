"""Live sets, on a Redis set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any

from ami.stores import labels
from ami.stores.labels import Label
from ami.stores.link import Command, Reply
from ami.stores.live import Live, asks, edits


class Set(Live, MutableSet[Any]):
    """A live set."""

    redis_type = "set"

    def reading(self) -> Command:
        return ("SMEMBERS", self._key)

    def plain(self, reply: Reply) -> set[Label]:
        return {labels.decode(member) for member in reply}

    def filling(self, value: Any) -> list[Command]:
        return self._each("SADD", [labels.encode(member) for member in value])

    def __len__(self) -> int:
        return int(self._ask("SCARD"))

    def __iter__(self) -> Iterator[Label]:
        return iter(self.copy())

    def __contains__(self, member: object) -> bool:
        return bool(self._ask("SISMEMBER", labels.encode(member)))

    def add(self, member: Label) -> None:
        self._ask("SADD", labels.encode(member))

    def discard(self, member: Label) -> None:
        self._ask("SREM", labels.encode(member))

    def remove(self, member: Label) -> None:
        if not self._do("SREM", labels.encode(member)):
            raise KeyError(member)

    def pop(self) -> Label:
        if (found := self._do("SPOP")) is None:
            raise KeyError("pop from an empty Set")
        return labels.decode(found)

    def update(self, *others: Iterable[Label]) -> None:
        self._do_all(self.filling(set().union(*others)), repeat=True)

    def difference_update(self, *others: Iterable[Label]) -> None:
        members = [labels.encode(member) for member in set().union(*others)]
        self._do_all(self._each("SREM", members), repeat=True)

    intersection_update, symmetric_difference_update = map(
        edits, ("intersection_update", "symmetric_difference_update")
    )
    __ior__, __iand__, __isub__, __ixor__ = map(edits, ("__ior__", "__iand__", "__isub__", "__ixor__"))
    __or__, __and__, __sub__, __xor__ = map(asks, ("__or__", "__and__", "__sub__", "__xor__"))
    __ror__, __rand__, __rsub__, __rxor__ = map(asks, ("__ror__", "__rand__", "__rsub__", "__rxor__"))
    __eq__, __lt__, __le__, __gt__, __ge__ = map(asks, ("__eq__", "__lt__", "__le__", "__gt__", "__ge__"))
    union, intersection, difference = map(asks, ("union", "intersection", "difference"))
    symmetric_difference, issubset = map(asks, ("symmetric_difference", "issubset"))
    issuperset, isdisjoint = map(asks, ("issuperset", "isdisjoint"))
