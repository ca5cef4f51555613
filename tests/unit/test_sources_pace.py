"""When events are due, by a clock that the test moves."""

from __future__ import annotations

import numpy as np
import pytest

from ami.sources import pace as pacing
from ami.sources.pace import LAG_S, Replay

SECOND = 10**9
BEGIN = 1_700_000_000 * SECOND  # recorded long ago


class Clock:
    """Stands still until it is moved."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def test_the_first_event_is_due_at_once_and_later_ones_by_their_distance_to_it(clock: Clock) -> None:
    pace = Replay(1.0)
    assert pace.due_s(BEGIN) == 0
    assert pace.due_s(BEGIN + SECOND // 4) == pytest.approx(0.25)
    clock.now_s += 0.2
    assert pace.due_s(BEGIN + SECOND // 4) == pytest.approx(0.05)


def test_twice_the_speed_halves_the_distance(clock: Clock) -> None:
    pace = Replay(2.0)
    pace.due_s(BEGIN)
    assert pace.due_s(BEGIN + SECOND) == pytest.approx(0.5)
    clock.now_s += 0.1
    timestamps = BEGIN + np.arange(10) * SECOND // 10
    assert pace.count_due(timestamps) == 3  # those of 0, 0.1 and 0.2 s


def test_as_many_are_due_as_their_time_has_come(clock: Clock) -> None:
    pace = Replay(1.0)
    timestamps = BEGIN + np.arange(100) * SECOND // 100
    assert pace.count_due(timestamps) == 1
    clock.now_s += 0.0451
    assert pace.count_due(timestamps) == 5
    assert pace.count_due(timestamps[50:]) == 0


def test_as_fast_as_possible_everything_is_due_and_nothing_is_late(clock: Clock) -> None:
    pace = Replay(None)
    timestamps = BEGIN + np.arange(100) * 3600 * SECOND
    assert pace.count_due(timestamps) == 100
    clock.now_s += 1e6
    assert pace.due_s(BEGIN) == 0
    assert pace.lag_s == 0


def test_a_short_lag_is_told_and_made_up(clock: Clock) -> None:
    pace = Replay(1.0)
    timestamps = BEGIN + np.arange(200) * SECOND // 100
    pace.due_s(BEGIN)
    clock.now_s += 0.5 * LAG_S
    assert pace.count_due(timestamps[10:]) == 41  # up to now, at full speed
    assert pace.lag_s == pytest.approx(0.5 * LAG_S - 0.1)
    assert pace.due_s(BEGIN + SECOND) == pytest.approx(1 - 0.5 * LAG_S)


def test_after_a_long_lag_the_schedule_is_moved_instead_of_chased(clock: Clock) -> None:
    pace = Replay(1.0)
    timestamps = BEGIN + np.arange(1000) * SECOND // 100
    pace.due_s(BEGIN)
    clock.now_s += 5 * LAG_S
    assert pace.count_due(timestamps[100:]) == 1  # the first of the new schedule
    clock.now_s += 0.0201
    assert pace.count_due(timestamps[101:]) == 2
    assert pace.due_s(BEGIN + 2 * SECOND) == pytest.approx(1 - 0.0201)


def test_the_first_one_is_due_even_if_the_clock_is_a_hair_short(clock: Clock) -> None:
    pace = Replay(3.0)
    pace.due_s(BEGIN)
    clock.now_s += 0.1
    # 0.3 s of event time: whichever way the last bit falls, one that is due is played.
    assert pace.due_s(BEGIN + 299_999_999) <= 0
    assert pace.count_due(np.array([BEGIN + 299_999_999])) == 1
