"""Accumulate partials into the windows of results: what the global reducer and an offline run share.

Pure: no store, no clock. The states are those of the partials, merged in place, never copied.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from ami.errors import GraphError
from ami.graph.execution.bucket import ANY, Arrival, Place
from ami.graph.execution.partial import ErrorRecord, Partial, merge_errors
from ami.graph.execution.picking import window_of_reduction
from ami.graph.execution.results import NO_PEOPLE, Computed, GlobalPlan, People
from ami.graph.execution.window import Floor, Window
from ami.graph.graph import Graph
from ami.graph.library.base import Reduction, State, bytes_of

FORMAT = 3  # of the plain form
ALL_KEYS: tuple[()] = ()  # the key of a state that has none

Changed = tuple[str, Place, Hashable]
Times = tuple[int | None, int | None]


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


class Accumulator:
    """State of all windows of a graph.

    Attributes:
        place: run and interval of the newest partial.
        errors: by operation, of the current run and graph.
        too_late: events of partials that came when their run or interval was no longer kept.
        interval_ns: length of the intervals, as far as it is known.

    Args:
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
    """

    def __init__(self, graph: Graph, here: str = "here") -> None:
        self._here = here
        self.place: Place = (0, -1)
        self.errors: dict[str, ErrorRecord] = {}
        self.too_late = 0
        self.interval_ns = 0
        self._floor = Floor()
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
            key: self._windows.get(key) or window_of_reduction(reduction, graph.version)
            for key, reduction in plan.windows.items()
        }
        self._cut(graph, self._windows)
        self.errors = {name: record for name, record in self.errors.items() if _same(self.graph, graph, name)}
        self._refused = {key: reasons for key, reasons in self._refused.items() if key in self._windows}
        plan.set_units(self._units)
        self._plan = plan
        self._graph_plain = graph.to_plain()  # once: it is in every checkpoint

    def _cut(self, graph: Graph, windows: Mapping[str, Window]) -> None:
        interval_ns, large = self.interval_ns or 1, bool(graph.large)
        for window in windows.values():
            window.choose(interval_ns=interval_ns, one_in=graph.one_in, large=large)
            window.floor = self._floor

    def hold(self, place: Place | None) -> None:
        """Keep what the windows are at a place, though there are newer ones; None: only at the newest."""
        self._floor.place = place

    def set_interval(self, interval_ns: int) -> None:
        """Say how long the intervals are that come. Windows of intervals of another length begin anew."""
        known, self.interval_ns = self.interval_ns, interval_ns
        for window in self._windows.values() if known else ():
            window.forget_intervals()
        self._cut(self.graph, self._windows)

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

    def apply(
        self,
        partial: Partial,
        *,
        interval: int,
        run: int,
        expected: int,
        dropped: int,
        interval_ns: int = 0,
        times: Times = (None, None),
        to_come: int = 0,
    ) -> None:
        """Take in a partial, of one node or of several, of a whole interval or a supplement.

        The partial must not be used afterwards: its states live on in the windows. States of
        reductions that the graph no longer has are let go.

        Args:
            expected: events published and dropped that this partial accounts for.
            dropped: of these, the ones that the ring did not take.
            interval_ns: length of the interval; 0: not known, and there is no window of time.
            times: of the first and the last event, ns; None where there is none.
            to_come: 1: it is not all of its part of the interval; -1: it is the rest of such a one.
        """
        if interval_ns != self.interval_ns and interval_ns and run >= self.place[0]:
            self.set_interval(interval_ns)
        place = (run, interval)
        arrival = Arrival(place, expected, dropped, partial.set_aside, *times, to_come)
        partial.leave_out(self._plan.reductions.unbound)
        if run > self.place[0]:
            self.begin_run(run)
        for key, reasons in self._refused.items():
            partial.states.pop(key, None)
            partial.fail(key, reasons)
        late = [w.apply(partial, k, arrival) for k, w in self._windows.items()]
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
                f"its states have {sizes.pop(key) >> 20} MiB; all together may have {most >> 20}, {of_what}"
            )
            names = [one.name for one in self.graph.operations if self.graph.fingerprint(one.name) == key]
            self._refused[key] = reasons = dict.fromkeys(names, text)
            window = self._windows[key]
            used = sum(bucket.used for bucket in window.buckets.values())
            self._windows[key] = fresh = window_of_reduction(window.reduction, window.since)
            self._cut(self.graph, {key: fresh})
            merge_errors(self.errors, {name: ErrorRecord(used, reason) for name, reason in reasons.items()})

    @property
    def refused(self) -> dict[str, str]:
        """Of which reductions :meth:`bound` let go, by fingerprint, and why; until the next run."""
        return {key: next(iter(reasons.values())) for key, reasons in self._refused.items()}

    def list_places(self, partial: Partial, place: Place) -> set[Changed]:
        """Return which states :meth:`apply` of this partial changes: reduction, bucket, key or ALL_KEYS."""
        changed: set[Changed] = set()
        for fingerprint, state in partial.states.items():
            window = self._windows.get(fingerprint)
            if window is not None:
                keys = window.reduction.split(state) if window.reduction.keyed else (ALL_KEYS,)
                changed.update((fingerprint, window.where(place), key) for key in keys)
        for fingerprint, window in self._windows.items():
            if window.is_of_events:
                # What comes may also end the interval before.
                changed |= {(fingerprint, place, ALL_KEYS), (fingerprint, ANY, ALL_KEYS)}
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
        people: People = NO_PEOPLE,
    ) -> dict[str, Computed]:
        """Return each published result, for the newest interval or that of ``at`` (run, interval).

        ``errors``: of operations, where they are told to another accumulator. An operation on results that
        fails makes the results behind it errors, and no others. ``without``: reductions whose values are not
        computed. ``people``: who calls people's functions.
        """
        place = self.place if at is None else at
        buckets = {key: window.at(place) for key, window in self._windows.items()}
        return self._plan.finish(buckets, self.errors if errors is None else errors, without, people)

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
            "interval_ns": self.interval_ns,
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
            made.set_interval(int(plain["interval_ns"]))
            for key, window in made._windows.items():
                window.load(plain["windows"][key])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GraphError(f"not the state of an accumulator: {error!r}") from error
        return made


def _same(old: Graph, new: Graph, name: str) -> bool:
    return name in old and name in new and old.fingerprint(name) == new.fingerprint(name)
