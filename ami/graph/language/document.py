"""Keep what people wrote: definitions with their owners, users' functions, and how often each was reset.

A definition holds beside its text the operations that it means, its *parts*, as they were read when it
came. So an edit needs to read new texts only, and what a plug-in gave keeps its meaning where that
plug-in is not installed any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ami.errors import GraphError
from ami.graph.operation import Operation, Plain, listed
from ami.graph.order import similar

FORMAT = 1  # of the plain form

# Parameters of the library's ``function``, by the names that people call their functions.
Functions: TypeAlias = "Mapping[str, tuple[tuple[str, Plain], ...]]"


@dataclass(frozen=True, slots=True)
class Definition:
    """What stands behind a name. Of the ``parts`` the last one has that name; none has owners."""

    text: str
    owners: tuple[str, ...] = ()
    result: bool = False
    parts: tuple[Operation, ...] = ()

    @property
    def uses(self) -> set[str]:
        """Names of the values and fields that it is computed from."""
        return {name for part in self.parts for name in part.inputs} - {part.name for part in self.parts}

    def means(self, other: Definition) -> bool:
        """Whether both are the same, however they are written."""
        return [part.definition for part in self.parts] == [part.definition for part in other.parts]


@dataclass(frozen=True)
class Document:
    """Definitions by name, in the order in which they came; functions and resets by name."""

    version: int = 0
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    functions: Functions = field(default_factory=dict)
    resets: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Definition:
        """Return the definition of ``name``.

        Raises:
            GraphError: there is none; the message has names that are similar.
        """
        try:
            return self.definitions[name]
        except KeyError:
            raise GraphError(f"there is no definition of {name!r}{similar(name, self.definitions)}") from None

    @property
    def results(self) -> tuple[str, ...]:
        """Names of what is published."""
        return tuple(name for name, definition in self.definitions.items() if definition.result)

    def ancestry(self, names: Iterable[str]) -> set[str]:
        """Return ``names`` and all definitions that they are computed from."""
        found: set[str] = set()
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name in self.definitions and name not in found:
                found.add(name)
                ahead.extend(self.definitions[name].uses)
        return found

    def callers(self, function: str) -> list[str]:
        """Return the names of the definitions that call a user's function."""
        code = self.functions[function]
        return [
            name for name, definition in self.definitions.items()
            if any(part.kind == "function" and part.parameters == code for part in definition.parts)
        ]  # fmt: skip

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say; :meth:`from_plain` reads it."""
        return {
            "format": FORMAT,
            "version": self.version,
            "definitions": {
                name: {
                    "text": definition.text,
                    "owners": list(definition.owners),
                    "result": definition.result,
                    "parts": [part.to_plain() for part in definition.parts],
                }
                for name, definition in self.definitions.items()
            },
            "functions": {
                name: {parameter: listed(value) for parameter, value in parameters}
                for name, parameters in self.functions.items()
            },
            "resets": dict(self.resets),
        }

    @classmethod
    def from_plain(cls, plain: Any) -> Document:
        """Return what :meth:`to_plain` described.

        Raises:
            GraphError: it is not a description of a document.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            raise GraphError(f"not a document of format {FORMAT}: {str(plain)[:80]}")
        try:
            return cls(
                int(plain["version"]),
                {str(name): _definition(**definition) for name, definition in plain["definitions"].items()},
                {
                    name: Operation(name, "function", parameters=tuple(parameters.items())).parameters
                    for name, parameters in plain["functions"].items()
                },
                {str(name): int(count) for name, count in plain["resets"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GraphError(f"not a document: {error!r}"[:200]) from error


def _definition(text: str, owners: Iterable[str], result: bool, parts: Iterable[object]) -> Definition:
    return Definition(str(text), tuple(owners), bool(result), tuple(map(Operation.from_plain, parts)))
