"""What people's code does while it is loaded costs its own operation, in whichever process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ami.daemons.manager.checking import Checking, Known
from ami.daemons.process.watch import Watch, limit_memory
from ami.daemons.worker.kinds import Kinds
from ami.errors import GraphError
from ami.event import Field, Schema, Slots
from ami.graph.execution.bind import reductions
from ami.graph.execution.guest import NOBODY
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.results import GlobalPlan
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.language.text import graph_of
from tests.unit.test_daemons_watch import apart

LIMIT_S = 0.3
EVENTS = 20
SCHEMA = Schema((Field("x", np.dtype(np.int64)),))
DEEDS = {
    "while True: pass": ("TooLong: one call took more than 0.3 s", "runs for more than"),
    "sys.exit(3)": ("SystemExit",),
    "raise KeyboardInterrupt": ("KeyboardInterrupt", "ends the process with exit code 1"),
    "os._exit(3)": ("ends the process with exit code 3",),
    "faulthandler.disable(); ctypes.string_at(0)": ("kills the process (SIGSEGV)",),
    "os.fork()": ("PermissionError",),
    "subprocess.Popen(['sleep', '1e9'])": ("PermissionError",),
    "threading.Thread(target=print).start()": ("PermissionError",),
    "bytearray(20 << 30)": ("MemoryError",),
    "g = lambda: g(); g()": ("RecursionError",),
    "import nothing_of_this_name": ("ModuleNotFoundError",),
    "1 / 0": ("ZeroDivisionError",),
}


TEXT = """
functions:
  f:
    code: |
      import ctypes, faulthandler, os, subprocess, sys, threading
      {deed}
      def f(x): return x + 1
    returns: float64
  g: |
    def g(x): return x * 2
results:
  mine: sum_events(f(x))
  on_results: f(count(x))
  good: sum_events(g(x))
  other: sum_events(x)
"""


def graph_with(deed: str) -> Graph:
    return graph_of(TEXT.format(deed=deed)).at_version(1)


def events() -> Slots:
    slots = Slots.allocate(SCHEMA, EVENTS)
    slots.columns["x"][:] = 1
    slots.set_valid(SCHEMA.name_set)
    return slots


def sums(plan: WorkerPlan, graph: Graph, guest: Any = NOBODY) -> dict[str, Any]:
    partial = plan.partial()
    plan.run(events(), 0, partial, guest=guest)
    known = reductions(graph)
    values = {
        name: float(known[key].result(partial.states[key]) or 0)
        for name in ("mine", "good", "other")
        if (key := graph.fingerprint(name)) in partial.states
    }
    (record,) = partial.errors.values()
    return {"values": values, "failed": record.count, "text": record.text}


@pytest.mark.parametrize("deed", DEEDS)
def test_the_manager_says_so_and_a_workers_plan_is_whole_but_for_it(deed: str) -> None:
    graph, told = graph_with(deed), DEEDS[deed]
    checking = Checking(SCHEMA, Graph(), 50_000_000, 1 << 30, code_bytes=1 << 30)
    with pytest.raises(GraphError) as refused:
        checking.check(graph, LIMIT_S)
    assert any(words in str(refused.value) for words in told)

    def work() -> dict[str, Any]:
        limit_memory(4 << 30)
        guest = Watch(LIMIT_S, lambda: None, lambda: None, lambda _names, _error: False)
        kinds = Kinds(LIMIT_S, guest)
        made = [kinds.make(lambda find: WorkerPlan(graph, SCHEMA, find_kind=find)) for _ in "12"]
        return sums(made[1], graph, guest)

    seen = apart(work)
    assert any(words in seen["text"] for words in told)
    assert seen["failed"] == EVENTS
    assert seen["values"] == {"good": 2 * EVENTS, "other": EVENTS}


@pytest.mark.parametrize(
    "deed", [deed for deed in DEEDS if "exit(3)" not in deed and "string_at" not in deed]
)
def test_what_only_a_workers_own_process_meets_is_an_error_of_its_events(deed: str) -> None:
    graph = graph_with(deed)

    def work() -> dict[str, Any]:
        limit_memory(4 << 30)
        guest = Watch(LIMIT_S, lambda: None, lambda: None, lambda _names, _error: False)
        plan = WorkerPlan(graph, SCHEMA, find_kind=lambda *_: Kind(np.dtype(np.float64)))
        return sums(plan, graph, guest)

    seen = apart(work)
    assert seen["failed"] == EVENTS
    assert seen["values"] == {"mine": 0, "good": 2 * EVENTS, "other": EVENTS}


def test_who_does_not_call_peoples_code_does_not_load_it() -> None:
    graph = graph_with("raise KeyboardInterrupt")
    assert not reductions(graph).unbound
    assert GlobalPlan(graph).windows.keys() == reductions(graph).keys()


@pytest.mark.parametrize("deed", ["os._exit(3)", "while True: pass", "1 / 0"])
def test_what_runs_and_cannot_be_checked_any_more_is_tried_once_and_keeps_nobody_from_editing(
    deed: str,
) -> None:
    """A manager that was restarted knows nothing of it, and the file that its code reads is gone."""
    running, known = graph_with(deed), Known()
    both = graph_of(TEXT.format(deed=deed) + "  another: count(x)\n").at_version(2)
    for _ in range(2):
        checking = Checking(SCHEMA, running, 50_000_000, 1 << 30, known, 1 << 30)
        assert checking.check(both, LIMIT_S)[0].results == both.results
        assert not checking.is_news(both)
    assert set(known.failing) == {running.fingerprint(name) for name in ("mine/1", "mine", "on_results")}
    with pytest.raises(GraphError):
        Checking(SCHEMA, Graph(), 50_000_000, 1 << 30, known, 1 << 30).check(both, LIMIT_S)
