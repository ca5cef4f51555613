"""Live dicts: values by key, on a Redis hash. Unlike Python's, they do not keep the order of insertion."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any

from ami.stores import codec, labels
from ami.stores.codec import Value
from ami.stores.labels import Label
from ami.stores.link import Command, Part, Reply
from ami.stores.live import Live

_NOTHING = object()
FIELDS = 500  # a command


class Dict(Live, MutableMapping[Any, Any]):
    """A live dict. ``items`` and ``values`` are of one moment, not windows; ``popitem`` takes any."""

    redis_type = "hash"
    __hash__ = None  # type: ignore[assignment]  # as Python's dict, which can change

    def reading(self) -> Command:
        return ("HGETALL", self._key)

    def plain(self, reply: Reply) -> dict[Label, Value]:
        return {
            labels.decode(key): codec.decode(value)
            for key, value in zip(reply[::2], reply[1::2], strict=True)
        }

    def filling(self, value: Any) -> list[Command]:
        parts: list[Part] = []
        for key, one in dict(value).items():
            parts += [labels.encode(key), codec.encode(one)]
        return [("HSET", self._key, *parts[at : at + 2 * FIELDS]) for at in range(0, len(parts), 2 * FIELDS)]

    def __len__(self) -> int:
        return int(self._ask("HLEN"))

    def __iter__(self) -> Iterator[Label]:
        return iter([labels.decode(key) for key in self._ask("HKEYS")])

    def __contains__(self, key: object) -> bool:
        return bool(self._ask("HEXISTS", labels.encode(key)))

    def __getitem__(self, key: Label) -> Value:
        found = self._ask("HGET", labels.encode(key))
        if found is None:
            raise KeyError(key)
        return codec.decode(found)

    def __setitem__(self, key: Label, value: Value) -> None:
        self._ask("HSET", labels.encode(key), codec.encode(value))

    def __delitem__(self, key: Label) -> None:
        if not self._do("HDEL", labels.encode(key)):
            raise KeyError(key)

    def items(self) -> ItemsView[Any, Any]:
        return self.copy().items()  # type: ignore[no-any-return]  # copy is Any

    def values(self) -> ValuesView[Any]:
        return self.copy().values()  # type: ignore[no-any-return]  # copy is Any

    def setdefault(self, key: Label, default: Value = None) -> Value:
        name = labels.encode(key)
        _, found = self._link.atomic(
            self._key,
            [("HSETNX", self._key, name, codec.encode(default)), ("HGET", self._key, name)],
            repeat=True,
        )
        return codec.decode(found)

    def pop(self, key: Label, default: Any = _NOTHING) -> Any:
        name = labels.encode(key)
        found, _ = self._do_all([("HGET", self._key, name), ("HDEL", self._key, name)])
        if found is not None:
            return codec.decode(found)
        if default is _NOTHING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Label, Value]:
        popped: list[bytes] = []

        def change(reply: list[bytes]) -> list[Command]:
            if not reply:
                raise KeyError("popitem from an empty Dict")
            popped[:] = reply[-2:]
            return [("HDEL", self._key, reply[-2])]

        self._edit(change)
        return labels.decode(popped[0]), codec.decode(popped[1])

    def update(self, other: Any = (), /, **more: Value) -> None:
        commands = self.filling({**dict(other), **more})
        if commands:
            self._link.atomic(self._key, commands, repeat=True)

    def __ior__(self, other: Any) -> Dict:
        self.update(other)
        return self

    def __or__(self, other: Any) -> Any:
        return self.copy() | dict(other) if isinstance(other, (dict, Dict)) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return other | self.copy() if isinstance(other, dict) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (dict, Dict)):
            return NotImplemented
        return codec.equal(self.copy(), other if isinstance(other, dict) else other.copy())
