"""Measure what a node writes to the disk."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ami.client.first_graph import ready_graph
from ami.cluster import proc
from ami.errors import AmiError
from ami.lab import arena
from ami.lab.figures import Bench, Measured
from ami.lab.machine import Busy

SOURCE = "sim://pump-probe?camera=512x512&rate=120&policy=wait"
WATCH = "camera_mean"
# The source makes its events for many seconds before the first one comes; it does not hang.
SETTINGS = {"AMI_MONITOR_HANG_S": "60"}
FIRST_S = 120.0


def disk(bench: Bench) -> Mapping[str, Measured]:
    """Measure bytes that all processes write to disks while images go through the shipped graph."""
    graph = ready_graph(SOURCE)
    if graph is None:
        raise AmiError(f"there is no graph for {SOURCE}")
    with arena.running(SOURCE, graph.read_text(encoding="utf-8"), workers=2, settings=SETTINGS) as place:
        place.wait_for("the first image", lambda: WATCH in place.client.results(), FIRST_S)
        processes = place.pids()
        samples, stores = [], []
        # Several copies of the windows come in each sample: one every reducer.durable_s.
        with Busy(processes) as busy:
            for _ in range(bench.choose(3, 1)):
                since, before = time.monotonic(), _written(processes)
                time.sleep(bench.choose(30.0, 20.0))
                samples.append((_written(processes) - before) / (time.monotonic() - since) / 1e6)
                stores.append(_appended(place) / 1e6)
        most = max(processes, key=lambda name: proc.written_bytes(processes[name]))
    return {
        "disk_image": Measured(
            samples=samples,
            limited_by=f"most by {most}",
            busy=busy.to_plain(),
            notes=(
                f"the stores' files in memory: {max(stores):.0f} MB at the most of the looks",
                "no limit: nothing needs the disk but what must outlive the machine",
            ),
        )
    }


def _written(processes: Mapping[str, int]) -> int:
    return sum(map(proc.written_bytes, processes.values()))


def _appended(place: arena.Arena) -> int:
    memory = place.client.status().memory
    return 0 if memory is None else memory.local_store + memory.global_store
