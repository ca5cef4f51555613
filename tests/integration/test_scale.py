"""Made-up nodes on a real global tier: what comes out is what was sent, and what is not is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ami.lab import scale
from ami.lab.fleet import Load
from ami.lab.scale import measure

SMALL = Load(nodes=3, results=12, rate_hz=20, events=2, image=160, seconds=1.0)


def test_what_made_up_nodes_send_is_in_the_results_to_the_last_event() -> None:
    assert measure(SMALL, print).wrong == ()


@pytest.mark.parametrize("off", ["value", "expected", "complete", "picture"])
def test_a_result_that_is_not_what_was_sent_is_found(off: str) -> None:
    events = SMALL.nodes * SMALL.intervals * SMALL.events
    results: dict[str, Any] = {
        name: SimpleNamespace(value=value, events=SimpleNamespace(expected=events), complete=True)
        for name, value in SMALL.truth().items()
    }
    assert list(scale._compare(SMALL, results)) == []
    one = results["picture" if off == "picture" else "r4"]
    if off == "expected":
        one.events.expected -= 1
    elif off == "complete":
        one.complete = False
    else:
        one.value = one.value + 1e-9 if off == "picture" else one.value + 1
    assert len(list(scale._compare(SMALL, results))) == 1


def test_the_truth_is_a_sum_over_all_events_one_by_one() -> None:
    load = replace(SMALL, nodes=2, results=6, seconds=0.4)
    events = [
        (number, load.numbers[load.set_of(node, turn)])
        for node in range(2)
        for turn in range(load.intervals)
        for number in [load.set_of(node, turn // load.per_span)]
    ]
    x = np.concatenate([numbers for _, numbers in events])
    truth = load.truth()
    assert truth["r3"] == sum(int(one) + 3 for one in x)
    assert truth["r4"] == max(int(one) + 4 for one in x)
    assert truth["r5"] == sum(int(one) > 5 for one in x)
    mean = sum(load.picture(number).astype(float) for number, _ in events) / len(events)
    np.testing.assert_allclose(truth["picture"], mean, rtol=1e-12)
