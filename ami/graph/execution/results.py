"""Take the results of reductions, and run the operations behind them: once per interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.graph.execution.bind import Reductions, Unbound, bind
from ami.graph.execution.bucket import Bucket, Place
from ami.graph.execution.frame import traceback_text
from ami.graph.execution.labels import labels
from ami.graph.execution.partial import ErrorRecord
from ami.graph.graph import Graph
from ami.graph.library.base import Function, Reduction, check_window
from ami.graph.operation import Operation
from ami.result import Events, Result
from ami.values import NO_LABEL, Label


@dataclass(frozen=True, slots=True)
class Computed:
    """One result with the account of its events.

    ``value`` is None when there is none yet, or when an operation failed; then ``error`` is its
    traceback. ``error`` also tells when an operation on the way failed for some events only. Of a
    result of several reductions, the account is that of the one with the fewest used events.
    ``first`` and ``last`` are the oldest and newest (run, interval) of its window.
    """

    value: Any
    used: int
    error: str | None = None
    expected: int = 0
    dropped: int = 0
    set_aside: int = 0
    window: str = "run"
    label: Label = NO_LABEL
    first: Place | None = None
    last: Place | None = None

    def to_result(self, name: str, **facts: Any) -> Result:
        """Return it as clients see it; ``facts`` are what else the envelope says."""
        events = Events(
            expected=self.expected, used=self.used, dropped=self.dropped, set_aside=self.set_aside
        )
        of_mine = {part: getattr(self, part) for part in ("value", "error", "window", "label")}
        return Result(name=name, events=events, **of_mine, **facts)


@dataclass(frozen=True, slots=True)
class Finished:
    """A reduction with its window's bucket; no reduction where there is nothing in the window."""

    reduction: Reduction | None
    bucket: Bucket


NOTHING = Finished(None, Bucket())


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
            key: Reduction(_window(graph[next(iter(names))]))
            for key, names in self.reductions.unbound.items()
        }
        self.windows = {**unknown, **self.reductions}
        self._functions = {
            graph.fingerprint(name): computing
            for name, computing in bound.items()
            if isinstance(computing, Function) and name in graph.reduced
        }
        self._unbound = {
            graph.fingerprint(name): f"operation {name!r}: {computing.reason}"
            for name, computing in bound.items()
            if isinstance(computing, Unbound)
        }
        steps = graph.steps_for(graph.results)
        self._steps = tuple(operation for operation in steps if operation.name in graph.reduced)
        self._ancestors = {name: [o.name for o in graph.steps_for(name)] for name in graph.results}
        self._sources = {
            name: [f for o in graph.steps_for(name) if (f := graph.fingerprint(o.name)) in self.windows]
            for name in graph.results
        }

    def set_units(self, units: Mapping[str, str]) -> None:
        """Take up the units of the source's fields."""
        self._labels = labels(self.graph, self._bound, units)

    def finish(
        self, finished: Mapping[str, Finished], errors: Mapping[str, ErrorRecord]
    ) -> dict[str, Computed]:
        """Return each result from the windows of its reductions, by fingerprint."""
        values: dict[str, Any] = {}
        failed = dict(self._unbound)
        with np.errstate(all="ignore"):
            for operation in self._steps:
                key = self.graph.fingerprint(operation.name)
                if key in values or key in failed:
                    continue
                names = () if key in self.reductions else operation.inputs
                inputs = [self.graph.fingerprint(name) for name in names]
                broken = [failed[name] for name in inputs if name in failed]
                if broken:
                    failed[key] = broken[0]
                    continue
                try:
                    if key in self.reductions:
                        values[key] = _reduce(finished[key])
                    else:
                        values[key] = _apply(self._functions[key], [values[name] for name in inputs])
                except FAULTS as error:
                    failed[key] = f"operation {operation.name!r}: {traceback_text(error)}"
        return {name: self._compute(name, values, failed, finished, errors) for name in self.graph.results}

    def _compute(
        self, name: str, values: Mapping[str, Any], failed: Mapping[str, str],
        finished: Mapping[str, Finished], errors: Mapping[str, ErrorRecord],
    ) -> Computed:  # fmt: skip
        key = self.graph.fingerprint(name)
        sources = [finished[source] for source in self._sources[name]]
        least = min(sources, key=lambda source: source.bucket.used, default=NOTHING)
        window = "run" if least.reduction is None else least.reduction.window
        bucket = least.bucket
        texts = [failed[key]] if key in failed else []
        for ancestor in self._ancestors[name]:
            record = errors.get(ancestor)
            if record is not None:
                texts.append(f"operation {ancestor!r} {record}")
        return Computed(
            value=values.get(key),
            used=bucket.used,
            error="\n".join(texts) or None,
            expected=bucket.expected,
            dropped=bucket.dropped,
            set_aside=bucket.set_aside,
            window=window,
            label=self._labels.get(name, NO_LABEL),
            first=bucket.first,
            last=bucket.last,
        )


def _reduce(source: Finished) -> Any:
    reduction, state = source.reduction, source.bucket.state
    if reduction is None:
        return None
    return reduction.result(reduction.zero() if state is None else state)


def _window(operation: Operation) -> str:
    try:
        return check_window(str(operation.arguments.get("window", "run")))
    except GraphError:
        return "run"


def _apply(function: Function, inputs: list[Any]) -> Any:
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
