"""What a stream makes of the times that it gets."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
import pytest

from ami.event import Field, Schema, Slots, Transition
from ami.sources import stream
from ami.sources.base import NOTHING_YET, THE_END, Received, Silence, Span
from ami.sources.refusals import Refusals
from ami.sources.stream import LATE_NS, Stream
from ami.sources.uri import parse

S = 10**9
NOW = 1_700_000_000 * S
X = Schema((Field("x", np.dtype(np.int64)),))


class Played:
    """A live input that receives what a test lays down."""

    schema: Schema | None = X
    content = "played"
    skipped = ()

    def __init__(self, *pieces: Any) -> None:
        self.refusals = Refusals("played")
        self._pieces = deque(pieces)
        self._position = 0

    def put(self, *times: int, lost: int = 0) -> None:
        self._position += lost
        self._pieces.append(Received(self._position, np.array(times, np.int64), (), lost))
        self._position += len(times)

    def resume(self, position: int) -> int:
        return position

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        return self._pieces.popleft() if self._pieces else NOTHING_YET

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        into["x"][:] = np.arange(start, start + into.count)

    def close(self) -> None:
        pass


class Clock:
    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return NOW + 3600 * S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stream, "time", clock)
    return clock


@pytest.fixture
def played(clock: Clock) -> Played:
    return Played()


def streamed(played: Played) -> Stream:
    return Stream(played, parse("played://"), {"policy": None, "interval": None})


def told(source: Stream) -> list[tuple[list[int], int]]:
    """Return the times of all spans, in s after NOW, and what is missing before each."""
    found = []
    while source._spans or source._input._pieces:  # type: ignore[attr-defined]  # it is a Played
        if isinstance(span := source.span(0, 1000), Span):
            found.append(([(t - NOW) // S for t in span.timestamps.tolist()], span.lost))
    return found


def test_equal_and_ascending_times_are_one_span(played: Played) -> None:
    played.put(NOW, NOW, NOW + S, NOW + S)
    assert told(streamed(played)) == [([0, 0, 1, 1], 0)]


def test_a_late_event_is_a_span_of_its_own_and_is_counted(played: Played) -> None:
    source = streamed(played)
    played.put(NOW, NOW + 5 * S, NOW + 3 * S, NOW + 6 * S)
    played.put(NOW + 4 * S)
    assert told(source) == [([0, 5], 0), ([3, 6], 0), ([4], 0)]
    assert (source.counters["late"], source.counters["refused"], source.counters["lost"]) == (2, 0, 0)


@pytest.mark.parametrize("absurd", [-1, -(2**62), NOW + 26 * 3600 * S, 2**63 - 1])
def test_an_absurd_time_is_refused_by_name_and_counted_as_lost(played: Played, absurd: int) -> None:
    source = streamed(played)
    played.put(NOW, absurd, NOW + S)
    assert told(source) == [([0], 0), ([1], 1)]
    assert (source.counters["refused"], source.counters["lost"]) == (1, 1)
    assert played.refusals.reason == f"timestamp {absurd} ns is before 1970 or more than a day from now"


def test_one_time_that_falls_far_back_is_refused(played: Played, clock: Clock) -> None:
    source = streamed(played)
    played.put(NOW, 0, 0, NOW + S)
    clock.now_s += 100
    played.put(0)
    played.put(NOW + 2 * S)
    assert told(source) == [([0], 0), ([1], 2), ([2], 1)]
    assert source.counters["set_back"] == 0
    assert played.refusals.reason == "timestamp 0 ns is 1700000001 s before that of the newest event"


def test_when_nothing_but_far_earlier_times_come_another_run_begins(played: Played, clock: Clock) -> None:
    source = streamed(played)
    played.put(NOW)
    back = NOW - 2 * LATE_NS
    played.put(back)
    assert told(source) == [([0], 0)]
    clock.now_s += 0.5
    played.put(back + S)
    assert told(source) == []
    clock.now_s += 0.6
    played.put(back + 2 * S, back + 3 * S)
    span = source.span(0, 100)
    assert isinstance(span, Span)
    assert (span.count, span.lost) == (2, 2)
    assert [transition for transition, _ in span.transitions] == [Transition.END_RUN, Transition.BEGIN_RUN]
    played.put(back + 4 * S)
    assert told(source) == [([-16], 0)]
    assert source.counters["set_back"] == 1


def test_nothing_but_absurd_times_are_no_clock_set_back(played: Played, clock: Clock) -> None:
    source = streamed(played)
    for _ in range(3):
        clock.now_s += 10
        played.put(-5)
    assert told(source) == []
    assert (source.counters["set_back"], source.counters["lost"]) == (0, 3)


def test_a_quiet_stream_says_so_and_since_when(played: Played, clock: Clock) -> None:
    source = streamed(played)
    assert source.state == ""
    clock.now_s += 34.2
    assert source.state == "waiting: no events for 34 s from played://"
    played.put(NOW)
    told(source)
    assert source.state == ""


def test_a_stream_that_sends_only_what_is_refused_has_failed_for_as_long_as_it_does(clock: Clock) -> None:
    played = Played()
    source = streamed(played)
    real = time.monotonic()
    clock.now_s = real + 10
    played.put(-5)
    told(source)
    assert source.state.startswith("failed: played:// sends only what is refused: timestamp -5 ns") is (
        played.refusals.since(source._came_at)
    )


def test_what_is_more_than_was_asked_for_is_kept(played: Played) -> None:
    source = streamed(played)
    played.put(*(NOW + n for n in range(5)), lost=2)
    spans = [source.span(0, 2), source.span(0, 2), source.span(0, 2)]
    assert [(s.first, s.count, s.lost) for s in spans if isinstance(s, Span)] == [
        (2, 2, 2),
        (4, 2, 0),
        (6, 1, 0),
    ]
    slots = Slots.allocate(X, 2)
    source.read(5, slots, frozenset({"x"}))
    assert slots["x"].tolist() == [3, 4]


def test_a_stream_may_end(clock: Clock) -> None:
    class Ending(Played):
        def receive(self, timeout_s: float, limit: int) -> Received | Silence:
            return THE_END

    assert streamed(Ending()).span(0, 10) is THE_END


def test_a_stream_drops_what_finds_no_room_unless_it_is_asked_to_wait(played: Played) -> None:
    assert streamed(played).policy == "drop"
    assert Stream(played, parse("played://"), {"policy": "wait", "interval": 0.1}).policy == "wait"
