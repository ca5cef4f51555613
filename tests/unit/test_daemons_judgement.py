"""When a process counts as hanging."""

from __future__ import annotations

import pytest

from ami.daemons.monitor.judgement import MOST, REMEMBERED_S, START_S, Attention, Judgement

PATIENCE = {"heartbeat": 3.0, "block": 1.5}


@pytest.fixture
def judgement() -> Judgement:
    return Judgement(PATIENCE, strict={"block"})


def test_a_process_whose_sign_changes_never_hangs(judgement: Judgement) -> None:
    for second in range(100):
        assert judgement.silent_s("heartbeat", "worker:0", 7, second // 2, float(second)) is None


@pytest.mark.parametrize("kind", sorted(PATIENCE))
def test_one_whose_sign_stays_the_same_hangs_after_the_patience_with_its_kind(
    judgement: Judgement, kind: str
) -> None:
    assert judgement.silent_s(kind, "worker:0", 7, 41, 0.0) is None
    assert judgement.silent_s(kind, "worker:0", 7, 42, 10.0) is None
    assert judgement.silent_s(kind, "worker:0", 7, 42, 10.0 + PATIENCE[kind]) is None
    assert judgement.silent_s(kind, "worker:0", 7, 42, 10.1 + PATIENCE[kind]) == pytest.approx(
        PATIENCE[kind] + 0.1
    )


def test_a_process_that_never_gave_a_sign_has_time_to_start(judgement: Judgement) -> None:
    assert judgement.silent_s("heartbeat", "worker:0", 7, None, 0.0) is None
    assert judgement.silent_s("heartbeat", "worker:0", 7, None, START_S - 1) is None
    assert judgement.silent_s("heartbeat", "worker:0", 7, None, START_S + 1) == START_S + 1


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize(("kind", "sign"), [("heartbeat", None), ("begins", 3)])
def test_a_start_is_judged_by_the_time_that_it_had_and_all_else_by_the_clock(
    kind: str, sign: object, share: float
) -> None:
    judgement = Judgement({**PATIENCE, "begins": START_S}, by_own={"begins"})
    for second in range(1, 1000):
        clock, own = float(second), 5.0 + share * second
        if judgement.silent_s(kind, "worker:0", 7, sign, clock, own):
            break
    assert START_S < share * (second - 1) <= START_S + 1
    assert judgement.silent_s("heartbeat", "worker:0", 7, 1, 1000.0, 60.0) is None
    assert judgement.silent_s("heartbeat", "worker:0", 7, 1, 1001.0 + PATIENCE["heartbeat"], 60.0)


def test_one_that_gave_signs_and_falls_silent_has_no_such_time(judgement: Judgement) -> None:
    judgement.silent_s("heartbeat", "worker:0", 7, 1, 0.0)
    assert judgement.silent_s("heartbeat", "worker:0", 7, None, 1.0) is None
    assert judgement.silent_s("heartbeat", "worker:0", 7, None, 4.5) == pytest.approx(3.5)


def test_a_successor_with_another_pid_begins_anew(judgement: Judgement) -> None:
    judgement.silent_s("heartbeat", "worker:0", 7, None, 0.0)
    judgement.silent_s("heartbeat", "worker:0", 7, 5, 1.0)
    assert judgement.silent_s("heartbeat", "worker:0", 8, None, 60.0) is None
    assert judgement.silent_s("heartbeat", "worker:0", 8, None, 60.0 + START_S - 1) is None


def test_one_that_was_condemned_is_not_condemned_again_at_once(judgement: Judgement) -> None:
    judgement.silent_s("block", "worker:0", 7, 5, 0.0)
    assert judgement.silent_s("block", "worker:0", 7, 5, 2.0)
    assert judgement.silent_s("block", "worker:0", 7, 5, 2.5) is None
    assert judgement.silent_s("block", "worker:0", 7, 5, 3.9) is None
    assert judgement.silent_s("block", "worker:0", 7, 5, 4.1)


def test_kinds_and_processes_are_judged_each_for_itself(judgement: Judgement) -> None:
    for name in ("worker:0", "worker:1"):
        judgement.silent_s("block", name, 7, 1, 0.0)
        judgement.silent_s("heartbeat", name, 7, 1, 0.0)
    judgement.silent_s("block", "worker:1", 7, 2, 1.0)
    assert judgement.silent_s("block", "worker:0", 7, 1, 2.0)
    assert judgement.silent_s("block", "worker:1", 7, 2, 2.0) is None
    assert judgement.silent_s("heartbeat", "worker:0", 7, 1, 2.0) is None
    assert judgement.watched == 2


def test_while_control_is_silent_nobody_is_judged_by_heartbeats(judgement: Judgement) -> None:
    judgement.silent_s("heartbeat", "worker:0", 7, 5, 0.0)
    judgement.silent_s("block", "worker:0", 7, 5, 0.0)
    judgement.forget("heartbeat")
    assert judgement.silent_s("heartbeat", "worker:0", 7, 5, 100.0) is None
    assert judgement.silent_s("block", "worker:0", 7, 5, 100.0)


def test_a_process_that_does_not_run_is_forgotten(judgement: Judgement) -> None:
    judgement.silent_s("block", "worker:0", 7, 5, 0.0)
    judgement.silent_s("block", "worker:1", 8, 5, 0.0)
    judgement.keep({"worker:1"})
    assert judgement.watched == 1
    assert judgement.silent_s("block", "worker:0", 7, 5, 9.0) is None


def last_of(judgement: Judgement, pid: int, sign: object, began: float) -> float:
    """Return for how long (s) one that gives no other sign from ``began`` on lives."""
    for tenth in range(100_000):
        if judgement.silent_s("heartbeat", "reducer:0", pid, sign, began + tenth / 10):
            return tenth / 10
    raise AssertionError("it lives for ever")


@pytest.mark.parametrize("step_s", [4.0, 11.0, 40.0])
def test_who_dies_of_a_step_that_takes_long_does_not_die_of_it_for_ever(
    judgement: Judgement, step_s: float
) -> None:
    """Its successor begins the same step anew: the monitor must be the one who gives in."""
    now, lives = 0.0, []
    for pid in range(10):
        lived_s = last_of(judgement, pid, 1, now)
        if lived_s > step_s:
            break
        lives.append(lived_s)
        now += lived_s
    else:
        raise AssertionError(f"killed again and again, after {lives} s")
    assert lives == sorted(lives)
    assert len(lives) <= 2


def test_one_that_never_gets_on_is_found_each_time_and_an_old_death_is_forgotten(
    judgement: Judgement,
) -> None:
    now = 0.0
    for pid in range(10):
        lived_s = last_of(judgement, pid, 1, now)
        assert lived_s <= MOST * PATIENCE["heartbeat"] + 0.2
        now += lived_s
    later = now + REMEMBERED_S + MOST * PATIENCE["heartbeat"] + 1
    assert last_of(judgement, 99, 1, later) == pytest.approx(PATIENCE["heartbeat"], abs=0.2)


@pytest.mark.parametrize("away_s", [4.0, 60.0])
def test_who_stood_still_together_with_all_others_condemns_nobody_and_finds_who_hangs(
    judgement: Judgement, away_s: float
) -> None:
    attention, now = Attention(), 1000.0
    for look in range(4):
        assert judgement.silent_s("heartbeat", "worker:0", 7, look, attention.look(now)) is None
        now += 0.5
    now += away_s
    # What it says after that comes only now.
    assert judgement.silent_s("heartbeat", "worker:0", 7, 3, attention.look(now)) is None
    assert attention.was_away
    silent_s = None
    for _ in range(8):
        now += 0.5
        silent_s = silent_s or judgement.silent_s("heartbeat", "worker:0", 7, 3, attention.look(now))
        assert not attention.was_away
    assert silent_s == pytest.approx(PATIENCE["heartbeat"], abs=1.0)
