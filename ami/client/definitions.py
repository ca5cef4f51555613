"""Make a graph's text out of what people type, and say how two graphs differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ami.errors import GraphError
from ami.graph.language.changes import compare
from ami.graph.language.document import Document
from ami.graph.language.safe_yaml import dump
from ami.graph.language.text import write

# NAME = EXPRESSION; a name of unusual characters in backticks, as in expressions.
_DEFINITION = re.compile(
    r"\s*(?:`(?P<quoted>[^`]+)`|(?P<name>[^\s=:`]+))\s*=(?!=)\s*(?P<expression>\S.*?)\s*"
)


def to_yaml(texts: Sequence[str]) -> tuple[str, bool]:
    """Return the YAML of a graph from one such text, or from definitions ``NAME = EXPRESSION``.

    The second says whether they were definitions: what of them is published is for the manager to find out,
    which knows what they build on.

    Raises:
        GraphError: it is neither.
    """
    read = [_definitions(text) for text in texts]
    if len(texts) == 1 and read[0] is None:
        return texts[0], False
    definitions: dict[str, str] = {}
    for text, found in zip(texts, read, strict=True):
        if found is None:
            raise GraphError(
                f"{text[:60]!r} is no definition; wanted one YAML text, or definitions 'NAME = EXPRESSION'"
            )
        for name, expression in found:
            if name in definitions:
                raise GraphError(f"{name!r} is defined twice")
            definitions[name] = expression
    if not definitions:
        raise GraphError("nothing is defined; wanted 'NAME = EXPRESSION' or a YAML text")
    return dump({"values": definitions}), True


def _definitions(text: str) -> list[tuple[str, str]] | None:
    """Return names and expressions when each line is a definition, a comment or blank; None otherwise."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _DEFINITION.fullmatch(line)
        if match is None:
            return None
        found.append((match["quoted"] or match["name"], match["expression"]))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes one graph out of another, by names; ``text`` is for people."""

    old: int
    new: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    reset: tuple[str, ...]
    text: str

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def difference(old: Document, new: Document) -> Difference:
    """Return what makes ``new`` out of ``old``."""
    changes = compare(old, new)
    lines = difflib.unified_diff(
        write(old, whole=False).splitlines(),
        write(new, whole=False).splitlines(),
        f"version {old.version}",
        f"version {new.version}",
        lineterm="",
    )
    return Difference(
        old=old.version,
        new=new.version,
        added=tuple(sorted(changes.added)),
        removed=tuple(sorted(changes.removed)),
        changed=tuple(sorted(changes.changed)),
        reset=tuple(sorted(changes.reset)),
        text="\n".join(lines),
    )
