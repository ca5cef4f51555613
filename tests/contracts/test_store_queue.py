"""What every queue keeps: no request is lost by whoever takes it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ami.errors import Conflict
from ami.stores import Item, Store
from ami.stores.queue import ITEM_BYTES, SOME_BYTES


def test_items_are_taken_in_the_order_in_which_they_were_put(store: Store) -> None:
    queue = store.queue("q")
    ids = [queue.put({"n": n, "text": "ü", "deep": [None, True, 1.5]}) for n in range(3)]
    assert len(queue) == 3
    taken = [queue.take(0.0) for _ in range(3)]
    assert [item.id for item in taken if item] == ids
    assert [item.value["n"] for item in taken if item] == [0, 1, 2]
    assert queue.take(0.0) is None
    assert len(queue) == 0


def test_what_was_taken_and_not_done_is_recovered_in_order(store: Store) -> None:
    queue = store.queue("q")
    for n in range(4):
        queue.put(n)
    items = [queue.take(0.0) for _ in range(3)]
    assert items[1] is not None
    queue.done(items[1])
    queue.done(items[1])
    successor = store.view(store.prefix).queue("q")
    assert successor.recover() == 2
    values = []
    while (item := successor.take(0.0)) is not None:
        values.append(item.value)
        successor.done(item)
    assert values == [0, 2, 3]
    assert successor.recover() == 0


def test_what_json_cannot_say_is_refused(store: Store) -> None:
    queue = store.queue("q")
    for value in (np.arange(2), {1, 2}, float("nan"), b"x"):
        with pytest.raises(TypeError):
            queue.put(value)
    assert len(queue) == 0


def test_a_consumer_who_waits_gets_an_item_at_once_and_none_after_the_time(store: Store) -> None:
    queue = store.queue("q")
    assert queue.take(0.05) is None
    got: list[Item | None] = []
    consumer = threading.Thread(target=lambda: got.append(queue.take(30.0)))
    consumer.start()
    time.sleep(0.05)
    identifier = store.view(store.prefix).queue("q").put("x")
    consumer.join(20)
    assert got == [Item(identifier, "x")]


def test_of_many_consumers_each_item_reaches_one(store: Store) -> None:
    queue = store.queue("q")
    for n in range(40):
        queue.put(n)
    taken: list[int] = []

    def consume() -> None:
        own = store.queue("q")
        while (item := own.take(0.0)) is not None:
            taken.append(item.value)
            own.done(item)

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))


def test_some_are_taken_at_once_in_order_without_what_is_none(store: Store) -> None:
    queue = store.queue("q")
    key = queue._key
    assert queue.take_some(0.0) == ([], [])
    put = [queue.put(n) for n in range(3)]
    queue._link.one(key, "RPUSH", b"\xff", b"{}", b"x" * (ITEM_BYTES + 1), b"y" * 70_000, repeat=False)
    put += [queue.put("z" * n) for n in (5, 70_000, SOME_BYTES, 5)]
    taken: list[Item] = []
    broken = 0
    while len(taken) < len(put):
        items, reasons = queue.take_some(0.0)
        taken += items
        broken += len(reasons)
    assert [item.id for item in taken] == put
    assert broken == 4
    assert queue.take_some(0.0) == ([], [])
    successor = store.view(store.prefix).queue("q")
    queue.done(taken[0], taken[2])
    assert successor.recover() == len(put) - 2
    assert [item.id for item in successor.take_some(0.0)[0]] == [put[1]]
    assert [item.id for item in successor.take_some(0.0)[0]] == put[3:5]


def test_what_is_larger_than_any_item_is_refused_to_who_puts_it(store: Store) -> None:
    queue = store.queue("q")
    with pytest.raises(TypeError, match="MiB; at most 8"):
        queue.put("x" * ITEM_BYTES)
    assert len(queue) == 0


def test_an_item_is_put_into_each_of_several_queues_which_expire(store: Store) -> None:
    queue = store.queue("q")
    queue.put_beside({}, expire_s=1)
    queue.put_beside({"a": 1, "b": {"x": None}}, expire_s=60)
    queue.put_beside({"a": 2}, expire_s=0.001)
    assert store.queue("b").take(0.0).value == {"x": None}  # type: ignore[union-attr]
    time.sleep(0.05)
    assert store.queue("a").take(0.0) is None
    assert len(queue) == 0


def test_who_lost_the_lease_takes_nothing_answers_nobody_and_lets_go_of_nothing(store: Store) -> None:
    lease, other = store.lease("lease", 30), store.lease("lease", 30)
    assert lease.acquire()
    queue = store.queue("q", lease)
    put = [queue.put(n) for n in range(3)]
    taken, broken = queue.take_some(0.0)
    assert ([item.id for item in taken], broken) == (put, [])
    queue.done(taken[0])
    put += [queue.put(n) for n in (3, 4)]
    lease.release()
    assert other.acquire()
    for late in (
        lambda: queue.take_some(0.0),
        lambda: queue.done(taken[1]),
        lambda: queue.put_beside({"reply": 1}, expire_s=60),
        queue.recover,
    ):
        with pytest.raises(Conflict):
            late()
    assert len(queue) == 2
    assert store.queue("reply").take(0.0) is None
    successor = store.queue("q", other)
    assert successor.recover() == 2
    assert [item.id for item in successor.take_some(0.0)[0]] == put[1:]


def test_of_several_who_wait_under_a_lease_the_holder_takes(store: Store) -> None:
    lease = store.lease("lease", 30)
    assert lease.acquire()
    late = threading.Thread(target=lambda: store.queue("q", store.lease("lease", 30))._await_item(30.0))
    late.start()
    got: list[Item] = []
    holder = threading.Thread(target=lambda: got.extend(store.queue("q", lease).take_some(30.0)[0]))
    holder.start()
    time.sleep(0.05)
    identifier = store.view(store.prefix).queue("q").put("x")
    holder.join(20)
    assert [item.id for item in got] == [identifier]
    store.queue("q").put("y")  # should it not have seen the first
    late.join(20)
    assert not late.is_alive()
