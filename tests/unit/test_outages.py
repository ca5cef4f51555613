"""The pure parts of `ami chaos --nodes`: the plan, the truth, the sums."""

from __future__ import annotations

import copy
from contextlib import closing
from dataclasses import replace

import pytest

from ami.errors import ConfigError
from ami.graph.language.text import graph_of
from ami.lab import machines, site
from ami.lab.outages import SENDER, TARGETS, Damage, Outage, plan, sum_up
from ami.lab.shared_truth import SharedTruth
from ami.lab.truth import Deviation
from ami.offline import run
from ami.sources import open_source


def test_each_target_comes_once_a_round_what_the_sender_suffers_last_and_the_same_for_the_same_seed() -> None:
    found = plan(3, (), seed=5)
    assert sorted(outage.target for outage in found) == sorted(3 * TARGETS)
    assert [outage.target for outage in found[-3:]] == 3 * [SENDER]
    assert found == plan(3, (), seed=5)
    assert found != plan(3, (), seed=6)


def test_words_choose_all_targets_that_have_them_and_others_are_refused() -> None:
    assert {outage.target for outage in plan(1, ("primary", "net"), seed=1)} == {
        "primary", "primary and its copy", "machine off the net",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'moon'.*sender"):
        plan(1, ("source", "moon"), seed=1)


def test_an_account_has_medians_and_sums_and_is_exact_only_without_any_fault() -> None:
    def damage(target: str, results_s: float, **more: object) -> Damage:
        facts = {"results_s": results_s, "whole_s": 2 * results_s, "acknowledged": 3, **more}
        return Damage(outage=Outage(target, 0.1, 1), victims=(), **facts)  # type: ignore[arg-type]  # as given

    found = sum_up([damage("node", 9.0), damage("source", 1.0), damage("node", 1.0), damage("node", 2.0)])
    assert [account.target for account in found] == ["source", "node"]
    node = found[1]
    assert (node.rounds, node.results_s_median, node.results_s_max, node.whole_s_median) == (3, 2.0, 9.0, 4.0)
    assert (node.acknowledged, node.exact) == (9, True)
    for more in ({"deviation": Deviation(1)}, {"edits_lost": 1}, {"faults": ("one",)}):
        assert not sum_up([damage("node", 1.0, **more)])[0].exact


@pytest.mark.parametrize("events", [4, 1010, 5001])
def test_shares_have_a_truth_and_each_result_is_held_against_it(events: int) -> None:
    truth = SharedTruth(3)
    with closing(open_source(truth.uri(None))) as source:
        right = run(graph_of(truth.graph), source, limit=events).results
    assert truth.deviation(right, events) == Deviation()
    for name in truth.names:
        wrong = copy.deepcopy(right[name])
        if not hasattr(wrong.value, "counts"):
            wrong = replace(wrong, value=wrong.value + (-3 if name.startswith("newest") else 1))
        else:
            wrong.value.counts.flags.writeable = True
            wrong.value.counts[3] += 1
        found = truth.deviation({**right, name: wrong}, events)
        assert found.wrong, name
        assert found.twice == (0 if name.startswith("sum") else 1), name
    lacking = replace(right["events1"], value=right["events1"].value - 2)
    assert truth.deviation({**right, "events1": lacking}, events) == Deviation(2, 0, ("events1",))


def test_who_may_make_no_namespaces_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines.shutil, "which", lambda _tool: "/there")
    monkeypatch.setattr(machines.os, "getuid", lambda: 1234)
    with pytest.raises(machines.NoMachines, match="only root .* user 1234"):
        site.run(plan(1, ("node",), seed=1), machines=3, hold_s=1, delay_ms=0, progress=lambda *_: None)
