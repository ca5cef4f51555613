"""What a result costs, and whom a node that falls behind names."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ami.client.costs import BEHIND_S, LONG_SPAN_S, ResultLoad, judge_results, list_warnings
from ami.client.status import ClusterStatus, ProcessStatus
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.messages.heartbeat import Heartbeat

TEXT = """
values:
  ratio: x / y
results:
  mean: mean_events(ratio)
  twin: mean_events(x / y)
  spread: moments(ratio)
  image: mean_events(camera)
  per_event: sum_events(camera) / sum_events(x)
"""


def beat(**told: dict[str, Any]) -> Heartbeat:
    return Heartbeat(
        process="", pid=7, started_ns=0, beat_ns=0, steps=5, step_age_s=0.0, state="running",
        counters={}, **told
    )  # fmt: skip


def graph() -> Graph:
    return graph_of(TEXT).at_version(1)


@pytest.mark.parametrize("seed", range(20))
def test_the_costs_of_all_results_are_what_was_spent(seed: int) -> None:
    """However operations and states are shared, nothing is counted twice or left out."""
    chance, one = random.Random(seed), graph()
    shares = {operation.name: chance.random() for operation in one.steps_for(one.results)}
    by_key = {one.fingerprint(name): share for name, share in shares.items()}
    reductions = {one.fingerprint(operation.name) for operation in one.operations if operation.reduces}
    told = [
        beat(states={key: chance.uniform(0, 1e9) for key in reductions if chance.random() < 0.7},
             results={name: chance.uniform(0, 1e8) for name in one.results if chance.random() < 0.5})
        for _ in range(3)
    ]  # fmt: skip
    found = judge_results(one, told, shares)
    assert sum(result.share for result in found) == pytest.approx(sum(by_key.values()))
    sent = sum(amount for b in told for amount in b.states.values())
    assert sum(result.state_bytes_s for result in found) == pytest.approx(sent)
    values = sum(amount for b in told for amount in b.results.values())
    assert sum(result.published_bytes_s for result in found) == pytest.approx(values)
    assert [result.cores for result in found] == sorted((result.cores for result in found), reverse=True)


def test_what_two_results_need_is_half_of_each() -> None:
    one = graph()
    found = judge_results(one, [beat(states={one.fingerprint("mean"): 100.0})], {"mean": 0.5})
    assert {result.name: (result.share, result.state_bytes_s) for result in found} == {
        "mean": (0.25, 50.0),
        "twin": (0.25, 50.0),
    }


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1.0, "much", None])
def test_nonsense_in_a_heartbeat_costs_nothing(nonsense: Any) -> None:
    told = beat(states={graph().fingerprint("mean"): nonsense}, results={"image": nonsense})
    assert sum(result.cores for result in judge_results(graph(), [told], {})) == 0.0


def process(kind: str, state: str = "running", **counters: float) -> ProcessStatus:
    return ProcessStatus(host="here", type=kind, number=0, alive=True, state=state, counters=counters)


def warnings(*processes: ProcessStatus) -> list[str]:
    status = ClusterStatus(
        cluster="ami", processes=processes, graph_version=1, graph_hash="", identity=None,
        ring=None, problems=(),
    )  # fmt: skip
    dear = {"owners": ("anna",), "share": 0.5, "state_bytes_s": 3e8, "published_bytes_s": 2e7}
    cheap = {"owners": (), "share": 0.001, "state_bytes_s": 0.0, "published_bytes_s": 0.0}
    results = [ResultLoad(name="scan", **dear), ResultLoad(name="shots", **cheap)]  # type: ignore[arg-type]
    return list_warnings(status, results)


@pytest.mark.parametrize(
    "behind",
    [
        process("source", lag_s=BEHIND_S),
        process("source", drop_hz=3.0),
        process("local-reducer", large_lag_s=LONG_SPAN_S),
        process("worker", "waiting: for the local reducer to take flushes"),
        process("local-reducer", "waiting: for the global reducer"),
    ],
    ids=lambda one: f"{one.type} {one.state} {dict(one.counters)}",
)
def test_a_node_that_falls_behind_names_what_costs_most_and_whose_it_is(behind: ProcessStatus) -> None:
    first, dear, advice = warnings(process("global-reducer"), behind)
    assert behind.name in first
    assert dear.startswith(
        "result scan of anna costs 50 % of a core on the workers, 300 MB/s of states, 20 MB/s"
    )
    assert "ami graph remove" in advice


def test_a_node_that_keeps_up_names_nobody() -> None:
    within = process("source", lag_s=BEHIND_S / 2, drop_hz=0.0), process("local-reducer", large_lag_s=1.0)
    assert warnings(*within, process("worker", "waiting: for the ring")) == []


def test_where_nothing_is_known_of_costs_the_node_still_says_that_it_is_behind() -> None:
    status = ClusterStatus(
        cluster="ami", processes=(process("source", lag_s=9.0),), graph_version=None, graph_hash=None,
        identity=None, ring=None, problems=(),
    )  # fmt: skip
    assert list_warnings(status, ()) == ["a node falls behind: here:source:0 is 9 s behind its pace"]


def test_on_a_machine_that_is_busy_with_other_things_no_cheap_result_is_blamed() -> None:
    source = process("source", lag_s=BEHIND_S)
    status = ClusterStatus(
        cluster="ami", processes=(source,), graph_version=1, graph_hash="", identity=None, ring=None,
        problems=(),
    )  # fmt: skip
    cheap = ResultLoad(name="n", owners=("ben",), share=0.004, state_bytes_s=1e6, published_bytes_s=0.0)
    _, what = list_warnings(status, [cheap])
    assert what.startswith("no result costs much here")
