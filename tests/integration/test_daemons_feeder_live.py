"""The feeder and a stream, which gives everything once: what is published, counted, and closed when."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ami.daemons.source import feeder
from ami.event import Field, Schema, Slots, Transition
from ami.graph.language.text import graph_of
from ami.ring import RingReader
from ami.sources import pace
from ami.sources.base import NOTHING_YET, THE_END, Received, Silence, Source
from ami.sources.pace import GRACE_S
from ami.sources.refusals import Refusals
from ami.sources.stream import Stream
from ami.sources.uri import parse
from tests.feeder_rig import Killed, World, entries, feed_to_the_end
from tests.ring_rig import ring_name

SCHEMA = Schema((Field("x", np.dtype(np.int64)), Field("y", np.dtype(np.int64))))
BOTH = graph_of("results: {xs: sum_events(x), ys: sum_events(y)}").at_version(1)
ONE = graph_of("results: {xs: sum_events(x)}").at_version(2)
STEP_NS = 10_000_000  # five events an interval of 50 ms
NOW = 1_700_000_000 * 10**9
EVENTS = 120


class Tape:
    """What a sender sends: it goes on whether anybody listens or not, and outlives every source.

    Event n has the number n as ``x``, and time n * STEP_NS. Each call of ``receive`` of any source
    gives the next few; a few that were sent meanwhile are gone.
    """

    def __init__(self, stop: int = EVENTS) -> None:
        self.stop = stop
        self.next = 0

    def source(self) -> Source:
        return Stream(Listener(self), parse("tape://"), {"policy": None, "interval": None})


class Listener:
    """A :class:`ami.sources.base.LiveInput` of a tape."""

    schema: Schema | None = SCHEMA
    content = "tape"
    skipped = ()

    def __init__(self, tape: Tape) -> None:
        self.refusals = Refusals("tape")
        self.reads: list[tuple[int, frozenset[str]]] = []
        self._tape = tape
        self._expected: int | None = None
        self._said = False
        self._first = 0

    def resume(self, position: int) -> int:
        self._expected = position or None
        return position

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        first = self._tape.next
        if first >= self._tape.stop:
            return THE_END
        lost, self._expected = 0 if self._expected is None else first - self._expected, first
        if first % 40 == 0 and not self._said:
            self._said = True
            return Received(first, np.empty(0, np.int64), ((Transition.BEGIN_STEP, first / 40),), lost)
        self._said = False
        stop = min(first + 3 + first % 5, first - first % 40 + 40, self._tape.stop)
        self._tape.next = self._expected = stop
        self._first = first
        return Received(first, NOW + np.arange(first, stop) * STEP_NS, (), lost)

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        first = self._first + start
        self.reads.append((into.count, fields))
        for name in fields:
            into.columns[name][:] = np.arange(first, first + into.count)
        into.set_valid(fields)

    def close(self) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(feeder, "WAIT_S", 0.002)
    with ring_name() as name:
        yield World(name, graph=BOTH)


def published(name: str) -> list[int]:
    """Return the numbers of the events in a ring, each of which must be its own."""
    found: list[int] = []
    with RingReader(name, 0) as reader:
        while (block := reader.claim(1 << 16)) is not None:
            numbers = block.slots["x"].tolist()
            assert ((block.slots.timestamps - NOW) // STEP_NS).tolist() == numbers
            assert {(NOW + n * STEP_NS) // 50_000_000 for n in numbers} == {block.entry.interval}
            found += numbers
    return found


def test_a_stream_is_cut_into_intervals_and_steps(world: World) -> None:
    source = Tape().source()
    with world.ring(source) as ring:
        feed_to_the_end(world.feeder(source, ring))
        found = entries(ring)
        assert (ring.cursor.published, ring.cursor.dropped, ring.cursor.position) == (EVENTS, 0, EVENTS)
    assert published(world.name) == list(range(EVENTS))
    said = [Transition(entry.transition).name for entry in found if entry.transition]
    assert said == ["BEGIN_RUN", "BEGIN_STEP", "BEGIN_STEP", "BEGIN_STEP", "END_RUN"]
    assert [sum(e.count for e in found if e.step == step) for step in (1, 2, 3)] == [40, 40, 40]


def things_done() -> int:
    source = Tape().source()
    with ring_name() as name:
        world = World(name, graph=BOTH)
        with world.ring(source) as ring:
            feed_to_the_end(world.feeder(source, ring))
            return ring.done  # type: ignore[attr-defined,no-any-return]


def test_a_feeder_killed_at_any_point_publishes_nothing_twice_and_what_is_missing_is_counted() -> None:
    most = things_done()
    assert most > 50
    lost_somewhere = 0
    for kill_at in range(1, most - 3):  # the last event tells of what is missing before it
        tape = Tape()
        with ring_name() as name:
            world = World(name, graph=BOTH)
            source = tape.source()
            with world.ring(source, kill_at=kill_at) as ring, pytest.raises(Killed):
                feed_to_the_end(world.feeder(source, ring))
            begun = ring.cursor.published
            source = tape.source()
            assert tape.next < EVENTS
            with world.ring(source) as ring:
                assert ring.resumed
                feed_to_the_end(world.feeder(source, ring))
                cursor = ring.cursor
            found = published(name)
        assert found == sorted(set(found))
        assert cursor.published == len(found)
        first = 0 if begun else found[0]  # before its first event nobody knows of a stream
        assert cursor.published + cursor.dropped == EVENTS - first, f"killed at {kill_at}"
        lost_somewhere += cursor.dropped
    assert lost_somewhere > 0


def test_what_finds_no_room_is_dropped_and_never_read(world: World) -> None:
    source = Tape().source()
    listener = source._input  # type: ignore[attr-defined]
    with world.ring(source, slots=16) as ring:
        feed_to_the_end(world.feeder(source, ring, drop=True))
        assert (ring.cursor.published, ring.cursor.dropped, ring.cursor.position) == (16, EVENTS - 16, EVENTS)
    assert sum(count for count, _ in listener.reads) == 16


def test_each_entry_has_the_fields_of_its_graph_also_of_events_that_came_before_it(world: World) -> None:
    source = Tape().source()
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        while ring.cursor.published < 30:
            feeding.step()
        world.graph = ONE
        feed_to_the_end(feeding)
        wanted = {1: ["x", "y"], 2: ["x"]}
        seen = set()
        with RingReader(world.name, 0) as reader:
            while (block := reader.claim(1 << 16)) is not None:
                assert list(block.slots.columns) == wanted[block.entry.graph_version]
                assert all(block.slots.has(name).all() for name in block.slots.columns)
                seen.add(block.entry.graph_version)
    assert seen == {1, 2}


class Clock:
    now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


def test_an_interval_is_closed_by_the_clock_when_nothing_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)

    class Pausing(Listener):
        def receive(self, timeout_s: float, limit: int) -> Received | Silence:
            waits.append(timeout_s)
            return super().receive(timeout_s, limit) if self._tape.next < 3 else NOTHING_YET

    waits: list[float] = []
    source = Stream(Pausing(Tape()), parse("tape://"), {"policy": None, "interval": None})
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        for _ in range(8):
            feeding.step()
        assert ring.cursor.published == 3  # the newest is 20 ms into its interval
        assert ring.open is not None
        clock.now_s += 0.030 + GRACE_S - 0.001
        feeding.step()
        assert ring.open is not None
        assert 0 < waits[-1] <= 0.0011, "no longer than until the interval is over"
        clock.now_s += 0.002
        feeding.step()
        assert ring.open is None
        assert entries(ring)[-1].count == 3


def test_a_ring_that_a_stream_ended_a_run_in_is_gone_on_with(world: World) -> None:
    tape = Tape(stop=10)
    source = tape.source()
    with world.ring(source) as ring:
        feed_to_the_end(world.feeder(source, ring))
    tape.stop = 20
    source = tape.source()
    with world.ring(source) as ring:
        assert ring.resumed
        feeding = world.feeder(source, ring)
        assert not feeding.finished
        feed_to_the_end(feeding)
        assert ring.cursor.published == 20
