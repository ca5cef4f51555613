"""Build a graph in Python; what is built is what the text form would say, so the two are equal.

g = Builder()
camera, monitor, laser, delay = g.fields("camera", "monitor", "laser", "delay")
spot = g.value("spot", camera.roi(rows=(100, 140), cols=(80, 120)))
signal = g.value("signal", spot.sum() / monitor)
on = signal.where((laser == 1) & (monitor > 0.1))
g.result("on_vs_delay", on.mean_vs(key=delay))
graph = g.graph()
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.grammar import MAX_HEIGHT
from ami.graph.expression.nodes import Call, Compare, Literal, Name, Node, Pair, Sign, Where
from ami.graph.graph import Graph
from ami.graph.language.lower import library_kinds, operations_of
from ami.graph.library import LIBRARY
from ami.graph.operation import Operation, Plain, check_name
from ami.graph.order import similar

MAX_SIZE = 10_000  # parts of one definition; x = x + x doubles it each time

_UFUNCS = {function: name for name, (function, _) in FUNCTIONS.items()}
_OPERATORS = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.floor_divide: "//",
    np.remainder: "%", np.power: "**", np.bitwise_and: "&", np.bitwise_or: "|", np.bitwise_xor: "^",
    np.equal: "==", np.not_equal: "!=", np.less: "<", np.less_equal: "<=", np.greater: ">",
    np.greater_equal: ">=",
}  # fmt: skip


class Value:
    """A value of the graph to come. Operators and the library's operations give further values."""

    __hash__ = None  # type: ignore[assignment]  # == gives a Value

    def __init__(self, node: Node) -> None:
        self._node = node
        self._size = 1
        self._height = 1

    @classmethod
    def _of(cls, node: Node, *parts: Value | None) -> Value:
        made = cls(node)
        values = [part for part in parts if part is not None]
        made._size = 1 + sum(value._size for value in values)
        made._height = 1 + max((value._height for value in values), default=0)
        if made._size > MAX_SIZE or made._height >= MAX_HEIGHT:
            raise GraphError(
                f"a definition of {made._size} parts and {made._height} levels; name parts of it with"
                f" Builder.value (at most {MAX_SIZE} and {MAX_HEIGHT})"
            )
        return made

    def where(self, condition: Value) -> Value:
        """Return this value for those events only that meet a condition."""
        if not isinstance(condition, Value):
            raise GraphError(f"where needs a condition on values, got {condition!r}")
        return Value._of(Where(self._node, condition._node), self, condition)

    def __getattr__(self, name: str) -> Callable[..., Value]:
        """Return an operation of the library or an elementary function, to be called."""
        if name.startswith("_") or (name not in LIBRARY and name not in FUNCTIONS):
            raise AttributeError(f"there is no operation {name!r}{similar(name, [*LIBRARY, *FUNCTIONS])}")
        return lambda *arguments, **keywords: call(name, self, *arguments, **keywords)

    def __bool__(self) -> bool:
        raise GraphError("a value has no truth before there are events; combine conditions with & | ~")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        if ufunc in _OPERATORS:
            return _paired(_OPERATORS[ufunc], inputs[0], inputs[1])
        if ufunc not in _UFUNCS:
            raise GraphError(
                f"an expression has no function {ufunc.__name__!r}; it has {', '.join(FUNCTIONS)}"
            )
        return call(_UFUNCS[ufunc], *inputs)

    def __neg__(self) -> Value:
        return Value._of(Sign("-", self._node), self)

    def __pos__(self) -> Value:
        return Value._of(Sign("+", self._node), self)

    def __invert__(self) -> Value:
        """Return the opposite of a condition; the turned bits of an integer."""
        return Value._of(Sign("~", self._node), self)

    def __abs__(self) -> Value:
        return call("abs", self)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]  # a condition, as numpy's
        return _paired("==", self, other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]  # a condition, as numpy's
        return _paired("!=", self, other)


def _paired(operator: str, left: object, right: object) -> Value:
    a, b = _node_of(left), _node_of(right)
    node: Node = (
        Compare((a, b), (operator,))
        if operator in ("==", "!=", "<", "<=", ">", ">=")
        else Pair(operator, a, b)
    )
    return Value._of(node, *(side for side in (left, right) if isinstance(side, Value)))


def _operator(operator: str, *, swapped: bool = False) -> Callable[[Value, object], Value]:
    def method(self: Value, other: object) -> Value:
        return _paired(operator, other, self) if swapped else _paired(operator, self, other)

    return method


_METHODS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
for _name, _sign in _METHODS.items():
    setattr(Value, f"__{_name}__", _operator(_sign))
    setattr(Value, f"__r{_name}__", _operator(_sign, swapped=True))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(Value, f"__{_name}__", _operator(_sign))


def call(operation: str, *arguments: object, **keywords: object) -> Value:
    """Return the value of an operation of the library, or of an elementary function.

    Raises:
        GraphError: an argument is no value, number or text. What the operation itself refuses
            is said when its value gets a name.
    """
    nodes = tuple(_node_of(argument) for argument in arguments)
    named = tuple((name, _node_of(argument)) for name, argument in keywords.items())
    values = [value for value in (*arguments, *keywords.values()) if isinstance(value, Value)]
    return Value._of(Call(operation, nodes, named), *values)


def _node_of(argument: object) -> Node:
    return argument._node if isinstance(argument, Value) else Literal(_plain(argument))


def _plain(argument: object) -> Plain:
    if isinstance(argument, slice):
        ends = (argument.start, argument.stop, argument.step)
        return tuple(_plain(end) for end in (ends if argument.step is not None else ends[:2]))
    if isinstance(argument, np.generic):
        argument = argument.item()
    if isinstance(argument, list | tuple):
        return tuple(_plain(item) for item in argument)
    if argument is None or isinstance(argument, bool | int | float | str):
        return argument
    raise GraphError(f"numbers, texts, lists and values are possible, got a {type(argument).__name__}")


class Builder:
    """Collects named values and results; :meth:`graph` gives the graph."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._results: list[str] = []
        self._functions: dict[str, tuple[tuple[str, Plain], ...]] = {}

    def field(self, name: str) -> Value:
        """Return a field of each event, or a value that already has this name."""
        check_name(name, "a field")
        return Value(Name(name))

    def fields(self, *names: str) -> tuple[Value, ...]:
        return tuple(self.field(name) for name in names)

    def value(self, name: str, value: Value) -> Value:
        """Give a value a name.

        Raises:
            GraphError: the name is taken, or the definition is not possible; says why.
        """
        if not isinstance(value, Value):
            raise GraphError(f"{name!r} must be a value of the graph, got {value!r}"[:200])
        try:
            new = operations_of(name, value._node, self._functions)
        except GraphError as error:
            raise GraphError(f"{name!r}: {error}") from None
        Graph(operations=(*self._operations, *new))  # refuses a name that is taken, and a cycle
        self._operations += new
        return Value(Name(name))

    def result(self, name: str, value: Value) -> Value:
        """Give a value a name and have it published."""
        named = self.value(name, value)
        self._results.append(name)
        return named

    def function(self, function: Callable[..., Any] | str, **parameters: object) -> Callable[..., Value]:
        """Return a user's function (or its source text) as an operation to be called with values.

        Args:
            parameters: as of the library's ``function``, such as ``block=True``.

        Raises:
            GraphError: its source cannot be found, or another function has its name.
        """
        code = function if isinstance(function, str) else _source(function)
        parameters = {"code": code, **{name: _plain(value) for name, value in parameters.items()}}
        definition = Operation.of("function", "function", **parameters).parameters
        name = f"function_{len(self._functions)}" if isinstance(function, str) else function.__name__
        if self._functions.setdefault(name, definition) != definition or name in (
            *library_kinds(),
            *FUNCTIONS,
        ):
            raise GraphError(f"there is another function {name!r}; choose another name")
        return lambda *arguments: call(name, *arguments)

    def graph(self) -> Graph:
        """Return what was built so far."""
        return Graph(operations=tuple(self._operations), results=tuple(self._results))


def _source(function: Callable[..., Any]) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise GraphError(f"the source of {function!r} cannot be found ({error}); give it as text") from None
