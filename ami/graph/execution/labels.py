"""Carry units and names of axes from a source's fields through a graph to its results.

By the names of the graph, beside the kinds and not in them: the global reducer, which publishes results,
knows no kinds, and would have to run users' functions to find them out. What passes values on as they are
keeps their unit; what changes it, or may, drops it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ami.event import TIMESTAMP
from ami.graph.execution.bind import Unbound
from ami.graph.graph import Graph
from ami.graph.library.base import Function, Reduction
from ami.values import NO_LABEL, Label


def labels(
    graph: Graph, bound: Mapping[str, Function | Reduction | Unbound], units: Mapping[str, str]
) -> dict[str, Label]:
    """Return the label of each value that is computed, by name.

    Args:
        units: of the fields.
    """
    known = {name: Label(unit) for name, unit in {TIMESTAMP: "ns", **units}.items()}
    for name, computing in bound.items():
        inputs = [known.get(value, NO_LABEL) for value in graph[name].inputs]
        if isinstance(computing, Unbound) or not inputs:
            continue
        axes = next((label.axes for label in inputs if label.axes), ())
        if isinstance(computing, Reduction):
            along = [(graph[name].inputs[n], inputs[n].unit) for n in computing.along]
            # A value within a definition has a number for a name, which tells people nothing.
            axes = tuple(("" if "/" in value else value, unit) for value, unit in along)
        known[name] = Label(computing.unit(*(label.unit for label in inputs)), axes)
    return known
