"""Take the results of reductions, and run the operations behind them: once per interval."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.graph.execution.bind import Reductions, Unbound, bind
from ami.graph.execution.bucket import Bucket
from ami.graph.execution.frame import traceback_text
from ami.graph.execution.labels import labels
from ami.graph.execution.lanes import window_of
from ami.graph.execution.partial import ErrorRecord
from ami.graph.graph import Graph
from ami.graph.library.base import Function, Reduction
from ami.graph.library.user import UserFunction
from ami.graph.operation import Operation
from ami.graph.placing import name_part
from ami.result import Events, Result
from ami.values import NO_LABEL, Label


@dataclass(slots=True)  # frozen, one takes three times as long to make
class Computed:
    """One result with the account of its events.

    ``value`` is None when there is none yet, or when an operation failed; then ``error`` is its
    traceback. ``error`` also tells when an operation on the way failed for some events only. Of a
    result of several reductions, the ``account`` is that of the bucket with the fewest used events; it
    is true until the next partial comes.
    """

    value: Any
    account: Bucket
    error: str | None
    window: str
    label: Label

    def to_result(self, name: str, events: Events, **facts: Any) -> Result:
        """Return it as clients see it, with its account; ``facts`` are what else the envelope says."""
        it = self.account
        return Result(
            name=name,
            value=self.value,
            error=self.error,
            window=self.window,
            label=self.label,
            events=events,
            time_ns=(it.first_ns or 0, it.last_ns or 0),
            intervals=(0, 0) if it.first is None or it.last is None else (it.first[1], it.last[1]),
            **facts,
        )

    def events(self) -> Events:
        """Return the account of its events."""
        it = self.account
        return Events(expected=it.expected, used=it.used, dropped=it.dropped, set_aside=it.set_aside)


@dataclass(frozen=True, slots=True)
class _Step:
    """One computation, by fingerprint: a reduction's result, or a function of results."""

    name: str
    key: str
    computing: Function | Reduction
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A result: its fingerprint, and the reductions behind it by fingerprint."""

    name: str
    key: str
    sources: tuple[str, ...]


NOTHING = Bucket()
FEWEST = 4  # reductions of one sort whose values are computed as one


class Failed(Exception):
    """An operation failed where this process was not: the text says how."""


class People:
    """Calls people's functions of results: here, as their own process does. A daemon does otherwise."""

    def call(self, operation: Operation, key: str, function: Function, inputs: list[Any]) -> tuple[Any, str]:
        """Return the value, and what people should know of it; "" as a rule.

        Raises:
            Failed: there is none; or whatever the function raised.
        """
        return apply(function, inputs), ""

    def keep(self, graph: Graph) -> None:
        """Forget what this graph has not."""

    def list_failing(self) -> dict[str, str]:
        """Return how operations fail, by name."""
        return {}


NO_PEOPLE = People()


class GlobalPlan:
    """What the global reducer computes from the states of a graph's reductions.

    Attributes:
        windows: by fingerprint, what there is a window for: all reductions, bound or not.
    """

    def __init__(self, graph: Graph, here: str = "here") -> None:
        self.graph = graph
        self._bound = bound = bind(graph, here)
        self._labels: dict[str, Label] = {}
        self.reductions = Reductions(graph, bound)
        # Of a reduction that is not here only the window counts: that of the account of its events.
        unknown = {
            key: Reduction(window_of(graph[next(iter(names))]))
            for key, names in self.reductions.unbound.items()
        }
        self.windows = {**unknown, **self.reductions}
        self._unbound = {
            graph.fingerprint(name): f"operation {name!r}: {computing.reason}"
            for name, computing in bound.items()
            if isinstance(computing, Unbound)
        }
        self._steps: list[_Step] = []
        self._alike: dict[type, list[_Step]] = {}  # reductions whose values are computed as one
        for step in self._list_steps(graph):
            sort = type(step.computing)
            alike = issubclass(sort, Reduction) and sort.results is not Reduction.results
            (self._alike.setdefault(sort, []) if alike else self._steps).append(step)
        sources = self._find_sources(graph)
        self._wanted = tuple(_Wanted(name, graph.fingerprint(name), sources[name]) for name in graph.results)
        # By result, the operations behind it: only of those that are told errors. In a chain of a thousand
        # results they are half a million names.
        self._ancestors: dict[str, tuple[str, ...]] = {}

    def _list_steps(self, graph: Graph) -> Iterator[_Step]:
        done = set(self._unbound)
        for operation in graph.steps_for(graph.results):
            key = graph.fingerprint(operation.name)
            if operation.name not in graph.reduced or key in done:
                continue
            done.add(key)
            computing = self._bound[operation.name]
            assert not isinstance(computing, Unbound)
            inputs = () if operation.reduces else tuple(map(graph.fingerprint, operation.inputs))
            yield _Step(operation.name, key, computing, inputs)

    def _find_sources(self, graph: Graph) -> dict[str, tuple[str, ...]]:
        """Return by name of a value the reductions behind it, in the order in which they run."""
        keys = [graph.fingerprint(operation.name) for operation in graph.operations]
        places: dict[str, frozenset[int]] = {}
        for place, operation in enumerate(graph.operations):
            own = frozenset((place,) if keys[place] in self.windows else ())
            places[operation.name] = own.union(*(places.get(name, ()) for name in operation.inputs))
        return {name: tuple(keys[place] for place in sorted(some)) for name, some in places.items()}

    def _list_ancestors(self, name: str) -> tuple[str, ...]:
        if name not in self._ancestors:
            self._ancestors[name] = tuple(operation.name for operation in self.graph.steps_for(name))
        return self._ancestors[name]

    def set_units(self, units: Mapping[str, str]) -> None:
        """Take up the units of the source's fields."""
        known: dict[Label, Label] = {}  # equal ones are one object, so that they are found equal at once
        found = labels(self.graph, self._bound, units)
        self._labels = {name: known.setdefault(label, label) for name, label in found.items()}

    def finish(
        self,
        buckets: Mapping[str, Bucket | None],
        errors: Mapping[str, ErrorRecord],
        without: Collection[str] = (),
        people: People = NO_PEOPLE,
    ) -> dict[str, Computed]:
        """Return each result from the buckets of its reductions' windows, by fingerprint.

        None is a bucket of which there is nothing yet. ``without``: reductions whose values are not computed.
        ``people``: who calls people's functions.
        """
        values: dict[str, Any] = {}
        failed = dict(self._unbound)
        notes: dict[str, str] = {}
        with np.errstate(all="ignore"):
            left = self._reduce_many(buckets, without, values)
            for step in (*left, *self._steps):
                try:
                    broken = [failed[key] for key in step.inputs if key in failed]
                    if broken:
                        failed[step.key] = broken[0]
                    elif step.key in without:
                        values[step.key] = None
                    elif isinstance(step.computing, Reduction):
                        values[step.key] = _reduce(step.computing, buckets[step.key])
                    else:
                        inputs = [values[key] for key in step.inputs]
                        values[step.key] = self._apply(step, inputs, people, notes)
                except FAULTS as error:
                    how = f" {error}" if isinstance(error, Failed) else f": {traceback_text(error)}"
                    failed[step.key] = f"operation {name_part(self.graph[step.name], self.graph)}{how}"
        told = failed | notes
        return {
            wanted.name: self._compute(wanted, values.get(wanted.key), told, buckets, errors)
            for wanted in self._wanted
        }

    def _reduce_many(
        self, buckets: Mapping[str, Bucket | None], without: Collection[str], values: dict[str, Any]
    ) -> list[_Step]:
        """Put the values of reductions that are alike among the others; return the steps that are left."""
        left: list[_Step] = []
        for steps in self._alike.values():
            found = [buckets[step.key] for step in steps]
            states = [one.state for one in found if one is not None and one.state is not None]
            computing = steps[0].computing
            assert isinstance(computing, Reduction)
            if len(states) < len(steps) or len(steps) < FEWEST or without:
                left += steps
                continue
            try:
                values.update(zip([step.key for step in steps], computing.results(states), strict=True))
            except FAULTS:  # each tells its own
                left += steps
        return left

    def _apply(self, step: _Step, inputs: list[Any], people: People, notes: dict[str, str]) -> Any:
        """Return what an operation on results gives, and note what people should know of it."""
        assert isinstance(step.computing, Function)
        known = [notes[key] for key in step.inputs if key in notes] if notes else []
        if known:
            notes[step.key] = known[0]
        operation = self.graph[step.name]
        if operation.kind != UserFunction.name:
            return apply(step.computing, inputs)
        if any(value is None for value in inputs):
            return None
        value, note = people.call(operation, step.key, step.computing, inputs)
        if note:
            notes[step.key] = f"operation {name_part(operation, self.graph)} {note}"
        return value

    def list_alone(self) -> dict[str, str]:
        """Return by name the keyed reductions that are results, and of which nothing else is computed."""
        inputs = {key for step in self._steps for key in step.inputs}
        keyed = {key for key, one in self.reductions.items() if one.keyed} - inputs
        return {wanted.name: wanted.key for wanted in self._wanted if wanted.key in keyed}

    def _compute(
        self, wanted: _Wanted, value: Any, told: Mapping[str, str],
        buckets: Mapping[str, Bucket | None], errors: Mapping[str, ErrorRecord],
    ) -> Computed:  # fmt: skip
        least: Bucket | None = None
        window, error = "run", None
        for key in wanted.sources:
            bucket = buckets[key] or NOTHING
            if least is None or bucket.used < least.used:
                least, window = bucket, self.windows[key].window
        if told or errors:
            texts = [told[wanted.key]] if wanted.key in told else []
            for name in self._list_ancestors(wanted.name) if errors else ():
                if name in errors:
                    texts.append(f"operation {name_part(self.graph[name], self.graph)} {errors[name]}")
            error = "\n".join(texts) or None
        return Computed(value, least or NOTHING, error, window, self._labels.get(wanted.name, NO_LABEL))


def _reduce(reduction: Reduction, bucket: Bucket | None) -> Any:
    if bucket is None:
        return None
    return reduction.result(reduction.zero() if bucket.state is None else bucket.state)


def apply(function: Function, inputs: list[Any]) -> Any:
    """Return a function of results; None where one of them is not there yet."""
    if any(value is None for value in inputs):
        return None
    plain = [isinstance(value, np.ndarray | np.generic | int | float) for value in inputs]
    arrays = [np.asarray(v)[np.newaxis] if is_plain else v for v, is_plain in zip(inputs, plain, strict=True)]
    value: Any = function(*arrays)
    if not all(plain):
        return value
    if len(value) != 1:
        raise GraphError(f"an operation on results must give one value, gave {len(value)}")
    return value[0]
