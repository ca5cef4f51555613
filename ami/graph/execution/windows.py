"""Accumulate partials into the windows of results: what the global reducer and an offline run share.

A window is a set of *buckets*, each with a state and the account of the events in it: one for each
run (window "run"), one for each interval (windows "interval" and "last K"), or one for the batch
in the making (window "N events"). A partial goes into the bucket that its run and interval name,
so one that comes late, or a supplement, lands where it belongs. A few older buckets are kept for
that; what comes later still is counted in ``too_late``.

Pure: no store, no clock. The states are those of the partials, merged in place, never copied.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ami.errors import GraphError
from ami.graph.execution.bucket import ANY, Bucket, Place
from ami.graph.execution.lanes import copied
from ami.graph.execution.partial import (
    ErrorRecord,
    Partial,
    merge_errors,
)
from ami.graph.execution.results import Computed, GlobalPlan
from ami.graph.graph import Graph
from ami.graph.library.base import Reduction, State, bytes_of

FORMAT = 2  # of the plain form
KEPT_RUNS = 2  # this one, and the one before for what comes late at the border
ALL_KEYS: tuple[()] = ()  # the key of a state that has none
KEPT_INTERVALS = 4  # beyond those that a window needs

Changed = tuple[str, Place, Hashable]


@dataclass(frozen=True, slots=True)
class ByKey:
    """A result of a run as it can be had key by key: the states of its keys, in their order."""

    fingerprint: str
    place: Place
    reduction: Reduction
    states: dict[Hashable, State]

    def value_of(self, key: Hashable) -> Any:
        """Return the value of one key alone."""
        return self.reduction.result(self.states[key])


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
        self.is_of_runs = words == ["run"]
        self._events = int(words[0]) if words[-1] == "events" else 0
        self._last = int(words[1]) if words[0] == "last" else 1
        self.choose(1)

    def choose(self, one_in: int) -> None:
        """If it is of intervals, take in one of so many from now on: those whose number this divides."""
        self._one_in = 1 if self.is_of_runs or self._events else one_in
        # How many intervals it reaches over, of those that are taken in.
        self._intervals = -(-self._last // self._one_in)
        older = KEPT_INTERVALS if self._one_in == 1 else 1
        self._kept = KEPT_RUNS if self.is_of_runs else self._intervals + older

    def apply(self, partial: Partial, key: str, place: Place, expected: int, dropped: int) -> bool:
        """Take a partial in; return whether it came too late for that."""
        if key not in partial.states and partial.graph_version < self.since:
            return False
        if place[1] % self._one_in:
            return False
        where = self.where(place)
        bucket = self.buckets.get(where)
        if bucket is None:
            if len(self.buckets) >= self._kept and where < min(self.buckets):
                return True
            bucket = self.buckets[where] = Bucket()
            while len(self.buckets) > self._kept:
                del self.buckets[min(self.buckets)]
        bucket.count(partial, partial.used.get(key, 0), expected, dropped, place)
        if key in partial.states:
            full, bucket.state = self.reduction.fill(bucket.state, partial.states[key])
            if full is not None:
                self.batch = replace(bucket, state=full, used=self._events)
                self.buckets = {ANY: Bucket(bucket.state)}
        return False

    def where(self, place: Place) -> Place:
        """Return the place of the bucket into which goes what comes from ``place``."""
        return ANY if self._events else (place[0], 0) if self.is_of_runs else place

    def begin_run(self, run: int) -> None:
        """Make the run's bucket the newest, so that results begin anew without an event."""
        if self.is_of_runs:
            self.buckets.setdefault((run, 0), Bucket())
            while len(self.buckets) > KEPT_RUNS:
                del self.buckets[min(self.buckets)]

    def at(self, place: Place) -> Bucket | None:
        """Return the bucket of the window that ends at ``place``, None when there is nothing in it.

        For window "last K" it is made by merging K buckets.
        """
        if self._events:
            return self.batch
        if self.is_of_runs:
            return self.buckets.get((place[0], 0))
        place = (place[0], place[1] - place[1] % self._one_in)
        if self._intervals == 1:
            return self.buckets.get(place)
        # By number: a gap in the events is a gap in the window.
        first = place[1] - (self._intervals - 1) * self._one_in
        near = [key for key in sorted(self.buckets) if key <= place and key[1] >= first]
        chosen = [self.buckets[key] for key in near[-self._intervals :]]
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

    def measure(self) -> int:
        """Return how many bytes its states have."""
        buckets = [*self.buckets.values(), *([] if self.batch is None else [self.batch])]
        return sum(bytes_of(bucket.state) for bucket in buckets)

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
        self._refused: dict[str, dict[str, str]] = {}  # reasons by fingerprint and name, until the next run
        self._windows: dict[str, Window] = {}
        self._units: Mapping[str, str] = {}
        self._plan = GlobalPlan(Graph(), here)
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
        for window in self._windows.values():
            window.choose(graph.one_in)
        self.errors = {name: record for name, record in self.errors.items() if _same(self.graph, graph, name)}
        self._refused = {key: reasons for key, reasons in self._refused.items() if key in self._windows}
        plan.set_units(self._units)
        self._plan = plan
        self._graph_plain = graph.to_plain()  # once: it is in every checkpoint

    def set_units(self, units: Mapping[str, str]) -> None:
        """Take up the units of the source's fields, for the labels of the results."""
        if units != self._units:
            self._units = units
            self._plan.set_units(units)

    def begin_run(self, run: int) -> None:
        """Begin the windows of a run; interval windows and batches go on."""
        if run != self.place[0]:
            self.errors, self._refused = {}, {}
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
        for key, reasons in self._refused.items():
            partial.states.pop(key, None)
            partial.fail(key, reasons)
        late = [w.apply(partial, k, place, expected, dropped) for k, w in self._windows.items()]
        if any(late):
            self.too_late += partial.seen
        if run == self.place[0]:
            known = {name: record for name, record in partial.errors.items() if name in self.graph}
            merge_errors(self.errors, known)
        self.place = max(self.place, place)

    def bound(self, most: int, of_what: str) -> None:
        """Let go of the largest states until all of them have at most ``most`` bytes.

        Their events, and those of this run that come, count as failed for these reductions.

        Args:
            of_what: why not more, for people.
        """
        sizes = {key: window.measure() for key, window in self._windows.items()}
        while sum(sizes.values()) > most:
            key = max(sizes, key=sizes.__getitem__)
            text = (
                f"its states have {sizes.pop(key) >> 20} MiB; all large ones may have {most >> 20}, {of_what}"
            )
            names = [one.name for one in self.graph.operations if self.graph.fingerprint(one.name) == key]
            self._refused[key] = reasons = dict.fromkeys(names, text)
            window = self._windows[key]
            used = sum(bucket.used for bucket in window.buckets.values())
            self._windows[key] = fresh = Window(window.reduction, window.since)
            fresh.choose(self.graph.one_in)
            merge_errors(self.errors, {name: ErrorRecord(used, reason) for name, reason in reasons.items()})

    def list_places(self, partial: Partial, place: Place) -> set[Changed]:
        """Return which states :meth:`apply` of this partial changes: reduction, bucket, key or ALL_KEYS."""
        changed: set[Changed] = set()
        for fingerprint, state in partial.states.items():
            window = self._windows.get(fingerprint)
            if window is not None:
                keys = window.reduction.split(state) if window.reduction.keyed else (ALL_KEYS,)
                changed.update((fingerprint, window.where(place), key) for key in keys)
        return changed

    def split(self, fingerprint: str, state: State) -> dict[Hashable, State]:
        """Return a state by its keys, as :meth:`list_places` names them; nothing is copied."""
        reduction = self._windows[fingerprint].reduction
        return reduction.split(state) if reduction.keyed else {ALL_KEYS: state}

    def join(self, fingerprint: str, states: Mapping[Hashable, State]) -> State:
        """Return the state that was split into these."""
        if ALL_KEYS in states:
            return states[ALL_KEYS]
        return self._windows[fingerprint].reduction.join(states)

    def list_by_key(self, least: int) -> dict[str, ByKey]:
        """Return the results of runs that can be had key by key, if their states have ``least`` bytes."""
        found = {}
        for name, fingerprint in self._plan.list_alone().items():
            window = self._windows[fingerprint]
            place = window.where(self.place)
            bucket = window.buckets.get(place)
            if window.is_of_runs and bucket is not None and bytes_of(bucket.state) >= least:
                found[name] = ByKey(
                    fingerprint, place, window.reduction, window.reduction.split(bucket.state)
                )
        return found

    def results(
        self,
        at: Place | None = None,
        errors: Mapping[str, ErrorRecord] | None = None,
        without: Collection[str] = (),
    ) -> dict[str, Computed]:
        """Return each published result, for the newest interval or that of ``at`` (run, interval).

        ``errors``: of operations, where they are told to another accumulator. An operation on results that
        fails makes the results behind it errors, and no others. ``without``: reductions whose values are not
        computed.
        """
        place = self.place if at is None else at
        buckets = {key: window.at(place) for key, window in self._windows.items()}
        return self._plan.finish(buckets, self.errors if errors is None else errors, without)

    def to_plain(self) -> dict[str, Any]:
        """Return all state as what the stores' codec carries; encode it before the next apply.

        Nothing is copied: the arrays are those that the next :meth:`apply` writes to.
        """
        return {
            "format": FORMAT,
            "graph": self._graph_plain,
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


def _same(old: Graph, new: Graph, name: str) -> bool:
    return name in old and name in new and old.fingerprint(name) == new.fingerprint(name)
