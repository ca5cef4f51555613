"""Check a graph against the source's fields and the node's memory, code of others in a child process."""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass, replace

from ami.daemons.process.apart import call_apart
from ami.daemons.process.stage import LONG_STEP_S
from ami.errors import GraphError
from ami.event import Schema
from ami.graph.check import check, list_cautions
from ami.graph.execution.lanes import list_heavy, with_lanes
from ami.graph.graph import Graph
from ami.graph.library import LIBRARY
from ami.graph.placing import name_part

MAX_REASON = 10_000  # characters
CAUTIONS_TOLD = 20
PLACE = struct.Struct("<q")  # of the operation that is checked apart


@dataclass(frozen=True, slots=True)
class Checking:
    """What a graph is checked against; ``before`` is the one that runs, states may have ``most_bytes``."""

    schema: Schema
    before: Graph
    interval_ns: int
    most_bytes: int

    def check(self, graph: Graph, each_s: float) -> tuple[Graph, list[str]]:
        """Return the graph with the results that are large, and cautions.

        Others' code runs, of users and of packages, so where there is some this happens in a child process.

        Args:
            each_s: what an operation of others may take.

        Raises:
            GraphError: says what is wrong.
        """
        if all(LIBRARY.is_ours(kind) and kind != "function" for kind in {o.kind for o in graph.operations}):
            return self._check_here(graph)
        # Each operation has its time: a graph may have thousands.
        with mmap.mmap(-1, PLACE.size) as at:
            answer, how = call_apart(
                lambda: self._tell(graph, at), timeout_s=each_s, moved=lambda: at[:], most_s=LONG_STEP_S
            )
            (place,) = PLACE.unpack(at[:])
        if how:
            raise GraphError(f"to check {name_part(graph.operations[place], graph)} {how}")
        told = json.loads(answer or "{}")
        if told.get("reason"):
            raise GraphError(told["reason"])
        each = zip(graph.results, told["one_in"], strict=True)
        large = tuple((name, one_in) for name, one_in in each if one_in)
        return replace(graph, large=large), told["cautions"]

    def _check_here(self, graph: Graph, at: mmap.mmap | None = None) -> tuple[Graph, list[str]]:
        def tell(place: int) -> None:
            if at is not None:
                at[:] = PLACE.pack(place)

        kinds = check(graph, self.schema, self.before, tell)
        laned = with_lanes(graph, kinds, self.interval_ns, most_bytes=self.most_bytes, before=self.before)
        cautions = list_cautions(graph, kinds, self.before)
        heavy = list_heavy(graph, kinds, self.interval_ns, self.before, self.most_bytes)
        cautions += [f"{name_part(graph[name], graph)}: {text}" for name, text in heavy.items()]
        more = len(cautions) - CAUTIONS_TOLD
        return laned, [*cautions[:CAUTIONS_TOLD], f"and {more} more"] if more > 0 else cautions

    def _tell(self, graph: Graph, at: mmap.mmap) -> str:
        """Return as JSON what :meth:`check` returns, or the reason why not."""
        try:
            checked, cautions = self._check_here(graph, at)
        except GraphError as error:
            return json.dumps({"reason": str(error)[:MAX_REASON]})
        large = dict(checked.large)
        one_in = [large.get(name, 0) for name in checked.results]
        return json.dumps({"one_in": one_in, "cautions": cautions})
