"""Check a graph against the source's fields and the node's memory, code of others in a child process."""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass, field

from ami.daemons.process.apart import call_apart
from ami.daemons.process.stage import LONG_STEP_S
from ami.errors import GraphError
from ami.event import Schema
from ami.graph.check import check, list_cautions
from ami.graph.execution.lanes import list_heavy, with_lanes
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library import LIBRARY
from ami.graph.operation import Operation
from ami.graph.placing import name_part

MAX_REASON = 10_000  # characters
CAUTIONS_TOLD = 20
KINDS_TOLD = 200  # more do not go through the pipe
PLACE = struct.Struct("<q")  # of the operation that is checked apart


@dataclass(slots=True)
class Known:
    """What was found out of operations on events of ``schema``, by fingerprint: so each is looked at once."""

    schema: str | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)  # of states

    def forget_all_but(self, graph: Graph) -> None:
        """Keep what a graph has, so that this does not grow for ever."""
        there = {graph.fingerprint(one.name) for one in graph.operations}
        self.kinds = {key: kind for key, kind in self.kinds.items() if key in there}
        self.bytes = {key: size for key, size in self.bytes.items() if key in there}


@dataclass(frozen=True, slots=True)
class Checking:
    """What a graph is checked against; ``before`` is the one that runs, states may have ``most_bytes``.

    What is ``known`` is not looked at again, and what was found is known afterwards.
    """

    schema: Schema
    before: Graph
    interval_ns: int
    most_bytes: int
    known: Known = field(default_factory=Known)

    def check(self, graph: Graph, each_s: float) -> tuple[Graph, list[str]]:
        """Return the graph with the results that are large, and cautions.

        Others' code runs, of users and of packages, so where there is some this happens in a child process.

        Args:
            each_s: what an operation of others may take.

        Raises:
            GraphError: says what is wrong.
        """
        others = {graph.fingerprint(one.name) for one in graph.operations if _is_others(one)}
        if self.known.kinds.keys() >= others:
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
        self.known.kinds.update((key, Kind.from_plain(kind)) for key, kind in told["kinds"].items())
        self.known.bytes.update(told["bytes"])
        each = zip(graph.results, told["one_in"], strict=True)
        large = tuple((name, one_in) for name, one_in in each if one_in)
        return graph.with_large(large), told["cautions"]

    def _check_here(self, graph: Graph, at: mmap.mmap | None = None) -> tuple[Graph, list[str]]:
        def tell(place: int) -> None:
            if at is not None:
                at[:] = PLACE.pack(place)

        known = self.known
        kinds = check(graph, self.schema, self.before, tell, known.kinds)
        known.kinds.update((graph.fingerprint(n), kind) for n, kind in kinds.items() if n in graph)
        laned = with_lanes(
            graph, kinds, self.interval_ns, most_bytes=self.most_bytes, before=self.before, known=known.bytes
        )
        cautions = list_cautions(graph, kinds, self.before)
        heavy = list_heavy(graph, kinds, self.interval_ns, self.before, self.most_bytes)
        cautions += [f"{name_part(graph[name], graph)}: {text}" for name, text in heavy.items()]
        more = len(cautions) - CAUTIONS_TOLD
        return laned, [*cautions[:CAUTIONS_TOLD], f"and {more} more"] if more > 0 else cautions

    def _tell(self, graph: Graph, at: mmap.mmap) -> str:
        """Return as JSON what :meth:`check` returns, or the reason why not."""
        new = {graph.fingerprint(one.name) for one in graph.operations if _is_others(one)}
        new -= self.known.kinds.keys()
        try:
            checked, cautions = self._check_here(graph, at)
        except GraphError as error:
            return json.dumps({"reason": str(error)[:MAX_REASON]})
        large = dict(checked.large)
        one_in = [large.get(name, 0) for name in checked.results]
        told = {"one_in": one_in, "cautions": cautions, "kinds": {}, "bytes": {}}
        kinds = {key: kind.to_plain() for key, kind in self.known.kinds.items() if key in new}
        if len(kinds) <= KINDS_TOLD:
            told |= {"kinds": kinds, "bytes": {k: n for k, n in self.known.bytes.items() if k in new}}
        return json.dumps(told)


def _is_others(operation: Operation) -> bool:
    """Whether code of a user or a package computes it."""
    return operation.kind == "function" or not LIBRARY.is_ours(operation.kind)
