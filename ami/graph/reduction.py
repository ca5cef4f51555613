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


def reductions(graph: Graph) -> dict[str, Reduction]:
    """Return the reductions that the graph's results need, by fingerprint."""
    found: dict[str, Reduction] = {}
    for operation in graph.steps_for(graph.results):
        if issubclass(LIBRARY.get(operation.kind, Function), Reduction):
            made = make(operation)
            assert isinstance(made, Reduction)
            found.setdefault(graph.fingerprint(operation.name), made)
    return found
