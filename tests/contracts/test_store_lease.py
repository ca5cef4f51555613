"""What every lease keeps: one holder at a time, and nothing written by who was one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ami.errors import Conflict
from ami.stores import ABSENT, Store
from ami.stores.link import LARGE_BYTES, Command
from tests.waiting import wait_until


def test_one_holder_at_a_time_and_tokens_ascend(store: Store) -> None:
    one, two = store.lease("lease", 30), store.lease("lease", 30)
    assert one.acquire()
    assert not two.acquire()
    assert one.acquire()
    first = one.token
    assert first > 0
    assert two.token == 0
    one.release()
    assert two.acquire()
    assert two.token > first
    one.release()
    two.renew()


def test_a_lease_that_is_not_renewed_ends(store: Store) -> None:
    one, two = store.lease("lease", 0.1), store.lease("lease", 30)
    assert one.acquire()
    token = one.token
    wait_until(two.acquire, what="the lease to end")
    with pytest.raises(Conflict):
        one.renew()
    assert one.token == 0
    assert two.token > token


def test_no_lease_lasts_longer_than_it_was_given_for_whatever_the_clock_of_a_copy_says(
    store: Store,
) -> None:
    """A copy that takes over a minute behind sees the ends of what it was told of a minute later."""
    dead, next_one = store.lease("lease", 0.2), store.lease("lease", 0.2)
    assert dead.acquire()
    store._link.one(dead.key, "PEXPIRE", 60_000, repeat=True)
    assert not next_one.acquire()
    assert 0 < store._link.one(dead.key, "PTTL", repeat=True) <= 200
    wait_until(next_one.acquire, what="the lease of who is dead to end")
    assert next_one.token > dead.token


def test_commands_under_a_lease_are_carried_out_all_or_not_at_all(store: Store) -> None:
    lease, other = store.lease("lease", 30), store.lease("lease", 30)
    assert lease.acquire()
    names = [lease.key + ":a", lease.key + ":b"]
    commands: list[Command] = [("RPUSH", names[0], "x", "y"), ("SET", names[1], 7), ("LLEN", names[0])]
    assert lease.atomic(names, commands, repeat=False)[::2] == [2, 2]
    lease.release()
    assert other.acquire()
    with pytest.raises(Conflict):
        lease.atomic(names, commands, repeat=False)
    assert other.atomic(names, [("LLEN", names[0]), ("GET", names[1])], repeat=True) == [2, b"7"]
    store._link.call(names[0], [("UNLINK", *names)], repeat=True)


def test_a_holder_writes_all_of_it(store: Store) -> None:
    lease = store.lease("lease", 30)
    assert lease.acquire()
    store.commit(lease, {"graph:1": {"a": 1}, "current": 1}, expected={"current": ABSENT}, notify={"v": 1})
    assert store["graph:1"] == {"a": 1}
    assert sorted(store) == ["current", "graph:1"]
    assert [value for _, value in store.history("v", 10)] == [1]
    store.commit(lease, {"current": 2}, expected={"current": 1, "graph:1": {"a": 1}})
    assert store["current"] == 2
    store.commit(lease, {}, notify={"v": 2})
    assert [value for _, value in store.history("v", 10)] == [1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_values_of_all_sizes_are_stored_together_or_not_at_all(store: Store, seed: int) -> None:
    # From some size on they are sent before the step that stores them, under names that must not stay.
    random = np.random.default_rng(seed)
    lease = store.lease("lease", 30)
    assert lease.acquire()
    stands: dict[str, object] = {"mine": None}
    store["mine"] = None
    for number in range(20):
        sizes = random.choice([1, LARGE_BYTES // 8 - 20, LARGE_BYTES // 8, 1 << 16], 4)
        values: dict[str, object] = {
            f"v{n}": np.full(size, number * 10.0 + n)
            for n, size in zip(random.permutation(9), sizes, strict=False)
        }
        fits = bool(random.random() < 0.6)
        expected = {"mine": stands["mine"] if fits else "something else"}
        gone = random.choice(sorted(stands.keys() - values.keys() - {"mine"}) or ["never"], 1).tolist()
        if fits:
            store.commit(
                lease, {**values, "mine": number}, expected=expected, notify={"s": number}, remove=gone
            )
            stands = {name: stand for name, stand in stands.items() if name not in gone}
            stands |= {**values, "mine": number}
        else:
            with pytest.raises(Conflict):
                store.commit(lease, values, expected=expected, notify={"s": number}, remove=gone)
        for name, value in stands.items():
            np.testing.assert_array_equal(store[name], value)
        assert sorted(store) == sorted(stands)
    # What was refused has arrived all the same, and goes by itself.
    facts = {fact.key: fact.ttl_s for fact in store.scan("*:v*")}
    assert all((ttl_s is not None) == key.endswith(":new") for key, ttl_s in facts.items())
    accepted = [value for _, value in store.history("s", 100)]
    assert accepted[-1:] == ([stands["mine"]] if accepted else [])


def test_who_lost_the_lease_writes_nothing(store: Store) -> None:
    old, new = store.lease("lease", 0.05), store.lease("lease", 30)
    assert old.acquire()
    wait_until(new.acquire, what="the lease to end")
    with pytest.raises(Conflict, match="lease"):
        store.commit(old, {"x": 1}, notify={"v": 1})
    assert "x" not in store
    assert store.history("v", 1) == []


def test_a_lease_that_nobody_took_over_is_lost_all_the_same(store: Store) -> None:
    lease = store.lease("lease", 0.05)
    assert lease.acquire()
    witness = store.lease("lease", 0.01)
    wait_until(witness.acquire, what="the lease to end")
    witness.release()
    with pytest.raises(Conflict):
        store.commit(lease, {"x": 1})


@pytest.mark.parametrize("expected", [{"x": 2}, {"x": ABSENT}, {"x": 1, "y": 1}, {"x": [1]}])
def test_nothing_is_written_when_an_expectation_fails(store: Store, expected: dict[str, object]) -> None:
    store["x"] = 1
    lease = store.lease("lease", 30)
    lease.acquire()
    with pytest.raises(Conflict):
        store.commit(lease, {"x": 5, "z": 5}, expected=expected, notify={"v": 1})
    assert store["x"] == 1
    assert "z" not in store
    assert store.history("v", 1) == []


def test_versions_of_four_writers_come_out_in_order_without_a_gap(store: Store) -> None:
    lease = store.lease("lease", 60)
    lease.acquire()
    store["current"] = 0

    def write() -> None:
        for _ in range(10):
            while True:
                now = store["current"]
                try:
                    store.commit(
                        lease, {"current": now + 1}, expected={"current": now}, notify={"v": now + 1}
                    )
                except Conflict:
                    continue
                break

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [value for _, value in store.history("v", 100)] == list(range(1, 41))


def test_the_successor_of_a_dead_holder_does_not_wait_for_the_end(store: Store) -> None:
    dead = store.lease("lease", 30, place="here:reducer:0")
    assert dead.acquire()
    stranger, namesake = store.lease("lease", 30, place="there:reducer:0"), store.lease("lease", 30)
    longer = store.lease("lease", 30, place="here:reducer:00")
    assert not stranger.acquire()
    assert not namesake.acquire()
    assert not longer.acquire()
    successor = store.lease("lease", 30, place="here:reducer:0")
    assert successor.acquire()
    assert successor.token > dead.token > 0
    with pytest.raises(Conflict, match="lease"):
        store.commit(dead, {"x": 1})
    # Were it alive after all, it would have to wait.
    with pytest.raises(Conflict):
        dead.renew()
    assert not dead.acquire()
    successor.renew()
