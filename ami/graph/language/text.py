"""Read and write a document as YAML; docs/graphs.md is the description for people.

    values:                                       # names for parts
      signal: sum(roi(camera, rows=100:140)) / monitor
    results:                                      # what is published
      mean_signal: mean_events(signal)

The text of each definition is kept to the letter; what was written is read back to an equal document.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from typing import Any

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.spelling import RESERVED
from ami.graph.graph import MAX_OPERATIONS, Graph, count
from ami.graph.language.document import Definition, Document, Functions
from ami.graph.language.lower import define, lower, parts_of
from ami.graph.language.safe_yaml import dump, load
from ami.graph.library import LIBRARY
from ami.graph.library.base import parameters_of
from ami.graph.operation import Operation, Plain, check_name, texts, to_lists
from ami.graph.order import similar

SECTIONS = ("version", "functions", "values", "results", "resets", "owners")
NO_FUNCTIONS: Functions = {}


def graph_of(text: str) -> Graph:
    """Return the graph that a text asks for.

    Raises:
        GraphError: as :func:`parse` and :func:`lower`.
    """
    return lower(parse(text))


def parse(text: str, known: Functions = NO_FUNCTIONS, graph: Graph | None = None) -> Document:
    """Return the document that a text describes.

    Args:
        known: functions that it may call besides its own.
        graph: what was made of it before. Then nothing is lowered again: it means what it meant, whatever
            is installed here.

    Raises:
        GraphError: with the place, what was seen and what would be right.
    """
    sections = _sections(text)
    functions = {name: read_function(name, code) for name, code in sections["functions"].items()}
    for name, parameters in functions.items() if graph is None else ():
        check_function(name, parameters)
    values, results = sections["values"], sections["results"]
    for name in values.keys() & results.keys():
        raise GraphError(f"{name!r} stands under values and under results; once is enough")
    written = {**values, **results}
    if len(written) > MAX_OPERATIONS:  # before each of them is read
        raise GraphError(f"{len(written)} definitions; at most {MAX_OPERATIONS} operations are possible")
    owners = _owners(sections["owners"], written)
    parts = {} if graph is None else parts_of(graph, written)
    definitions: dict[str, Definition] = {}
    for name, one in written.items():
        check_name(name, "a value")
        if not isinstance(one, str):
            raise GraphError(f"{name!r} must be a definition such as sum(camera), got {_show(one)}")
        made = parts.get(name, ()) if graph is not None else define(name, one, {**known, **functions}).parts
        definitions[name] = Definition(one, owners[name], name in results, tuple(made))
    resets = {name: count(number, f"reset of {name!r}") for name, number in sections["resets"].items()}
    document = Document(count(sections["version"], "version"), definitions, functions, resets)
    for name in resets:
        document[name]  # a reset of nothing is a mistake
    return document


def restore(text: str, graph: object) -> Document:
    """Return the document that was stored as its text, beside the plain form of the graph made of it.

    Raises:
        GraphError: they are none.
    """
    return parse(text, graph=Graph.from_plain(graph))


def _sections(text: str) -> dict[str, Any]:
    content = load(text)
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise GraphError(f"a graph's text has sections such as values and results, got {_show(content)}")
    for name, section in content.items():
        if name not in SECTIONS:
            hint = similar(name, SECTIONS) or f"; known: {', '.join(SECTIONS)}"
            raise GraphError(f"there is no section {name!r}{hint}")
        if name != "version" and not isinstance(section, Mapping | None):
            raise GraphError(
                f"{name} must be lines 'name: ...' without a dash before them, got {_show(section)}"
            )
    return {**{name: content.get(name) or {} for name in SECTIONS}, "version": content.get("version", 0)}


def _show(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def read_function(name: str, content: object) -> tuple[tuple[str, Plain], ...]:
    """Return the parameters of a user's function: its source text, or that with what is declared.

    Raises:
        GraphError: it is none.
    """
    parameters = {"code": content} if isinstance(content, str) else content
    if not isinstance(parameters, Mapping) or not isinstance(parameters.get("code"), str):
        raise GraphError(
            f"function {name!r} must be source text, or a mapping with 'code', got {_show(content)}"
        )
    return Operation(name, "function", parameters=tuple(parameters.items())).parameters


def check_function(name: str, parameters: tuple[tuple[str, Plain], ...]) -> None:
    """Refuse a function that the library's own would hide, or that declares what no function has.

    Raises:
        GraphError: says what would be right.
    """
    if not name.isidentifier() or name in RESERVED:
        raise GraphError(
            f"a function cannot be called {name!r}: it is no plain name of letters, digits and _"
        )
    if name in LIBRARY or name in FUNCTIONS:
        raise GraphError(f"a function cannot be called {name!r}: the library has one; try my_{name}")
    known = parameters_of(LIBRARY["function"])
    for parameter, _ in parameters:
        if parameter not in known:
            hint = similar(parameter, known) or f"; it has {', '.join(known)}"
            raise GraphError(f"function {name!r} has no {parameter!r}{hint}")


def _owners(section: Mapping[str, object], written: Container[str]) -> dict[str, tuple[str, ...]]:
    owners: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for owner in sorted(section):
        check_name(owner, "an owner")
        for name in dict.fromkeys(texts(section[owner], f"definitions of owner {owner!r}")):
            if name not in written:
                raise GraphError(f"{owner!r} cannot own {name!r}: there is no definition of it")
            owners[name] += (owner,)
    return owners


def write(document: Document, *, whole: bool = True) -> str:
    """Return the text of a document, that :func:`parse` reads back to an equal one.

    ``whole``: with its version and who owns what.
    """
    owners: dict[str, list[str]] = defaultdict(list)
    for name, definition in document.definitions.items():
        for owner in definition.owners:
            owners[owner].append(name)
    content: dict[str, object] = {
        "version": document.version if whole else 0,
        "functions": {name: _write_function(dict(code)) for name, code in document.functions.items()},
        "values": {name: d.text for name, d in document.definitions.items() if not d.result},
        "results": {name: d.text for name, d in document.definitions.items() if d.result},
        "resets": dict(document.resets),
        "owners": dict(owners) if whole else {},
    }
    return dump({section: part for section, part in content.items() if part})


def _write_function(parameters: dict[str, Plain]) -> object:
    if list(parameters) == ["code"]:
        return parameters["code"]
    return {name: to_lists(value) for name, value in parameters.items()}
