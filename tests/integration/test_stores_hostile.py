"""Bad bytes in Redis: a clear error from whoever meets them, and nothing else is disturbed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ami.errors import Undecodable
from ami.stores import BadRecord, Store
from ami.stores import journal as journals
from ami.stores.link import Chunks, Link, Script
from tests.hostile import HOSTILE

pytestmark = pytest.mark.integration

ITEMS = {
    **HOSTILE,
    "no object": b"[1, 2]",
    "a number": b"5",
    "no id": b'{"value": 1}',
    "an id that is no text": b'{"id": 5, "value": 1}',
    "deep": b"[" * 100_000,
    "cut": b'{"id": "a", "value": "b',
}


def link_of(store: Store) -> Link:
    return store._link


def put_raw(store: Store, *command: bytes | str) -> None:
    link_of(store).call("x", [command], repeat=False)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_bad_value_is_refused_and_its_neighbours_are_read(local_store: Store, data: bytes) -> None:
    local_store["good"] = 1
    put_raw(local_store, "SET", f"{local_store.prefix}:bad", data)
    with pytest.raises(Undecodable):
        local_store["bad"]
    with pytest.raises(Undecodable):
        local_store.take("bad")
    assert local_store["good"] == 1
    list(local_store.scan("*"))
    local_store.look(f"{local_store.prefix}:good")
    assert not Path("/tmp/ami-was-here").exists()


def test_a_bad_record_is_named_so_that_it_can_be_removed(local_store: Store) -> None:
    journal = local_store.journal("j")
    for number in (1, 2, 3):
        journal.append(number, number)
    put_raw(local_store, "SET", f"{journal.key}:2", HOSTILE["os.system"])
    assert [record.number for record in journal.read()] == [1]
    with pytest.raises(BadRecord, match="record 2") as caught:
        journal.read(after=1)
    with pytest.raises(BadRecord):
        local_store.read_journals({"j": journal}, {"j": 1}, 0.0)
    journal.remove([caught.value.number])
    assert [record.number for record in journal.read(after=1)] == [3]


@pytest.mark.parametrize("seed", range(8))
def test_a_backlog_is_read_in_portions_in_order_and_nothing_is_passed_over(
    local_store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(journals, "READ_BYTES", 10_000)
    written = {}
    for name in "ab":
        journal = local_store.journal(name)
        sizes = rng.choice([1, 100, 4_000, 9_000, 30_000], size=20)
        for number, size in enumerate(sizes.tolist(), start=1):
            journal.append(number, bytes(size))
        gone = set(rng.choice(np.arange(1, 21), size=8, replace=False).tolist())
        put_raw(local_store, "UNLINK", *[f"{journal.key}:{number}" for number in gone])
        written[name] = {n: size for n, size in enumerate(sizes.tolist(), start=1) if n not in gone}
    found: dict[str, dict[int, int]] = {"a": {}, "b": {}}
    mine = {name: local_store.journal(name) for name in "ab"}
    while records := local_store.read_journals(mine, {n: max(found[n], default=0) for n in "ab"}, 0.0):
        for name in "ab":
            part = [(record.number, len(record.value)) for which, record in records if which == name]  # type: ignore[arg-type]
            assert len(part) == 1 or sum(size for _, size in part) <= 10_000
            assert [number for number, _ in part] == sorted(number for number, _ in part)
            found[name].update(part)
    assert found == written


@pytest.mark.parametrize("data", ITEMS.values(), ids=ITEMS.keys())
def test_a_bad_request_is_refused_once_and_the_next_is_taken(local_store: Store, data: bytes) -> None:
    queue = local_store.queue("q")
    put_raw(local_store, "RPUSH", f"{local_store.prefix}:q", data)
    queue.put("good")
    with pytest.raises(Undecodable):
        queue.take(0.0)
    item = queue.take(0.0)
    assert item is not None
    assert item.value == "good"
    assert queue.recover() == 1


def test_bad_elements_of_collections_are_refused(local_store: Store) -> None:
    local_store.update({})
    for name, value in (("l", [1]), ("d", {"a": 1}), ("s", {1})):
        local_store[name] = value
    put_raw(local_store, "RPUSH", f"{local_store.prefix}:l", HOSTILE["os.system"])
    put_raw(local_store, "HSET", f"{local_store.prefix}:d", b"?", b"?")
    put_raw(local_store, "SADD", f"{local_store.prefix}:s", b"?")
    for name in "lds":
        with pytest.raises(Undecodable):
            local_store[name].copy()
    assert local_store["l"][0] == 1
    assert local_store["d"]["a"] == 1
    assert 1 in local_store["s"]


def test_a_kind_that_there_is_not_is_refused(local_store: Store) -> None:
    local_store["x"] = [1]
    put_raw(local_store, "HSET", f"{local_store.prefix}:%kinds", "x", "os.system")
    with pytest.raises(Undecodable, match="kind"):
        local_store["x"]


def test_commands_of_odd_bytes_reach_redis_whole(local_store: Store) -> None:
    link = link_of(local_store)
    odd = b"\r\n$5\r\n*3\r\n\x00\xff"
    large = b"z" * 300_000
    link.call("x", [("SET", "x", Chunks([odd, large, b"", memoryview(odd)]))], repeat=True)
    assert bytes(link.call("x", [("GET", "x")], repeat=True)[0]) == odd + large + odd
    assert link.script(Script("return ARGV[1]"), ["x"], [odd], repeat=True) == odd
    local_store["näme \r\n\udcff"] = odd
    assert list(local_store) == ["näme \r\n\udcff"]
    assert local_store["näme \r\n\udcff"] == odd


def test_large_and_small_replies_in_any_order_come_back_in_order(local_store: Store) -> None:
    sizes = [0, 1, 262_143, 262_144, 262_145, 1_048_576, 5_000_000]
    for size in sizes:
        local_store.put(f"n{size}", b"x" * size)
        assert len(local_store[f"n{size}"]) == size
    found = local_store.get_many([f"n{size}" for size in sizes])
    assert [len(found[f"n{size}"]) for size in sizes] == sizes
