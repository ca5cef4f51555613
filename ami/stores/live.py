"""What live collections share: a Redis key, and the way to it.

A live collection behaves like Python's type of its name, element by element in Redis: each method is
one atomic step there, whoever else changes the collection at that time. Elements of lists and deques
and values of dicts are any values; keys and members are labels (``ami/stores/labels.py``). What an
element is, is decided when it is stored: changing a list that was appended changes nothing.

Operators that make something new (``+``, ``|``, slices, ``copy``) return Python's own types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ami.stores import codec
from ami.stores.codec import Value
from ami.stores.link import Command, Link, Part, Reply


class Live(ABC):
    """A window on a collection in Redis."""

    redis_type: ClassVar[str]

    def __init__(self, link: Link, key: str) -> None:
        self._link = link
        self._key = key

    @abstractmethod
    def filling(self, value: Any) -> list[Command]:
        """Return the commands that put the contents of ``value`` into an empty collection."""

    @abstractmethod
    def reading(self) -> Command:
        """Return the command that reads everything."""

    @abstractmethod
    def plain(self, reply: Reply) -> Value:
        """Return the answer to :meth:`reading` as Python's own type."""

    def copy(self) -> Any:
        """Return the contents as Python's own type."""
        return self.plain(self._link.call(self._key, [self.reading()], repeat=True)[0])

    def __copy__(self) -> Any:
        return self.copy()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key}: {self.copy()!r}>"

    def clear(self) -> None:
        self._ask("UNLINK")

    def _ask(self, *command: Part) -> Reply:
        """Carry out a command on the key that may be repeated: it only reads, or sets what it says."""
        return self._link.one(self._key, *command, repeat=True)

    def _do(self, *command: Part) -> Reply:
        """Carry out a command on the key that must not be carried out twice."""
        return self._link.one(self._key, *command, repeat=False)

    def _do_all(self, commands: Sequence[Command]) -> list[Reply]:
        return self._link.atomic(self._key, commands, repeat=False)

    def _edit(self, change: Callable[[Any], list[Command] | None]) -> None:
        """Read everything (raw), let ``change`` say what to write; again if somebody came in between."""

        def decide(seen: list[Reply]) -> list[Command] | None:
            return change(seen[0])

        self._link.changed(self._key, [self.reading()], decide)


def raw(value: Value) -> bytes:
    return bytes(codec.encode(value))
