"""Say why an operation can stand nowhere between the events and the results of a graph."""

from __future__ import annotations

from ami.graph.graph import Graph
from ami.graph.operation import Operation, definition_of


def show(name: str, graph: Graph) -> str:
    """Return a value's name, or the text of a part, which has none that people know."""
    return repr(name) if definition_of(name, graph) == name else graph[name].text


def name_part(operation: Operation, graph: Graph) -> str:
    """Return the definition, and within it the part, as people wrote them."""
    name = definition_of(operation.name, graph)
    return repr(name) if name == operation.name else f"{name!r}, in {operation.text}"


def explain_misplacing(operation: Operation, graph: Graph, *, narrows: bool) -> str | None:
    """Return why an operation would need all events on one side and the result of all events on the other.

    ``narrows``: it chooses among events. None: it would not.
    """
    reduced = [name for name in operation.inputs if name in graph.reduced]
    each = [name for name in operation.inputs if name not in graph.reduced]
    if not reduced or not (operation.reduces or narrows or each):
        return None
    name = show(reduced[0], graph)
    first = next(step for step in graph.steps_for(reduced[0]) if step.reduces)
    why = f"{name} is reduced over events" + (f" (by {first.text})" if first.text not in ("", name) else "")
    if operation.reduces:
        return f"{why}, so there are no events left for {operation.kind} to go over; reduce once only"
    if narrows:
        return f"{why}, so there are no events left to choose from; filter before the reduction"
    other = show(each[0], graph)
    return (
        f"{why}, while {other} is there for each event: the two meet nowhere, because events are "
        f"gone when the result is known; reduce {other} too, or use {name} in another result"
    )
