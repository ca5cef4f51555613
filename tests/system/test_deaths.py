"""kill -9 of any process at any moment, under load: each event is counted once, and nothing is left."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from ami.lab.strikes import processes, targets
from tests.system.conftest import StartNode
from tests.waiting import PATIENCE_S, wait_until

AMI = [sys.executable, "-P", "-m", "ami.cli"]
PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.system


def test_whoever_dies_every_event_is_counted_once() -> None:
    command = [*AMI, "chaos", "--rounds", "1", "--seed", "11", "--rate", "50000", "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert [row["target"] for row in found] == list(targets(2))
    for row in found:
        assert (row["rounds"], row["lost"], row["twice"], row["wrong"]) == (1, 0, 0, 0), row
        assert 0 < row["recovery_s_median"] == row["recovery_s_max"]


def test_a_recording_is_counted_exactly_while_its_readers_die(start_node: StartNode, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(-(2**31), 2**31, 18_000)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["timestamp"] = np.arange(len(values)) * 10**6
        file["x"] = values
        file["key"] = values % 7
    graph = """
        results:
          events: count(x)
          total: sum_events(x)
          scan: mean_vs(x, key=key)
          shape: histogram(x, 50, -3e9, 3e9)
    """
    experiment = start_node(f"hdf5://{tmp_path}/run.h5?rate=4000&policy=wait", graph)
    node, client, chance, killed = experiment.node, experiment.client, random.Random(5), 0

    def counted() -> int:
        found = client.results().get("events")
        return 0 if found is None else int(found.value)

    for _ in range(6):
        goal = min(counted() + 500, len(values))
        wait_until(lambda g=goal: counted() >= g, what="more events in the results")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for name in chance.sample([name for name in processes(2) if name != "global-redis"], 2):
            if node.pid(name):
                node.kill(name)
                killed += 1
            time.sleep(chance.uniform(0, 0.3))
    results = experiment.run_to_the_end()
    assert killed >= 6
    assert results["events"].value == len(values)
    assert results["total"].value == values.sum()
    assert results["scan"].value.counts.tolist() == np.bincount(values % 7).tolist()
    assert results["shape"].value.counts.tolist() == np.histogram(values, 50, (-3e9, 3e9))[0].tolist()
    account = results["events"].events
    assert (account.expected, account.dropped, account.set_aside) == (len(values), 0, 0)


def test_a_target_that_there_is_not_is_refused_before_anything_starts() -> None:
    command = [*AMI, "chaos", "--target", "worker"]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ami: there is no target 'worker'; known: source, worker:0")


def test_who_stops_the_killing_finds_nothing_left() -> None:
    command = [*AMI, "chaos", "--rounds", "1000", "--target", "source", "--rate", "1000"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as chaos:
        try:
            wait_until(lambda: _run_dirs(chaos.pid), what="a node")
            (run_dir,) = _run_dirs(chaos.pid)
            ring = Path("/dev/shm") / run_dir.name
            wait_until(ring.exists, what="its ring")
            chaos.send_signal(signal.SIGINT)
            assert chaos.wait(PATIENCE_S) == 1
        except BaseException:
            chaos.kill()
            print(*chaos.communicate())  # noqa: T201  # pytest shows it
            raise
    assert not run_dir.exists()
    assert not list(Path("/dev/shm").glob(f"*{run_dir.name}*"))
    assert not [pid for pid, command_line in _command_lines().items() if str(run_dir) in command_line]


def _command_lines() -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


def _run_dirs(pid: int) -> list[Path]:
    """Return the folders of the nodes whose supervisord is a child of this process."""
    found = []
    for child, command_line in _command_lines().items():
        try:
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid and "supervisor.supervisord" in command_line:
            found.append(Path(command_line.split()[-1]).parent)
    return found
