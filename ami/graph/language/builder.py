"""Build a document in Python; what is built is what the text form would say, to the letter.

g = Builder()
camera, monitor, laser, delay = g.fields("camera", "monitor", "laser", "delay")
spot = g.value("spot", camera.roi(rows=(100, 140), cols=(80, 120)))
signal = g.value("signal", spot.sum() / monitor)
on = signal.where((laser == 1) & (monitor > 0.1))
g.result("on_vs_delay", on.mean_vs(key=delay))
client.add(g.text())
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.grammar import parse
from ami.graph.expression.spelling import spell, spell_constant, spell_name
from ami.graph.graph import Graph
from ami.graph.language.document import Document
from ami.graph.language.lower import define, lower
from ami.graph.language.text import check_function, read_function, write
from ami.graph.library import LIBRARY
from ami.graph.operation import check_name
from ami.graph.order import similar

_UFUNCS = {function: name for name, (function, _) in FUNCTIONS.items()}
_OPERATORS: dict[np.ufunc, str] = {
    np.negative: "-", np.positive: "+", np.invert: "~",
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.floor_divide: "//",
    np.remainder: "%", np.power: "**", np.bitwise_and: "&", np.bitwise_or: "|", np.bitwise_xor: "^",
    np.left_shift: "<<", np.right_shift: ">>", np.equal: "==", np.not_equal: "!=", np.less: "<",
    np.less_equal: "<=", np.greater: ">", np.greater_equal: ">=",
}  # fmt: skip


class Value(NDArrayOperatorsMixin):
    """A value of the graph to come. Operators and the library's operations give further values."""

    __hash__ = None  # type: ignore[assignment]  # == gives a Value

    def __init__(self, text: str) -> None:
        """Take what was built, without the brackets that it does not need.

        Raises:
            GraphError: it is too long for one definition; parts of it need names.
        """
        # Read at once: what is too long must be refused before x = x + x has doubled it sixty times.
        self._text = spell(parse(text))

    def where(self, condition: Value) -> Value:
        """Return this value for those events only that meet a condition."""
        if not isinstance(condition, Value):
            raise GraphError(f"where needs a condition on values, got {condition!r}")
        return Value(f"({self._text}) where ({condition._text})")

    def __getattr__(self, name: str) -> Callable[..., Value]:
        """Return an operation of the library or an elementary function, to be called."""
        if name.startswith("_") or (name not in FUNCTIONS and name not in LIBRARY):
            raise AttributeError(f"there is no operation {name!r}{similar(name, [*LIBRARY, *FUNCTIONS])}")
        return lambda *arguments, **keywords: call(name, self, *arguments, **keywords)

    def __bool__(self) -> bool:
        raise GraphError("a value has no truth before there are events; combine conditions with & | ~")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Return what a function of numpy makes of values; Python's operators come here too."""
        if method != "__call__" or options:
            return NotImplemented
        if ufunc in _UFUNCS:
            return call(_UFUNCS[ufunc], *inputs)
        operator = _OPERATORS.get(ufunc)
        if operator is None:
            raise GraphError(
                f"an expression has no function {ufunc.__name__!r}; it has {', '.join(FUNCTIONS)}"
            )
        *left, right = (f"({_text_of(one)})" for one in inputs)
        return Value(" ".join([*left, operator, right]))


def call(operation: str, *arguments: object, **keywords: object) -> Value:
    """Return the value of an operation of the library, or of an elementary function.

    Raises:
        GraphError: an argument is no value, number or text. What the operation itself refuses
            is said when its value gets a name.
    """
    given = [*map(_text_of, arguments), *(f"{name}={_text_of(value)}" for name, value in keywords.items())]
    return Value(f"{operation}({', '.join(given)})")


def _text_of(argument: object) -> str:
    if isinstance(argument, Value):
        return argument._text
    if isinstance(argument, slice):
        ends = (argument.start, argument.stop, argument.step)
        return _text_of(ends if argument.step is not None else ends[:2])
    if isinstance(argument, list | tuple):
        return f"[{', '.join(map(_text_of, argument))}]"
    plain = argument.item() if isinstance(argument, np.generic) else argument
    if plain is None or isinstance(plain, bool | int | float | str):
        return spell_constant(plain)
    raise GraphError(f"numbers, texts, lists and values are possible, got a {type(argument).__name__}")


class Builder:
    """Collects named values and results; :meth:`text` gives what a client adds."""

    def __init__(self) -> None:
        self._document = Document()

    def field(self, name: str) -> Value:
        """Return a field of each event, or a value that already has this name."""
        check_name(name, "a field")
        return Value(spell_name(name))

    def fields(self, *names: str) -> tuple[Value, ...]:
        return tuple(self.field(name) for name in names)

    def value(self, name: str, value: Value, *, result: bool = False) -> Value:
        """Give a value a name, and have it published if it is a ``result``.

        Raises:
            GraphError: the name is taken, or the definition is not possible; says why.
        """
        if not isinstance(value, Value):
            raise GraphError(f"{name!r} must be a value of the graph, got {value!r}"[:200])
        check_name(name, "a value")
        if name in self._document.definitions:
            raise GraphError(f"{name!r} has a definition already; choose another name")
        new = replace(define(name, value._text, self._document.functions), result=result)
        grown = replace(self._document, definitions={**self._document.definitions, name: new})
        lower(grown)  # refuses a cycle
        self._document = grown
        return Value(spell_name(name))

    def result(self, name: str, value: Value) -> Value:
        """Give a value a name and have it published."""
        return self.value(name, value, result=True)

    def function(self, function: Callable[..., Any] | str, **parameters: object) -> Callable[..., Value]:
        """Return a user's function (or its source text) as an operation to be called with values.

        Args:
            parameters: as of the library's ``function``, such as ``block=True``.

        Raises:
            GraphError: its source cannot be found, or another function has its name.
        """
        functions = self._document.functions
        code = function if isinstance(function, str) else _source(function)
        name = f"function_{len(functions)}" if isinstance(function, str) else function.__name__
        new = read_function(name, {"code": code, **parameters})
        check_function(name, new)
        if functions.get(name, new) != new:
            raise GraphError(f"there is another function {name!r}; choose another name")
        self._document = replace(self._document, functions={**functions, name: new})
        return lambda *arguments: call(name, *arguments)

    def graph(self) -> Graph:
        """Return the graph of what was built so far."""
        return lower(self._document)

    def text(self) -> str:
        """Return what was built so far as YAML."""
        return write(self._document)


def _source(function: Callable[..., Any]) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise GraphError(f"the source of {function!r} cannot be found ({error}); give it as text") from None
