"""Describe one operation of a graph: what it computes, from which values, for whom."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ami.errors import GraphError

Plain: TypeAlias = "bool | int | float | str | tuple[Plain, ...] | None"

MAX_NAME = 200  # characters
MAX_INPUTS = 1000
MAX_PARAMETERS = 100
MAX_TEXT = 100_000  # characters of one parameter: the source of a user's function
MAX_DEPTH = 8  # of tuples in tuples
MAX_ITEMS = 100_000  # in one tuple
MAX_SHOWN = 200  # characters of a definition in a message
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
        check_name(self.name, "an operation")
        check_name(self.kind, f"the kind of operation {self.name!r}")
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if len(self.inputs) > MAX_INPUTS:
            raise GraphError(
                f"operation {self.name!r} has {len(self.inputs)} inputs; at most {MAX_INPUTS} are possible"
            )
        for name in self.inputs:
            check_name(name, f"an input of operation {self.name!r}")
        for owner in self.owners:
            check_name(owner, f"an owner of operation {self.name!r}")
        object.__setattr__(self, "owners", tuple(sorted(set(self.owners))))
        object.__setattr__(self, "parameters", self._checked_parameters())

    def _checked_parameters(self) -> tuple[tuple[str, Plain], ...]:
        if len(self.parameters) > MAX_PARAMETERS:
            raise GraphError(f"operation {self.name!r} has more than {MAX_PARAMETERS} parameters")
        names = [name for name, _ in self.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise GraphError(f"operation {self.name!r} has the parameter {twice[0]!r} twice")
        for name in names:
            check_name(name, f"a parameter of operation {self.name!r}")
        return tuple(
            (name, _plain(value, f"operation {self.name!r}: parameter {name!r}"))
            for name, value in sorted(self.parameters, key=lambda pair: pair[0])
        )

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

    def owned_by(self, owners: tuple[str, ...]) -> Operation:
        """Return the same operation with other owners."""
        return replace(self, owners=owners)

    def to_plain(self) -> dict[str, object]:
        """Return it as what JSON can say."""
        return {
            "name": self.name,
            "kind": self.kind,
            "inputs": list(self.inputs),
            "parameters": {name: listed(value) for name, value in self.parameters},
            "owners": list(self.owners),
            "reduces": self.reduces,
            "text": self.text,
        }

    @classmethod
    def from_plain(cls, plain: object) -> Operation:
        """Return what :meth:`to_plain` described.

        Raises:
            GraphError: it is not a description of an operation.
        """
        if not isinstance(plain, Mapping):
            raise GraphError(f"an operation must be a mapping, got {type(plain).__name__}")
        known = {"name", "kind", "inputs", "parameters", "owners", "reduces", "text"}
        foreign = sorted(str(key) for key in plain if key not in known)
        if foreign:
            raise GraphError(f"an operation has no {foreign[0]!r}; it has {', '.join(sorted(known))}")
        parameters = plain.get("parameters", {})
        if not isinstance(parameters, Mapping):
            raise GraphError(f"parameters must be a mapping, got {type(parameters).__name__}")
        return cls(
            name=plain.get("name", ""),
            kind=plain.get("kind", ""),
            inputs=texts(plain.get("inputs", ()), "inputs"),
            parameters=tuple(parameters.items()),
            owners=texts(plain.get("owners", ()), "owners"),
            reduces=plain.get("reduces") is True,
            text=str(plain.get("text", "")),
        )


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
        raise GraphError(f"{what} must be a list of names, got {_short(value)}")
    return tuple(value)


def listed(value: Plain) -> object:
    """Return a parameter with lists in place of its tuples, as JSON and YAML want it."""
    return [listed(item) for item in value] if isinstance(value, tuple) else value


def _plain(value: object, what: str, depth: int = 0) -> Plain:
    """Return ``value`` with tuples in place of lists, or refuse it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if int(value) not in INTEGERS:
            raise GraphError(f"{what} is an integer of {value.bit_length()} bits; 64 are possible")
        return int(value)
    if isinstance(value, float):
        if value != value:
            raise GraphError(f"{what} is not a number (nan), which is equal to nothing, itself included")
        return float(value)
    if isinstance(value, str):
        return _text(str(value), what)
    if isinstance(value, list | tuple):
        if depth >= MAX_DEPTH or len(value) > MAX_ITEMS:
            raise GraphError(f"{what} is nested deeper than {MAX_DEPTH} or longer than {MAX_ITEMS}")
        return tuple(_plain(item, what, depth + 1) for item in value)
    raise GraphError(f"{what} is {_short(value)}; numbers, texts, true, false, null and lists are possible")


def _text(value: str, what: str) -> str:
    if len(value) > MAX_TEXT:
        raise GraphError(f"{what} has {len(value)} characters; at most {MAX_TEXT} are possible")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise GraphError(f"{what} is not valid text: {error.reason}") from None
    return value


def _short(value: object) -> str:
    return f"a {type(value).__name__}"
