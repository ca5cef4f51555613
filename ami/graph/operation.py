"""Describe one operation of a graph: what it computes, from which values, for whom."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from ami.errors import GraphError

Plain: TypeAlias = "bool | int | float | str | tuple[Plain, ...] | None"

MAX_NAME = 200  # characters
MAX_TEXT = 100_000  # characters of one parameter: the source of a user's function
MAX_SHOWN = 200  # characters of a definition in a message
_SURROGATES = re.compile("[\ud800-\udfff]")  # what UTF-8 cannot say
INTEGERS = range(-(1 << 63), 1 << 64)  # what some numpy integer can hold


@dataclass(frozen=True, slots=True)
class Operation:
    """A vertex of a graph. ``name`` is that of the value which it gives.

    ``kind`` is its name in the library; ``parameters`` are sorted by name; ``owners`` are the clients
    who want it, and no part of what it computes. Whether it ``reduces`` over events stands here and not
    in the library alone, so that a graph knows its stages where a plug-in is not installed. ``text`` is
    how people wrote it, for messages.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Plain], ...] = ()
    owners: tuple[str, ...] = ()
    reduces: bool = False
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Put parameters and owners in order, and check everything.

        Raises:
            GraphError: a name is empty, too long or unprintable, or a parameter is not plain.
        """
        for name in (self.name, self.kind, *self.inputs, *(name for name, _ in self.parameters)):
            check_name(name, f"operation {self.name!r}, its kind, an input or a parameter")
        for owner in self.owners:
            check_name(owner, "an owner")
        object.__setattr__(self, "owners", tuple(sorted({*self.owners})))
        parameters = sorted(self.parameters, key=lambda pair: pair[0])
        plain = [(name, _plain(value, f"parameter {name!r} of {self.name!r}")) for name, value in parameters]
        object.__setattr__(self, "parameters", tuple(plain))

    @property
    def arguments(self) -> dict[str, Plain]:
        """The parameters, as keyword arguments of the library's class."""
        return dict(self.parameters)

    @property
    def definition(self) -> tuple[object, ...]:
        """What makes two operations of one name the same one: everything but name and owners.

        Values go with their types, because Python says that ``1 == 1.0 == True``.
        """
        return (self.kind, self.inputs, repr(self.parameters))

    def with_owners(self, owners: tuple[str, ...]) -> Operation:
        """Return the same operation with other owners."""
        for owner in owners:
            check_name(owner, "an owner")
        # What was checked is not checked again: a graph has thousands, and each edit comes here.
        made = object.__new__(Operation)
        for name in self.__slots__:
            object.__setattr__(made, name, getattr(self, name))
        object.__setattr__(made, "owners", tuple(sorted({*owners})))
        return made

    def to_plain(self) -> dict[str, object]:
        """Return it as what JSON can say."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return {**parts, "parameters": dict(self.parameters)}

    @classmethod
    def from_plain(cls, plain: Any) -> Operation:
        """Return what :meth:`to_plain` described; what is none raises whatever it meets first."""
        lists = {part: texts(plain[part], part) for part in ("inputs", "owners")}
        return cls(**{**plain, **lists, "parameters": tuple(plain["parameters"].items())})


def definition_of(name: str, names: Container[str]) -> str:
    """Return which of ``names`` an operation belongs to: ``signal`` for signal and its part signal/2."""
    base, _, number = name.rpartition("/")
    return base if number.isdigit() and base in names else name


def check_name(name: object, what: str) -> None:
    """Refuse what cannot be the name of a value, a kind, a parameter or an owner.

    Raises:
        GraphError: it is no text, empty, too long, or has characters that cannot be shown.
    """
    if not isinstance(name, str):
        raise GraphError(f"the name of {what} must be text, got {type(name).__name__}")
    if not name or len(name) > MAX_NAME:
        raise GraphError(f"the name of {what} has {len(name)} characters; 1 to {MAX_NAME} are possible")
    if not name.isprintable() or "`" in name or name != name.strip():
        raise GraphError(
            f"the name of {what} cannot be {name!r}: no backticks, control characters or outer spaces"
        )


def texts(value: object, what: str) -> tuple[str, ...]:
    """Return a list of texts as a tuple.

    Raises:
        GraphError: it is something else.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise GraphError(f"{what} must be a list of names, got a {type(value).__name__}")
    return tuple(value)


def to_lists(value: Plain) -> object:
    """Return a parameter with lists in place of its tuples, as JSON and YAML want it."""
    return [to_lists(item) for item in value] if isinstance(value, tuple) else value


def _plain(value: object, what: str) -> Plain:
    """Return ``value`` with tuples in place of lists, or refuse it."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item, what) for item in value)
    if isinstance(value, int) and value not in INTEGERS:
        raise GraphError(f"{what} is an integer of {value.bit_length()} bits; 64 are possible")
    if isinstance(value, float) and value != value:
        raise GraphError(f"{what} is not a number (nan), which is equal to nothing, itself included")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise GraphError(f"{what} has {len(value)} characters; at most {MAX_TEXT} are possible")
    if isinstance(value, str) and _SURROGATES.search(value):
        raise GraphError(f"{what} is not valid text: half of a character stands in it")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise GraphError(
        f"{what} is a {type(value).__name__}; numbers, texts, true, false, null and lists are possible"
    )
