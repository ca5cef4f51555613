"""An event that kills or hangs whoever runs it: found, set aside, counted, told; all others go on."""

from __future__ import annotations

import time

import pytest

from tests.system.conftest import Play

BAD = 5000
STOP = 16000


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os._exit(3)", "exit code 3"),
        ("while True: pass", "runs for more than"),
    ],
    ids=["segfault", "exit", "endless loop"],
)
def test_a_poison_event_is_set_aside_and_all_others_are_reduced(play: Play, deed: str, told: str) -> None:
    graph = f"""
functions:
  bad: |
    def bad(monitor, number):
        if number == {BAD}:
            {deed}
        return monitor
results:
  shots: count(monitor)
  poisoned: count(bad(monitor, sequence))
  numbers: sum_events(sequence)
"""
    experiment = play(f"sim://pump-probe?rate=2000&stop={STOP}&policy=wait", graph)
    longest_s, changed, value = 0.0, time.monotonic(), None
    while not experiment.finished():
        found = experiment.client.results().get("shots")
        if found is not None and found.value != value:
            longest_s = max(longest_s, time.monotonic() - changed) if value else 0.0
            changed, value = time.monotonic(), found.value
        assert time.monotonic() - changed < 20
        time.sleep(0.05)
    results = experiment.client.results()
    assert results["shots"].value == results["poisoned"].value == STOP - 1
    assert results["numbers"].value == STOP * (STOP - 1) // 2 - BAD
    assert results["shots"].events.set_aside == 1
    error = results["poisoned"].error or ""
    assert f"event {BAD}" in error
    assert "poisoned" in error
    assert told in error
    assert results["shots"].error is None
    assert longest_s < 5, "the others waited too long"
