"""Turn definitions into operations, and a document into the graph that runs.

In ``signal: sum(roi(camera, rows=1:3)) / monitor`` the region is ``signal/1``, the sum ``signal/2``
and the ratio ``signal``. What the library does not know is one expression, however long. Nobody writes
names such as ``signal/1``: where something of a part is to be said, its text is.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Container

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.grammar import parse
from ami.graph.expression.habits import explain_operation
from ami.graph.expression.spelling import spell
from ami.graph.graph import Graph
from ami.graph.language.document import Definition, Document, Functions
from ami.graph.language.reference import library_kinds, usage_of
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, Reduction, parameters_of
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
    lowering = _Lowering(name, text, functions)
    try:
        lowering.lower(parse(text), name)
    except GraphError as error:
        raise GraphError(f"{name!r}: {error}\n  {text[:MAX_SHOWN]}") from None
    return Definition(text, parts=tuple(lowering.operations))


class _Flat(ast.NodeTransformer):
    """Puts _0, _1 and so on in place of the names in an expression, and of operations of the library."""

    def __init__(self, lowering: _Lowering) -> None:
        self.places: dict[str, str] = {}  # by the name of the value
        self._lowering = lowering

    def visit(self, node: ast.AST) -> ast.AST:
        match node:
            case ast.Name() | ast.BinOp(_, ast.MatMult(), _):
                return self._place(node)
            case ast.Call(ast.Attribute(attr=function)) if function not in FUNCTIONS:
                return self._place(node)
        return self.generic_visit(node)

    def _place(self, node: ast.expr) -> ast.Name:
        name = self._lowering.name_of(node)
        return ast.Name(self.places.setdefault(name, f"_{len(self.places)}"))


class _Lowering:
    def __init__(self, name: str, text: str, functions: Functions) -> None:
        self.operations: list[Operation] = []
        self._base = name
        self._text = text
        self._nested = 0
        self._functions = functions

    def lower(self, node: ast.expr, name: str = "") -> str:
        """Append the operations of ``node``; return the name of its value."""
        kind, (inputs, parameters) = self._read(node)
        if not name:
            self._nested += 1
            name = f"{self._base}/{self._nested}"
        reduces = issubclass(LIBRARY[kind], Reduction)
        text = (self._text if name == self._base else self._written(node))[:MAX_SHOWN]
        self.operations.append(Operation(name, kind, tuple(inputs), parameters, (), reduces, text))
        return name

    def _written(self, node: ast.expr) -> str:
        """Return a part of the text as people wrote it, in one line."""
        return " ".join(self._text[node.col_offset : node.end_col_offset].split())

    def _read(self, node: ast.expr) -> tuple[str, Bound]:
        match node:
            case ast.BinOp(value, ast.MatMult(), condition):
                return "where", ([self.name_of(value), self.name_of(condition)], ())
            case ast.Call(ast.Attribute(attr=function), arguments, keywords) if function in self._functions:
                if keywords:
                    raise GraphError(f"{_place(node)}{function} takes values without names only")
                return "function", ([*map(self.name_of, arguments)], self._functions[function])
            case ast.Call(ast.Attribute(attr=function)) if function not in FUNCTIONS:
                return function, self._bind(node, function)
        flat = _Flat(self)
        tree = flat.visit(node)
        if not flat.places:
            raise GraphError(f"{self._written(node)} uses no value; a constant needs no operation")
        return "expression", (list(flat.places), (("text", spell(tree)),))

    def name_of(self, node: ast.expr) -> str:
        """Return the name of a node's value; what has none yet is lowered."""
        return node.id if isinstance(node, ast.Name) else self.lower(node)

    def _find_known(self, node: ast.Call, function: str) -> type[Function] | type[Reduction]:
        """Return what the library has under a name; only a package that has it is imported for that."""
        kind = LIBRARY.get(function)
        if kind is None:
            known = [*library_kinds(), *self._functions, *FUNCTIONS]
            habit = explain_operation(function)
            close = f"; {habit}" if habit else similar(function, known)
            more = "; `ami operations` lists those that there are; if a package has it, install that package"
            why = f"there is no operation {function!r}{close or more}"
            raise GraphError(f"{_place(node)}{LIBRARY.refused.get(function, why)}")
        return kind

    def _bind(self, call: ast.Call, function: str) -> Bound:
        """Share out a call's arguments over inputs and parameters, as the library's class has them."""
        kind = self._find_known(call, function)
        inputs, parameters = kind.inputs, parameters_of(kind)
        usage = usage_of(kind)
        if inputs is None:  # any number: all that stands before the first number or text
            constants = (n for n, node in enumerate(call.args) if isinstance(node, ast.Constant))
            inputs = tuple(f"value_{n + 1}" for n in range(next(constants, len(call.args)) or 1))
        values = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in inputs]
        keywords = {keyword.arg or "": keyword.value for keyword in call.keywords}
        try:
            given = inspect.Signature([*values, *parameters.values()]).bind(*call.args, **keywords).arguments
        except (TypeError, ValueError) as error:  # a ValueError where a plug-in calls two things the same
            hint = "; events are chosen before, as in 'x where x > 3'" if "where" in keywords else ""
            raise GraphError(f"{_place(call)}{function}: {error}; it reads {usage}{hint}") from None
        for name in inputs:
            if isinstance(given[name], ast.Constant):
                raise GraphError(
                    f"{_place(call)}{function} works on a value, got {spell(given[name])}; it reads {usage}"
                )
        plain = [(name, self._plain(function, name, given[name])) for name in parameters if name in given]
        return [self.name_of(given[name]) for name in inputs], tuple(plain)

    def _plain(self, function: str, name: str, node: ast.expr) -> Plain:
        """Return the plain value of a parameter; a bare word is a text, as in window=interval."""
        if isinstance(node, ast.Constant):
            if name == "window" and isinstance(node.value, int | float):
                raise GraphError(
                    f"{_place(node)}the window of {function} is a text, got {node.value}: 'last 5' are "
                    f"intervals, '5 s' is time, '5 events' are events; single events side by side are "
                    f"pick(x, count=5)"
                )
            return node.value  # type: ignore[return-value]  # the grammar's constants are plain
        if isinstance(node, ast.Name):
            return node.id
        raise GraphError(
            f"{_place(node)}{name} of {function} must be a number, a text or a word,"
            f" got {self._written(node)}"
        )


def _place(node: ast.expr) -> str:
    return f"column {node.col_offset + 1}: "
