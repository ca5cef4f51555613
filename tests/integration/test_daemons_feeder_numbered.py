"""The feeder and a sender that numbers runs, deals events to several nodes, and says what it said again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ami.daemons.source import feeder
from ami.event import Field, Schema, Slots, Transition
from ami.graph.language.text import graph_of
from ami.ring import Entry, RingReader
from ami.sources.base import THE_END, Received, Silence
from ami.sources.refusals import Refusals
from ami.sources.stream import Stream
from ami.sources.uri import parse
from tests.feeder_rig import Killed, World, entries, feed_to_the_end
from tests.ring_rig import ring_name

SCHEMA = Schema((Field("x", np.dtype(np.int64)),))
GRAPH = graph_of("results: {xs: sum_events(x)}").at_version(1)
NOW = 1_700_000_000 * 10**9
BEGIN_RUN, END_RUN, BEGIN_STEP, END_STEP = (
    Transition.BEGIN_RUN,
    Transition.END_RUN,
    Transition.BEGIN_STEP,
    Transition.END_STEP,
)
# What is said: transition or number of events, run, step, its value. Of run 42 some come when it is over.
SAID: list[tuple[Transition | int, int, int, float]] = [
    (BEGIN_RUN, 42, 0, 0.0), (5, 42, 0, 0.0), (BEGIN_STEP, 42, 1, 0.5), (7, 42, 1, 0.5),
    (END_STEP, 42, 1, 0.5), (BEGIN_STEP, 42, 2, 1.5), (3, 42, 2, 1.5), (2, 42, 1, 0.5),
    (END_STEP, 42, 2, 1.5), (END_RUN, 42, 2, 0.0), (BEGIN_RUN, 50, 0, 0.0), (4, 42, 2, 1.5), (6, 50, 0, 0.0),
]  # fmt: skip
EVENTS = 27


class Sender:
    """A :class:`ami.sources.base.LiveInput` that begins where its listener was, some borders earlier."""

    schema: Schema | None = SCHEMA
    content = "numbered"
    skipped = ()
    numbers_runs = True

    def __init__(self) -> None:
        self.refusals = Refusals("numbered")
        self._first = self._place = 0
        self._left: list[Received] = []

    def resume(self, position: int) -> int:
        first = 0
        for said, run, step, value in SAID:
            numbers = {"run": run, "step": step, "step_value": value}
            if isinstance(said, Transition):
                # All of them once more: where he is, only the listener knows.
                border = ((said, value),)
                self._left.append(Received(max(first, position), np.empty(0, np.int64), border, **numbers))
                continue
            start = max(first, position)
            if start < first + said:
                self._left.append(Received(start, NOW + np.arange(start, first + said) * 10**6, **numbers))
            first += said
        return position

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        if not self._left:
            return THE_END
        received = self._left.pop(0)
        self._first = received.position
        return received

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        into["x"][:] = np.arange(self._first + start, self._first + start + into.count)
        into.set_valid(fields)

    def close(self) -> None:
        pass


def source() -> Stream:
    return Stream(Sender(), parse("numbered://"), {"policy": None, "interval": None})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(feeder, "WAIT_S", 0.002)
    with ring_name() as name:
        yield World(name, graph=GRAPH, runs=itertools.repeat(-1))


def wanted() -> list[tuple[int, int, float]]:
    """Return run, step and its value of each event."""
    return [(run, step, value if step else 0.0) for said, run, step, value in SAID
            if not isinstance(said, Transition) for _ in range(said)]  # fmt: skip


def taken(name: str) -> dict[int, tuple[int, int, float]]:
    """Return run, step and its value by number of event; each is there once."""
    found: dict[int, tuple[int, int, float]] = {}
    with RingReader(name, 0) as reader:
        while (block := reader.claim(1 << 16)) is not None:
            entry = block.entry
            for x in block.slots["x"].tolist():
                assert x not in found
                found[x] = (entry.run, entry.step, entry.step_value if entry.step else 0.0)
    return found


def borders(found: list[Entry]) -> list[tuple[int, int, int]]:
    return [(one.transition, one.run, one.step) for one in found if one.transition]


ALL_BORDERS = [(int(said), run, step) for said, run, step, _ in SAID if isinstance(said, Transition)]


def test_events_are_of_the_run_and_step_that_the_sender_says_also_when_it_is_over(world: World) -> None:
    with world.ring(source()) as ring:
        feed_to_the_end(world.feeder(source(), ring))
        assert borders(entries(ring))[:-1] == ALL_BORDERS  # the last is the end of the stream
        assert (ring.cursor.position, ring.cursor.dropped) == (EVENTS, 0)
        assert taken(world.name) == dict(enumerate(wanted()))


def test_no_run_begins_before_the_sender_has_said_its_number(world: World) -> None:
    asked: list[int] = []
    with world.ring(source()) as ring:
        fed = world.feeder(source(), ring)
        fed._new_run = remember(asked)
        feed_to_the_end(fed)
    assert asked == [42, 50]


def remember(asked: list[int]) -> Callable[[int], int]:
    def new_run(given: int) -> int:
        asked.append(given)
        return given

    return new_run


def test_a_feeder_killed_at_any_point_says_each_border_once_and_each_event_in_its_run(world: World) -> None:
    kill_at = 0
    while True:
        kill_at += 1
        with ring_name() as name:
            here = World(name, graph=GRAPH)
            with here.ring(source(), kill_at=kill_at) as ring:
                try:
                    feed_to_the_end(here.feeder(source(), ring))
                except Killed:
                    pass
                else:
                    break
            with here.ring(source()) as ring:
                feed_to_the_end(here.feeder(source(), ring))
                found = borders(entries(ring))
            assert found[: len(ALL_BORDERS)] == ALL_BORDERS, f"killed at {kill_at}"
            assert taken(name) == dict(enumerate(wanted())), f"killed at {kill_at}"
    assert kill_at > 30
