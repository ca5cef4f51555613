"""Bind each operation of a graph to the object of the library that computes it, in this process.

Every process that has the same library binds a graph alike: the worker's reductions are those of the
reducers. What cannot be bound, because the package that provides it is not installed here or is of
another version, is there with the reason: it fails the results behind it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from ami.errors import FAULTS
from ami.graph.execution.guard import guard_kind
from ami.graph.graph import Graph
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, Reduction
from ami.graph.library.keep import OverEvents
from ami.graph.operation import Operation
from ami.graph.placing import explain_misplacing


@dataclass(frozen=True, slots=True)
class Unbound:
    """Stands for what computes an operation where nothing can."""

    reason: str


class Reductions(dict[str, Reduction]):
    """The reductions of a graph by fingerprint.

    Attributes:
        unbound: those that cannot be bound, as reasons by fingerprint and name of the operation.
        growing: of those whose states grow with what comes, the names by fingerprint.
    """

    def __init__(self, graph: Graph, bound: Mapping[str, Function | Reduction | Unbound]) -> None:
        super().__init__()
        self.unbound: dict[str, dict[str, str]] = {}
        self.growing: dict[str, list[str]] = {}
        for name, computing in bound.items():
            if isinstance(computing, Reduction):
                self[graph.fingerprint(name)] = computing
                if grows(computing):
                    self.growing.setdefault(graph.fingerprint(name), []).append(name)
            elif isinstance(computing, Unbound) and graph[name].reduces:
                self.unbound.setdefault(graph.fingerprint(name), {})[name] = computing.reason


def grows(reduction: Reduction) -> bool:
    """Whether what its states have of bytes is not known before the events are."""
    return reduction.keyed or not LIBRARY.is_ours(reduction.name)


def bind(
    graph: Graph, here: str = "here", *, leave_out: Container[str] = ()
) -> dict[str, Function | Reduction | Unbound]:
    """Return what computes each operation that the graph's results need, by name, in running order.

    Args:
        here: where this is, for whoever reads that something is not installed: "on worker:0 of HOST".
        leave_out: names of operations that nobody asks for.
    """
    return {
        o.name: bind_one(o, graph, here) for o in graph.steps_for(graph.results) if o.name not in leave_out
    }


def reductions(graph: Graph, here: str = "here") -> Reductions:
    """Return the reductions that the graph's results need."""
    return Reductions(graph, bind(graph, here))


def bind_one(operation: Operation, graph: Graph, here: str = "here") -> Function | Reduction | Unbound:
    """Return what computes an operation of a graph; see :func:`bind`."""
    kind = LIBRARY.get(operation.kind)
    if kind is None and operation.kind in LIBRARY.refused:
        return Unbound(f"{LIBRARY.refused[operation.kind]} ({here})")
    if kind is None:
        return Unbound(
            f"operation {operation.kind!r} is not installed {here}; install the package that provides it"
            f" (entry point group ami.operations)"
        )
    if issubclass(kind, Reduction) is not operation.reduces:
        is_one = "a function" if operation.reduces else "a reduction"
        return Unbound(f"{operation.kind!r} is {is_one} {here}, and was none where the graph was made")
    if operation.name in graph.results and operation.name not in graph.reduced:
        return Unbound(f"it has a value for each event; reduce it, for example with last({operation.name})")
    narrows = issubclass(kind, Function) and kind.narrows
    reason = explain_misplacing(operation, graph, narrows=narrows)
    if reason is not None:
        return Unbound(reason)
    ours = LIBRARY.is_ours(operation.kind)
    try:
        computing = (kind if ours else guard_kind(kind))(**operation.arguments)  # type: ignore[arg-type]  # each class checks its own
        if not ours and isinstance(computing, Reduction):
            computing.zero()
    except FAULTS as error:  # a plug-in may raise anything
        return Unbound(f"{operation.kind} cannot be made of these parameters {here}: {error}")
    if not isinstance(computing, Reduction):
        return computing
    return (
        OverEvents(computing) if computing.window.endswith(" events") and not computing.picks else computing
    )
