"""Put operations into an order that runs, and explain why there is none.

networkx takes 21 MB and 0.17 s to import, so it is imported only where a graph is made of what people wrote:
by the manager, the command line and notebooks, not by workers and reducers.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ami.errors import GraphError
from ami.graph.operation import Operation, definition_of

if TYPE_CHECKING:
    import networkx


def in_order(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Return the operations in the one order that is lexicographic among those that run.

    Raises:
        GraphError: a cycle closes; the message walks it.
    """
    import networkx

    producers = {operation.name: operation for operation in operations}
    edges = networkx.DiGraph()
    edges.add_nodes_from(producers)
    edges.add_edges_from((i, o.name) for o in operations for i in o.inputs if i in producers)
    try:
        return tuple(producers[name] for name in networkx.lexicographical_topological_sort(edges))
    except networkx.NetworkXUnfeasible:
        raise GraphError(_cycle(edges, producers)) from None


def _cycle(edges: networkx.DiGraph[str], producers: dict[str, Operation]) -> str:
    import networkx

    cycle = networkx.find_cycle(edges)
    names = list(dict.fromkeys(definition_of(start, producers) for start, _ in cycle))
    if len(names) == 1:
        return (
            f"{names[0]!r} is computed from itself; if it should be the field of that name, "
            f"call this something else, such as {names[0]}_2"
        )
    # The cycle is told from its last name in the alphabet, so that the message is always the same.
    turn = names.index(max(names))
    told = [*names[turn:], *names[:turn], names[turn]]
    return f"{told[-1]!r} would close a cycle: {' -> '.join(told)}"


def similar(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for names that are close, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
