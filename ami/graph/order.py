"""Put operations into an order that runs, and explain why there is none.

networkx takes 21 MB and 0.17 s to import, so it is imported only where a graph is made of what people wrote:
by the manager, the command line and notebooks, not by workers and reducers.
"""

from __future__ import annotations

import difflib
import heapq
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
    producers = {operation.name: operation for operation in operations}
    waits_for = {o.name: {name for name in o.inputs if name in producers} for o in operations}
    users: dict[str, list[str]] = {name: [] for name in producers}
    for name, inputs in waits_for.items():
        for one in inputs:
            users[one].append(name)
    ready = [name for name, inputs in waits_for.items() if not inputs]
    heapq.heapify(ready)
    found = []
    while ready:
        name = heapq.heappop(ready)
        found.append(producers[name])
        for user in users[name]:
            waits_for[user].remove(name)
            if not waits_for[user]:
                heapq.heappush(ready, user)
    if len(found) < len(producers):
        raise GraphError(_cycle(producers))
    return tuple(found)


def _cycle(producers: dict[str, Operation]) -> str:
    import networkx

    edges: networkx.DiGraph[str] = networkx.DiGraph()
    edges.add_nodes_from(producers)
    edges.add_edges_from((i, o.name) for o in producers.values() for i in o.inputs if i in producers)
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
