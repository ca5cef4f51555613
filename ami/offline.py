"""Run a graph over a source in this process: the stages of a node, without ring, stores and daemons.

The worker's plan runs on blocks, a partial is made of each entry (events of one interval, run and
step), and the accumulator of the global reducer takes the partials in: the same code, in the same
order as on a node with one worker. So a node's results can be compared with these.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ami.errors import SourceError
from ami.event import Slots, Transition
from ami.graph.check import check, list_cautions
from ami.graph.execution.lanes import with_lanes
from ami.graph.execution.partial import Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.results import Computed
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.result import Result
from ami.sources import intervals
from ami.sources.base import THE_END, Source, Span

logger = logging.getLogger(__name__)

NODE = "offline"  # what results name as their node and worker
INTERVAL_S = 0.05
BLOCK_BYTES = 16 << 20
SPAN_EVENTS = 1 << 16
WAIT_S = 0.2

Progress = Callable[[int, int | None], object]


@dataclass(slots=True)
class OfflineResults:
    """What a run over a source gave.

    results: by name, as of the last interval, each with its envelope.
    events: how many were run; all that the source has, up to the limit. Only a stream's can be missing.
    intervals, runs, steps: how many there were.
    last_run_events: how many of the events were in the last run.
    duration_s: wall time that it took.
    """

    results: dict[str, Result] = field(default_factory=dict)
    events: int = 0
    intervals: int = 0
    runs: int = 0
    steps: int = 0
    last_run_events: int = 0
    duration_s: float = 0.0

    def __getitem__(self, name: str) -> Result:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


def run(
    graph: Graph,
    source: Source,
    *,
    limit: int | None = None,
    interval_ns: int | None = None,
    block_events: int = 8192,
    progress: Progress | None = None,
) -> OfflineResults:
    """Return the results of ``graph`` over the events of ``source``, as fast as possible.

    Args:
        limit: number of events at most; None: all.
        interval_ns: length of interval; None: as the source asks or proposes, else 50 ms.
        progress: is called after each block with the events so far and their total, if known.

    Raises:
        GraphError: the graph does not suit the source.
        SourceError: the source has gone bad, or has no end and there is no limit.
    """
    if limit is None and source.length is None:
        raise SourceError("the source has no end; give a limit, or stop= in its URI")
    interval_ns = interval_ns or intervals.choose(source, INTERVAL_S)
    kinds = check(graph, source.schema)
    for _, caution in list_cautions(graph, kinds):
        logger.warning("%s", caution)
    graph = with_lanes(graph, kinds, intervals.on_the_clock(source, interval_ns))
    begun = time.monotonic()
    offline = _Offline(graph, source, interval_ns, block_events)
    total = min(number for number in (limit, source.length) if number is not None)
    while offline.counts.events < total:
        wanted = min(SPAN_EVENTS, total - offline.counts.events)
        span = source.span(offline.counts.events, wanted, WAIT_S)
        if span is THE_END:
            break
        if isinstance(span, Span):
            offline.play(span, total, progress)
    if total == source.length and isinstance(span := source.span(total, 1), Span):
        offline.play(span, total, progress)  # what is said behind the last event
    offline.counts.results = offline.results()
    offline.counts.duration_s = time.monotonic() - begun
    return offline.counts


class _Offline:
    """A worker's plan and an accumulator, with the place in the stream."""

    def __init__(self, graph: Graph, source: Source, interval_ns: int, block_events: int) -> None:
        self.counts = OfflineResults()
        self._graph = graph
        self._source = source
        self._interval_ns = interval_ns
        self._plan = WorkerPlan(graph, source.schema)
        self._lanes = [Accumulator(graph.lane(large=large)) for large in (False, True)]
        for accumulator in self._lanes:
            accumulator.set_units({field.name: field.unit for field in source.schema.fields})
        wanted = source.schema.select(self._plan.fields)
        count = max(1, min(block_events, BLOCK_BYTES // wanted.event_bytes))
        self._slots = Slots.allocate(wanted, count)
        self._interval: int | None = None
        self._begin_run()

    def _begin_run(self) -> None:
        self.counts.runs += 1
        self.counts.last_run_events = 0
        self._interval = None
        for accumulator in self._lanes:
            accumulator.begin_run(self.counts.runs)

    def play(self, span: Span, total: int, progress: Progress | None) -> None:
        """Run the events of a span, entry by entry."""
        for transition, _ in span.transitions:
            if transition == Transition.BEGIN_RUN:
                self._begin_run()
            self.counts.steps += transition == Transition.BEGIN_STEP
        lost = span.lost
        for interval, start, stop in intervals.split(span.timestamps, self._interval_ns):
            if interval != self._interval:
                self._interval = interval
                self.counts.intervals += 1
            times = int(span.timestamps[start]), int(span.timestamps[stop - 1])
            partial = self._run(span.first + start, stop - start, total, progress)
            facts = {"interval": interval, "run": self.counts.runs, "dropped": lost}
            for accumulator, part in zip(self._lanes, self._plan.lanes.split(partial, interval), strict=True):
                accumulator.apply(
                    part, expected=stop - start + lost, times=times, interval_ns=self._interval_ns, **facts
                )
            lost = 0

    def _run(self, position: int, count: int, total: int, progress: Progress | None) -> Partial:
        """Return what the plan makes of ``count`` events of one entry."""
        interval = self._interval or 0
        partial = self._plan.partial(interval)
        done = 0
        while done < count:
            block = self._slots.part(0, min(self._slots.count, count - done))
            self._source.read(position + done, block, self._plan.fields)
            self._plan.run(block, self.counts.events, partial, interval=interval)
            self.counts.events += block.count
            self.counts.last_run_events += block.count
            done += block.count
            if progress is not None:
                progress(self.counts.events, total)
        return partial

    def results(self) -> dict[str, Result]:
        """Return the results as of the last interval."""
        now_ns, errors = time.time_ns(), self._lanes[0].errors
        computed = {name: one for lane in self._lanes for name, one in lane.results(errors=errors).items()}
        return {name: self._result(name, computed[name], now_ns) for name in self._graph.results}

    def _result(self, name: str, computed: Computed, now_ns: int) -> Result:
        return computed.to_result(
            name,
            computed.events(),
            run=self.counts.runs,
            interval=self._interval or 0,
            interval_ns=self._interval_ns,
            nodes=(NODE,),
            workers=(NODE,),
            graph_version=self._graph.version,
            graph_hash=self._graph.hash,
            published_ns=now_ns,
            one_in=dict(self._graph.large).get(name, 1),
        )
