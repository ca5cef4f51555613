"""Keep a graph as a value: operations by name, results, and how often each was reset.

Every Graph that exists is acyclic and has one producer per name; an edit returns another Graph.
Only an edit sorts; a graph that was stored is in order, and to read it needs no networkx.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ami.errors import GraphError
from ami.event import SEQUENCE, TIMESTAMP
from ami.graph.operation import Operation, texts
from ami.graph.order import in_order, similar

FORMAT = 2  # of the plain form
MAX_OPERATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Graph:
    """Operations in an order that runs, the names of the results, and resets by name.

    Two graphs are equal when they have the same version, operations, results and resets.
    """

    version: int = 0
    operations: tuple[Operation, ...] = ()
    results: tuple[str, ...] = ()
    resets: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Put the operations in order.

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
        for names in (self.results, [name for name, _ in self.resets]):
            if len(set(names)) < len(names):
                (twice, _), *_ = Counter(names).most_common(1)
                raise GraphError(f"{twice!r} stands twice among the results or resets")
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
        operations = {o.name: (o.definition, o.owners) for o in self.operations}
        return (self.version, operations, self.results, self.resets)

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
        """Return the operations that the ``wanted`` values need, in an order that runs.

        The order is that of ``operations``: the same in every process that has this graph.
        """
        needed = self._ancestors([wanted] if isinstance(wanted, str) else wanted)
        return tuple(operation for operation in self.operations if operation.name in needed)

    def _ancestors(self, names: Iterable[str]) -> set[str]:
        """Return ``names`` and all that they are computed from, without fields."""
        found: set[str] = set()
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name not in found and name in self._producers:
                found.add(name)
                ahead.extend(self._producers[name].inputs)
        return found

    def users_of(self, name: str) -> tuple[str, ...]:
        """Return the names of the operations that have ``name`` as an input."""
        return tuple(o.name for o in self.operations if name in o.inputs)

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
        names: set[str] = set()
        for operation in self.operations:
            if operation.reduces or not names.isdisjoint(operation.inputs):
                names.add(operation.name)
        return frozenset(names)

    def stage(self, name: str) -> str:
        """Return where the operation that gives ``name`` starts: ``worker`` or ``global``.

        A reduction starts on the worker (``add``), an operation on reduced values runs at the
        global reducer.
        """
        return "worker" if self.reduced.isdisjoint(self[name].inputs) else "global"

    # edits: each returns the next version

    def with_operation(self, new: Operation, *, result: bool = False, owner: str | None = None) -> Graph:
        """Return the next version, in which ``new`` replaces any operation of its name.

        Raises:
            GraphError: as :meth:`with_operations`.
        """
        return self.with_operations((new,), (new.name,) if result else (), owner)

    def with_operations(
        self, new: Iterable[Operation], results: Iterable[str] = (), owner: str | None = None
    ) -> Graph:
        """Return the next version, with operations and results of one owner added or replaced.

        An operation that is already there with the same definition is shared. Whoever uses an
        operation owns it too, so that nobody can pull it away from under another's results.
        Operations nested in a replaced one (``signal/1`` in ``signal``) go when nobody else
        needs them.

        Raises:
            GraphError: the name is taken by another owner's operation of another definition, a
                name stands twice, or a cycle would close.
        """
        mine = () if owner is None else (owner,)
        added: dict[str, Operation] = {}
        for operation in new:
            if operation.name in added:
                raise GraphError(f"two operations give {operation.name!r}: each value has one producer")
            added[operation.name] = self._merged(operation, mine)
        operations = {**self._producers, **added}
        for name in self._left_over(added):
            del operations[name]
        graph = self._next(operations.values(), dict.fromkeys((*self.results, *results)))
        if owner is None:
            return graph
        needed = graph._ancestors(added)
        return graph._with_owners({name: (*graph[name].owners, owner) for name in needed})

    def _merged(self, new: Operation, mine: tuple[str, ...]) -> Operation:
        """Return ``new`` with its owners, if it may take its place."""
        old = self._producers.get(new.name)
        if old is None:
            return new.owned_by(mine or new.owners)
        if old.definition == new.definition:
            return old.owned_by((*old.owners, *mine))
        others = [owner for owner in old.owners if owner not in mine]
        if others:
            from ami.graph.language.text import definition

            raise GraphError(
                f"{new.name!r} is in use by {' and '.join(others)} as {definition(old)}; "
                f"choose another name for {definition(new)}"
            )
        return new.owned_by(mine or new.owners)

    def _left_over(self, added: Mapping[str, Operation]) -> list[str]:
        """Return nested operations of replaced ones that nobody needs any more."""
        replaced = {
            name for name, o in added.items()
            if name in self._producers and self._producers[name].definition != o.definition
        }  # fmt: skip
        nested = {
            name for name in self._producers
            if name not in added and name.rpartition("/")[0] in replaced and name not in self.results
        }  # fmt: skip
        kept = [o for name, o in {**self._producers, **added}.items() if name not in nested]
        while True:  # a nested operation that another's operation uses stays, and so do its inputs
            used = {name for o in kept for name in o.inputs} & nested
            if not used:
                return sorted(nested)
            nested -= used
            kept += [self._producers[name] for name in used]

    def without(self, name: str) -> Graph:
        """Return the next version, without ``name`` and the operations nested in it.

        Raises:
            GraphError: there is no such operation, or others need it.
        """
        gone = {self[name].name}
        gone |= {n for n in self._producers if n.startswith(f"{name}/") and n not in self.results}
        for operation in reversed(self.operations):  # a nested one that others use stays
            users = [user for user in self.users_of(operation.name) if user not in gone]
            if operation.name in gone and users:
                if operation.name == name:
                    raise GraphError(f"{name!r} is needed by {', '.join(users)}; remove those first")
                gone.remove(operation.name)
        return self._next((o for o in self.operations if o.name not in gone), self.results)

    def without_owner(self, owner: str) -> Graph:
        """Return the next version, without what belongs to ``owner`` alone."""
        rest = []
        for operation in self.operations:
            others = tuple(name for name in operation.owners if name != owner)
            if others or owner not in operation.owners:
                rest.append(operation.owned_by(others))
        # Whoever uses an operation owns it, but a graph made elsewhere need not know that.
        there = {operation.name for operation in rest}
        needed = self._ancestors(there)
        rest += [o.owned_by(()) for o in self.operations if o.name in needed - there]
        return self._next(rest, self.results)

    def with_reset(self, names: Iterable[str]) -> Graph:
        """Return the next version, in which these results start anew, for all who share them.

        The reductions that a name is computed from are reset, or the operation itself when
        there is none.

        Raises:
            GraphError: no operation gives a name.
        """
        resets = dict(self.resets)
        for name in sorted(self._reductions_of(names)):
            resets[name] = resets.get(name, 0) + 1
        return replace(self, version=self.version + 1, resets=tuple(resets.items()))

    def _reductions_of(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for name in names:
            steps = [o.name for o in self.steps_for(self[name].name)]
            reductions = [s for s in steps if s in self.reduced and self.stage(s) == "worker"]
            found.update(reductions or [name])
        return found

    def at_version(self, version: int) -> Graph:
        """Return the same graph under another number."""
        return replace(self, version=version)

    def _with_owners(self, owners: Mapping[str, tuple[str, ...]]) -> Graph:
        operations = (o.owned_by(owners[o.name]) if o.name in owners else o for o in self.operations)
        return replace(self, operations=tuple(operations))

    def _next(self, operations: Iterable[Operation], results: Iterable[str]) -> Graph:
        there = in_order(tuple(operations))
        names = {operation.name for operation in there}
        return Graph(
            version=self.version + 1,
            operations=there,
            results=tuple(name for name in results if name in names or name not in self._producers),
            resets=tuple((name, count) for name, count in self.resets if name in names),
        )

    # other forms

    def to_plain(self) -> dict[str, object]:
        """Return it as what JSON can say; :meth:`from_plain` reads it."""
        return {
            "format": FORMAT,
            "version": self.version,
            "operations": [operation.to_plain() for operation in self.operations],
            "results": list(self.results),
            "resets": dict(self.resets),
        }

    @classmethod
    def from_plain(cls, plain: object) -> Graph:
        """Return what :meth:`to_plain` described, at the cost of one pass when it is in order.

        Raises:
            GraphError: it is not a description of a graph.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            seen = plain.get("format") if isinstance(plain, Mapping) else type(plain).__name__
            raise GraphError(f"not a graph of format {FORMAT}: got {seen!r}")
        operations, resets = plain.get("operations"), plain.get("resets", {})
        if not isinstance(operations, list | tuple) or len(operations) > MAX_OPERATIONS:
            raise GraphError(f"a graph's operations must be a list of at most {MAX_OPERATIONS}")
        if not isinstance(resets, Mapping):
            raise GraphError(f"a graph's resets must be a mapping, got {type(resets).__name__}")
        return cls(
            version=_count(plain.get("version", 0), "version"),
            operations=tuple(Operation.from_plain(operation) for operation in operations),
            results=texts(plain.get("results", ()), "results"),
            resets=tuple(
                (str(name), _count(number, f"reset of {name!r}")) for name, number in resets.items()
            ),
        )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:16]


def _count(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise GraphError(f"{what} must be a count, got {value!r}"[:200])
    return value
