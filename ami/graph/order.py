"""Put operations into an order that runs, and explain why there is none."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from ami.errors import GraphError
from ami.graph.operation import Operation, definition_of


def in_order(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Return the operations in the one order that is lexicographic among those that run.

    Raises:
        GraphError: a cycle closes; the message walks it.
    """
    producers = {operation.name: operation for operation in operations}
    sorter = TopologicalSorter({o.name: [i for i in o.inputs if i in producers] for o in operations})
    try:
        sorter.prepare()
    except CycleError as error:
        raise GraphError(_cycle([definition_of(name, producers) for name in error.args[1]])) from None
    ready: list[str] = []
    order: list[Operation] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, name)
        order.append(producers[heapq.heappop(ready)])
        sorter.done(order[-1].name)
    return tuple(order)


def _cycle(closed: list[str]) -> str:
    names = list(dict.fromkeys(closed))
    # The cycle is told from its last name in the alphabet, so that the message is always the same.
    turn = names.index(max(names))
    told = [*names[turn:], *names[:turn], names[turn]]
    return f"{told[-1]!r} would close a cycle: {' -> '.join(told)}"


def similar(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for names that are close, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
