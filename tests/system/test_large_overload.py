"""More images than a node can take, and reducers that come back to many: it gets on, and is well soon.

Short and small as a rule. AMI_OVERLOAD_S=60 makes it last so long with cameras of a megapixel, and a scan of
40 keys; it then needs some 8 GB, and says what it measured (pytest -s).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ami.client.status import ClusterStatus
from ami.errors import StoreUnavailable
from tests.system.conftest import Experiment, StartNode
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

LONG_S = float(os.environ.get("AMI_OVERLOAD_S", "0"))
SHAPE = (1024, 1024) if LONG_S else (256, 256)
KEYS = 40 if LONG_S else 8
RATE_HZ = 500 if LONG_S else 10_000
IMAGES = "results: {events: count(key), mean: mean_events(camera), last: last(camera)}"
NUMBERS = "results: {events: count(key)}"
SCAN = "results: {events: count(key), scan: 'mean_vs(camera, key=key)'}"


def camera(folder: Path, rate_hz: float, policy: str, stop: int = 0) -> str:
    """Return a source with a camera and a key."""
    path = folder / "camera.json"
    config = {
        "key": {"dtype": "Scalar", "range": [0, KEYS], "integer": True},
        "camera": {"dtype": "Image", "shape": SHAPE, "pedestal": 5, "width": 1},
    }
    path.write_text(json.dumps({"interval": 0.01, "config": config}))
    return f"sim://{path}?rate={rate_hz}&policy={policy}" + (f"&stop={stop}" if stop else "")


def counter(status: ClusterStatus, process: str, name: str) -> float:
    return next((p.counters or {}).get(name, 0.0) for p in status.processes if p.type == process)


def is_well(experiment: Experiment) -> bool:
    """Whether nothing is wrong or behind, and events of now are in the results."""
    status = experiment.client.status()
    return status.well and not status.warnings and counter(status, "source", "drop_hz") == 0


def is_set(experiment: Experiment, graph: str) -> bool:
    """Whether the graph was set. Where an answer takes too long nobody knows; it may be set once more."""
    try:
        return experiment.client.schema() is not None and bool(experiment.client.set(graph))
    except StoreUnavailable:
        return False


@pytest.mark.parametrize("policy", ["wait", "drop"])
def test_after_an_overload_with_images_the_node_is_well_at_once_and_did_not_grow(
    start_node: StartNode, tmp_path: Path, policy: str
) -> None:
    experiment = start_node(camera(tmp_path, RATE_HZ, policy))
    wait_until(lambda: is_set(experiment, IMAGES), what="a graph")
    client, config = experiment.client, experiment.node.config
    assert client.get("mean", wait_s=PATIENCE_S).value.shape == SHAPE
    taken = []
    end = time.monotonic() + (LONG_S or 5.0)
    while time.monotonic() < end:
        status = client.status()
        if status.memory is not None:
            taken.append((status.memory.ring, status.memory.local_store, status.memory.global_store))
        time.sleep(0.3)
    status = client.status()
    assert status.ring is not None
    assert status.identity is not None
    ring, local, cluster = map(max, zip(*taken, strict=True))
    # No image goes through the local store; of the global one the files may have twice what it holds.
    assert local < 64 << 20
    assert cluster < 2 * (config.global_store.max_memory_bytes // 4) + (64 << 20)
    half = len(taken) // 2
    assert max(map(sum, taken[half:])) < 1.5 * max(map(sum, taken[:half])) + (256 << 20)
    dropped, began = status.ring.dropped, time.monotonic()
    assert (dropped > 0) == (policy == "drop")
    wait_until(lambda: is_set(experiment, NUMBERS), what="another graph")
    wait_until(lambda: is_well(experiment), what="a node that is well after the overload")
    well_s = time.monotonic() - began
    after = client.status()
    assert counter(after, "monitor", "restarts") == counter(status, "monitor", "restarts")
    assert after.identity is not None
    # Each event is in the results, or was counted as dropped, but for those that are on their way just now.
    wait_until(lambda: 0 <= under_way(client.status()) < 2 * RATE_HZ, what="an account of all events")
    print(  # noqa: T201  # who asks for the long form wants to read it
        f"\n{policy}: ring and arenas {ring >> 20} MiB, local store {local >> 20}, "
        f"global store {cluster >> 20}; {dropped} dropped, {status.ring.published} published; "
        f"well after {well_s:.1f} s"
    )


def under_way(status: ClusterStatus) -> int:
    return -1 if status.identity is None else status.identity.under_way


@pytest.mark.parametrize("victim", ["local-reducer", "global-reducer"])
def test_a_reducer_that_comes_back_to_a_scan_of_images_is_not_killed_for_it(
    start_node: StartNode, tmp_path: Path, victim: str
) -> None:
    events = 3000 if LONG_S else 1500
    experiment = start_node(camera(tmp_path, 50 if LONG_S else 200, "wait", events))
    wait_until(lambda: is_set(experiment, SCAN), what="a graph")
    client, node = experiment.client, experiment.node
    share = events // 3

    def used() -> int:
        found = client.results().get("scan")
        return 0 if found is None else found.events.used

    took_s = []
    for goal in (share, 2 * share):
        wait_until(lambda goal=goal: used() > goal, what="more of the scan")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        before = counter(client.status(), "monitor", "restarts")
        node.kill(victim)
        seen, began = used(), time.monotonic()
        # Where it takes long to read the scan, all may have come meanwhile.
        wait_until(lambda seen=seen: used() > seen or seen == events, what="what came after the death")  # type: ignore[misc]
        took_s.append(time.monotonic() - began)
        assert counter(client.status(), "monitor", "restarts") == before
    results = experiment.run_to_the_end()
    scan = results["scan"]
    assert scan.value.keys.tolist() == list(range(KEYS))
    assert scan.value.counts.sum() == scan.events.used == results["events"].value == events
    print(f"\n{victim}: new results after {', '.join(f'{s:.1f} s' for s in took_s)}")  # noqa: T201
