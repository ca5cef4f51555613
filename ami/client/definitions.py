"""Make a graph's text out of what people type, and say how two graphs differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ami.errors import GraphError
from ami.graph.graph import Graph
from ami.graph.language.document import dump
from ami.graph.language.text import graph_of, write

# NAME = EXPRESSION; a name of unusual characters in backticks, as in expressions.
_DEFINITION = re.compile(
    r"\s*(?:`(?P<quoted>[^`]+)`|(?P<name>[^\s=:`]+))\s*=(?!=)\s*(?P<expression>\S.*?)\s*"
)


def to_yaml(texts: Sequence[str], current: Callable[[], Graph]) -> str:
    """Return the YAML of a graph from one such text, or from definitions ``NAME = EXPRESSION``.

    A definition is published as a result when it reduces events; else it is a value for others to
    use. ``current`` is called for the graph that runs now, on which definitions may build.

    Raises:
        GraphError: it is neither, or a definition cannot be read.
    """
    read = [_definitions(text) for text in texts]
    if len(texts) == 1 and read[0] is None:
        return texts[0]
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
    results = _reduced(graph_of(_yaml({"values": definitions})), current)
    return _yaml(
        {
            "values": {name: text for name, text in definitions.items() if name not in results},
            "results": {name: text for name, text in definitions.items() if name in results},
        }
    )


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


def _reduced(new: Graph, current: Callable[[], Graph]) -> set[str]:
    """Return the names in ``new`` that exist once for a window, not for each event."""
    reduced = set(new.reduced)
    if new.fields:  # perhaps values of the graph that runs
        known = current().reduced
        for operation in new.operations:
            if not (known | reduced).isdisjoint(operation.inputs):
                reduced.add(operation.name)
    return reduced


def _yaml(parts: dict[str, dict[str, str]]) -> str:
    return dump({name: part for name, part in parts.items() if part})


def content(graph: Graph) -> str:
    """Return the text of a graph without its version and who owns what."""
    operations = tuple(operation.owned_by(()) for operation in graph.operations)
    return write(replace(graph, version=0, operations=operations))


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes one graph out of another, by names of operations; ``text`` is for people."""

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


def difference(old: Graph, new: Graph) -> Difference:
    """Return what makes ``new`` out of ``old``."""
    before = {operation.name: operation for operation in old.operations}
    after = {operation.name: operation for operation in new.operations}
    both = before.keys() & after.keys()
    resets = dict(old.resets)
    lines = difflib.unified_diff(
        content(old).splitlines(),
        content(new).splitlines(),
        f"version {old.version}",
        f"version {new.version}",
        lineterm="",
    )
    return Difference(
        old=old.version,
        new=new.version,
        added=tuple(sorted(after.keys() - both)),
        removed=tuple(sorted(before.keys() - both)),
        changed=tuple(sorted(n for n in both if before[n].definition != after[n].definition)),
        reset=tuple(sorted(name for name, count in new.resets if count != resets.get(name, 0))),
        text="\n".join(lines),
    )
