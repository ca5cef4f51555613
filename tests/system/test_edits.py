"""Edits of the graph while events flow: nothing is lost, and nobody's accumulation begins anew."""

from __future__ import annotations

import pytest

from ami.client import connect
from ami.errors import GraphError
from tests.system.conftest import Play
from tests.waiting import PATIENCE_S

RATE = 2000  # leaves the edits 10 s, should the machine be busy
STOP = 20000
URI = f"sim://pump-probe?rate={RATE}&stop={STOP}&policy=wait"


def test_an_edit_loses_no_event_and_resets_no_other_result(play: Play) -> None:
    experiment = play(URI, "results: {shots: count(monitor)}")
    client = experiment.client
    assert client.get("shots", wait_s=PATIENCE_S).value
    for number in range(5):
        client.add(f"lit_{number} = count(monitor where laser == {number % 2})")
    added_at = client.get("shots", wait_s=PATIENCE_S).value
    assert added_at < STOP, "the edits came too late to show anything"
    results = experiment.run_to_the_end()
    assert results["shots"].value == STOP
    assert results["shots"].events.expected == STOP
    # Equal operations under two names share one state from the first of them on.
    assert results["lit_0"].value + results["lit_1"].value <= STOP
    assert results["lit_2"].value == results["lit_0"].value
    assert results["lit_4"].events == results["lit_0"].events


def test_two_clients_editing_lose_no_edit(play: Play) -> None:
    experiment = play(URI, "results: {shots: count(monitor)}")
    with connect(experiment.node.config, name="other", timeout_s=PATIENCE_S) as other:
        for number in range(4):
            experiment.client.add(f"mine_{number} = mean_events(monitor + {number})")
            other.add(f"theirs_{number} = mean_events(monitor - {number})")
        names = set(experiment.client.graph().results)
        assert names >= {f"{who}_{n}" for who in ("mine", "theirs") for n in range(4)}
        with pytest.raises(GraphError, match="test"):
            other.add("mine_1 = count(monitor)")
        with pytest.raises(GraphError, match="you edited version 1"):
            other.request("reset", names=[], expected_version=1)
        other.remove_mine()
    left = set(experiment.client.graph().results)
    assert left == {"shots", "mine_0", "mine_1", "mine_2", "mine_3"}


def test_an_edit_that_cannot_be_is_denied_with_the_reason(play: Play) -> None:
    client = play(URI, "results: {shots: count(monitor)}").client
    before = client.graph_version()
    for text, reason in (
        ("n = count(monitr)", "monitor"),
        ("n = mean_events(monitor) + laser", "mean"),
        ("shots = mean_events(monitor)", "yours alone; --replace"),
    ):
        with pytest.raises(GraphError, match=reason):
            client.add(text)
    assert client.graph_version() == before
