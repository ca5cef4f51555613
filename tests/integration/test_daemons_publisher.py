"""What is published when: small results at once, large ones as often as their share of time allows."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ami.client.updates import Updates, read_history, read_results
from ami.config import GlobalStoreConfig
from ami.daemons.reduction import publisher
from ami.daemons.reduction.by_key import ByKey
from ami.daemons.reduction.publisher import LARGE_BYTES, LARGE_SHARE, TABLE_BYTES, Publisher
from ami.errors import Conflict, StoreFull
from ami.stores import Store, keys, open_global
from ami.values import Scan
from tests.client_rig import made

pytestmark = pytest.mark.integration

IMAGE = np.zeros(LARGE_BYTES // 8)


class Clock:
    """Moves on by itself with each look, as much as the test says."""

    now_s = 100.0
    look_s = 0.0

    def monotonic(self) -> float:
        self.now_s += self.look_s
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(publisher, "time", clock)
    return clock


class Rig:
    def __init__(self, store: Store) -> None:
        self.store = store.view(keys.prefix("ami", "global-reducer", 0))
        self.lease = self.store.lease(keys.LEASE, 60)
        assert self.lease.acquire()
        self.publisher = Publisher(self.store, self.lease)

    def value(self, name: str) -> Any:
        result = read_results(self.store, [name]).get(name)
        return None if result is None else result.value

    def history(self, name: str) -> list[dict[str, object]]:
        return read_history(self.store, name, 10)

    def notices(self) -> list[Any]:
        return [value for _, value in self.store.history(keys.RESULTS, 100)]


@pytest.fixture
def rig(global_store: Store) -> Rig:
    return Rig(global_store)


def test_results_are_there_with_their_notice_and_scalars_have_a_history(rig: Rig, clock: Clock) -> None:
    wave, trace = made("wave", np.arange(3.0)), made("trace", np.zeros(TABLE_BYTES))
    rig.publisher.forget((), {name: {} for name in ("level", "wave", "none", "trace")})
    rig.publisher.publish([made("level", 1.5), wave, made("none", None), trace])
    later = {"interval": 6, "time_ns": (7, 9)}
    rig.publisher.publish([made("level", np.float32(2.5), **later), replace(wave, **later)])
    assert rig.value("level") == 2.5
    np.testing.assert_array_equal(rig.value("wave"), [0, 1, 2])
    assert len(rig.value("trace")) == TABLE_BYTES
    first, second = rig.notices()
    assert (first["names"], first["lane"]) == (["trace"], "small")
    assert second == {"run": 1, "interval": 6, "names": [], "lane": "small", "graph_version": 1}
    assert rig.history("level") == [
        {"interval": 5, "time_ns": 1, "value": 1.5, "used": 9},
        {"interval": 6, "time_ns": 9, "value": 2.5, "used": 9},
    ]
    assert rig.history("wave") == rig.history("none") == []
    assert rig.publisher.published == 6


def test_however_many_small_results_are_one_value_one_notice_and_one_entry_of_the_history(
    rig: Rig, clock: Clock
) -> None:
    names = [f"m{number}" for number in range(300)]
    rig.publisher.forget((), {name: {} for name in names})
    for interval in range(3):
        rig.publisher.publish(
            [made(name, float(row + interval), interval=interval) for row, name in enumerate(names)]
        )
    assert [name for name in rig.store if name != keys.CATALOGUE] == [keys.table(keys.SMALL)]
    assert len(rig.notices()) == len(rig.store.history(keys.history(keys.SMALL), 100)) == 3
    assert [record["value"] for record in rig.history("m299")] == [299, 300, 301]


def test_a_result_that_outgrows_the_table_or_comes_back_is_never_seen_twice(rig: Rig, clock: Clock) -> None:
    for size in (1, TABLE_BYTES, 2):
        rig.publisher.publish([made("wave", np.zeros(size)), made("level", 1.0)])
        assert len(rig.value("wave")) == size
        assert (keys.result("wave") in rig.store) is (size == TABLE_BYTES)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_at_once_is_of_one_interval(cluster: GlobalStoreConfig, rig: Rig, seed: int) -> None:
    # Results of all sizes below those that wait, which lie in the table or not, and change places.
    random = np.random.default_rng(seed)
    names = [f"r{number}" for number in range(8)]
    rig.publisher.forget((), {name: {} for name in names})

    def publish(interval: int) -> None:
        sizes = random.integers(1, TABLE_BYTES // 4, len(names))
        rig.publisher.publish(
            [made(name, np.zeros(n), interval=interval) for name, n in zip(names, sizes, strict=True)]
        )

    publish(0)
    ended = threading.Event()
    with closing(open_global(cluster, rig.store.prefix)) as other, ThreadPoolExecutor(1) as thread:
        reads = thread.submit(_read_until, ended, other, names)
        for interval in range(1, 400):
            publish(interval)
        ended.set()
        moments = reads.result()
    assert len(moments) > 20
    assert [sorted(moment) for moment in moments if len(moment) > 1] == []


def _read_until(ended: threading.Event, reducer: Store, names: list[str]) -> list[set[int]]:
    """Return the intervals of the results that each read gave, of both ways to read."""
    updates, moments = Updates(reducer, names), []
    while not ended.is_set():
        found = read_results(reducer, names)
        assert len(found) == len(names)
        moments.append({result.interval for result in found.values()})
        moments.append({result.interval for result in updates.take(0).values()})
    return moments


@pytest.mark.parametrize("seed", range(4))
def test_a_scan_by_key_leaves_no_pieces_however_often_storing_fails(rig: Rig, seed: int) -> None:
    random = np.random.default_rng(seed)
    by_key, contents = ByKey(rig.publisher), dict.fromkeys(range(5), 0)
    changed, before, last = set(contents), set[str](), set[str]()
    for turn in range(12):
        for key in random.integers(0, 5, 2).tolist():
            contents[key] = turn
            changed.add(key)
        left = int(random.integers(0, 8))  # so many pieces can be made

        def make(key: Hashable) -> Scan:
            nonlocal left
            if left == 0:
                raise StoreFull("there is no room")
            left -= 1
            one = np.array([float(contents[key])])  # type: ignore[index]  # the keys are those of contents
            return Scan(np.array([key]), np.array([1]), one, one)

        try:
            by_key.publish(made("scan", None), (1, 0), list(contents), make, changed)
        except StoreFull:
            continue
        changed = set()
        before, last = last, set(rig.store[keys.result("scan")].value.names)
        assert rig.value("scan").means.tolist() == list(map(float, contents.values()))
        # What the result before named stays for who is reading it, and nothing else.
        assert {name for name in rig.store if keys.is_result_piece(name)} == before | last
    assert last


def test_a_table_whose_last_result_goes_is_emptied_once(rig: Rig, clock: Clock) -> None:
    rig.publisher.publish([made("level", 1.0)])
    rig.publisher.publish([])
    assert rig.value("level") is None
    del rig.store[keys.table(keys.SMALL)]
    rig.publisher.publish([])
    assert keys.table(keys.SMALL) not in rig.store


def test_a_history_begins_with_the_operation_that_has_the_name_now(rig: Rig, clock: Clock) -> None:
    for version, since in ((1, 1), (2, 1), (3, 3)):
        rig.publisher.forget((), {"level": {"since_version": since}})
        rig.publisher.publish([made("level", float(version), graph_version=version)])
        assert [record["value"] for record in rig.history("level")] == [
            *map(float, range(since, version + 1))
        ]


def test_both_lanes_have_a_table_and_of_a_result_in_both_the_newest_is_read(rig: Rig, clock: Clock) -> None:
    other = Publisher(rig.store, rig.lease, lane=keys.LARGE)
    rig.publisher.forget((), {"level": {}, "roi": {}})
    rig.publisher.publish([made("level", 1.0, published_ns=5)])
    other.store({}, [made("roi", 2.0), made("level", 3.0, published_ns=6)])
    assert (rig.value("level"), rig.value("roi")) == (3.0, 2.0)
    assert [record["value"] for record in rig.history("level")] == [1.0, 3.0]
    rig.publisher.forget({"level"}, {"roi": {}})
    assert (rig.value("level"), rig.value("roi"), rig.history("level")) == (None, 2.0, [])


def test_nothing_new_is_no_notice(rig: Rig) -> None:
    rig.publisher.publish([])
    assert rig.notices() == []


def test_large_results_wait_for_their_share_of_time_and_small_ones_do_not(rig: Rig, clock: Clock) -> None:
    clock.look_s = 0.5  # storing takes that long
    rig.publisher.publish([made("camera", IMAGE), made("level", 1.0)])
    free_at = clock.now_s - 0.5 + 0.5 / LARGE_SHARE
    clock.look_s = 0.0
    for number in range(2, 5):
        rig.publisher.publish([made("camera", IMAGE + number), made("level", float(number))])
        assert rig.value("level") == number
        assert rig.value("camera")[0] == 0
    assert rig.publisher.conflated == 2  # two were replaced by a newer one before anybody saw them
    assert not rig.publisher.overdue()
    clock.now_s = free_at + 0.01
    assert rig.publisher.overdue()
    rig.publisher.publish_waiting()
    assert rig.value("level") == 4
    assert rig.value("camera")[0] == 4  # the newest
    assert not rig.publisher.overdue()


def test_the_size_of_a_result_is_that_of_all_its_arrays(rig: Rig, clock: Clock) -> None:
    from ami.values import Histogram

    half = LARGE_BYTES // 16
    large = Histogram(counts=np.zeros(half), edges=np.zeros(half + 1))
    clock.look_s = 0.5
    rig.publisher.publish([made("camera", IMAGE)])
    clock.look_s = 0.0
    rig.publisher.publish([made("spectrum", large), made("small", replace(large, counts=np.zeros(3)))])
    assert rig.value("spectrum") is None
    assert rig.value("small") is not None


def test_who_lost_the_lease_publishes_nothing(rig: Rig, clock: Clock) -> None:
    rig.lease.release()
    other = rig.store.lease(keys.LEASE, 60)
    assert other.acquire()
    with pytest.raises(Conflict):
        rig.publisher.publish([made("level", 1.0)])
    assert rig.value("level") is None
    assert rig.notices() == []


def test_names_that_are_gone_take_their_keys_with_them_and_the_catalogue_says_what_is_there(
    rig: Rig, clock: Clock
) -> None:
    rig.publisher.publish([made("level", 1.0), made("other", 2.0)])
    rig.publisher.forget({"level"}, {"other": {"operation": "last"}})
    assert rig.value("level") is None
    assert rig.history("level") == []
    assert rig.value("other") == 2.0
    assert rig.store[keys.CATALOGUE] == {"other": {"operation": "last"}}


def test_a_large_result_that_waits_is_not_published_after_it_was_forgotten(rig: Rig, clock: Clock) -> None:
    clock.look_s = 0.5
    rig.publisher.publish([made("camera", IMAGE)])
    clock.look_s = 0.0
    rig.publisher.publish([made("camera", IMAGE + 1)])
    rig.publisher.forget({"camera"}, {})
    clock.now_s += 100
    rig.publisher.publish([])
    assert rig.value("camera") is None


def test_a_catalogue_that_did_not_change_is_not_written_again(rig: Rig) -> None:
    rig.publisher.forget((), {"a": {}})
    del rig.store[keys.CATALOGUE]
    rig.publisher.forget((), {"a": {}})
    assert keys.CATALOGUE not in rig.store
    rig.publisher.forget((), {"b": {}})
    assert rig.store[keys.CATALOGUE] == {"b": {}}
