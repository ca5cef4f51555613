"""Accumulate partials into the windows of results: what the global reducer and an offline run share.

A window is a set of *buckets*, each with a state and the account of the events in it: one for each
run (window "run"), one for each interval (windows "interval" and "last K"), or one for the batch
in the making (window "N events"). A partial goes into the bucket that its run and interval name,
so one that comes late, or a supplement, lands where it belongs. A few older buckets are kept for
that; what comes later still is counted in ``too_late``.

Pure: no store, no clock. The states are those of the partials, merged in place, never copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ami.errors import GraphError
from ami.graph.execution.bucket import ANY, Bucket, Place
from ami.graph.execution.partial import (
    ErrorRecord,
    Partial,
    merge_errors,
)
from ami.graph.execution.results import Computed, Finished, GlobalPlan
from ami.graph.graph import Graph
from ami.graph.library.base import Reduction, State

FORMAT = 2  # of the plain form
KEPT_RUNS = 2  # this one, and the one before for what comes late at the border
KEPT_INTERVALS = 4  # beyond those that a window needs


class Window:
    """The buckets of one reduction.

    Args:
        since: the graph version with which the reduction came in: an event-less partial of an
            older version says nothing about it.
    """

    def __init__(self, reduction: Reduction, since: int) -> None:
        self.reduction = reduction
        self.since = since
        self.buckets: dict[Place, Bucket] = {}
        self.batch: Bucket | None = None  # the last full one, of window "N events"
        words = reduction.window.split()
        self._of_runs = words == ["run"]
        self._events = int(words[0]) if words[-1] == "events" else 0
        self._intervals = int(words[1]) if words[0] == "last" else 1

    def apply(self, partial: Partial, key: str, place: Place, expected: int, dropped: int) -> bool:
        """Take a partial in; return whether it came too late for that."""
        if key not in partial.states and partial.graph_version < self.since:
            return False
        where = ANY if self._events else (place[0], 0) if self._of_runs else place
        bucket = self.buckets.get(where)
        if bucket is None:
            kept = KEPT_RUNS if self._of_runs else self._intervals + KEPT_INTERVALS
            if len(self.buckets) >= kept and where < min(self.buckets):
                return True
            bucket = self.buckets[where] = Bucket()
            while len(self.buckets) > kept:
                del self.buckets[min(self.buckets)]
        bucket.count(partial, partial.used.get(key, 0), expected, dropped, place)
        if key in partial.states:
            self._merge(bucket, partial.states[key])
        return False

    def _merge(self, bucket: Bucket, state: State) -> None:
        full, bucket.state = self.reduction.fill(bucket.state, state)
        if full is not None:
            self.batch = replace(bucket, state=full, used=self._events)
            self.buckets = {ANY: Bucket(bucket.state)}

    def begin_run(self, run: int) -> None:
        """Make the run's bucket the newest, so that results begin anew without an event."""
        if self._of_runs:
            self.buckets.setdefault((run, 0), Bucket())
            while len(self.buckets) > KEPT_RUNS:
                del self.buckets[min(self.buckets)]

    def at(self, place: Place) -> Bucket | None:
        """Return the bucket of the window that ends at ``place``, None when there is nothing in it.

        For window "last K" it is made by merging K buckets.
        """
        if self._events:
            return self.batch
        if self._of_runs:
            return self.buckets.get((place[0], 0))
        chosen = [self.buckets[key] for key in sorted(self.buckets) if key <= place][-self._intervals :]
        if self._intervals == 1:
            return self.buckets.get(place)
        return self._together(chosen) if chosen else None

    def _together(self, buckets: list[Bucket]) -> Bucket:
        both = Bucket()
        for bucket in buckets:
            # Merging may write into its first argument and keep parts of the second, so the second
            # is a copy: the buckets must stay as they are.
            if bucket.state is not None:
                _, both.state = self.reduction.fill(both.state, copied(bucket.state))
            both.used += bucket.used
            both.expected += bucket.expected
            both.dropped += bucket.dropped
            both.set_aside += bucket.set_aside
        both.first, both.last = buckets[0].first, buckets[-1].last
        return both

    def to_plain(self) -> dict[str, Any]:
        """Return it as what the stores' codec carries; the states are not copied."""
        return {
            "since": self.since,
            "buckets": dict(self.buckets),
            "batch": self.batch,
        }

    def load(self, plain: Mapping[str, Any]) -> None:
        """Take up what :meth:`to_plain` described."""
        self.since = int(plain["since"])
        self.buckets = {(int(r), int(i)): replace(bucket) for (r, i), bucket in plain["buckets"].items()}
        self.batch = None if plain["batch"] is None else replace(plain["batch"])


class Accumulator:
    """State of all windows of a graph.

    Attributes:
        place: run and interval of the newest partial.
        errors: by operation, of the current run and graph.
        too_late: events of partials that came when their run or interval was no longer kept.

    Args:
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
    """

    def __init__(self, graph: Graph, here: str = "here") -> None:
        self._here = here
        self.place: Place = (0, -1)
        self.errors: dict[str, ErrorRecord] = {}
        self.too_late = 0
        self._windows: dict[str, Window] = {}
        self._units: Mapping[str, str] = {}
        self._plan = GlobalPlan(graph, here)
        self.set_graph(graph)

    @property
    def graph(self) -> Graph:
        return self._plan.graph

    def set_graph(self, graph: Graph) -> None:
        """Go over to another version; what is in both keeps its state."""
        plan = GlobalPlan(graph, self._here)
        self._windows = {
            key: self._windows.get(key) or Window(reduction, graph.version)
            for key, reduction in plan.windows.items()
        }
        self.errors = {name: record for name, record in self.errors.items() if _same(self.graph, graph, name)}
        plan.set_units(self._units)
        self._plan = plan

    def set_units(self, units: Mapping[str, str]) -> None:
        """Take up the units of the source's fields, for the labels of the results."""
        if units != self._units:
            self._units = units
            self._plan.set_units(units)

    def begin_run(self, run: int) -> None:
        """Begin the windows of a run; interval windows and batches go on."""
        if run != self.place[0]:
            self.errors = {}
        self.place = max(self.place, (run, -1))
        for window in self._windows.values():
            window.begin_run(run)

    def apply(self, partial: Partial, *, interval: int, run: int, expected: int, dropped: int) -> None:
        """Take in a partial, of one node or of several, of a whole interval or a supplement.

        The partial must not be used afterwards: its states live on in the windows. States of
        reductions that the graph no longer has are let go.

        Args:
            expected: events published and dropped that this partial accounts for.
            dropped: of these, the ones that the ring did not take.
        """
        place = (run, interval)
        partial.leave_out(self._plan.reductions.unbound)
        if run > self.place[0]:
            self.begin_run(run)
        late = [w.apply(partial, k, place, expected, dropped) for k, w in self._windows.items()]
        if any(late):
            self.too_late += partial.seen
        if run == self.place[0]:
            known = {name: record for name, record in partial.errors.items() if name in self.graph}
            merge_errors(self.errors, known)
        self.place = max(self.place, place)

    def results(self, at: Place | None = None) -> dict[str, Computed]:
        """Return each published result, for the newest interval or that of ``at`` (run, interval).

        An operation on results that fails makes the results behind it errors, and no others.
        """
        place = self.place if at is None else at
        finished: dict[str, Finished] = {}
        for key, window in self._windows.items():
            bucket = window.at(place)
            if bucket is None:
                finished[key] = Finished(None, Bucket())
            else:
                finished[key] = Finished(window.reduction, bucket)
        return self._plan.finish(finished, self.errors)

    def to_plain(self) -> dict[str, Any]:
        """Return all state as what the stores' codec carries; encode it before the next apply.

        Nothing is copied: the arrays are those that the next :meth:`apply` writes to.
        """
        return {
            "format": FORMAT,
            "graph": self.graph.to_plain(),
            "place": self.place,
            "errors": dict(self.errors),
            "too_late": self.too_late,
            "windows": {key: window.to_plain() for key, window in self._windows.items()},
        }

    @classmethod
    def from_plain(cls, plain: Any, here: str = "here") -> Accumulator:
        """Return what :meth:`to_plain` described.

        Raises:
            GraphError: it is not the state of an accumulator, or of another format.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            raise GraphError(f"not an accumulator of format {FORMAT}: {str(plain)[:80]}")
        try:
            made = cls(Graph.from_plain(plain["graph"]), here)
            run, interval = plain["place"]
            made.place = (int(run), int(interval))
            made.errors = dict(plain["errors"])
            made.too_late = int(plain["too_late"])
            for key, window in made._windows.items():
                window.load(plain["windows"][key])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GraphError(f"not the state of an accumulator: {error!r}") from error
        return made


def copied(state: State) -> State:
    """Return a state with arrays of its own."""
    if isinstance(state, tuple):
        return tuple(copied(part) for part in state)
    return state.copy() if hasattr(state, "copy") else state


def _same(old: Graph, new: Graph, name: str) -> bool:
    return name in old and name in new and old.fingerprint(name) == new.fingerprint(name)
