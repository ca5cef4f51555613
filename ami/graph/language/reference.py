"""Tell which operations a definition may use, with an example each, from the library itself."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from ami.errors import GraphError
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.expression.habits import explain_operation
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, Reduction, parameters_of
from ami.graph.order import similar

_WRITTEN_OTHERWISE = ("expression", "function")  # as arithmetic, and by the names that people give

_ARGUMENTS = {
    "where": ("condition, a, b", "laser == 1, diode, 0"),
    "clip": ("x, low, high", "monitor, 0, 2"),
    "round": ("x, digits", "monitor, 2"),
    "isclose": ("x, y, relative, absolute", "monitor, diode"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What there is to know of an operation.

    sort: "over events", "within an event", "on results" or "elementwise".
    parameters: those behind the ``inputs``; name, type as Python writes it, and default where there is one.
    """

    name: str
    sort: str
    usage: str
    help: str
    example: str
    inputs: tuple[str, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()


def library_kinds() -> list[str]:
    """Return the names that a definition may call as operations of the library."""
    return [kind for kind in LIBRARY if kind not in FUNCTIONS]


def usage_of(kind: type[Function] | type[Reduction]) -> str:
    """Return how an operation of the library is called."""
    arguments = [*(kind.inputs or ["..."]), *(f"{name}=" for name in parameters_of(kind))]
    return f"{kind.name}({', '.join(arguments)})"


def list_operations() -> list[Entry]:
    """Return what a definition may call: over events, within an event, elementwise."""
    kinds = [LIBRARY[name] for name in library_kinds() if name not in _WRITTEN_OTHERWISE]
    return [
        *(_entry(kind, "over events") for kind in kinds if issubclass(kind, Reduction)),
        *(_entry(kind, _function_sort(kind)) for kind in kinds if issubclass(kind, Function)),
        *map(_elementwise, FUNCTIONS),
    ]


def find_operation(name: str) -> Entry:
    """Return what there is to know of an operation.

    Raises:
        GraphError: there is none; says what does here what one of that name does elsewhere.
    """
    entries = {entry.name: entry for entry in list_operations()}
    if name not in entries:
        habit = explain_operation(name)
        hint = (
            f"; {habit}"
            if habit
            else similar(name, entries) or "; `ami operations` lists those that there are"
        )
        raise GraphError(f"there is no operation {name!r}{hint}")
    return entries[name]


def _function_sort(kind: type[Function]) -> str:
    return "on results" if kind.inputs == ("result",) else "within an event"


def _entry(kind: type[Function] | type[Reduction], sort: str) -> Entry:
    # What a state is made of is for who writes reductions.
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    told = "\n\n".join(filter(None, (p.partition("State:")[0].rstrip() for p in paragraphs)))
    plain = re.sub(r":\w+:`[~.\w]*?(\w+)`", r"\1", told).replace("``", "")
    parameters = tuple(_parameter(one) for one in parameters_of(kind).values())
    return Entry(kind.name, sort, usage_of(kind), plain, kind.example, kind.inputs or ("value",), parameters)


def _parameter(one: inspect.Parameter) -> dict[str, Any]:
    # Text here, where annotations are not evaluated; a class perhaps in a package of others.
    told = getattr(one.annotation, "__name__", str(one.annotation))
    plain = {} if one.default is inspect.Parameter.empty else {"default": one.default}
    return {"name": one.name, "type": told} | plain


def _elementwise(name: str) -> Entry:
    function, count = FUNCTIONS[name]
    # numpy's own text: the first paragraph that is no signature.
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    told = next((" ".join(p.split()) for p in paragraphs if not re.match(r"\w+\(", p)), "")
    names, values = _ARGUMENTS.get(name) or (", ".join("xy"[:count]), ", ".join(("monitor", "diode")[:count]))
    inputs = tuple(names.split(", "))
    return Entry(name, "elementwise", f"{name}({names})", told, f"mean_events({name}({values}))", inputs)
