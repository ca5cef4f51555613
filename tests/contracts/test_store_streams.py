"""What every notification stream keeps."""

from __future__ import annotations

import threading
import time
from typing import Any

from ami.stores import Store
from tests.waiting import wait_until


def test_notifications_are_heard_in_order_beyond_an_id(store: Store) -> None:
    first = store.notify("s", {"n": 1})
    store.notify("s", {"n": 2}, also={"latest": 2})
    assert [value["n"] for _, value in store.watch("s", "0", 0.0)] == [1, 2]
    ((second, value),) = store.watch("s", first, 0.0)
    assert value == {"n": 2}
    assert store.watch("s", second, 0.02) == []
    assert store["latest"] == 2
    assert list(store) == ["latest"]


def test_a_watcher_from_now_on_hears_only_what_comes(store: Store) -> None:
    store.notify("s", "old")
    heard: list[tuple[str, Any]] = []
    watcher = threading.Thread(target=lambda: heard.extend(store.watch("s", "$", 30.0)))
    watcher.start()
    time.sleep(0.1)
    entry = store.view(store.prefix).notify("s", "new")
    watcher.join(20)
    assert heard == [(entry, "new")]
    assert store.watch("nothing", "$", 0.02) == []


def test_history_is_the_newest_oldest_first(store: Store) -> None:
    for n in range(10):
        store.notify("s", n)
    assert [value for _, value in store.history("s", 3)] == [7, 8, 9]
    assert store.history("nothing", 3) == []


def test_a_stream_keeps_what_was_asked_and_not_for_ever_more(store: Store) -> None:
    for n in range(500):
        store.notify("s", n, keep=50)
    kept = [value for _, value in store.history("s", 1000)]
    assert 50 <= len(kept) <= 250
    assert kept[-50:] == list(range(450, 500))


def test_a_stream_can_expire_with_its_values(store: Store) -> None:
    store.notify("s", 1, also={"x": 1}, expire_s=0.1)
    wait_until(lambda: not store.history("s", 1) and "x" not in store, within_s=5, what="both to expire")
    assert list(store) == []


def test_a_stream_is_deleted_by_its_name(store: Store) -> None:
    store.notify("s", 1)
    assert store.delete_many(["s"]) == 1
    assert store.history("s", 1) == []
