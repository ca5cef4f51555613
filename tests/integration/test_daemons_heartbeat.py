"""What a process tells of itself, and that it takes it back when it stops."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from ami.config import Config, GlobalStoreConfig
from ami.daemons.process.heartbeat import Heart
from ami.messages.heartbeat import PROGRESS_BYTES, Heartbeat
from ami.messages.message import expect
from ami.stores import Store, keys, open_global
from ami.stores.opened import Stores
from ami.stores.wire import Traffic
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


class Counting:
    """A stage that has done something."""

    state = "running"
    events = 0

    @property
    def counters(self) -> Mapping[str, float]:
        return {"events": self.events}

    def start(self) -> None:
        pass

    def step(self) -> None:
        self.events += 1

    def close(self) -> None:
        pass


@pytest.fixture
def store(cluster: GlobalStoreConfig) -> Iterator[Store]:
    store = open_global(cluster, "here:worker:3")
    yield store
    store.close()


def beat(store: Store) -> Heartbeat:
    """Return the heartbeat; one without a state if there is none."""
    found = store.get(keys.HEARTBEAT)
    nothing = Heartbeat(
        process="", pid=0, started_ns=0, beat_ns=0, steps=0, step_age_s=0.0, state="", counters={}
    )
    return nothing if found is None else expect(Heartbeat, found)


def test_it_beats_with_what_the_stage_counts_and_stops_with_the_process(store: Store) -> None:
    heart, stage = Heart(store, 0.05), Counting()
    heart.start()
    heart.wait_for("for the ring")
    wait_until(lambda: beat(store).state == "waiting: for the ring", what="a first beat")
    first = beat(store)
    assert (first.process, first.pid, first.counters) == ("here:worker:3", os.getpid(), {})
    assert abs(first.beat_ns - time.time_ns()) < 60e9
    heart.watch(stage)
    for _ in range(7):
        stage.step()
        heart.count_step()
    wait_until(lambda: beat(store).counters == {"events": 7}, what="a beat with counters")
    later = beat(store)
    assert later.steps == first.steps + 7
    assert later.started_ns == first.started_ns
    assert later.state == "running"
    (facts,) = [facts for facts in store.scan("*") if facts.key.endswith(keys.HEARTBEAT)]
    assert 0 < facts.ttl_s <= keys.HEARTBEAT_EXPIRE_S  # type: ignore[operator]
    heart.stop()
    assert keys.HEARTBEAT not in store


def test_a_main_loop_that_stands_still_shows_although_the_heart_beats_on(store: Store) -> None:
    heart = Heart(store, 0.05)
    heart.watch(Counting())
    heart.count_step()
    heart.start()
    wait_until(lambda: beat(store).state, what="a first beat")
    first = beat(store)
    wait_until(lambda: beat(store).beat_ns > first.beat_ns, what="another beat")
    wait_until(lambda: beat(store).step_age_s > 0.2, what="the loop's age")
    assert beat(store).steps == first.steps
    heart.stop()


def test_a_stage_whose_counters_fail_once_does_not_stop_the_heart(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The heart's thread reads what the main loop changes meanwhile: a ring that is just let go, say."""

    class LettingGo(Counting):
        looks = 0

        @property
        def counters(self) -> Mapping[str, float]:
            self.looks += 1
            if self.looks == 2:
                raise ValueError("the ring was closed")
            return {"looks": self.looks}

    heart = Heart(store, 0.05)
    heart.watch(LettingGo())
    heart.start()
    wait_until(
        lambda: beat(store).counters.get("looks", 0) > 3,
        what="beats after the failure",
    )
    heart.stop()
    assert "the ring was closed" in caplog.text


def test_who_moves_bytes_in_a_long_step_gets_on_and_says_where_they_go(cluster: GlobalStoreConfig) -> None:
    stores = Stores(Config(global_store=cluster))
    mine, shared = stores.host("worker", 3), Traffic()
    heart = Heart(mine, 0.05, {**stores.traffic, "shared": shared})
    heart.watch(Counting())
    heart.start()
    wait_until(lambda: beat(mine).step_age_s > 0.2, what="a step that takes long")
    before, block = beat(mine), np.ones(PROGRESS_BYTES, np.uint8)
    mine.put("block", block)
    np.testing.assert_array_equal(mine["block"], block)
    shared.received += 5 * PROGRESS_BYTES
    wait_until(lambda: beat(mine).moved_bytes >= before.moved_bytes + 7 * PROGRESS_BYTES, what="bytes")
    after = beat(mine)
    assert after.steps == before.steps
    assert after.moved_bytes < before.moved_bytes + 8 * PROGRESS_BYTES
    assert after.traffic["shared"] > after.traffic["global"] > 0
    # What the heart itself says goes the same way, and is no sign of life.
    wait_until(lambda: beat(mine).step_age_s > 0.5, what="a step that gets nowhere")
    heart.stop()
    stores.close()
