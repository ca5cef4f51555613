"""What people's code does to the process that runs it: it is interrupted, refused, counted; all else goes on.

Each case runs in a process of its own, as a worker's code does: timers and limits are a process'.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ami.daemons.process.watch import Watch, limit_memory
from ami.event import Field, Schema, Slots
from ami.graph.execution.bind import reductions
from ami.graph.execution.guest import TooLong
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from tests import ring_rig

EVENTS = 30
SCHEMA = Schema((Field("x", np.dtype(np.int64)),))
LIMIT_S = 0.15


def apart(work: Callable[[], Any]) -> Any:
    """Return what ``work`` gives in a child, which must end well."""
    reader, writer = os.pipe()

    def tell() -> None:
        os.write(writer, json.dumps(work()).encode())

    with ring_rig.child(tell) as pid:
        os.close(writer)
        with os.fdopen(reader) as answer:
            told = answer.read()
        assert os.waitpid(pid, 0)[1] == 0
    return json.loads(told)


def run_beside(code: str, how: str = "", often: int = 1, most: int = 99) -> dict[str, Any]:
    """Run somebody's function beside somebody's sum on some events; return what all of them saw."""
    lines = "".join(f"      {line}\n" for line in code.splitlines())
    graph = graph_of(
        f"functions:\n  f:\n    code: |\n{lines}    returns: float64\n{how}"
        "results:\n  mine: sum_events(f(x))\n  other: sum_events(x)\n"
    ).at_version(1)

    def work() -> dict[str, Any]:
        counted: list[str] = []
        touched: list[float] = []

        def told(_names: Sequence[str], error: BaseException) -> bool:
            counted.append(type(error).__name__)
            return len(counted) >= most

        guest = Watch(LIMIT_S, lambda: None, lambda: touched.append(time.monotonic()), told)
        slots = Slots.allocate(SCHEMA, EVENTS)
        slots.columns["x"][:] = np.arange(EVENTS)
        slots.set_valid(SCHEMA.name_set)
        plan = WorkerPlan(graph, SCHEMA)
        partial = plan.partial()
        for _ in range(often):
            plan.run(slots, 0, partial, guest=guest)
        known = reductions(graph)
        results = {
            name: float(known[key].result(partial.states[key]) or 0)
            for name in graph.results
            if (key := graph.fingerprint(name))
        }
        (failed,) = [(one.count, one.text) for one in partial.errors.values()] or [(0, "")]
        timer = signal.getitimer(signal.ITIMER_REAL)
        return {**results, "failed": failed[0], "text": failed[1], "counted": counted, "timer": timer}

    found: dict[str, Any] = apart(work)
    assert found["other"] == often * EVENTS * (EVENTS - 1) // 2
    assert found["timer"] == [0, 0]
    return found


BAD = 7
REST = sum(range(EVENTS)) - BAD


@pytest.mark.parametrize(
    "deed",
    [
        "while True: pass",
        "time.sleep(1000)",
        "threading.Semaphore(0).acquire()",
        "os.read(os.pipe()[0], 1)",
        "sum(map(bool, iter(lambda: 0, 1)))",
        "loop()",
    ],
)
def test_what_does_not_end_is_interrupted_where_it_is_and_that_event_has_failed(deed: str) -> None:
    code = (
        "import os, threading, time\n"
        "def loop():\n    while True:\n        try:\n            time.sleep(1000)\n"
        "        except Exception:\n            pass\n"
        f"def f(x):\n    if x == {BAD}:\n        {deed}\n    return x"
    )
    found = run_beside(code)
    assert (found["mine"], found["failed"], found["counted"]) == (REST, 1, ["TooLong"])
    assert "took more than 0.15 s" in found["text"]


def test_events_that_take_long_together_are_not_interrupted() -> None:
    found = run_beside(f"import time\ndef f(x):\n    time.sleep({LIMIT_S / 2})\n    return x")
    assert (found["mine"], found["failed"]) == (sum(range(EVENTS)), 0)


def test_one_who_is_told_to_stop_is_not_called_again() -> None:
    found = run_beside("def f(x):\n    if x >= 7:\n        while True: pass\n    return x", most=2)
    assert (found["mine"], found["failed"], found["counted"]) == (21, EVENTS - 7, ["TooLong"] * 2)


def test_a_function_of_blocks_is_not_tried_on_each_half_of_a_block_that_took_too_long() -> None:
    # Not on the numbers up to 9 that it is tried on before.
    code = "def f(x):\n    if len(x) > 1 and x.max() > 9:\n        while True: pass\n    return x"
    found = run_beside(code, "    block: true\n")
    assert (found["failed"], found["counted"]) == (EVENTS, ["TooLong"])


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("os.fork()", "os.fork"),
        ("os.system('true')", "os.system"),
        ("os.kill(os.getppid(), 0)", "os.kill"),
        ("subprocess.run(['true'])", "subprocess.Popen"),
        ("threading.Thread(target=print).start()", "thread"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("sys.exit(0)", "SystemExit"),
        ("raise BaseException('odd')", "odd"),
    ],
)
@pytest.mark.parametrize("block", [False, True])
def test_what_would_harm_the_process_is_an_error_of_that_event(deed: str, told: str, block: bool) -> None:
    here = f"{BAD} in x" if block else f"x == {BAD}"
    code = f"import os, subprocess, sys, threading\ndef f(x):\n    if {here}:\n        {deed}\n    return x"
    found = run_beside(code, f"    block: {str(block).lower()}\n")
    assert (found["mine"], found["failed"], found["counted"]) == (REST, 1, [])
    assert told in found["text"]


@pytest.mark.parametrize("block", [False, True])
def test_who_spoils_what_all_share_has_no_value_of_that_block_and_is_counted(block: bool) -> None:
    here = f"{BAD} in x" if block else f"x == {BAD}"
    code = f"import builtins\ndef f(x):\n    if {here}:\n        np.add = builtins.len = None\n    return x"
    found = run_beside(code, f"    block: {str(block).lower()}\n", often=2)
    assert (found["mine"], found["failed"]) == (0, 2 * EVENTS)
    assert set(found["counted"]) == {"Spoiled"}
    assert "which was put back: builtins.len, numpy.add" in found["text"]


@pytest.mark.parametrize(("block", "mine", "failed"), [(False, REST, 1), (True, 0, EVENTS)])
def test_an_endless_recursion_is_counted(block: bool, mine: int, failed: int) -> None:
    here = f"{BAD} in x" if block else f"x == {BAD}"
    found = run_beside(
        f"def f(x):\n    if {here}:\n        f(x)\n    return x", f"    block: {str(block).lower()}\n"
    )
    assert (found["mine"], found["failed"], found["counted"]) == (mine, failed, ["RecursionError"])


def test_what_it_sets_of_numpy_ends_with_it() -> None:
    code = "def f(x):\n    np.seterr(all='raise')\n    return x"
    found = run_beside(code, often=2)
    assert found["failed"] == 0


def test_memory_that_a_worker_may_not_have_is_an_error_of_that_event() -> None:
    def work() -> list[Any]:
        # What this process has already, and a little.
        status = next(line for line in open("/proc/self/status") if line.startswith("VmData"))  # noqa: SIM115
        limit_memory((int(status.split()[1]) << 10) + (64 << 20))
        soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
        limit_memory(1 << 60)
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] != soft
        limit_memory(soft)
        try:
            np.ones(1 << 27)
        except MemoryError:
            return ["refused", len(bytearray(1 << 20))]
        return ["given"]

    assert apart(work) == ["refused", 1 << 20]


def test_a_timer_that_comes_between_two_calls_interrupts_nothing() -> None:
    def work() -> bool:
        guest = Watch(-1.0, lambda: None, lambda: None, lambda _names, _error: False)  # always too long
        guest.enter(["f"], iter(()))
        try:
            end = time.monotonic() + 0.35
            while time.monotonic() < end:
                pass
        except TooLong:
            return False
        finally:
            guest.leave()
        return True

    assert apart(work)
