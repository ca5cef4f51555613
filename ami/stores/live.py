"""What live collections share: a Redis key, and the way to it.

A live collection behaves like Python's type of its name, element by element in Redis: each method is
one atomic step there, whoever else changes the collection at that time. Elements of lists and deques
and values of dicts are any values; keys and members are labels (``ami/stores/labels.py``). What an
element is, is decided when it is stored: changing a list that was appended changes nothing.

What is one command of Redis is that command. All else is Python's own method (or operator): on a copy
(:func:`asks`), or on a copy that is stored again unless somebody else came in between (:func:`edits`).
So what is new comes in Python's own types.

``x[key] += 1`` is not atomic: Python itself takes it apart, so it reads, adds and writes, and of two who do
it at once one is forgotten. A live Counter's ``add`` is one step, and returns the new count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ami.stores import codec
from ami.stores.codec import Value
from ami.stores.link import Command, Link, Part, Reply


def asks(name: str) -> Any:
    """Return a method: Python's ``name``, on a copy."""

    def method(self: Live, *others: Any, **more: Any) -> Any:
        return getattr(self.copy(), name)(*map(plain, others), **more)

    return method


def edits(name: str) -> Any:
    """Return a method: Python's ``name``, on what is stored, read and written whole in one step."""

    def method(self: Live, *others: Any, **more: Any) -> Any:
        given = [plain(other) for other in others]
        return self._edit(lambda contents: getattr(contents, name)(*given, **more))

    return method


def plain(value: Any) -> Any:
    """Return a live collection's contents, and anything else as it is."""
    return value.copy() if isinstance(value, Live) else value


class Live(ABC):
    """A window on a collection in Redis."""

    like: ClassVar[type]  # what it may equal
    redis_type: ClassVar[str]
    __hash__ = None  # type: ignore[assignment]  # as Python's own, which can change

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

    __copy__ = copy

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key}: {self.copy()!r}>"

    def __eq__(self, other: object) -> bool:
        other = plain(other)
        return codec.equal(self.copy(), other) if isinstance(other, self.like) else NotImplemented

    def clear(self) -> None:
        self._ask("UNLINK")

    def _ask(self, *command: Part) -> Reply:
        """Carry out a command on the key that may be repeated: it only reads, or sets what it says."""
        return self._link.one(self._key, *command, repeat=True)

    def _do(self, *command: Part) -> Reply:
        """Carry out a command on the key that must not be carried out twice."""
        return self._link.one(self._key, *command, repeat=False)

    def _each(self, command: str, parts: Sequence[Part], most: int = 1000) -> list[Command]:
        """Return as many commands on the key as ``parts`` need, of ``most`` parts each."""
        return [(command, self._key, *parts[at : at + most]) for at in range(0, len(parts), most)]

    def _do_all(self, commands: Sequence[Command], *, repeat: bool = False) -> list[Reply]:
        return self._link.atomic(self._key, commands, repeat=repeat) if commands else []

    def _edit(self, change: Callable[[Any], Any]) -> Any:
        """Let ``change`` change what is stored, again if somebody came in between; return its answer."""
        answer: Any = None

        def decide(seen: list[Reply]) -> list[Command]:
            nonlocal answer
            contents = self.plain(seen[0])
            answer = change(contents)
            if answer is contents:  # of an operator in place
                answer = self
            return [("DEL", self._key), *self.filling(contents)]

        self._link.changed(self._key, [self.reading()], decide)
        return answer
