"""A camera that is asked for while events flow: it is kept from an entry's border on, and nothing is lost."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from ami.client import Client
from ami.result import Result
from ami.ring import RingObserver
from ami.sources import open_source, take
from tests.system.conftest import Experiment, StartNode
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

# It has an end, which is never reached, so that the source waits for the first graph.
URI = "sim://pump-probe?rate=2000&stop=1000000000&camera=64x64&samples=64"
SHOTS = "results: {shots: count(monitor), sums: sum_events(laser)}"


def _get_complete(client: Client, what: str) -> Result:
    """Return the count of pixels when there are events in it, and what a killed worker had is in it, too."""
    found: list[Result] = []

    def is_in() -> bool:
        found[:] = [client.get("pixels")] if "pixels" in client.results() else []
        return bool(found) and found[0].complete and found[0].events.used > 0

    wait_until(is_in, what=what)
    return found[0]


def _ask_again_and_again(experiment: Experiment, times: int, kill: random.Random | None = None) -> int:
    """Add a camera and remove it, while events come; return how often it was there."""
    client, node, there = experiment.client, experiment.node, 0
    for number in range(times):
        client.add("pixels = sum_events(sum(camera) * 0 + 1)")
        if kill is not None:
            for name in kill.sample(["source", "worker:0", "worker:1", "local-reducer"], 2):
                if node.pid(name):
                    node.kill(name)
        client.get("pixels", wait_s=PATIENCE_S)

        result = _get_complete(client, f"events with a camera, time {number}")
        assert not result.error
        # No event of its entries lacks it.
        assert result.value == result.events.used == result.events.expected
        there += 1
        if number + 1 < times:
            client.remove("pixels")
            wait_until(lambda: "pixels" not in client.results(), what="a graph without the camera")
    return there


def _check_the_end(experiment: Experiment) -> None:
    """Stop the source, and see that each of its events is in the results, and none is there twice."""
    client, node = experiment.client, experiment.node
    with RingObserver(node.config.ring.name) as ring:
        # One that was killed left an entry open, which the next one closes if it gets so far.
        seen = ring.cursor.published
        wait_until(lambda: ring.cursor.published > seen, what="a source at work")
        node.supervisor.stopProcess("source")
        count = ring.cursor.published
        assert ring.cursor.dropped == 0

    def is_in() -> bool:
        found = client.results()
        same = len({found[name].interval for name in ("shots", "sums", "pixels")}) == 1
        return same and found["shots"].events.expected == count

    wait_until(is_in, what="the last events in every result")
    results = client.results()
    with closing(open_source(URI)) as source:
        laser = take(source, 0, count, ["laser"])["laser"].sum()
    account = results["shots"].events
    assert (results["shots"].value, account.expected, account.dropped) == (count, count, 0)
    assert results["sums"].value == laser
    assert results["pixels"].value == results["pixels"].events.expected


def test_a_camera_that_comes_and_goes_loses_no_event(start_node: StartNode) -> None:
    experiment = start_node(f"{URI}&policy=drop", SHOTS)
    experiment.client.get("shots", wait_s=PATIENCE_S)
    ring = experiment.node.config.ring.name
    assert _ask_again_and_again(experiment, 4) == 4
    wait_until(lambda: len(list(Path("/dev/shm").glob(f"{ring[1:]}.c*"))) == 1, what="one set of columns")
    _check_the_end(experiment)


def test_a_camera_comes_and_goes_while_processes_die(start_node: StartNode) -> None:
    experiment = start_node(f"{URI}&policy=wait", SHOTS)
    experiment.client.get("shots", wait_s=PATIENCE_S)
    assert _ask_again_and_again(experiment, 4, random.Random(8)) == 4
    _check_the_end(experiment)


def test_thousands_of_fields_of_which_some_are_asked_for(start_node: StartNode, tmp_path: Path) -> None:
    config = ",".join(f'"pv{n}": {{"dtype": "Scalar", "range": [0, 1]}}' for n in range(3000))
    (tmp_path / "many.json").write_text(f'{{"interval": 0.001, "config": {{{config}}}}}')
    results = ",".join(f"r{n}: count(pv{7 * n})" for n in range(100))
    uri = f"sim://{tmp_path}/many.json?rate=1000&stop=4000&policy=wait&missing=0.1&missing_fields=pv0"
    experiment = start_node(uri, f"results: {{{results}}}")
    found = experiment.run_to_the_end()
    assert found["r99"].value == 4000
    assert 0 < found["r0"].value < 4000
    assert found["r0"].events.expected == 4000
