"""Turn a definition into operations: calls within calls become operations of their own.

In ``signal: sum(roi(camera, rows=1:3)) / monitor`` the region is ``signal/1``, the sum ``signal/2``
and the ratio ``signal``. What the library does not know is one expression, however long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.expression import names_in, renamed
from ami.graph.expression.grammar import parse
from ami.graph.expression.nodes import Call, Literal, Name, Node, Where, rebuilt, spell
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, Reduction, parameter_names
from ami.graph.operation import Operation, Plain
from ami.graph.order import similar

Functions = Mapping[str, tuple[tuple[str, Plain], ...]]  # parameters of the user's functions, by name


def operations_of(name: str, definition: str | Node, functions: Functions) -> list[Operation]:
    """Return the operations that a definition asks for; the last of them gives ``name``.

    Raises:
        GraphError: with the column, what was seen and what would be right.
    """
    lowering = _Lowering(name, functions)
    lowering.lower(parse(definition) if isinstance(definition, str) else definition, name)
    return lowering.operations


def library_kinds() -> list[str]:
    """Return the names that a definition may call as operations of the library."""
    return [kind for kind in LIBRARY if kind not in FUNCTIONS]


class _Lowering:
    def __init__(self, name: str, functions: Functions) -> None:
        self.operations: list[Operation] = []
        self._base = name
        self._nested = 0
        self._functions = functions

    def lower(self, node: Node, name: str | None = None) -> str:
        """Append the operations of ``node``; return the name of its value."""
        parameters: tuple[tuple[str, Plain], ...] = ()
        if isinstance(node, Where):
            kind, inputs = "where", [self._value(node.value), self._value(node.condition)]
        elif isinstance(node, Call) and node.function in self._functions:
            kind, inputs = "function", self._arguments(node)
            parameters = self._functions[node.function]
        elif self._is_library_call(node):
            assert isinstance(node, Call)
            kind, (inputs, parameters) = node.function, self._bound(node)
        else:
            kind, (inputs, parameters) = "expression", self._expression(node)
        if name is None:
            self._nested += 1
            name = f"{self._base}/{self._nested}"
        reduces = issubclass(LIBRARY[kind], Reduction)
        self.operations.append(Operation(name, kind, tuple(inputs), parameters, reduces=reduces))
        return name

    def _value(self, node: Node) -> str:
        return node.name if isinstance(node, Name) else self.lower(node)

    def _is_library_call(self, node: Node) -> bool:
        return isinstance(node, Call) and node.function in LIBRARY and node.function not in FUNCTIONS

    def _arguments(self, call: Call) -> list[str]:
        if call.keywords:
            raise GraphError(f"{_at(call)}{call.function} takes values without names only")
        return [self._value(argument) for argument in call.arguments]

    def _expression(self, node: Node) -> tuple[list[str], tuple[tuple[str, Plain], ...]]:
        tree = self._flat(node)
        inputs = names_in(tree)
        if not inputs:
            raise GraphError(f"{spell(node)} uses no value; a constant needs no operation")
        places = {name: f"_{index}" for index, name in enumerate(inputs)}
        return inputs, (("text", spell(renamed(tree, places))),)

    def _flat(self, node: Node) -> Node:
        """Return an expression in which operations of the library are names of values."""
        separate = isinstance(node, Where) or self._is_library_call(node)
        if separate or (isinstance(node, Call) and node.function in self._functions):
            return Name(self.lower(node))
        if isinstance(node, Call) and node.function not in FUNCTIONS:
            known = [*library_kinds(), *self._functions, *FUNCTIONS]
            hint = similar(node.function, known) or f"; known: {', '.join(known)}"
            raise GraphError(f"{_at(node)}there is no operation {node.function!r}{hint}")
        return rebuilt(node, self._flat)

    def _bound(self, call: Call) -> tuple[list[str], tuple[tuple[str, Plain], ...]]:
        """Share out a call's arguments over inputs and parameters, as the library's class has them."""
        kind = LIBRARY[call.function]
        free = list(parameter_names(kind))
        wanted = kind.inputs
        values: list[Node] = []
        parameters: dict[str, Plain] = {}
        for node in call.arguments:
            is_value = not isinstance(node, Literal) if wanted is None else len(values) < len(wanted)
            if is_value and not parameters:
                values.append(node)
            elif free:
                parameters[free[0]] = _parameter(call, free[0], node)
                free.pop(0)
            else:
                raise GraphError(f"{_at(call)}{call.function} takes no more than {_usage(kind)}")
        named: dict[str, Node] = {}
        for keyword, node in call.keywords:
            if keyword in free:
                parameters[keyword] = _parameter(call, keyword, node)
            elif wanted is not None and keyword in wanted[len(values) :]:
                named[keyword] = node
            else:
                raise GraphError(_no_parameter(call, keyword, [*(wanted or ()), *parameter_names(kind)]))
        inputs = values if wanted is None else [*values, *self._named(call, wanted[len(values) :], named)]
        for node in inputs:
            if isinstance(node, Literal):
                raise GraphError(
                    f"{_at(node)}{call.function} works on a value, got {spell(node)}; it reads {_usage(kind)}"
                )
        return [self._value(node) for node in inputs], tuple(parameters.items())

    def _named(self, call: Call, missing: Iterable[str], named: Mapping[str, Node]) -> list[Node]:
        for name in missing:
            if name not in named:
                usage = _usage(LIBRARY[call.function])
                raise GraphError(f"{_at(call)}{call.function} lacks {name!r}; it reads {usage}")
        return [named[name] for name in missing]


def _at(node: Call | Literal) -> str:
    """Return the place in the text, if there is a text: a builder's nodes have no column."""
    return f"column {node.column}: " if node.column else ""


def _parameter(call: Call, name: str, node: Node) -> Plain:
    """Return the plain value of a parameter; a bare word is a text, as in window=interval."""
    if isinstance(node, Literal):
        return node.value  # type: ignore[return-value]  # the grammar's literals are plain
    if isinstance(node, Name):
        return node.name
    raise GraphError(
        f"{_at(call)}{name} of {call.function} must be a number, a text or a word, got {spell(node)}"
    )


def _no_parameter(call: Call, keyword: str, known: list[str]) -> str:
    hint = similar(keyword, known) or f"; it has {', '.join(known) or 'none'}"
    twice = "takes only one" if keyword in known else "has no"
    return f"{_at(call)}{call.function} {twice} {keyword!r}{hint if keyword not in known else ''}"


def _usage(kind: type[Function] | type[Reduction]) -> str:
    inputs = ["..."] if kind.inputs is None else list(kind.inputs)
    return f"{kind.name}({', '.join([*inputs, *(f'{name}=' for name in parameter_names(kind))])})"
