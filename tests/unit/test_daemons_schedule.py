"""Nodes that play shares of one replay: whoever begins when, or stands still, all are at the same event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.daemons.source.schedule import KEPT, MOST_EARLY_S, Begun, enter
from ami.sources import pace as pacing
from ami.sources.pace import Replay

RATE_HZ = 100
BEGIN_NS = 1_700_000_000 * 10**9
TIMES = BEGIN_NS + np.arange(100_000) * 10**9 // RATE_HZ


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Player:
    """Plays every third event, of those that are due whenever it comes to it."""

    def __init__(self, offset: int, speed: float) -> None:
        self.times = TIMES[offset::3]
        self.pace = Replay(speed, is_shared=True)
        self.played = 0

    def begin(self, known: Begun, now_ns: int) -> Begun:
        event_ns = int(self.times[self.played])
        known, late_s = enter(known, 1, event_ns, now_ns, self.pace.speed)
        self.pace.begin(event_ns, late_s)
        return known

    def play(self) -> None:
        while self.pace.due_s(int(self.times[self.played])) <= 0:
            self.played += self.pace.count_due(self.times[self.played : self.played + 50])


@settings(max_examples=100)
@given(
    st.lists(st.floats(0.0, 30.0), min_size=3, max_size=3),
    st.sampled_from([1.0, 0.5, 4.0]),
    st.integers(0, 2),
    st.booleans(),
    st.floats(0.5, 60.0),
)
def test_who_comes_late_stood_still_or_died_is_where_the_others_are(
    starts: list[float], speed: float, victim: int, dies: bool, away_s: float
) -> None:
    clock = Clock()
    known: Begun = {}
    players = [Player(offset, speed) for offset in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "time", clock)

        def now_ns() -> int:
            return int(clock.now_s * 1e9) + 10**18  # the store's is another one

        for start_s, player in sorted(zip(starts, players, strict=True), key=lambda pair: pair[0]):
            clock.now_s = 1000.0 + start_s
            known = player.begin(known, now_ns())
            player.play()
        clock.now_s += away_s
        players[victim - 1].play()
        players[victim - 2].play()
        clock.now_s += 0.2
        if dies:
            players[victim].pace = Replay(speed, is_shared=True)
            known = players[victim].begin(known, now_ns())
        for player in players:
            player.play()
    reached = [player.times[player.played] for player in players]
    assert max(reached) - min(reached) <= 3 * 10**9 / RATE_HZ
    # The first one's first event was due when it began.
    first = min(range(3), key=starts.__getitem__)
    gone_s = clock.now_s - 1000.0 - starts[first]
    due_ns = int(players[first].times[0] + gone_s * speed * 1e9)
    assert abs(reached[first] - due_ns) <= 3 * 10**9 / RATE_HZ + 1000


def test_of_many_runs_the_newest_are_kept_and_each_has_its_own_schedule() -> None:
    known: Begun = {}
    for run in range(1, 3 * KEPT):
        known, late_s = enter(known, run, BEGIN_NS, run * 10**9, 1.0)
        assert late_s == 0.0
    assert sorted(known) == list(range(2 * KEPT, 3 * KEPT))
    assert enter(known, 3 * KEPT - 1, BEGIN_NS + 10**9, 3 * KEPT * 10**9 + 10**9, 1.0) == (known, 1.0)


def test_a_clock_that_went_back_holds_nobody_up_for_long() -> None:
    known, _ = enter({}, 1, BEGIN_NS, 3600 * 10**9, 1.0)
    assert enter(known, 1, BEGIN_NS, 0, 1.0) == (known, -MOST_EARLY_S)
