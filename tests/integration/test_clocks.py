"""A host whose clock is a minute off: nobody looks silent, or young, for that, and `status` says it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ami.client.survey import survey
from ami.config import GlobalStoreConfig
from ami.messages.heartbeat import Heartbeat
from ami.stores import Store, keys
from ami.stores.clock import StoreClock
from ami.stores.opened import Stores
from tests.daemons_rig import config

SECOND_NS = 10**9


@pytest.fixture
def stores(cluster: GlobalStoreConfig) -> Iterator[Stores]:
    with closing(Stores(config("/ami-none", None, cluster))) as opened:
        yield opened


def beat(stores: Stores, host: str, ahead_s: float, *, ago_s: float = 0.0) -> None:
    """Store what a process says whose clock is so far ahead, and which began an hour ago."""
    own = stores.cluster("source").view(keys.prefix(host, "worker", 0))
    now_ns = own.time_ns() + round((ahead_s - ago_s) * SECOND_NS)
    told = Heartbeat(
        process=own.prefix, pid=1, started_ns=now_ns - 3600 * SECOND_NS, beat_ns=now_ns, steps=1,
        step_age_s=0.0, state="running", counters={},
    )  # fmt: skip
    own.put(keys.HEARTBEAT, told, expire_s=keys.HEARTBEAT_EXPIRE_S - ago_s)


@pytest.mark.parametrize("ahead_s", [-60.0, 0.0, 60.0])
def test_ages_are_by_the_stores_clock_whatever_a_hosts_own_says(
    stores: Stores, cluster: GlobalStoreConfig, ahead_s: float
) -> None:
    beat(stores, "well", 0.0)
    beat(stores, "wrong", ahead_s)
    beat(stores, "silent", ahead_s, ago_s=20.0)
    seen = survey(config("/ami-none", None, cluster), stores)
    found = {one.host: one for one in seen.processes if one.type == "worker"}
    assert (found["well"].alive, found["wrong"].alive, found["silent"].alive) == (True, True, False)
    assert found["wrong"].up_s == pytest.approx(3600, abs=20)
    assert found["silent"].age_s == pytest.approx(20, abs=10)
    assert seen.clocks["wrong"] == pytest.approx(ahead_s, abs=1.5)
    skewed = [line for line in seen.warnings if line.startswith("the clock of wrong is 60 s ")]
    assert len(skewed) == (ahead_s != 0)
    assert not [line for line in seen.warnings if line.startswith("the clock of well")]


def test_a_wrong_clock_tells_the_time_of_the_store(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store = stores.cluster("source")
    real_ns = time.time_ns
    monkeypatch.setattr("ami.stores.clock.time.time_ns", lambda: real_ns() - 60 * SECOND_NS)
    assert StoreClock(store).time_ns() == pytest.approx(store.time_ns(), abs=5 * SECOND_NS)


def test_a_lease_that_is_held_is_nobody_elses_whatever_the_clocks_say(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = (stores.cluster("source").lease("lease", 60.0) for _ in range(2))
    assert mine.acquire()
    real_s, real_ns = time.time, time.time_ns
    for ahead_s in (-600, 600):
        monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: real_s() + ahead_s)
        monkeypatch.setattr(time, "time_ns", lambda ahead_s=ahead_s: real_ns() + ahead_s * SECOND_NS)
        assert not other.acquire()
        mine.renew()  # or it raises
