"""A node at rest, its keys, its end."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from ami.cluster import proc
from ami.messages.heartbeat import BEGINNING
from tests.system.conftest import Experiment, Play, StartNode
from tests.waiting import PATIENCE_S, wait_until

PROGRAMS = (
    "local-redis", "global-redis", "graph-manager", "global-reducer", "local-reducer",
    "worker:0", "worker:1", "source", "monitor",
)  # fmt: skip


def pids(experiment: Experiment) -> list[int]:
    return [experiment.node.supervisor_pid, *(experiment.node.pid(name) for name in PROGRAMS)]


def count_wake_ups(pid: int) -> int:
    """Return how often the threads of a process gave up their core, to wait, until now."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)[0]) for text in texts)


def test_a_node_at_rest_uses_little(start_node: StartNode) -> None:
    """No events: the source waits for a graph. Under 5 % of a core, 250 wake-ups a second and 600 MB in all.

    Wake-ups are counted because they are the same on a busy machine, where each costs more.
    """
    experiment = start_node("sim://pump-probe?stop=1000")
    wait_until(lambda: experiment.client.status().well, what="a node that is well")
    processes = pids(experiment)

    def look() -> tuple[float, int]:
        return sum(map(proc.cpu_s, processes)), sum(map(count_wake_ups, processes))

    def is_at_rest() -> bool:
        (cpu_s, wake_ups), since = look(), time.monotonic()
        time.sleep(3)
        (cpu_now_s, wake_ups_now), lasted_s = look(), time.monotonic() - since
        return (cpu_now_s - cpu_s) / lasted_s < 0.05 and (wake_ups_now - wake_ups) / lasted_s < 250

    # What starting costs is not rest, and a busy machine is longer at it.
    wait_until(is_at_rest, what="a node at rest")
    assert sum(map(proc.proportional_bytes, processes)) < 600e6


def test_every_process_has_keys_under_its_prefix(play: Play) -> None:
    experiment = play("sim://pump-probe?rate=500", "results: {shots: count(monitor)}")
    client = experiment.client
    assert client.get("shots", wait_s=PATIENCE_S).value

    def owners() -> set[str]:
        views = client.keys()  # not a mapping's: the keys of both stores
        return {view.prefix.split(":", 1)[1] for view in views}

    wanted = {
        "source:0", "worker:0", "worker:1", "local-reducer:0", "global-reducer:0", "graph-manager:0",
        "monitor:0",
    }  # fmt: skip
    wait_until(lambda: owners() >= wanted, what="keys of every process")


def test_a_process_that_hangs_is_restarted(start_node: StartNode) -> None:
    impatient = {"AMI_MONITOR_HANG_S": "3", "AMI_WORKER_HANG_S": "1.5"}
    experiment = start_node(
        "sim://pump-probe?rate=500&policy=wait", "results: {shots: count(monitor)}", **impatient
    )
    client, node = experiment.client, experiment.node
    assert client.get("shots", wait_s=PATIENCE_S).value

    def all_began() -> bool:
        status = client.status()
        return status.well and not any(process.state.startswith(BEGINNING) for process in status.processes)

    # Who was not heard of since it began has half a minute for that.
    wait_until(all_began, what="a sign of each process that it is at work")
    names = ("worker:0", "local-reducer", "global-reducer", "graph-manager")
    frozen = {name: node.kill(name, signal.SIGSTOP) for name in names}
    for name, pid in frozen.items():
        wait_until(lambda n=name, p=pid: node.pid(n) not in (0, p), what=f"a new {name}")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    before = client.get("shots").value
    wait_until(lambda: client.get("shots").value > before, what="results again")
    found = [client.status().identity]  # None while one of those who count has no heartbeat
    wait_until(lambda: found[-1] or found.append(client.status().identity), what="the account")
    identity = found[-1]
    assert identity is not None
    assert identity.dropped == identity.set_aside == 0


def test_a_node_that_is_stopped_leaves_nothing(start_node: StartNode) -> None:
    experiment = start_node("sim://pump-probe?rate=500", "results: {shots: count(monitor)}")
    assert experiment.client.get("shots", wait_s=PATIENCE_S).value
    processes = pids(experiment)
    experiment.client.close()
    leftovers = experiment.node.stop()
    assert not leftovers
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
    assert not list(Path("/dev/shm").glob(f"{experiment.node.config.ring.name.strip('/')}*"))


def test_a_file_that_cannot_be_read_is_said_and_the_node_stays_up(
    start_node: StartNode, tmp_path: Path
) -> None:
    path = tmp_path / "bad.h5"
    path.touch()
    experiment = start_node(f"hdf5://{path}")

    def state() -> str:
        return next((p.state for p in experiment.client.status().processes if p.type == "source"), "")

    wait_until(lambda: state().startswith("failed"), what="the source's complaint")
    assert str(path) in state()
    assert all(experiment.node.pid(name) for name in PROGRAMS)
