"""What operations cost on a real node, as `ami top` has it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ami.client.load import Load
from ami.cluster.node import Node
from ami.stores import keys, open_global
from tests.system.conftest import Play, StartNode
from tests.waiting import PATIENCE_S, wait_until

GRAPH = """
functions:
  heavy: |
    def heavy(x):
        for _ in range(400):
            x = x * 0.999 + 0.1
        return x
values:
  ratio: energy / (1 + abs(offset))
  on: ratio where laser == 1 and monitor > 0.1
  off: ratio where laser == 0 and monitor > 0.1
  norm: on / monitor
results:
  m: mean_events(on)
  mo: moments(off)
  h1: histogram(norm, 200, 0, 10)
  h2: histogram(off, 200, 0, 10)
  scan: mean_vs(norm, key=delay)
  custom: mean_events(heavy(energy))
"""


def test_a_per_event_function_among_scalar_operations_is_shown_as_the_most_expensive(play: Play) -> None:
    experiment = play("sim://scalars?rate=20000", GRAPH)
    client = experiment.client
    meter = client.meter()
    # The first calls of everything are slow; they are forgotten after some seconds.
    wait_until(lambda: _settled(meter.look()), what="the user's function at the top")
    loads = []

    def is_measured() -> bool:
        # The share of a process that was restarted just now is not known before the second look.
        loads[:] = [meter.look()]
        return _settled(loads[0]) and all(one.share_from for one in loads[0].processes)

    wait_until(is_measured, what="the shares of all processes")
    (load,) = loads
    first, *others = load.operations
    assert (first.kind, first.per_event, first.owners) == ("function", True, ("test",))
    assert first.us_per_event > 5
    assert not any(operation.per_event for operation in others)
    assert {"m", "mo", "h1", "h2", "scan", "custom"} <= {operation.name for operation in others}
    assert [(owner.owner, owner.operations) for owner in load.owners] == [("test", len(load.operations))]
    here = {process.name: process for process in load.processes}
    host = experiment.node.config.node.host
    for name in ("worker:0", "worker:1", "source:0", "local-redis:0", "global-redis:0"):
        assert (here[f"{host}:{name}"].resident_bytes or 0) > 1 << 20
        assert here[f"{host}:{name}"].share_from == "/proc"
    assert load.queues.inbox is not None
    assert load.queues.flushes is not None

    shown = _top(experiment.node.environment, "--once")
    lines = shown[shown.index("operation ") :].splitlines()
    assert "function, per event" in lines[1]
    plain = json.loads(_top(experiment.node.environment, "--json"))
    assert plain["operations"][0]["per_event"] is True
    # The node is shared: who was killed in a test just before is still told of.
    assert [problem for problem in plain["problems"] if " died " not in problem] == []


def test_a_worker_that_does_not_come_back_is_missed_after_its_heartbeat_is_gone(
    start_node: StartNode,
) -> None:
    experiment = start_node("sim://pump-probe?rate=100", "results: {shots: count(monitor)}")
    node, client = experiment.node, experiment.client
    wait_until(lambda: client.status().well, what="a node that is well")
    settings = Path(node.environment["AMI_CONFIG"])
    settings.write_text("[worker]\nno_such_setting = 1\n")
    node.kill("worker:1")
    wait_until(lambda: _refused(node, "worker:1"), what="a worker that refuses to start")
    prefix = keys.prefix(node.config.node.host, "worker", 1)
    store = open_global(node.config.global_store, prefix)
    store.delete_many([keys.HEARTBEAT])  # as its expiry does, half a minute later
    store.close()
    # On a busy machine there may be others for a moment.
    (problem,) = [one for one in client.status().problems if prefix in one and "does not run" in one]
    assert problem.startswith(f"{prefix} does not run (supervisord: EXITED): ")
    assert "no_such_setting" in problem
    settings.write_text("")
    node.supervisor.startProcess("worker:1")
    wait_until(lambda: client.status().well, what="the worker again")


def _refused(node: Node, program: str) -> bool:
    info = node.supervisor.getProcessInfo(program)
    # The one that was killed is EXITED as well, for a moment.
    return info["statename"] == "EXITED" and info["exitstatus"] == 2


def _settled(load: Load) -> bool:
    """Whether all operations run, the user's on top, and those of an earlier graph are forgotten."""
    operations = load.operations
    if {owner.owner for owner in load.owners} != {"test"}:
        return False
    return sum(operation.events_hz > 0 for operation in operations) >= 11 and operations[0].per_event


def _top(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "ami.cli", "top", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    ).stdout
