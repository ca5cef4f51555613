"""The pure parts of `ami chaos`: the plan, the truth, the sums. A check that cannot fail checks nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace

import numpy as np
import pytest

from ami.cli.chaos import report_guests
from ami.errors import AmiError, ConfigError
from ami.graph.language.text import graph_of
from ami.lab import hutch_truth, witness
from ami.lab.pictures import LARGE, PictureTruth
from ami.lab.strikes import NODE, TWO, Outcome, Strike, rows, schedule, targets
from ami.lab.truth import SCRATCH, Deviation, Truth, cyclic_counts, find_end
from ami.offline import run
from ami.result import Result
from ami.sources import open_source

NONE = Deviation()
TRUTH = Truth()
EVENTS = 1_234_567  # into the second round of every cycle


@pytest.fixture(scope="module")
def right() -> Mapping[str, Result]:
    """What one process makes of the source's first events."""
    return reduced(EVENTS)


def reduced(events: int) -> Mapping[str, Result]:
    return reduced_by(TRUTH, events)


def reduced_by(truth: Truth, events: int) -> Mapping[str, Result]:
    with closing(open_source(truth.uri(None))) as source:
        return run(graph_of(truth.graph), source, limit=events).results


def changed(results: Mapping[str, Result], change: Callable[[np.ndarray], None]) -> dict[str, Result]:
    """The results with the counts of both histograms changed."""
    found = dict(results)
    for name in ("fine", "coarse"):
        counts = results[name].value.counts.copy()
        change(counts)
        found[name] = replace(results[name], value=replace(results[name].value, counts=counts))
    return found


# the truth


@pytest.mark.parametrize("events", [1, 999, 100_001])
def test_the_formulas_are_what_a_run_in_one_process_gives(events: int) -> None:
    assert TRUTH.deviation(reduced(events), events) == Deviation()


def test_they_hold_beyond_the_ends_of_the_cycles(right: Mapping[str, Result]) -> None:
    assert TRUTH.deviation(right, EVENTS) == Deviation()
    assert find_end(right) == EVENTS
    assert set(TRUTH.compute(1)) | {SCRATCH} == set(right)


@pytest.mark.parametrize(("bins", "run"), [(7, 1), (5, 3), (13, 10)])
@pytest.mark.parametrize("events", [0, 1, 14, 131, 1000])
def test_cyclic_counts_are_those_of_a_loop(events: int, bins: int, run: int) -> None:
    counted = np.bincount(np.arange(events) // run % bins, minlength=bins)
    assert cyclic_counts(events, bins, run).tolist() == counted.tolist()


def test_a_sum_beyond_64_bits_is_right_as_the_float_that_it_is_given_as(right: Mapping[str, Result]) -> None:
    events = 7 * 10**9
    exact = events * (events - 1) // 2
    account = replace(right["index_sum"].events, expected=events, used=events)
    for value, wrong in ((float(exact), False), (float(exact) * (1 + 1e-9), True)):
        result = replace(right["index_sum"], value=value, events=account)
        assert ("index_sum" in TRUTH.deviation({"index_sum": result}, events).wrong) is wrong


def test_events_that_are_missing_are_lost(right: Mapping[str, Result]) -> None:
    found = TRUTH.deviation(right, EVENTS + 3)
    assert (found.lost, found.twice) == (3, 0)
    assert set(found.wrong) == set(TRUTH.compute(1))


def test_events_too_many_are_counted_twice(right: Mapping[str, Result]) -> None:
    found = TRUTH.deviation(right, EVENTS - 5)
    assert (found.lost, found.twice) == (0, 5)


def test_loss_and_double_counts_do_not_hide_each_other(right: Mapping[str, Result]) -> None:
    def change(counts: np.ndarray) -> None:
        counts[10] -= 4
        counts[20] += 4

    found = TRUTH.deviation(changed(right, change), EVENTS)
    assert found == Deviation(lost=4, twice=4, wrong=("fine", "coarse"))


@pytest.mark.parametrize("name", list(TRUTH.compute(1)))
def test_a_result_that_is_missing_or_an_error_is_wrong(right: Mapping[str, Result], name: str) -> None:
    without = {other: result for other, result in right.items() if other != name}
    assert TRUTH.deviation(without, EVENTS).wrong == (name,)
    failed = {**right, name: replace(right[name], error="it did not work")}
    assert TRUTH.deviation(failed, EVENTS).wrong == (name,)


@pytest.mark.parametrize("account", [{"expected": 1}, {"dropped": 1}, {"set_aside": 1}])
def test_a_result_whose_account_is_not_exact_is_wrong(
    right: Mapping[str, Result], account: dict[str, int]
) -> None:
    lit = replace(right["lit"], events=replace(right["lit"].events, **account))
    assert TRUTH.deviation({**right, "lit": lit}, EVENTS).wrong == ("lit",)


def test_a_mean_that_is_a_little_off_is_wrong(right: Mapping[str, Result]) -> None:
    scan = right["scan"].value
    means = scan.means + 1e-9
    off = replace(right["scan"], value=replace(scan, means=means))
    assert TRUTH.deviation({**right, "scan": off}, EVENTS).wrong == ("scan",)


@pytest.mark.parametrize("events", [1, 17, 161, 700])
def test_images_have_a_truth_too_and_each_result_is_held_against_it(events: int) -> None:
    truth = PictureTruth(side=32)
    right = reduced_by(truth, events)
    assert truth.deviation(right, events) == NONE
    for name in LARGE:
        wrong = copy.deepcopy(right[name])
        values = wrong.value.means if name == "pictures" else wrong.value
        values.flags.writeable = True
        values[..., 3] += 1
        assert truth.deviation({**right, name: wrong}, events).wrong == (name,)


def test_a_hutch_has_a_truth_too_and_each_result_is_held_against_it() -> None:
    truth, events = hutch_truth.HutchTruth(), 70
    right = reduced_by(truth, events)
    assert truth.deviation(right, events) == NONE
    for name in truth.names:
        without = {other: result for other, result in right.items() if other != name}
        assert truth.deviation(without, events).wrong == (name,)
    for name in {*truth.names} - {hutch_truth.MEAN}:
        wrong = copy.deepcopy(right[name])
        if np.isscalar(wrong.value):
            wrong = replace(wrong, value=wrong.value + 1)
        else:
            values = getattr(wrong.value, "counts", wrong.value)
            values.flags.writeable = True
            values[..., 3] += 1
        assert truth.deviation({**right, name: wrong}, events).wrong == (name,)


# the plan


def test_each_target_is_hit_once_a_round() -> None:
    plan = schedule(4, (), workers=2, seed=1)
    wanted = targets(2)
    assert len(plan) == 4 * len(wanted)
    for start in range(0, len(plan), len(wanted)):
        assert {strike.target for strike in plan[start : start + len(wanted)]} == set(wanted)


def test_the_plan_follows_from_the_seed() -> None:
    assert schedule(3, (), workers=2, seed=7) == schedule(3, (), workers=2, seed=7)
    assert schedule(3, (), workers=2, seed=7) != schedule(3, (), workers=2, seed=8)


def test_two_at_once_are_two_different_processes() -> None:
    plan = schedule(200, (TWO,), workers=2, seed=1)
    pairs = {frozenset(strike.victims) for strike in plan}
    assert {len(pair) for pair in pairs} == {2}
    assert len(pairs) == 36  # all that 9 processes make
    assert not any(NODE in pair for pair in pairs)


def test_only_what_was_asked_for_is_hit() -> None:
    plan = schedule(2, ("worker:1", "source"), workers=2, seed=1)
    assert sorted(strike.target for strike in plan) == ["source", "source", "worker:1", "worker:1"]
    assert all(strike.victims == (strike.target,) for strike in plan)


def test_a_target_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'worker:2'.*worker:0, worker:1"):
        schedule(1, ("worker:2",), workers=2, seed=1)


# the sums


def outcome(target: str, recovery_s: float, deviation: Deviation = NONE) -> Outcome:
    return Outcome(Strike(target, (target,), 0.1), recovery_s, deviation)


def test_a_row_has_the_median_and_the_longest_recovery_and_the_sums() -> None:
    worse = Deviation(2, 1, ("fine", "coarse"))
    found = rows([outcome("a", 1.0), outcome("b", 9.0), outcome("a", 5.0, worse), outcome("a", 2.0)])
    assert [row.target for row in found] == ["a", "b"]
    assert asdict(found[0]) == {
        "target": "a",
        "rounds": 3,
        "recovery_s_median": 2.0,
        "recovery_s_max": 5.0,
        "lost": 2,
        "twice": 1,
        "wrong": 2,
    }
    assert [row.exact for row in found] == [False, True]


def test_what_was_lost_before_is_not_counted_to_the_next_kill() -> None:
    before, now = Deviation(3, 0, ("fine",)), Deviation(5, 1, ("fine", "lit"))
    assert now.beyond(before) == Deviation(2, 1, ("lit",))
    assert not before.beyond(before)
    assert before.together(Deviation(2, 1, ("lit", "fine"))) == Deviation(5, 1, ("fine", "lit"))


def test_after_a_guest_who_ruins_a_node_the_others_get_another_and_the_table_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guests = [witness.Guest(deed, lambda _: None, lambda _: None) for deed in "abcd"]
    nodes: list[str] = []

    @contextmanager
    def running(*_: object, **__: object) -> Iterator[str]:
        nodes.append("")
        yield "a node"

    def receive(_place: object, guest: witness.Guest) -> witness.Notice:
        nodes[-1] += guest.deed
        if guest.deed in "bd":
            raise AmiError("a result is 9.0 s old")
        return replace(witness._give_up(guest, AmiError()), told="nothing", exact=True, well=0.1)

    monkeypatch.setattr(witness.arena, "running", running)
    monkeypatch.setattr(witness, "_receive", receive)
    found = witness.run(guests, workers=1, progress=lambda *_: None)
    assert nodes == ["ab", "cd"]
    assert [(one.deed, one.exact) for one in found] == [("a", True), ("b", False), ("c", True), ("d", False)]
    assert report_guests(found).splitlines()[3].startswith("| b | NOT WELL: a result is 9.0 s old | inf s")
