"""Keep what people wrote: definitions with their owners, users' functions, and how often each was reset.

A definition holds beside its text the operations that it means, its *parts*, as they were read when it
came. So an edit needs to read new texts only, and what a plug-in gave keeps its meaning where that
plug-in is not installed any more. A document is stored as its text, beside the graph that has the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ami.errors import GraphError
from ami.graph.operation import Operation, Plain
from ami.graph.order import similar

# Parameters of the library's ``function``, by the names that people call their functions.
Functions: TypeAlias = "Mapping[str, tuple[tuple[str, Plain], ...]]"


@dataclass(frozen=True, slots=True)
class Definition:
    """What stands behind a name. One of the ``parts`` has that name; none has owners."""

    text: str
    owners: tuple[str, ...] = ()
    result: bool = False
    parts: tuple[Operation, ...] = field(default=(), compare=False)

    @property
    def uses(self) -> set[str]:
        """Names of the values and fields that it is computed from."""
        return {name for part in self.parts for name in part.inputs} - {part.name for part in self.parts}

    def means(self, other: Definition) -> bool:
        """Whether both are the same, however they are written."""
        if self.parts is other.parts:
            return True
        mine, others = ({p.name: p.definition for p in one.parts} for one in (self, other))
        return mine == others


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
