"""What people's functions of results do to others: nothing. Each costs its own result, and is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from ami.config import WorkerConfig
from ami.daemons.reduction.assembly import Assembly
from ami.daemons.reduction.people import LATE, PeopleApart
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.result import Result
from ami.stores import Lease, Store
from ami.stores.membership import Members
from tests.batches import batch
from tests.waiting import wait_until

HANG_S = 0.3
SLOW_S = 0.45  # more than anybody waits for; half of it counts
EACH = 2  # events of an interval, each of 1


class Kept(dict[str, Any]):
    """Stands for the store: what one leader leaves for the next."""

    def commit(self, _lease: object, values: dict[str, Any]) -> None:
        self.update(values)


class Reducer:
    """The results of a lane, an interval after the other."""

    def __init__(self, deed: str, store: Kept) -> None:
        self.graph = graph_with(deed)
        self.people = PeopleApart(
            WorkerConfig(hang_s=HANG_S), cast(Store, store), cast(Lease, None), lane="small"
        )
        self.people.load()
        self.assembly = Assembly(lambda _version: self.graph, people=self.people)
        self.intervals = 0

    def take(self, intervals: int = 1) -> dict[str, Result]:
        """Return the results after some intervals more, as soon as they are there: a busy machine is late."""
        for _ in range(intervals):
            found = self.take_at_once()
            while "takes longer" in (found["mine"].error or ""):
                found = self.wait()
        return found

    def take_until_off(self) -> dict[str, Result]:
        """Return the results as soon as what fails is switched off; what is late counts later."""
        found: dict[str, Result] = {}

        def is_off() -> bool:
            found.update(self.take())
            return "switched off" in (found["mine"].error or "")

        wait_until(is_off, what="an operation that is switched off")
        return found

    def take_at_once(self) -> dict[str, Result]:
        self.intervals += 1
        one = batch(self.intervals, [1] * EACH, graph_version=self.graph.version)
        self.assembly.apply(one.node, self.intervals, one)
        return self.look()

    def look(self) -> dict[str, Result]:
        found = {result.name: result for result in self.assembly.results(Members(here=frozenset({"here"})))}
        self.people.save()
        assert (found["other"].value, found["other"].error) == (EACH * self.intervals + 1, None)
        return found

    def wait(self) -> dict[str, Result]:
        wait_until(self.people.collect, what="an answer, or the end of it")
        return self.look()


def graph_with(deed: str) -> Graph:
    text = f"""
functions:
  f:
    code: |
      import ctypes, faulthandler, os, sys, time
      def f(n):
          {deed}
    returns: float64
results:
  total: sum_events(x)
  mine: f(total)
  behind: mine * 2
  other: total + 1
"""
    return graph_of(text).at_version(1)


@pytest.fixture
def made() -> Iterator[Any]:
    reducers: list[Reducer] = []

    def make(deed: str, store: Kept | None = None) -> Reducer:
        reducers.append(Reducer(deed, Kept() if store is None else store))
        return reducers[-1]

    yield make
    for one in reducers:
        one.people.close()


def test_what_it_gives_is_what_a_call_gives(made: Any) -> None:
    reducer = made("return n * n + 0.5")
    for interval in range(1, 4):
        found = reducer.take()
        assert found["mine"].value == (EACH * interval) ** 2 + 0.5
        assert found["behind"].value == 2 * found["mine"].value
        assert found["mine"].error is None


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("sys.exit()", "SystemExit, in line 3 of its code"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt, in line 3 of its code"),
        ("return f(n)", "RecursionError: maximum recursion depth exceeded"),
        ("os.fork()", "PermissionError: a function may start and end neither"),
        ("return object()", "TypeError"),
    ],
)
def test_whatever_it_raises_is_an_error_of_its_result(made: Any, deed: str, told: str) -> None:
    found = made(deed).take()
    assert found["mine"].value is None
    assert found["mine"].error.startswith(f"operation 'mine' failed 1 time: {told}")
    assert found["behind"].error == found["mine"].error


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("os._exit(3)", "ends the process with exit code 3"),
        ("faulthandler.disable(); ctypes.string_at(0)", "kills the process (SIGSEGV)"),
        ("bytearray(20 << 30)", "MemoryError, in line 3 of its code"),
    ],
)
def test_what_ends_its_process_is_switched_off_at_the_third_time_and_for_the_next_leader(
    made: Any, deed: str, told: str
) -> None:
    store = Kept()
    reducer = made(f"if n > {EACH}: {deed}\n          return n", store)
    assert reducer.take()["mine"].value == EACH
    for _ in range(2):
        assert f": {told}" in (error := reducer.take()["mine"].error)
        assert "switched off" not in error
    found = reducer.take_until_off()
    assert f"switched off: {told}" in found["mine"].error
    assert f"switched off: {told}" in reducer.assembly.list_failing()[0]
    successor = made(f"if n > {EACH}: {deed}\n          return n", store)
    assert f"switched off: {told}" in successor.take()["mine"].error, "it would run at this value"


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("while True: pass", "TooLong: one call took more than 0.3 s"),
        ("time.sleep(1e9)", "TooLong: one call took more than 0.3 s"),
        (
            "lock = ctypes.create_string_buffer(64)\n"
            "          [ctypes.CDLL(None).pthread_mutex_lock(lock) for _ in range(2)]",
            "runs for more than 0.6 s",
        ),
    ],
    ids=["loop", "sleep", "lock"],
)
def test_what_hangs_is_switched_off_at_the_second_time(made: Any, deed: str, told: str) -> None:
    reducer = made(deed)
    assert "there is no value yet" in reducer.take_at_once()["mine"].error
    assert f": {told}" in (error := reducer.wait()["mine"].error)
    assert "switched off" not in error
    assert told in reducer.take_at_once()["mine"].error, "what it did last, while it is asked again"
    assert f"switched off: {told}" in reducer.wait()["mine"].error


def test_an_edit_or_a_removal_begins_afresh(made: Any) -> None:
    reducer = made("os._exit(3)")
    reducer.take_until_off()
    reducer.people.keep(Graph())
    assert "switched off" not in reducer.take()["mine"].error


def test_one_that_is_slow_gives_the_value_of_an_interval_before_and_then_the_last(made: Any) -> None:
    reducer = made(f"time.sleep({SLOW_S}); return n")
    assert reducer.take_at_once()["mine"].value is None
    assert reducer.wait()["mine"].value == EACH
    found = reducer.take_at_once()["mine"]
    assert (found.value, found.error) == (EACH, f"operation 'mine' {LATE}")
    found = reducer.wait()["mine"]
    assert (found.value, found.error) == (2 * EACH, None)
