"""Turn definitions into operations, and a document into the graph that runs.

In ``signal: sum(roi(camera, rows=1:3)) / monitor`` the region is ``signal/1``, the sum ``signal/2``
and the ratio ``signal``. What the library does not know is one expression, however long. Nobody writes
names such as ``signal/1``: where something of a part is to be said, its text is.
"""

from __future__ import annotations

import inspect
from collections.abc import Container

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.grammar import parse
from ami.graph.expression.nodes import Call, Literal, Name, Node, Where, names_in, rebuild, rename, spell
from ami.graph.graph import Graph
from ami.graph.language.document import Definition, Document, Functions
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, Reduction, parameter_names
from ami.graph.operation import MAX_SHOWN, Operation, Plain, definition_of
from ami.graph.order import in_order, similar

Bound = tuple[list[str], tuple[tuple[str, Plain], ...]]  # inputs and parameters


def lower(document: Document) -> Graph:
    """Return the graph of a document: its parts, owned by those who own the definitions.

    Raises:
        GraphError: a cycle closes, or a name is taken by a part of something else.
    """
    definitions = document.definitions
    parts = {p.name: name for name, known in definitions.items() for p in known.parts if p.name != name}
    for name, known in definitions.items():
        for used in (name, *known.uses):
            if used in parts:
                raise GraphError(
                    f"{name!r}: {used!r} is a part of {parts[used]!r}, {definitions[parts[used]].text}; "
                    f"give the part a name of its own and use that"
                )
    return Graph(
        version=document.version,
        # In the one order, whatever that of the text: nobody meets another one than the manager's.
        operations=in_order(tuple(p.with_owners(d.owners) for d in definitions.values() for p in d.parts)),
        results=document.results,
        resets=tuple(
            (part, count)
            for name, count in document.resets.items()
            # A definition begins anew in its reductions, or in itself when it has none.
            for part in [p.name for p in definitions[name].parts if p.reduces] or [name]
        ),
    )


def parts_of(graph: Graph, names: Container[str]) -> dict[str, list[Operation]]:
    """Return the parts of each of the definitions, called ``names``, that a graph was made of."""
    found: dict[str, list[Operation]] = {}
    for part in graph.operations:
        name = part.name if part.name in names else definition_of(part.name, names)
        found.setdefault(name, []).append(part.with_owners(()))
    return found


def define(name: str, text: str, functions: Functions) -> Definition:
    """Return the definition that a text says.

    Raises:
        GraphError: with the column, what was seen and what would be right, and the text.
    """
    lowering = _Lowering(name, functions)
    try:
        lowering.lower(parse(text), name, text)
    except GraphError as error:
        raise GraphError(f"{name!r}: {error}\n  {text[:MAX_SHOWN]}") from None
    return Definition(text, parts=tuple(lowering.operations))


def library_kinds() -> list[str]:
    """Return the names that a definition may call as operations of the library."""
    return [kind for kind in LIBRARY if kind not in FUNCTIONS]


class _Lowering:
    def __init__(self, name: str, functions: Functions) -> None:
        self.operations: list[Operation] = []
        self._base = name
        self._nested = 0
        self._functions = functions

    def lower(self, node: Node, name: str | None = None, text: str | None = None) -> str:
        """Append the operations of ``node``; return the name of its value."""
        kind, (inputs, parameters) = self._operation(node)
        if name is None:
            self._nested += 1
            name = f"{self._base}/{self._nested}"
        reduces = issubclass(LIBRARY[kind], Reduction)
        text = (text or spell(node))[:MAX_SHOWN]
        self.operations.append(Operation(name, kind, tuple(inputs), parameters, (), reduces, text))
        return name

    def _operation(self, node: Node) -> tuple[str, Bound]:
        if isinstance(node, Where):
            return "where", ([self._value(node.value), self._value(node.condition)], ())
        if isinstance(node, Call) and node.function in self._functions:
            if node.keywords:
                raise GraphError(f"column {node.column}: {node.function} takes values without names only")
            values = [self._value(argument) for argument in node.arguments]
            return "function", (values, self._functions[node.function])
        if isinstance(node, Call) and node.function not in FUNCTIONS:
            return node.function, self._bind(node)
        return "expression", self._expression(node)

    def _value(self, node: Node) -> str:
        return node.name if isinstance(node, Name) else self.lower(node)

    def _expression(self, node: Node) -> Bound:
        tree = self._flat(node)
        inputs = names_in(tree)
        if not inputs:
            raise GraphError(f"{spell(node)} uses no value; a constant needs no operation")
        places = {name: f"_{index}" for index, name in enumerate(inputs)}
        return inputs, (("text", spell(rename(tree, places))),)

    def _flat(self, node: Node) -> Node:
        """Return an expression in which operations of the library are names of values."""
        if isinstance(node, Where) or (
            isinstance(node, Call) and (node.function in self._functions or node.function not in FUNCTIONS)
        ):
            return Name(self.lower(node))
        return rebuild(node, self._flat)

    def _find_known(self, call: Call) -> type[Function] | type[Reduction]:
        """Return what the library has under a name; only a package that has it is imported for that."""
        kind = LIBRARY.get(call.function)
        if kind is None and call.function in LIBRARY.refused:
            raise GraphError(f"column {call.column}: {LIBRARY.refused[call.function]}")
        if kind is None:
            known = [*library_kinds(), *self._functions, *FUNCTIONS]
            hint = similar(call.function, known) or (
                f"; known here: {', '.join(known)}; if a package has it, install that package"
            )
            raise GraphError(f"column {call.column}: there is no operation {call.function!r}{hint}")
        return kind

    def _bind(self, call: Call) -> Bound:
        """Share out a call's arguments over inputs and parameters, as the library's class has them."""
        kind, column = self._find_known(call), f"column {call.column}: "
        inputs = kind.inputs
        if inputs is None:  # any number: all that stands before the first number or text
            literals = (n for n, node in enumerate(call.arguments) if isinstance(node, Literal))
            inputs = tuple(f"value {n + 1}" for n in range(next(literals, len(call.arguments)) or 1))
        names = (*inputs, *parameter_names(kind))
        if len(call.arguments) > len(names):
            raise GraphError(f"{column}{call.function} takes no more than {_usage(kind)}")
        given = dict(zip(names, call.arguments, strict=False))
        for name, node in call.keywords:
            if name in given:
                raise GraphError(f"{column}{call.function} takes only one {name!r}")
            if name not in names:
                hint = similar(name, names) or f"; it reads {_usage(kind)}"
                raise GraphError(f"{column}{call.function} has no {name!r}{hint}")
            given[name] = node
        for name in (*inputs, *_list_required(kind)):
            if name not in given:
                raise GraphError(f"{column}{call.function} lacks {name!r}; it reads {_usage(kind)}")
        for name in inputs:
            if isinstance(given[name], Literal):
                seen = spell(given[name])
                raise GraphError(
                    f"{column}{call.function} works on a value, got {seen}; it reads {_usage(kind)}"
                )
        parameters = [(n, _parameter(call, n, given[n])) for n in names[len(inputs) :] if n in given]
        return [self._value(given[name]) for name in inputs], tuple(parameters)


def _parameter(call: Call, name: str, node: Node) -> Plain:
    """Return the plain value of a parameter; a bare word is a text, as in window=interval."""
    if isinstance(node, Literal):
        return node.value  # type: ignore[return-value]  # the grammar's literals are plain
    if isinstance(node, Name):
        return node.name
    place = f"column {call.column}: {name} of {call.function}"
    raise GraphError(f"{place} must be a number, a text or a word, got {spell(node)}")


def _list_required(kind: type[Function] | type[Reduction]) -> list[str]:
    signature = inspect.signature(kind).parameters if parameter_names(kind) else {}
    return [name for name, parameter in signature.items() if parameter.default is parameter.empty]


def _usage(kind: type[Function] | type[Reduction]) -> str:
    inputs = ["..."] if kind.inputs is None else list(kind.inputs)
    return f"{kind.name}({', '.join([*inputs, *(f'{name}=' for name in parameter_names(kind))])})"
