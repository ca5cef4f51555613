"""Made-up nodes on a real global tier: what comes out is what was sent, and what is not is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ami.lab import scale
from ami.lab.fleet import SETS, Fleet, Load
from ami.lab.scale import measure

SMALL = Load(nodes=3, results=12, rate_hz=20, events=2, image=160, seconds=1.0)


def test_what_made_up_nodes_send_is_in_the_results_to_the_last_event() -> None:
    found = measure(SMALL, print)
    assert found.wrong == ()
    assert found.updates > 0
    assert found.in_mb_s > 0 < found.out_mb_s


def test_a_batch_of_other_events_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    send = Fleet._send

    def send_another(self: Fleet, puppets: list[Any], turn: int) -> None:
        if turn == 3:
            self.small = [*self.small[1:], self.small[0]]
        send(self, puppets, turn)

    monkeypatch.setattr(Fleet, "_send", send_another)
    found = measure(replace(SMALL, nodes=1, results=3, image=0, seconds=0.5), print)
    assert [one.partition(":")[0] for one in found.wrong]


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
    assert scale.SENDS_A_PROCESS > 0 < SETS
