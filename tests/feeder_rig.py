"""What tests of the feeder share: a ring whose writer can be killed at any point, and what a stream says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ami.daemons.source.feeder import Feeder
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.ring import Entry, RingObserver, RingWriter
from ami.sources import intervals
from ami.sources.base import Source

FIELDS = graph_of("results: {shots: count(monitor), delays: moments(delay)}").at_version(1)


class Killed(BaseException):
    """The process is dead: nobody handles this."""


class MortalWriter(RingWriter):
    """A real writer whose process is killed at the n-th thing that it does to the ring."""

    kill_at = 0
    done = 0

    def _live(self) -> None:
        type(self).done += 1
        if self.done == self.kill_at:
            raise Killed

    def open_entry(self, **facts: object) -> bool:
        self._live()
        return super().open_entry(**facts)  # type: ignore[arg-type]

    def close_entry(self) -> None:
        self._live()
        super().close_entry()

    def reserve(self, limit: int):  # type: ignore[no-untyped-def]
        self._live()
        return super().reserve(limit)

    def publish(self, slots_written: int, *, position: int) -> None:
        self._live()
        super().publish(slots_written, position=position)

    def drop(self, count: int, *, position: int) -> None:
        self._live()
        super().drop(count, position=position)


@dataclass
class World:
    """What outlives a source process: the ring's name, the count of runs, the newest graph."""

    name: str
    runs: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    graph: Graph = FIELDS
    naps: list[float] = field(default_factory=list)

    def ring(
        self, source: Source, *, slots: int = 256, entries: int = 256, kill_at: int = 0, policy: str = "wait"
    ) -> RingWriter:
        mortal = type("Mortal", (MortalWriter,), {"kill_at": kill_at, "done": 0})
        ring: RingWriter = mortal.create(
            self.name,
            source.schema,
            source_id=source.identity,
            bytes=slots * source.schema.event_bytes,
            max_slots=slots,
            entries=entries,
            interval_ns=intervals.choose(source, 0.05),
            policy=policy,
        )
        return ring

    def feeder(self, source: Source, ring: RingWriter, *, drop: bool = False) -> Feeder:
        return Feeder(
            source,
            ring,
            interval_ns=ring_interval_ns(source),
            drop=drop,
            graph=lambda: self.graph,
            nap=self.naps.append,
            new_run=lambda said: said if source.numbers_runs else next(self.runs),
        )


def ring_interval_ns(source: Source) -> int:
    return intervals.choose(source, 0.05)


def feed_to_the_end(feeder: Feeder, *, most: int = 2000) -> None:
    for _ in range(most):
        if feeder.finished:
            return
        feeder.step()
    raise AssertionError(f"not finished after {most} steps, at {feeder.position}")


def entries(ring: RingWriter | RingObserver) -> list[Entry]:
    return [ring.entry(index) for index in range(ring.cursor.entries_opened)]


Stamp = tuple[int, int, int, float, int, int]


def story(ring: RingWriter | RingObserver) -> list[Stamp]:
    """Return what the stream says, however it was cut.

    Each is (transition, run's rank, step, its value, interval, events). Entries without events say nothing;
    two that say the same are one, cut where a source died.
    """
    told: list[Stamp] = []
    runs: list[int] = []
    for entry in entries(ring):
        if not entry.transition and not entry.count + entry.dropped:
            continue
        if entry.run not in runs:
            assert not runs or entry.run > runs[-1], "numbers of runs ascend"
            runs.append(entry.run)
        events = entry.count + entry.dropped
        value = None if np.isnan(entry.step_value) else entry.step_value
        now = (entry.transition, runs.index(entry.run), entry.step, value, entry.interval)
        if told and not entry.transition and told[-1][:-1] == now:
            events += told.pop()[-1]
        told.append((*now, events))  # type: ignore[arg-type]
    return told
