"""An event that kills or hangs whoever runs it: found, counted, told; all others go on."""

from __future__ import annotations

import pytest

from tests.system.conftest import Play

BAD = 2000
STOP = 6000


@pytest.mark.parametrize(
    ("deed", "told", "aside"),
    [
        ("import ctypes; ctypes.string_at(0)", f"SIGSEGV) (event {BAD})", 1),
        ("while True: pass", f"first for {BAD}: ", 0),
    ],
    ids=["segfault", "endless loop"],
)
def test_a_poison_event_is_found_and_all_others_are_reduced(
    play: Play, deed: str, told: str, aside: int
) -> None:
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
    results = experiment.run_to_the_end()
    assert results["shots"].value == STOP - aside
    assert results["poisoned"].value == STOP - 1
    assert results["numbers"].value == STOP * (STOP - 1) // 2 - aside * BAD
    assert results["shots"].events.set_aside == aside
    error = results["poisoned"].error or ""
    assert "poisoned" in error
    assert told in error
    assert results["shots"].error is None
