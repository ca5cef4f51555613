"""Keep a graph as a value: operations by name, results, and how often each was reset.

Every Graph that exists is acyclic and has one producer per name. It is what runs; what people wrote and
edit is a document (:mod:`ami.graph.language.document`), of which it is made. A graph that was stored is in
order, and to read it needs no networkx.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ami.errors import GraphError
from ami.event import SEQUENCE, TIMESTAMP
from ami.graph.operation import MAX_SHOWN, Operation, texts
from ami.graph.order import in_order, similar

FORMAT = 2  # of the plain form
MAX_OPERATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Graph:
    """Operations in an order that runs, the names of the results, and resets by name.

    ``large`` are the results whose states are large, as the manager found with the source's fields, each
    with the k of "one interval in k"; of a graph that nobody checked there are none. Two graphs are equal
    when they have the same version, operations, results, resets and large results, in whatever order.
    """

    version: int = 0
    operations: tuple[Operation, ...] = ()
    results: tuple[str, ...] = ()
    resets: tuple[tuple[str, int], ...] = ()
    large: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Put the operations in an order that runs.

        Raises:
            GraphError: two operations give one name, a cycle closes, or a result or a reset
                has no operation.
        """
        if len(self.operations) > MAX_OPERATIONS:
            raise GraphError(f"{len(self.operations)} operations; at most {MAX_OPERATIONS} are possible")
        if len(self._producers) < len(self.operations):
            (twice, _), *_ = Counter(operation.name for operation in self.operations).most_common(1)
            raise GraphError(f"two operations give {twice!r}: each value has one producer")
        for name in (*self.results, *(name for name, _ in self.resets)):
            if name not in self._producers:
                raise GraphError(f"{name!r} is to be a result or was reset, but no operation gives it")
        object.__setattr__(self, "resets", tuple(sorted(self.resets)))
        if not self._runs_as_it_stands():
            object.__setattr__(self, "operations", in_order(self.operations))

    def _runs_as_it_stands(self) -> bool:
        there: set[str] = set()
        for operation in self.operations:
            if any(name in self._producers and name not in there for name in operation.inputs):
                return False
            there.add(operation.name)
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._content == other._content

    def __hash__(self) -> int:
        return hash((self.version, self.results, self.resets, len(self.operations)))

    @cached_property
    def _content(self) -> tuple[object, ...]:
        return self.version, self._producers, self.results, self.resets, self.large

    @cached_property
    def _producers(self) -> dict[str, Operation]:
        return {operation.name: operation for operation in self.operations}

    def __contains__(self, name: object) -> bool:
        return name in self._producers

    def __getitem__(self, name: str) -> Operation:
        """Return the operation that gives ``name``.

        Raises:
            GraphError: none does; the message has names that are similar.
        """
        try:
            return self._producers[name]
        except KeyError:
            raise GraphError(f"no operation gives {name!r}{similar(name, self._producers)}") from None

    # what is needed

    @property
    def fields(self) -> frozenset[str]:
        """Inputs that no operation gives; the source must. Timestamp and sequence are always there."""
        inputs = {name for operation in self.operations for name in operation.inputs}
        return frozenset(inputs - self._producers.keys() - {TIMESTAMP, SEQUENCE})

    def steps_for(self, wanted: str | Iterable[str]) -> tuple[Operation, ...]:
        """Return the operations that the ``wanted`` values need, in an order that runs."""
        # From the wanted ones backwards, and not through all operations: of each of a thousand results this
        # is asked.
        ahead = [wanted] if isinstance(wanted, str) else list(wanted)
        needed: set[int] = set()
        while ahead:
            place = self._places.get(ahead.pop())
            if place is not None and place not in needed:
                needed.add(place)
                ahead.extend(self.operations[place].inputs)
        return tuple(self.operations[place] for place in sorted(needed))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {operation.name: place for place, operation in enumerate(self.operations)}

    def flow(self, own: Callable[[Operation], bool]) -> frozenset[str]:
        """Return the names of the values of which ``own`` is true, and of those computed from them."""
        found: set[str] = set()
        for operation in self.operations:
            if own(operation) or not found.isdisjoint(operation.inputs):
                found.add(operation.name)
        return frozenset(found)

    # what it is

    def fingerprint(self, name: str) -> str:
        """Return 16 hex digits that are equal for equal definition, ancestry and resets.

        Names of operations do not count; a field counts by its name.

        Raises:
            GraphError: no operation gives ``name``.
        """
        return self._fingerprints[self[name].name]

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        resets = dict(self.resets)
        done: dict[str, str] = {}
        for operation in self.operations:
            inputs = [
                ["value", done[name]] if name in self._producers else ["field", name]
                for name in operation.inputs
            ]
            done[operation.name] = _digest(
                [operation.kind, operation.parameters, inputs, resets.get(operation.name, 0)]
            )
        return done

    @cached_property
    def hash(self) -> str:
        """16 hex digits that are equal for graphs that give the same results under the same names.

        Version and owners do not count, nor does the order.
        """
        operations = sorted([o.name, o.kind, o.inputs, json.dumps(o.parameters)] for o in self.operations)
        return _digest([operations, sorted(self.results), self.resets])

    @cached_property
    def reduced(self) -> frozenset[str]:
        """Names of the values that exist once for a window: reductions and all that follows them."""
        return self.flow(lambda operation: operation.reduces)

    def stage(self, name: str) -> str:
        """Return where the operation that gives ``name`` starts: ``worker`` or ``global``.

        A reduction starts on the worker (``add``), an operation on reduced values runs at the
        global reducer.
        """
        return "worker" if self.reduced.isdisjoint(self[name].inputs) else "global"

    def lane(self, *, large: bool) -> Graph:
        """Return the graph of the large results alone, or of all others."""
        chosen = dict(self.large)
        results = tuple(name for name in self.results if (name in chosen) is large)
        return replace(self, results=results, large=self.large if large else ())

    @property
    def one_in(self) -> int:
        """Of how many intervals one is computed for large results of intervals."""
        return max((one_in for _, one_in in self.large), default=1)

    def with_large(self, large: tuple[tuple[str, int], ...]) -> Graph:
        """Return the same graph with other large results; what was computed of it is not computed anew."""
        made = copy.copy(self)
        object.__setattr__(made, "large", large)
        made.__dict__.pop("_content", None)
        return made

    def at_version(self, version: int) -> Graph:
        """Return the same graph under another number."""
        return replace(self, version=version)

    # other forms

    def to_plain(self) -> dict[str, object]:
        """Return it as what JSON can say; :meth:`from_plain` reads it."""
        return {
            "format": FORMAT,
            "version": self.version,
            "operations": [operation.to_plain() for operation in self.operations],
            "results": list(self.results),
            "resets": dict(self.resets),
            "large": dict(self.large),
        }

    @classmethod
    def from_plain(cls, plain: object) -> Graph:
        """Return what :meth:`to_plain` described.

        Raises:
            GraphError: it is not a description of a graph.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            seen = plain.get("format") if isinstance(plain, Mapping) else type(plain).__name__
            raise GraphError(f"not a graph of format {FORMAT}: got {seen!r}")
        try:
            return cls(
                version=count(plain["version"], "version"),
                operations=tuple(map(Operation.from_plain, plain["operations"])),
                results=texts(plain["results"], "results"),
                resets=tuple((name, count(n, f"reset of {name!r}")) for name, n in plain["resets"].items()),
                large=tuple(
                    (name, count(n, f"one in of {name!r}"))
                    for name, n in dict(plain.get("large", {})).items()
                ),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise GraphError(f"not a graph: {error!r}"[:MAX_SHOWN]) from error


_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: each operation is encoded


def _digest(content: object) -> str:
    return hashlib.sha256(_encode(content).encode()).hexdigest()[:16]


def count(value: object, what: str) -> int:
    """Return a whole number that counts something.

    Raises:
        GraphError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise GraphError(f"{what} must be a count, got {value!r}"[:200])
    return value
