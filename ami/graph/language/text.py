"""Read and write a graph as YAML; docs/graphs.md is the description for people.

    values:                                       # names for parts
      signal: sum(roi(camera, rows=100:140)) / monitor
    results:                                      # what is published
      mean_signal: mean_events(signal)

Each entry is a definition, or in the long form a mapping of ``kind``, ``inputs`` and
``parameters``, which can say any operation. A text that was written is read back to an equal
graph: the writer reads each definition again, and takes the long form where that differs.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import replace

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.expression import placeholder
from ami.graph.expression.grammar import parse as parse_definition
from ami.graph.expression.nodes import RESERVED, Call, Literal, Name, Node, Where, rebuilt, spell
from ami.graph.graph import FORMAT, Graph
from ami.graph.language.document import dump, load
from ami.graph.language.lower import Functions, operations_of
from ami.graph.library import LIBRARY
from ami.graph.library.base import Reduction, parameter_names
from ami.graph.operation import Operation, Plain, check_name, listed, texts
from ami.graph.order import similar

SECTIONS = ("version", "functions", "values", "results", "resets", "owners")


def graph_of(text: str) -> Graph:
    """Return the graph that a text describes.

    Raises:
        GraphError: with the place, what was seen and what would be right.
    """
    content = load(text)
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise GraphError(f"a graph's text has sections such as values and results, got {_seen(content)}")
    for section in content:
        if section not in SECTIONS:
            hint = similar(section, SECTIONS) or f"; known: {', '.join(SECTIONS)}"
            raise GraphError(f"there is no section {section!r}{hint}")
    functions = _functions(_section(content, "functions"))
    values, results = _section(content, "values"), _section(content, "results")
    operations: list[Operation] = []
    for name, definition in (*values.items(), *results.items()):
        if name in values and name in results:
            raise GraphError(f"{name!r} stands under values and under results; once is enough")
        operations += _defined(name, definition, functions)
    return Graph.from_plain(
        {
            "format": FORMAT,
            "version": content.get("version", 0),
            "operations": [o.to_plain() for o in _owned(operations, _section(content, "owners"))],
            "results": list(results),
            "resets": _section(content, "resets"),
        }
    )


def _section(content: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = content.get(name)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise GraphError(f"{name} must be a list of 'name: ...' lines, got {_seen(section)}")
    return section


def _seen(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _functions(section: Mapping[str, object]) -> dict[str, tuple[tuple[str, Plain], ...]]:
    found = {}
    for name, content in section.items():
        if not name.isidentifier() or name in RESERVED or name in LIBRARY or name in FUNCTIONS:
            raise GraphError(f"a function cannot be called {name!r}: no plain name, or the library has one")
        parameters = {"code": content} if isinstance(content, str) else content
        if not isinstance(parameters, Mapping) or not isinstance(parameters.get("code"), str):
            raise GraphError(
                f"function {name!r} must be source text, or a mapping with 'code', got {_seen(content)}"
            )
        known = parameter_names(LIBRARY["function"])
        for parameter in parameters:
            if parameter not in known:
                hint = similar(parameter, known) or f"; it has {', '.join(known)}"
                raise GraphError(f"function {name!r} has no {parameter!r}{hint}")
        found[name] = Operation.of(name, "function", **parameters).parameters
    return found


def _defined(name: str, definition: object, functions: Functions) -> list[Operation]:
    check_name(name, "a value")
    if isinstance(definition, str):
        try:
            return operations_of(name, definition, functions)
        except GraphError as error:
            raise GraphError(f"{name!r}: {error}\n  {definition[:200]}") from None
    if isinstance(definition, Mapping) and "kind" in definition:
        foreign = sorted(set(definition) - {"kind", "inputs", "parameters"})
        if foreign:
            raise GraphError(f"{name!r}: an operation has kind, inputs, parameters, but no {foreign[0]!r}")
        operation = Operation.from_plain({**definition, "name": name})
        kind = LIBRARY.get(operation.kind)
        return [replace(operation, reduces=kind is not None and issubclass(kind, Reduction))]
    raise GraphError(f"{name!r} must be a definition such as sum(camera), got {_seen(definition)}")


def _owned(operations: list[Operation], section: Mapping[str, object]) -> list[Operation]:
    owners: dict[str, list[str]] = {}
    for owner, names in section.items():
        for name in texts(names, f"operations of owner {owner!r}"):
            owners.setdefault(name, []).append(owner)
    foreign = sorted(set(owners) - {o.name for o in operations})
    if foreign:
        raise GraphError(f"{owners[foreign[0]][0]!r} cannot own {foreign[0]!r}: no operation gives it")
    return [o.owned_by(tuple(owners.get(o.name, ()))) for o in operations]


def write(graph: Graph) -> str:
    """Return the text of a graph, that :func:`graph_of` reads back to an equal one."""
    functions = _written_functions(graph)
    entries = _Writer(graph, functions).entries()
    owners: dict[str, list[str]] = {}
    for operation in graph.operations:
        for owner in operation.owners:
            owners.setdefault(owner, []).append(operation.name)
    content: dict[str, object] = {
        "version": graph.version,
        "functions": {name: _written_function(dict(parameters)) for name, parameters in functions.items()},
        "values": {name: entry for name, entry in entries.items() if name not in graph.results},
        "results": {name: entries[name] for name in graph.results},
        "resets": dict(graph.resets),
        "owners": owners,
    }
    return dump({section: part for section, part in content.items() if part})


def _written_function(parameters: dict[str, Plain]) -> object:
    if list(parameters) == ["code"]:
        return parameters["code"]
    return {name: listed(value) for name, value in parameters.items()}


def _written_functions(graph: Graph) -> dict[str, tuple[tuple[str, Plain], ...]]:
    """Return the parameters of user's functions by the names that their code gives them."""
    found: dict[str, tuple[tuple[str, Plain], ...]] = {}
    for operation in graph.operations:
        code = operation.arguments.get("code")
        if operation.kind == "function" and isinstance(code, str):
            name = _function_name(code)
            known = set(operation.arguments) <= set(parameter_names(LIBRARY["function"]))
            if name is not None and known:
                found.setdefault(name, operation.parameters)
    return found


def _function_name(code: str) -> str | None:
    try:
        names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    taken = not names or names[-1] in RESERVED or names[-1] in LIBRARY or names[-1] in FUNCTIONS
    return None if taken else names[-1]


def definition(operation: Operation, graph: Graph | None = None) -> str:
    """Return what an operation of ``graph`` computes, as people write it, for messages."""
    graph = graph or Graph(operations=(operation,))
    writer = _Writer(graph, _written_functions(graph))
    text = writer.definition(operation, writer.nested_in(operation)) or writer.definition(operation, {})
    return text or f"{operation.kind} of {', '.join(operation.inputs) or 'nothing'}"


class _Writer:
    def __init__(self, graph: Graph, functions: Functions) -> None:
        self._graph = graph
        self._functions = functions

    def entries(self) -> dict[str, object]:
        """Return the definition of each operation that is not nested in another's, by name."""
        entries: dict[str, object] = {}
        hidden: set[str] = set()
        for operation in reversed(self._graph.operations):
            if operation.name not in hidden:
                nested = self.nested_in(operation)
                definition = self.definition(operation, nested)
                if definition is None and nested:
                    nested = {}
                    definition = self.definition(operation, nested)
                hidden |= nested.keys()
                entries[operation.name] = definition or _long_form(operation)
        return dict(reversed(entries.items()))

    def nested_in(self, root: Operation) -> dict[str, Operation]:
        """Return operations that may be written within the definition of ``root``."""
        found: dict[str, Operation] = {}
        ahead = [root]
        while ahead:
            for name in ahead.pop().inputs:
                ours = name.startswith(f"{root.name}/") and name in self._graph
                if ours and name not in found and self._is_private(name, root):
                    found[name] = self._graph[name]
                    ahead.append(found[name])
        return found

    def _is_private(self, name: str, root: Operation) -> bool:
        uses = sum(o.inputs.count(name) for o in self._graph.operations)
        return uses == 1 and name not in self._graph.results

    def definition(self, root: Operation, nested: Mapping[str, Operation]) -> str | None:
        """Return the text that says ``root`` and ``nested``, None if it would say something else."""
        try:
            text = spell(self._tree(root, nested))
            operations = operations_of(root.name, text, self._functions)
        except GraphError:
            return None
        said = {o.name: o.definition for o in operations}
        meant = {o.name: o.definition for o in (root, *nested.values())}
        return text if said == meant else None

    def _value(self, name: str, nested: Mapping[str, Operation]) -> Node:
        return self._tree(nested[name], nested) if name in nested else Name(name)

    def _tree(self, operation: Operation, nested: Mapping[str, Operation]) -> Node:
        inputs = [self._value(name, nested) for name in operation.inputs]
        parameters = operation.arguments
        if operation.kind == "where" and len(inputs) == 2 and not parameters:
            return Where(inputs[0], inputs[1])
        if operation.kind == "expression":
            return _filled(parse_definition(str(parameters.get("text"))), inputs)
        if operation.kind == "function":
            for name, function in self._functions.items():
                if function == operation.parameters:
                    return Call(name, tuple(inputs))
        return _library_call(operation.kind, inputs, parameters)


def _filled(tree: Node, inputs: list[Node]) -> Node:
    if isinstance(tree, Name):
        index = placeholder(tree.name)
        if index >= len(inputs):
            raise GraphError(f"{tree.name} has no input")
        return inputs[index]
    return rebuilt(tree, lambda part: _filled(part, inputs))


def _library_call(kind: str, inputs: list[Node], parameters: Mapping[str, Plain]) -> Call:
    if kind not in LIBRARY:
        raise GraphError(f"the library has no {kind!r}")
    names = LIBRARY[kind].inputs or ()
    by_name = [(n, node) for n, node in zip(names, inputs, strict=False) if n == "key"]
    arguments = [node for node in inputs if not any(node is other for _, other in by_name)]
    rest = dict(parameters)
    required = [] if by_name else [
        p.name for p in inspect.signature(LIBRARY[kind]).parameters.values() if p.default is p.empty
    ]  # fmt: skip
    for name in required:  # histogram(signal, 200, 0, 10): these read well without their names
        if name not in rest or isinstance(rest[name], str):
            break
        arguments.append(Literal(rest.pop(name)))
    words = [(name, _word(rest[name])) for name in parameter_names(LIBRARY[kind]) if name in rest]
    if len(words) < len(rest):
        raise GraphError(f"{kind} has no such parameters")
    return Call(kind, tuple(arguments), (*by_name, *words))


def _word(value: Plain) -> Node:
    is_word = isinstance(value, str) and value.isidentifier() and value.lower() not in RESERVED
    return Name(str(value)) if is_word else Literal(value)


def _long_form(operation: Operation) -> dict[str, object]:
    plain = operation.to_plain()
    return {part: plain[part] for part in ("kind", "inputs", "parameters") if plain[part]}
