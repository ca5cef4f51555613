"""Check a graph against the source's fields and the node's memory, code of others in a child process."""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ami.cluster import proc
from ami.config import Config
from ami.daemons.process.apart import call_apart
from ami.daemons.process.stage import LONG_STEP_S
from ami.daemons.process.watch import Watch, limit_memory
from ami.errors import GraphError
from ami.event import Schema
from ami.graph.check import check, list_cautions
from ami.graph.execution.lanes import STATE_SHARE, list_heavy, with_lanes
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library import LIBRARY
from ami.graph.operation import MAX_SHOWN, Operation, definition_of
from ami.graph.placing import name_part

MAX_REASON = 10_000  # characters
CAUTIONS_TOLD = 20
KINDS_TOLD = 200  # more do not go through the pipe
Caution: TypeAlias = "tuple[str, str]"  # name of a definition, "" for all of them; text
PLACE = struct.Struct("<q")  # of the operation that is checked apart
UNREADY = -1


@dataclass(slots=True)
class Known:
    """What was found out of operations on events of ``schema``, by fingerprint: so each is looked at once."""

    schema: str | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)  # of states
    failing: dict[str, str] = field(default_factory=dict)  # of what runs all the same, why

    def take_over(self, other: Known) -> None:
        """Know what another knows, if it is of the same events."""
        if other.schema == self.schema:
            self.kinds.update(other.kinds)
            self.bytes.update(other.bytes)
            self.failing.update(other.failing)

    def copy(self) -> Known:
        """Return the same, for another thread."""
        return Known(self.schema, dict(self.kinds), dict(self.bytes), dict(self.failing))

    def forget_all_but(self, graph: Graph) -> None:
        """Keep what a graph has, so that this does not grow for ever."""
        there = {graph.fingerprint(one.name) for one in graph.operations}
        self.kinds = {key: kind for key, kind in self.kinds.items() if key in there}
        self.bytes = {key: size for key, size in self.bytes.items() if key in there}
        self.failing = {key: why for key, why in self.failing.items() if key in there}


@dataclass(frozen=True, slots=True)
class Checking:
    """What a graph is checked against; ``before`` is the one that runs, states may have ``most_bytes``.

    What is ``known`` is not looked at again, and what was found is known afterwards. People's code may ask
    for ``code_bytes`` of memory.
    """

    schema: Schema
    before: Graph
    interval_ns: int
    most_bytes: int
    known: Known = field(default_factory=Known)
    code_bytes: int = 0

    def is_news(self, graph: Graph) -> bool:
        """Whether it has operations of others that nobody has tried yet."""
        others = {graph.fingerprint(one.name) for one in graph.operations if is_others(one)}
        return not self.known.kinds.keys() | (self.known.failing.keys() & self._running) >= others

    @property
    def _running(self) -> set[str]:
        return {self.before.fingerprint(one.name) for one in self.before.operations}

    def check(
        self, graph: Graph, each_s: float, alive: Callable[[], None] = lambda: None
    ) -> tuple[Graph, list[Caution]]:
        """Return the graph with the results that are large, and cautions.

        Others' code runs, of users and of packages, so where there is some this happens in a child process.

        Args:
            each_s: what an operation of others may take.
            alive: is called while that child runs; what it raises ends the check.

        Raises:
            GraphError: says what is wrong.
        """
        if not self.is_news(graph):
            return self._check_here(graph)
        # Each operation has its time: a graph may have thousands.
        with mmap.mmap(-1, PLACE.size) as at:
            at[:] = PLACE.pack(UNREADY)
            answer, how = call_apart(
                lambda: self._tell(graph, at),
                timeout_s=each_s,
                moved=lambda: at[:] if at[:] != PLACE.pack(UNREADY) else time.monotonic(),
                alive=alive,
                most_s=LONG_STEP_S,
            )
            (place,) = PLACE.unpack(at[:])
        if how and place == UNREADY:
            raise GraphError(f"to prepare a check {how}; ask again")
        if how:
            one = graph.operations[place]
            if graph.fingerprint(one.name) not in self._running:
                raise GraphError(f"to check {name_part(one, graph)} {how}")
            # It ran before, and whoever asks for something else is not to wait for it, again and again.
            self.known.failing[graph.fingerprint(one.name)] = f"to check it {how}"
            return self.check(graph, each_s, alive)
        told = json.loads(answer or "{}")
        if told.get("reason"):
            raise GraphError(told["reason"])
        self.known.kinds.update((key, Kind.from_plain(kind)) for key, kind in told["kinds"].items())
        self.known.bytes.update(told["bytes"])
        self.known.failing.update(told["failing"])
        each = zip(graph.results, told["one_in"], strict=True)
        large = tuple((name, one_in) for name, one_in in each if one_in)
        return graph.with_large(large), [(name, text) for name, text in told["cautions"]]

    def _check_here(
        self, graph: Graph, tell: Callable[[int], None] = lambda _: None
    ) -> tuple[Graph, list[Caution]]:
        known = self.known
        kinds = check(graph, self.schema, self.before, tell, known.kinds, known.failing)
        known.kinds.update((graph.fingerprint(n), kind) for n, kind in kinds.items() if n in graph)
        laned = with_lanes(
            graph, kinds, self.interval_ns, most_bytes=self.most_bytes, before=self.before, known=known.bytes
        )
        cautions = list_cautions(graph, kinds, self.before)
        heavy = list_heavy(graph, kinds, self.interval_ns, self.before, self.most_bytes)
        cautions += [(name, f"{name_part(graph[name], graph)}: {text}") for name, text in heavy.items()]
        return laned, [(definition_of(name, graph), text) for name, text in cautions]

    def _tell(self, graph: Graph, at: mmap.mmap) -> str:
        """Return as JSON what :meth:`check` returns, or the reason why not."""
        new = {graph.fingerprint(one.name) for one in graph.operations if is_others(one)}
        new -= self.known.kinds.keys()
        trial = _Trial(graph, at, self._stand_guard())
        try:
            try:
                checked, cautions = self._check_here(graph, trial.begin)
            finally:
                trial.end()
        except GraphError as error:
            return json.dumps({"reason": str(error)[:MAX_REASON]})
        large = dict(checked.large)
        one_in = [large.get(name, 0) for name in checked.results]
        failing = {key: why[:MAX_SHOWN] for key, why in list(self.known.failing.items())[:KINDS_TOLD]}
        told = {"one_in": one_in, "cautions": cut(cautions), "kinds": {}, "bytes": {}, "failing": failing}
        kinds = {key: kind.to_plain() for key, kind in self.known.kinds.items() if key in new}
        if len(kinds) <= KINDS_TOLD:
            told |= {"kinds": kinds, "bytes": {k: n for k, n in self.known.bytes.items() if k in new}}
        return json.dumps(told)

    def _stand_guard(self) -> Watch:
        """Let people's code do in this process, which is a child, what it may do in a worker."""
        if self.code_bytes:
            limit_memory(proc.private_bytes(os.getpid()) + self.code_bytes)
        # Whoever waits for this process ends it where it takes too long.
        watch = Watch(math.inf, lambda: None, lambda: None, lambda _names, _error: False)
        watch.prepare()  # now: it is not the first operation's time
        return watch


class _Trial:
    """Says at which operation a check is, and looks after that of others at what it did to the process."""

    def __init__(self, graph: Graph, at: mmap.mmap, watch: Watch) -> None:
        self._graph = graph
        self._at = at
        self._watch = watch
        self._one: Operation | None = None  # of others, that is looked at now

    def begin(self, place: int) -> None:
        self.end()
        self._at[:] = PLACE.pack(place)
        if is_others(self._graph.operations[place]):
            self._one = self._graph.operations[place]
            self._watch.enter([self._one.name], iter(()), is_new=True)

    def end(self) -> None:
        """Raises GraphError: it changed what all share."""
        one, self._one = self._one, None
        told = "" if one is None else self._watch.leave()
        if one is not None and told:
            raise GraphError(f"{name_part(one, self._graph)}: its code {told}")


def cut(cautions: Sequence[Caution]) -> list[Caution]:
    """Return no more cautions than a person reads, and how many more there are."""
    more = len(cautions) - CAUTIONS_TOLD
    return [*cautions[:CAUTIONS_TOLD], ("", f"and {more} more")] if more > 0 else [*cautions]


def is_others(operation: Operation) -> bool:
    """Whether code of a user or a package computes it."""
    return operation.kind == "function" or not LIBRARY.is_ours(operation.kind)


def most_bytes(config: Config) -> int:
    """Return what all large states may have."""
    # A worker has a span's states twice at times: those that it adds to, and empty ones.
    return min(int(STATE_SHARE * config.global_store.max_memory_bytes), config.worker.memory_bytes // 3)
