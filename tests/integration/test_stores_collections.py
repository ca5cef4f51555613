"""Live collections under several hands at once, where Python's own types would need a lock."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable

import pytest

from ami.stores import Store

pytestmark = pytest.mark.integration


@pytest.fixture(params=["local_store", "global_store"])
def store(request: pytest.FixtureRequest) -> Store:
    real: Store = request.getfixturevalue(request.param)
    return real


def at_once(*acts: Callable[[], object]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_count_of_two_processes_is_lost(store: Store) -> None:
    store["c"] = collections.Counter()

    def count() -> None:
        mine = store.view(store.prefix)["c"]
        for _ in range(100):
            mine.update({"events": 2})

    at_once(count, count, count)
    assert store["c"]["events"] == 600


def test_two_processes_that_draw_numbers_never_get_the_same(store: Store) -> None:
    drawn: list[int] = []
    children = []
    for _ in range(2):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            try:
                numbers = [store.counter("runs").add("last") for _ in range(500)]
                os.write(writing, " ".join(map(str, numbers)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        children.append((child, reading))
    for child, reading in children:
        with os.fdopen(reading) as answer:
            drawn += map(int, answer.read().split())
        os.waitpid(child, 0)
    assert sorted(drawn) == list(range(1, 1001))


def test_a_rewrite_of_a_list_loses_nothing_that_is_appended_meanwhile(store: Store) -> None:
    store["l"] = [0] * 10

    def append() -> None:
        for n in range(100):
            store["l"].append(n)

    def turn() -> None:
        for _ in range(20):
            store["l"].reverse()

    at_once(append, turn)
    assert len(store["l"]) == 110


def test_a_deque_never_holds_more_than_its_length(store: Store) -> None:
    store["d"] = collections.deque(maxlen=5)
    seen = []

    def append() -> None:
        for n in range(200):
            store["d"].append(n)

    at_once(append, append, lambda: seen.extend(len(store["d"]) for _ in range(100)))
    assert max(seen) <= 5
    assert len(store["d"]) == 5


def test_of_two_who_pop_each_gets_another_element(store: Store) -> None:
    store["s"] = set(range(200))
    taken: list[int] = []

    def pop() -> None:
        for _ in range(100):
            taken.append(store["s"].pop())

    at_once(pop, pop)
    assert sorted(taken) == list(range(200))
