"""A function on results that ends its process: its own result ends, and nobody else's."""

from __future__ import annotations

from tests.system.conftest import Play
from tests.waiting import wait_until

STOP = 6000


def test_what_kills_the_process_of_results_costs_its_own_result_and_is_told(play: Play) -> None:
    graph = f"""
functions:
  ends: |
    def ends(shots):
        import os
        if shots > {STOP // 4}:
            os._exit(3)
        return shots
  twice: |
    def twice(shots):
        return 2 * shots
results:
  shots: count(monitor)
  ended: ends(shots)
  doubled: twice(shots)
"""
    experiment = play(f"sim://pump-probe?rate=2000&stop={STOP}&policy=wait", graph)
    reducer = experiment.node.pid("global-reducer")
    results = experiment.run_to_the_end()
    assert results["shots"].value == STOP
    assert results["ended"].value is None
    assert "ends the process with exit code 3" in (results["ended"].error or "")
    wait_until(lambda: experiment.client.get("doubled").value == 2 * STOP, what="what is computed beside it")
    assert experiment.node.pid("global-reducer") == reducer
    wait_until(
        lambda: any("'ended'" in line for line in experiment.client.status().warnings), what="its line"
    )
