"""`ami node` and `ami verify` as a person runs them: whole nodes, real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from ami.client import connect
from ami.cluster import orphans
from ami.cluster.node import free_port
from ami.config import load

pytestmark = pytest.mark.system

COMMAND = [sys.executable, "-P", "-m", "ami.cli"]


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a node that meets no other."""
    run_dir = tmp_path_factory.mktemp("n")
    (run_dir / "ami.toml").touch()
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")}
    return inherited | {
        "AMI_CONFIG": str(run_dir / "ami.toml"),
        "AMI_NODE_RUN_DIR": str(run_dir),
        "AMI_RING_NAME": f"/ami-cli-{os.getpid()}",
        "AMI_RING_BYTES": str(32 << 20),
        "AMI_GLOBAL_STORE_PORT": str(free_port()),
        "AMI_WEB_PORT": "0",
    }


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """3000 events, whose sums are known."""
    path = tmp_path / "recording.h5"
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file["timestamp"] = np.arange(3000, dtype=np.int64) * 1_000_000
        file["energy"] = rng.normal(10.0, 2.0, 3000)
        file["hits"] = np.arange(3000, dtype=np.int32)
    return path


@contextmanager
def foreground(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "node", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        # Not SIGKILL at first: the node takes its children along.
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: subprocess.Popen[str], what: str) -> str:
    """Return what the process says up to the line with ``what``; the test's time-out bounds it."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if what in line:
            return said
    pytest.fail(f"ended without {what!r}: {said}")


def test_down_ends_by_name_what_a_killed_supervisord_left_of_the_node_that_up_started(
    environment: dict[str, str],
) -> None:
    def say(*arguments: str) -> tuple[int, str]:
        command = [*COMMAND, *arguments]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, env=environment, text=True, check=False, **both)
        return done.returncode, done.stdout

    quick = {"AMI_SOURCE_DRAIN_S": "1", "AMI_EXPORT_URIS": "", "AMI_WEB_HOST": "", "AMI_WORKER_COUNT": "1"}
    environment |= {"AMI_SOURCE_URI": "sim://pump-probe?rate=500", **quick}
    config = load(environ=environment)
    try:
        code, said = say("up")
        assert (code, "pump_probe.yaml" in said) == (0, True), said
        with connect(config, timeout_s=60) as client:
            assert client.get("shots", wait_s=60).value > 0
        kinds = sorted(orphans.find(config).values())  # all, but they are no orphans yet
        assert len(kinds) == 8
        assert say("up")[1].startswith("a node runs already")
        os.kill(int((config.node.run_dir / "supervisord.pid").read_text()), signal.SIGKILL)
        code, said = say("status")
        assert (code, "was killed" in said) == (1, True), said
    finally:
        code, said = say("down")
    assert code == 0
    assert said.endswith("stopped\n")
    assert sorted(line.split()[2].rstrip(",") for line in said.splitlines()[:-1]) == kinds
    assert not orphans.find(config)
    assert not list(Path("/dev/shm").glob(f"{config.ring.name.strip('/')}*"))
    assert say("down")[1] == "no node runs here\n"


def test_a_node_shows_first_results_leaves_nothing_and_then_runs_a_recording_whole(
    environment: dict[str, str], recording: Path, tmp_path: Path
) -> None:
    with foreground(environment, "--source", "sim://pump-probe?rate=500") as process:
        said = read_until(process, "shots")
        assert "sim://pump-probe?rate=500" in said
        assert "pump_probe.yaml" in said
        assert "ami watch" in said
        with connect(load(environ=environment)) as client:
            client.add("extra = count(delay)")
            assert client.get("extra", wait_s=20).value > 0
        link = re.search(r"^page +(http://127\.0\.0\.1:\d+)/#token=\S{20,}$", said, re.M)
        assert link is not None, said
        with urllib.request.urlopen(f"{link[1]}/api/results/extra") as answer:
            assert json.load(answer)["value"] > 0
        with urllib.request.urlopen(link[1]) as answer:
            assert b"<title>ami" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not list(Path(environment["AMI_NODE_RUN_DIR"]).glob("*.sock"))
    assert not list(Path("/dev/shm").glob(f"*ami-cli-{os.getpid()}*"))

    # Control still has that graph; the recording must not have gone by when its own one comes.
    graph = tmp_path / "graph.yaml"
    graph.write_text("results: {total: sum_events(hits)}")
    uri = f"hdf5://{recording}?rate=max"
    with foreground(environment, "--source", uri, "--graph", str(graph)) as process:
        read_until(process, "used")
        with connect(load(environ=environment)) as client:
            newest = list(client.watch(["total"], timeout_s=3.0))[-1]
            assert (newest.events.used, newest.value) == (3000, 3000 * 2999 // 2)


def test_a_source_that_cannot_be_opened_ends_the_node_with_the_reason(
    environment: dict[str, str],
) -> None:
    with foreground(environment, "--source", "hdf5:///no/such/file.h5") as process:
        said = read_until(process, "ami:")
        assert "/no/such/file.h5" in said
        assert process.wait(60) == 1


def test_a_node_gives_what_one_process_gives_of_the_last_of_several_runs(tmp_path: Path) -> None:
    graph = tmp_path / "graph.yaml"
    graph.write_text(
        "values: {good: diode where diode > 0.5, constant: 0 * diode + 0.1}\n"
        "results:\n"
        "  n: count(laser)\n  total: sum_events(laser)\n  spectrum: histogram(good, 50, 0, 20)\n"
        "  level: moments(constant)\n  now: mean_events(diode, window=interval)\n  share: total / n\n"
    )
    done = subprocess.run(
        [*COMMAND, "verify", str(graph), "sim://pump-probe?rate=max&stop=3000&run_events=1250", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert len(found) == 6
    assert all(one["equal"] for one in found.values())
    assert found["n"]["used"] == {"node": 500, "offline": 500}
    assert "of 3 runs the last is compared" in done.stderr
    assert "\r" not in done.stderr  # no progress bar without a terminal
