"""Make the objects that compute out of a graph's operations.

The same graph gives the same objects in every process: the worker's reductions, those of the
local reducer, which only merges, and those of the global reducer.
"""

from __future__ import annotations

from typing import Any

from ami.errors import GraphError
from ami.graph.graph import Graph
from ami.graph.library import LIBRARY, Function, Reduction
from ami.graph.library.keep import OverEvents, Pick
from ami.graph.operation import Operation


def make(operation: Operation) -> Function | Reduction:
    """Return what computes an operation.

    Raises:
        GraphError: there is no such kind, or its parameters are wrong; names the operation.
    """
    kind = LIBRARY.get(operation.kind)
    if kind is None:
        raise GraphError(
            f"operation {operation.name!r}: there is no {operation.kind!r}; "
            f"known: {', '.join(sorted(LIBRARY))}"
        )
    arguments: dict[str, Any] = operation.arguments
    try:
        made = kind(**arguments)
    except (TypeError, GraphError) as error:
        raise GraphError(f"operation {operation.name!r}: {error}") from error
    if isinstance(made, Reduction) and made.window.endswith(" events") and not isinstance(made, Pick):
        return OverEvents(made)
    return made


def made(graph: Graph) -> dict[str, Function | Reduction]:
    """Return what computes each operation that the graph's results need, by name, in running order.

    Raises:
        GraphError: an operation cannot be made, or it mixes values of events with reduced ones.
    """
    found = {operation.name: make(operation) for operation in graph.steps_for(graph.results)}
    for name, maker in found.items():
        inputs = graph[name].inputs
        reduced = [value for value in inputs if value in graph.reduced]
        if not reduced:
            continue
        if isinstance(maker, Reduction):
            raise GraphError(
                f"operation {name!r}: {graph[name].kind} goes over events, but {reduced[0]!r} is already"
                f" reduced over events"
            )
        if len(reduced) < len(inputs):
            other = next(value for value in inputs if value not in graph.reduced)
            raise GraphError(
                f"operation {name!r} joins {reduced[0]!r}, which is there once for a window, with {other!r},"
                f" which is there for each event; reduce {other!r} first"
            )
    for name in graph.results:
        if name not in graph.reduced:
            raise GraphError(
                f"result {name!r} has a value for each event; reduce it, for example with last({name})"
            )
    return found


def reductions(graph: Graph) -> dict[str, Reduction]:
    """Return the reductions that the graph's results need, by fingerprint.

    Raises:
        GraphError: as :func:`made`.
    """
    return {
        graph.fingerprint(name): maker for name, maker in made(graph).items() if isinstance(maker, Reduction)
    }
