"""Live sets, on a Redis set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from typing import Any

from ami.stores import labels
from ami.stores.labels import Label
from ami.stores.link import Command, Reply
from ami.stores.live import Live

MEMBERS = 1000  # a command


class Set(Live, MutableSet[Any]):
    """A live set. Operators return Python's own sets; ``|=``, ``&=``, ``-=`` and ``^=`` change it."""

    redis_type = "set"
    __hash__ = None  # type: ignore[assignment]  # as Python's set, which can change

    @classmethod
    def _from_iterable(cls, members: Iterable[Any]) -> Any:
        # What the operators of the ABC make: not a Set, which would need a key.
        return set(members)

    def reading(self) -> Command:
        return ("SMEMBERS", self._key)

    def plain(self, reply: Reply) -> set[Label]:
        return {labels.decode(member) for member in reply}

    def _each(self, command: str, members: Iterable[Label]) -> list[Command]:
        parts = [labels.encode(member) for member in members]
        return [(command, self._key, *parts[at : at + MEMBERS]) for at in range(0, len(parts), MEMBERS)]

    def filling(self, value: Any) -> list[Command]:
        return self._each("SADD", value)

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
        found = self._do("SPOP")
        if found is None:
            raise KeyError("pop from an empty Set")
        return labels.decode(found)

    def update(self, *others: Iterable[Label]) -> None:
        self._change_all("SADD", {member for other in others for member in other})

    def difference_update(self, *others: Iterable[Label]) -> None:
        self._change_all("SREM", {member for other in others for member in other})

    def _change_all(self, command: str, members: Iterable[Label]) -> None:
        commands = self._each(command, members)
        if commands:
            self._link.atomic(self._key, commands, repeat=True)

    def intersection_update(self, *others: Iterable[Label]) -> None:
        kept = [{labels.encode(member) for member in other} for other in others]
        self._keep(lambda here: here.intersection(*kept))

    def symmetric_difference_update(self, other: Iterable[Label]) -> None:
        turned = {labels.encode(member) for member in other}
        self._keep(lambda here: here ^ turned)

    def _keep(self, choose: Any) -> None:
        def change(reply: list[bytes]) -> list[Command]:
            here = set(reply)
            after = choose(here)
            gone, new = sorted(here - after), sorted(after - here)
            commands: list[Command] = []
            if gone:
                commands.append(("SREM", self._key, *gone))
            if new:
                commands.append(("SADD", self._key, *new))
            return commands

        self._edit(change)

    def __ior__(self, other: AbstractSet[Any]) -> Set:  # type: ignore[misc]  # | makes a set
        self.update(other)
        return self

    def __iand__(self, other: AbstractSet[Any]) -> Set:
        self.intersection_update(other)
        return self

    def __isub__(self, other: AbstractSet[Any]) -> Set:
        self.difference_update(other)
        return self

    def __ixor__(self, other: AbstractSet[Any]) -> Set:  # type: ignore[misc]  # ^ makes a set
        self.symmetric_difference_update(other)
        return self

    def union(self, *others: Iterable[Label]) -> set[Label]:
        here: set[Label] = self.copy()
        return here.union(*others)

    def intersection(self, *others: Iterable[Label]) -> set[Label]:
        here: set[Label] = self.copy()
        return here.intersection(*others)

    def difference(self, *others: Iterable[Label]) -> set[Label]:
        here: set[Label] = self.copy()
        return here.difference(*others)

    def symmetric_difference(self, other: Iterable[Label]) -> set[Label]:
        here: set[Label] = self.copy()
        return here.symmetric_difference(other)

    def issubset(self, other: Iterable[Label]) -> bool:
        here: set[Label] = self.copy()
        return here.issubset(other)

    def issuperset(self, other: Iterable[Label]) -> bool:
        here: set[Label] = self.copy()
        return here.issuperset(other)
