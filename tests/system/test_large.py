"""Images and numbers side by side on a whole node, while whoever dies: each event once, in both lanes."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from ami import offline
from ami.graph.language.text import graph_of
from ami.lab.strikes import processes
from ami.lab.verify import compare
from ami.sources import open_source
from tests.system.conftest import StartNode
from tests.waiting import wait_until

pytestmark = pytest.mark.system

GRAPH = """
results:
  events: count(x)
  total: sum_events(x)
  scan: mean_vs(x, key=key)
  picture: mean_events(camera)
  sum: sum_events(camera)
  now: last(camera)
  scans: mean_vs(camera, key=key)
  per_event: sum_events(camera) / sum_events(x)
  frames: mean_events(camera, window=interval)
  second: sum_events(camera, window="1 s")
  seconds: count(x, window="1.1 s")
  some: pick(camera, x, count=3)
  hundred: sum_events(x, window="100 events")
"""
EVENTS, KEYS = 2400, 5


def test_whoever_dies_each_event_is_in_each_lane_once(start_node: StartNode, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    camera = rng.integers(0, 1 << 16, (EVENTS, 128, 128), dtype=np.uint16)
    values, key = rng.integers(1, 1000, EVENTS), rng.integers(0, KEYS, EVENTS)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["timestamp"] = np.arange(EVENTS) * 10**6
        file["x"], file["key"], file["camera"] = values, key, camera
    uri = f"hdf5://{tmp_path}/run.h5?rate=200&policy=wait"
    experiment = start_node(uri, GRAPH)
    node, client, chance, killed = experiment.node, experiment.client, random.Random(8), 0

    def counted() -> int:
        found = client.results().get("events")
        return 0 if found is None else int(found.value)

    for _ in range(8):
        goal = min(counted() + 150, EVENTS)
        wait_until(lambda g=goal: counted() >= g, what="more events in the results")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for name in chance.sample(list(processes(2)), 2):
            if node.pid(name):
                node.kill(name)
                killed += 1
            time.sleep(chance.uniform(0, 0.4))
    results = experiment.run_to_the_end()
    assert killed >= 8
    assert results["events"].value == EVENTS
    assert results["total"].value == values.sum()
    assert results["scan"].value.counts.tolist() == np.bincount(key).tolist()
    total = camera.sum(axis=0, dtype=np.int64)
    np.testing.assert_array_equal(results["sum"].value, total)
    np.testing.assert_array_equal(results["picture"].value, total / EVENTS)
    np.testing.assert_array_equal(results["now"].value, camera[-1])
    np.testing.assert_allclose(results["per_event"].value, total / values.sum(), rtol=1e-12)
    scans = results["scans"].value
    assert scans.keys.tolist() == list(range(KEYS))
    assert scans.counts.tolist() == np.bincount(key).tolist()
    for number in range(KEYS):
        of_key = camera[key == number].astype(np.float64)
        np.testing.assert_allclose(scans.means[number], of_key.mean(axis=0), rtol=1e-12)
        error = of_key.std(axis=0, ddof=1) / np.sqrt(len(of_key))
        np.testing.assert_allclose(scans.errors[number], error, rtol=1e-9)
    for result in results.values():
        if result.window == "run":
            account = result.events
            assert (account.expected, account.used, account.dropped, account.set_aside) == (
                EVENTS,
                EVENTS,
                0,
                0,
            )
    assert results["frames"].one_in == 5
    interval = results["frames"].interval_ns
    chosen = results["frames"].time_ns[0] // interval
    assert chosen % 5 == 0
    inside = camera[np.arange(EVENTS) * 10**6 // interval == chosen]
    np.testing.assert_allclose(results["frames"].value, inside.mean(axis=0), rtol=1e-12)
    # Panes of images are of 0.25 s at least, of numbers here of two intervals: there are 110 of them.
    for name, length, pane in (("second", 100, 25), ("seconds", 110, 2)):
        first = ((EVENTS - 1) * 10**6 // interval - length + 1) // pane * pane
        there = np.arange(EVENTS) * 10**6 // interval >= first
        right = camera[there].sum(axis=0, dtype=np.int64) if name == "second" else there.sum()
        np.testing.assert_array_equal(results[name].value, right)
        assert (results[name].intervals[0], results[name].events.used) == (first, there.sum())
    with closing(open_source(uri)) as source:
        alone = offline.run(graph_of(GRAPH), source)
    for name in ("some", "hundred", "second", "seconds"):
        assert compare(name, results[name], alone[name]).difference == ""
