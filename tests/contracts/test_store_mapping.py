"""What every store keeps: the mapping."""

from __future__ import annotations

import collections
import datetime
import threading
from typing import Any

import numpy as np
import pytest

from ami.errors import Conflict
from ami.stores import ABSENT, Store, codec
from ami.stores.codec import equal
from tests.waiting import wait_until

VALUES: list[Any] = [
    None,
    True,
    -(1 << 80),
    2.5,
    float("inf"),
    1j,
    "µs",
    b"\x00\xff",
    np.float32(1.5),
    np.int64(-3),
    np.datetime64("2026-01-01", "ns"),
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(10)[::3],
    np.zeros((0, 4)),
    np.array(7, "u2"),
    np.array(["a", "bcd"]),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    (1, [2, {"three": {4}}], frozenset({5})),
    {"nested": {"array": np.ones(3)}, 1: None},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
def test_a_value_comes_back_as_it_was_put(store: Store, value: Any) -> None:
    store.put("x", value)
    assert equal(store["x"], value)
    assert type(store["x"]) is type(value)


def test_an_array_comes_back_read_only(store: Store) -> None:
    store["x"] = np.arange(3)
    with pytest.raises(ValueError, match="read-only"):
        store["x"][0] = 1


@pytest.mark.parametrize(
    "value",
    [object(), np.array([object()]), lambda: 0, datetime.date(2026, 1, 1), int],
    ids=["object", "array of objects", "function", "date", "class"],
)
def test_what_is_no_value_is_refused_and_changes_nothing(store: Store, value: object) -> None:
    store["x"] = 1
    with pytest.raises(TypeError, match="cannot be stored"):
        store["x"] = value
    assert store["x"] == 1


def test_a_name_that_is_not_there_is_a_key_error(store: Store) -> None:
    for access in (lambda: store["x"], lambda: store.__delitem__("x"), lambda: store.take("x")):
        with pytest.raises(KeyError, match="x"):
            access()
    assert store.get("x") is None
    assert "x" not in store


@pytest.mark.parametrize("name", ["", "%index", "%"])
def test_reserved_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        store[name] = 1
    assert name not in store


def test_iteration_and_len_see_this_prefix_only(store: Store) -> None:
    other = store.view("there:test:1")
    store.update({"a": 1, "b": 2})
    other["c"] = 3
    assert sorted(store) == ["a", "b"]
    assert len(store) == 2
    assert list(other) == ["c"]
    assert store.view("there:test:1")["c"] == 3


def test_prefixes_of_which_one_begins_like_another_do_not_mix(store: Store) -> None:
    store.view("here:test:1")["x"] = 1
    store.view("here:test:11")["x"] = 11
    assert list(store.view("here:test:1")) == ["x"]
    assert store.view("here:test:11")["x"] == 11


def test_structures_are_no_items_of_the_mapping(store: Store) -> None:
    store.queue("queue").put(1)
    store.journal("journal").append(1, "x")
    store.commit(None, {}, notify={"stream": 1})
    store.lease("lease", 10).acquire()
    assert list(store) == []
    assert len(store) == 0
    for name in ("queue", "journal", "stream", "lease"):
        assert name not in store


def test_what_expires_is_gone_from_everything(store: Store) -> None:
    store.put("x", 1, expire_s=0.5)
    store.update({"y": 2}, expire_s=0.5)
    store["z"] = 3
    assert len(store) == 3
    # Two clocks decide, the index's and the server's, and either may be the first.
    wait_until(lambda: store.get_many(["x", "y", "z"]) == {"z": 3}, what="the values' end")
    wait_until(lambda: len(store) == 1, what="the end of their names")
    assert list(store) == ["z"]
    assert "x" not in store
    assert store.get("x") is None


def test_a_value_that_is_put_again_does_not_expire(store: Store) -> None:
    store.put("x", 1, expire_s=0.05)
    store.put("x", 2)
    store.put("witness", 1, expire_s=0.06)
    wait_until(lambda: "witness" not in store, what="the witness to expire")
    assert store["x"] == 2
    assert list(store) == ["x"]


def test_expire_is_for_whatever_has_the_name(store: Store) -> None:
    store["x"] = 1
    store.queue("q").put(1)
    assert store.expire("x", 0.03)
    assert store.expire("q", 0.03)
    assert not store.expire("nothing", 1)
    wait_until(lambda: "x" not in store and len(store.queue("q")) == 0, what="both to expire")
    assert list(store) == []


def test_a_name_is_listed_again_after_another_process_removed_it(store: Store) -> None:
    other = store.view(store.prefix)
    store["x"] = 1
    del other["x"]
    assert list(store) == []
    store["x"] = 2
    assert list(other) == ["x"]


def test_a_value_is_taken_once(store: Store) -> None:
    store["x"] = np.arange(3)
    taken = []

    def take() -> None:
        try:
            taken.append(store.take("x"))
        except KeyError:
            taken.append(None)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(value is not None for value in taken) == 1
    assert "x" not in store
    assert list(store) == []


def test_a_live_collection_is_taken_as_a_plain_one(store: Store) -> None:
    store["x"] = [1, 2]
    taken = store.take("x")
    assert type(taken) is list
    assert taken == [1, 2]
    assert "x" not in store


def test_compare_and_set_writes_only_over_what_was_expected(store: Store) -> None:
    store.compare_and_set("x", ABSENT, {"version": 1, "hash": "a"})
    with pytest.raises(Conflict):
        store.compare_and_set("x", ABSENT, 0)
    with pytest.raises(Conflict):
        store.compare_and_set("x", {"version": 2}, 0)
    store.compare_and_set("x", {"hash": "a", "version": 1}, np.arange(2))
    store.compare_and_set("x", np.arange(2), "done")
    assert store["x"] == "done"
    assert list(store) == ["x"]


def test_of_writers_who_expect_the_same_one_wins_each_time(store: Store) -> None:
    store["x"] = 0

    def count_up() -> None:
        for _ in range(25):
            while True:
                now = store["x"]
                try:
                    store.compare_and_set("x", now, now + 1)
                except Conflict:
                    continue
                break

    threads = [threading.Thread(target=count_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store["x"] == 75


def test_many_values_go_and_come_at_once(store: Store) -> None:
    values = {f"n{number}": np.full(3, number) for number in range(50)}
    store.update(values)
    store["live"] = {"a": 1}
    found = store.get_many([*values, "nothing", "live"])
    assert found.keys() == values.keys() | {"live"}
    assert all(equal(found[name], values[name]) for name in values)
    assert found["live"] == {"a": 1}
    assert store.delete_many(["n0", "n1", "nothing"]) == 2
    assert len(store) == 49
    store.clear()
    assert len(store) == 0
    assert store.get_many([]) == {}


@pytest.mark.parametrize(
    "value", [[1, "b"], {"a": 1}, {1, 2}, collections.deque([1, 2], 5), collections.Counter("aab")]
)
def test_an_assigned_collection_is_live_even_when_it_is_empty(store: Store, value: Any) -> None:
    store["x"] = value
    assert store["x"] == value
    store["x"].clear()
    assert "x" in store
    assert len(store["x"]) == 0
    assert list(store) == ["x"]
    del store["x"]
    assert "x" not in store


def test_a_change_of_a_live_collection_is_seen_through_every_window(store: Store) -> None:
    store["x"] = [1]
    window = store["x"]
    store.view(store.prefix)["x"].append(2)
    assert window == [1, 2]
    assert store.list("x") == [1, 2]


def test_put_keeps_a_collection_whole(store: Store) -> None:
    store.put("x", {"a": [1]})
    assert type(store["x"]) is dict
    store["x"]["a"].append(2)
    assert store["x"] == {"a": [1]}


def test_a_value_can_replace_a_collection_and_a_collection_a_value(store: Store) -> None:
    store["x"] = {"a": 1}
    store["x"] = 5
    assert store["x"] == 5
    store["x"] = [1]
    assert store["x"] == [1]
    store["x"] = {2}
    assert store["x"] == {2}
    store.put("x", 1, expire_s=0.03)
    # Two clocks decide, the index's and the server's, and either may be the first.
    wait_until(lambda: "x" not in store and store.get("x") is None, what="its end")


def test_a_window_on_something_else_is_refused(store: Store) -> None:
    store["x"] = [1]
    store["y"] = 1
    for wrong in (store.dict, store.set, store.counter, store.deque):
        with pytest.raises(TypeError):
            wrong("x")
    with pytest.raises(TypeError):
        store.list("y")
    store.deque("z", 3)
    with pytest.raises(TypeError):
        store.deque("z", 4)
    assert store.deque("z").maxlen == 3


def test_a_window_makes_an_empty_collection(store: Store) -> None:
    store.counter("runs")["last"] += 1
    store.set("nodes").add("here")
    assert store.counter("runs")["last"] == 1
    assert sorted(store) == ["nodes", "runs"]


def test_scan_finds_the_keys_of_every_owner(store: Store) -> None:
    store["x"] = np.zeros(1000)
    store.view("there:other:5").put("y", 1, expire_s=100)
    facts = {(found.prefix, found.key.rpartition(":")[2]): found for found in store.scan("*:[xy]")}
    assert facts.keys() == {("here:test:0", "x"), ("there:other:5", "y")}
    assert facts["here:test:0", "x"].size_bytes >= 8000
    assert facts["here:test:0", "x"].ttl_s is None
    assert 0 < (facts["there:other:5", "y"].ttl_s or 0) <= 100
    assert equal(store.look(facts["here:test:0", "x"].key), np.zeros(1000))
    with pytest.raises(KeyError):
        store.look("here:test:0:nothing")


def test_bytes_are_read_in_the_order_of_their_names(store: Store) -> None:
    store.update({"a": 1, "b": 2})
    one, none, two = store.get_raw(["a", "missing", "b"])
    assert (one and codec.decode(one), none, two and codec.decode(two)) == (1, None, 2)
