"""What every notification stream keeps."""

from __future__ import annotations

import threading
import time
from typing import Any

from ami.stores import Store


def notify(store: Store, value: Any) -> None:
    store.commit(None, {}, notify={"s": value})


def test_notifications_are_heard_in_order_beyond_an_id(store: Store) -> None:
    notify(store, {"n": 1})
    store.commit(None, {"latest": 2}, notify={"s": {"n": 2}})
    (first, _), (_, newest) = store.watch("s", "0", 0.0)
    assert newest == {"n": 2}
    ((second, value),) = store.watch("s", first, 0.0)
    assert value == {"n": 2}
    assert store.watch("s", second, 0.02) == []
    assert store["latest"] == 2
    assert list(store) == ["latest"]


def test_a_watcher_from_now_on_hears_only_what_comes(store: Store) -> None:
    notify(store, "old")
    heard: list[tuple[str, Any]] = []
    watcher = threading.Thread(target=lambda: heard.extend(store.watch("s", "$", 30.0)))
    watcher.start()
    time.sleep(0.1)
    notify(store.view(store.prefix), "new")
    watcher.join(20)
    assert heard == store.history("s", 1)
    assert heard[0][1] == "new"
    assert store.watch("nothing", "$", 0.02) == []


def test_history_is_the_newest_oldest_first(store: Store) -> None:
    for n in range(10):
        notify(store, n)
    assert [value for _, value in store.history("s", 3)] == [7, 8, 9]
    assert store.history("nothing", 3) == []


def test_a_stream_keeps_what_was_asked_and_not_for_ever_more(store: Store) -> None:
    for n in range(500):
        store.commit(None, {}, notify={"s": n}, keep=50)
    kept = [value for _, value in store.history("s", 1000)]
    assert 50 <= len(kept) <= 250
    assert kept[-50:] == list(range(450, 500))


def test_a_stream_is_deleted_by_its_name(store: Store) -> None:
    notify(store, 1)
    assert store.delete_many(["s"]) == 1
    assert store.history("s", 1) == []
