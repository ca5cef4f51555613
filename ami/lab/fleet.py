"""Stand in for the nodes of a cluster at the global tier: what their local reducers send, at its pace.

Each made-up node has a name with its lease, an inbox, and a mark beside each batch, as a real one; a run
begins and ends on each. What is in the batches was reduced once by the worker's own plan, of a few known
sets of events; so the load does not depend on the events, and what must come out is a sum by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ami.config import Config
from ami.errors import AmiError
from ami.event import Array, Field, Schema, Slots, Transition
from ami.graph.execution.partial import Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.messages.batch import Batch, Mark
from ami.messages.flush import Covers, EntryFacts
from ami.messages.large import IntervalPart, LargeBatch, LargeMark
from ami.stores import Store, keys, roles
from ami.stores.opened import Stores

SETS = 8  # of events, of which each node has another one in each interval
MOST = 1000  # x is below it
RENEW_S = 2.0
SPAN_S = 0.3  # so often large states are sent
RUN, RING, VERSION = 1, 1, 1


@dataclass(frozen=True)
class Load:
    """So many nodes send so many results ``rate_hz`` times a second, of so many events each.

    ``image``: pixels of one side of a camera whose mean is a large result beside the others; 0: none.
    """

    nodes: int = 16
    results: int = 200
    rate_hz: float = 20.0
    events: int = 1
    image: int = 0
    seconds: float = 10.0

    @property
    def interval_ns(self) -> int:
        return round(1e9 / self.rate_hz)

    @property
    def intervals(self) -> int:
        return max(1, round(self.seconds * self.rate_hz))

    @property
    def hosts(self) -> list[str]:
        return [f"node{number}" for number in range(self.nodes)]

    @property
    def per_span(self) -> int:
        """Intervals of a span."""
        return max(1, round(SPAN_S * self.rate_hz))

    @cached_property
    def schema(self) -> Schema:
        image = [Field("image", np.dtype(np.float32), (self.image, self.image))] if self.image else []
        return Schema((Field("x", np.dtype(np.int64)), *image))

    @cached_property
    def graph(self) -> Graph:
        kinds = ("sum_events(x + {0})", "max_events(x + {0})", "count(x where x > {0})")
        lines = [f"  r{n}: {kinds[n % 3].format(n)}" for n in range(self.results)]
        made = graph_of(
            "\n".join(["results:", *lines, *(["  picture: mean_events(image)"] * bool(self.image))])
        )
        return replace(made.at_version(VERSION), large=(("picture", 1),) if self.image else ())

    @cached_property
    def numbers(self) -> list[Array]:
        """The values of x in each set of events."""
        rng = np.random.default_rng(1)
        return [rng.integers(0, MOST, self.events) for _ in range(SETS)]

    def picture(self, number: int) -> Array:
        """Return the image that all events of a set have."""
        pixels: Array = (np.arange(self.image**2) % 97 + number).reshape(self.image, self.image)
        return pixels.astype(np.float32)

    def set_of(self, node: int, turn: int) -> int:
        """Return the number of the set that a node sends in an interval, or a span."""
        return (node + turn) % SETS

    def truth(self) -> dict[str, Any]:
        """Return what each result must be after the last interval, worked out without any reduction."""
        times = np.zeros(SETS, int)
        for node in range(self.nodes):
            for turn in range(self.intervals):
                times[self.set_of(node, turn)] += 1
        sums = [int(one.sum()) for one in self.numbers]
        found: dict[str, Any] = {}
        for n in range(self.results):
            counted = [int((one > n).sum()) for one in self.numbers]
            found[f"r{n}"] = (
                int(sum(t * (s + n * self.events) for t, s in zip(times, sums, strict=True))),
                max(int(one.max()) for t, one in zip(times, self.numbers, strict=True) if t) + n,
                int(sum(t * c for t, c in zip(times, counted, strict=True))),
            )[n % 3]
        if self.image:
            found["picture"] = self._mean_picture()
        return found

    def _mean_picture(self) -> Array:
        weights = np.zeros(SETS)
        for node in range(self.nodes):
            for span in range(-(-self.intervals // self.per_span)):
                lasts = min(self.per_span, self.intervals - span * self.per_span)
                weights[self.set_of(node, span)] += lasts
        base = self.picture(0).astype(np.float64)
        mean: Array = base + (weights * np.arange(SETS)).sum() / weights.sum()
        return mean


def reduce_sets(load: Load) -> list[Partial]:
    """Return what a node sends of an interval of each set, small states only."""
    plan = WorkerPlan(load.graph.lane(large=False), load.schema)
    return [_reduce(plan, load, {"x": numbers}) for numbers in load.numbers]


def reduce_pictures(load: Load, intervals: int) -> list[Partial]:
    """Return the large states of a span of so many intervals of each set."""
    plan, found = WorkerPlan(load.graph.lane(large=True), load.schema), []
    for number in range(SETS):
        partial = plan.partial()
        for _ in range(intervals * load.events):
            _run(plan, load, {"image": load.picture(number)[None]}, partial)
        found.append(partial)
    return found


def _reduce(plan: WorkerPlan, load: Load, columns: Mapping[str, Array]) -> Partial:
    partial = plan.partial()
    _run(plan, load, columns, partial)
    return partial


def _run(plan: WorkerPlan, load: Load, columns: Mapping[str, Array], partial: Partial) -> None:
    count = len(next(iter(columns.values())))
    slots = Slots.allocate(load.schema.select(frozenset(columns)), count)
    for name, values in columns.items():
        slots.columns[name][:] = values
    slots.timestamps[:] = 0
    slots.set_valid(frozenset(columns))
    plan.run(slots, 0, partial)


@dataclass
class Puppet:
    """A node of which there is only what it sends."""

    load: Load
    number: int
    host: str
    store: Store
    batches: int = 0
    spans: int = 0

    def __post_init__(self) -> None:
        self.inbox = self.store.journal(keys.inbox(self.host))
        self.large_inbox = self.store.journal(keys.large_inbox(self.host))
        self.claim = self.store.claim(keys.node(self.host), keys.NODE_LEASE_S, f"made up {self.host}")

    def send_border(self, transition: Transition) -> None:
        self._send(0, int(transition), Covers(), None)

    def send(self, interval: int, partial: Partial) -> None:
        """Send the batch of an interval."""
        self._send(interval, 0, self._covers(interval), partial)

    def _covers(self, interval: int) -> Covers:
        first_ns = interval * self.load.interval_ns
        return Covers(
            events=self.load.events, first_ns=first_ns, last_ns=first_ns + self.load.interval_ns - 1
        )

    def _send(self, interval: int, transition: int, covers: Covers, partial: Partial | None) -> None:
        self.batches += 1
        entry = EntryFacts(
            ring=RING, index=self.batches, interval=interval, run=RUN, step=0, step_value=0.0,
            graph_version=VERSION,
        )  # fmt: skip
        batch = Batch(
            node=self.host, entry=entry, interval_ns=self.load.interval_ns, transition=transition,
            covers=covers, expected=covers.events, dropped=0, complete=True, supplement=False,
            workers=(keys.prefix(self.host, "worker", 0),) if partial is not None else (), partial=partial,
        )  # fmt: skip
        mark = Mark(
            batch=self.batches, ring=RING, next_entry=self.batches + 1, late=(), flushes={},
            positions={RING: self.batches},
        )  # fmt: skip
        self._append(self.inbox.append(self.batches, batch, also={keys.mark(self.host): mark}))

    def send_span(self, intervals: range, states: Partial) -> None:
        """Send the large states of a span, with the account of each of its intervals."""
        self.spans += 1
        one = dict.fromkeys(states.used, self.load.events)
        parts = [
            IntervalPart(
                interval=interval, covers=self._covers(interval), expected=self.load.events, dropped=0,
                partial=Partial(
                    VERSION, seen=self.load.events, used=dict(one),
                    states=states.states if interval == intervals[-1] else {},
                ),
            )
            for interval in intervals
        ]  # fmt: skip
        batch = LargeBatch(
            node=self.host, ring=RING, span=self.spans, run=RUN, graph_version=VERSION,
            interval_ns=self.load.interval_ns, workers=(keys.prefix(self.host, "worker", 0),),
            intervals=parts, last=True, complete=True,
        )  # fmt: skip
        mark = LargeMark(batch=self.spans, places={RING: (self.spans + 1, 0)})
        self._append(self.large_inbox.append(self.spans, batch, also={keys.large_mark(self.host): mark}))

    def _append(self, taken: bool) -> None:
        if not taken:
            raise AmiError(f"a batch of {self.host} was refused: somebody fenced it")


@dataclass
class Sent:
    """How far the nodes kept their pace: by how much the latest batch was late, and CPU time, s."""

    late_s: float = 0.0
    core_s: float = 0.0
    problem: str = ""


@dataclass
class Fleet:
    """Some of the nodes of a load, played by one process.

    Args:
        numbers: which.
        first: the first interval; its events are over when the next one begins by the clock.
    """

    config: Config
    load: Load
    numbers: range
    first: int
    small: list[Partial] = field(default_factory=list)
    large: dict[int, list[Partial]] = field(default_factory=dict)  # by intervals of the span

    def play(self) -> Sent:
        """Send all intervals, each when it is over."""
        sent, stores = Sent(), Stores(self.config, roles.of_process("local-reducer"))
        with closing(stores):
            store = stores.cluster("global-reducer")
            puppets = [Puppet(self.load, n, self.load.hosts[n], store) for n in self.numbers]
            for puppet in puppets:
                puppet.claim.take()
                puppet.send_border(Transition.BEGIN_RUN)
            renew_at = 0.0
            for turn in range(self.load.intervals):
                due_s = (self.first + turn + 1) / self.load.rate_hz
                time.sleep(max(0.0, due_s - time.time()))
                if time.monotonic() >= renew_at:
                    renew_at = time.monotonic() + RENEW_S
                    for puppet in puppets:
                        puppet.claim.renew()
                self._send(puppets, turn)
                sent.late_s = max(sent.late_s, time.time() - due_s)
            for puppet in puppets:
                puppet.send_border(Transition.END_RUN)
                puppet.claim.leave()
        sent.core_s = time.process_time()
        return sent

    def _send(self, puppets: list[Puppet], turn: int) -> None:
        load = self.load
        for puppet in puppets:
            puppet.send(self.first + turn, self.small[load.set_of(puppet.number, turn)])
        is_last = turn + 1 == load.intervals
        if not load.image or ((turn + 1) % load.per_span and not is_last):
            return
        span = turn // load.per_span
        intervals = range(self.first + span * load.per_span, self.first + turn + 1)
        for puppet in puppets:
            puppet.send_span(intervals, self.large[len(intervals)][load.set_of(puppet.number, span)])


def share_out(config: Config, load: Load, first: int, processes: int) -> Iterator[Fleet]:
    """Yield the fleets of a load, one for each process that plays some of its nodes."""
    small, large = reduce_sets(load), {}
    if load.image:
        lasts = {load.per_span, load.intervals % load.per_span or load.per_span}
        large = {count: reduce_pictures(load, count) for count in lasts}
    for number in range(processes):
        nodes = range(number, load.nodes, processes)
        yield Fleet(config, load, nodes, first, small, large)
