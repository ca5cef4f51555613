"""Slots that move from node to node of the cluster, key by key, while they are used."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from ami.config import GlobalStoreConfig
from ami.errors import StoreUnavailable
from ami.lab import clusters
from ami.stores import Store, open_global
from ami.stores.client import ClusterLink
from ami.stores.link import Command
from tests.conftest import PREFIX, Server, answers, free_ports
from tests.journals import last
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

SLOT = key_slot(PREFIX.encode())


class Mover:
    """An operator who moves the slot of the tests between the two nodes of a cluster."""

    def __init__(self, config: GlobalStoreConfig, places: list[clusters.Member]) -> None:
        self.config = config
        self.places = places
        self.password = config.password_file.read_text().strip()
        self.nodes = [
            redis.Redis(host="127.0.0.1", port=place.port, password=self.password) for place in places
        ]
        self.owner = next(n for n, place in enumerate(places) if place.first_slot <= SLOT <= place.last_slot)
        self.moved = 0

    @property
    def other(self) -> int:
        return 1 - self.owner

    def ask(self, node: int, *words: object) -> Any:
        return self.nodes[node].execute_command(*words)

    def begin(self) -> None:
        self.ask(self.other, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", self.places[self.owner].id)
        self.ask(self.owner, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", self.places[self.other].id)

    def move(self, *names: str) -> None:
        to = self.places[self.other]
        for name in names:
            place = ("127.0.0.1", to.port, name, 0, 5000, "AUTH", self.password)
            # BUSYKEY, an error here, says that there is a second key of this name: one would be lost.
            self.moved += self.ask(self.owner, "MIGRATE", *place) != b"NOKEY"

    def names(self) -> list[str]:
        return [key.decode() for key in self.ask(self.owner, "CLUSTER", "GETKEYSINSLOT", SLOT, 10_000)]

    def end(self) -> None:
        for node in (self.other, self.owner):
            self.ask(node, "CLUSTER", "SETSLOT", SLOT, "NODE", self.places[self.other].id)
        self.owner = self.other

    def move_all(self, pause_s: float) -> None:
        """Move the slot, one key after the other; what is new meanwhile is on the other side already."""
        self.begin()
        while found := self.names():
            for key in found:
                self.move(key)
                time.sleep(pause_s)
        self.end()


@pytest.fixture(scope="module")
def two_masters(short_path: Path) -> Iterator[tuple[GlobalStoreConfig, list[clusters.Member]]]:
    ports = free_ports(2)
    places = clusters.members(ports)
    config = GlobalStoreConfig(
        start_nodes=tuple(f"127.0.0.1:{port}" for port in ports),
        password_file=short_path / "two.secret",
        timeout_s=60.0,
    )
    running = []
    try:
        for command in clusters.prepare(places, config, short_path):
            running.append(Server(command))
            running[-1].start()
        link = ClusterLink(config)
        wait_until(lambda: answers(link), what="the cluster of two")
        link.close()
        yield config, places
    finally:
        for one in running:
            one.kill()


@pytest.fixture
def mover(two_masters: tuple[GlobalStoreConfig, list[clusters.Member]]) -> Iterator[Mover]:
    mover = Mover(*two_masters)
    link = ClusterLink(mover.config)
    link.everywhere(lambda _node: [("FLUSHALL",), ("SCRIPT", "FLUSH")])
    # Whatever a test before left, the slot is where the layout says.
    link.everywhere(lambda _node: [("CLUSTER", "SETSLOT", SLOT, "STABLE")])
    facts = mover.ask(0, "CLUSTER", "SLOTS")
    mover.owner = next(
        n
        for n, place in enumerate(mover.places)
        for first, end, (_, port, *_), *_ in facts
        if first <= SLOT <= end and port == place.port
    )
    link.close()
    yield mover
    for node in mover.nodes:
        node.close()


@pytest.fixture
def store(mover: Mover) -> Iterator[Store]:
    store = open_global(mover.config, PREFIX)
    yield store
    store.close()


def key(name: str) -> str:
    return f"{{{PREFIX}}}:{name}"


def test_keys_are_found_on_either_side_while_their_slot_moves(mover: Mover, store: Store) -> None:
    store.update({"moved": 1, "stays": 2})
    store["list"] = [1, 2]
    mover.begin()
    mover.move(key("moved"), key("list"))
    assert (store["moved"], store["stays"]) == (1, 2)
    assert store["list"].copy() == [1, 2]
    store["list"].append(3)  # a command that is never sent twice
    store["list"].reverse()  # WATCH, MULTI … EXEC
    assert store["list"].copy() == [3, 2, 1]
    store.put("moved", 10)
    store.put("stays", 20)
    store.put("new", 30)
    assert [store[name] for name in ("moved", "stays", "new")] == [10, 20, 30]
    # On one side each: a second key on the other would be lost, or come back, at the end.
    assert all(name not in mover.names() for name in (key("moved"), key("new"), key("list")))
    assert key("stays") in mover.names()
    seen = {facts.key for facts in store.scan("*[a-z]")}
    assert seen == {key(name) for name in ("moved", "stays", "new", "list", "%index", "%kinds")}
    assert "nothing" not in store
    journal = store.journal("j")
    assert journal.fence() == 1
    mover.move(*mover.names())
    assert mover.names() == []
    assert sorted(store) == ["list", "moved", "new", "stays"]
    mover.end()
    assert sorted(store) == ["list", "moved", "new", "stays"]
    assert [store[name] for name in ("moved", "stays", "new")] == [10, 20, 30]


def test_a_transaction_and_a_script_follow_their_keys_once_all_are_there(mover: Mover, store: Store) -> None:
    link = store._link
    first: list[Command] = [("SET", key("a"), 1), ("SET", key("b"), 2)]
    link.atomic(key("a"), first, repeat=False)
    store.lease("lease", 60).acquire()
    mover.begin()
    mover.move(key("a"), key("b"), key("lease"), key("lease:token"))
    added = link.atomic(key("a"), [("INCR", key("a")), ("INCR", key("b"))], repeat=False)
    assert added == [2, 3]
    assert not store.lease("lease", 60).acquire()
    mover.move(*mover.names())
    mover.end()
    assert link.atomic(key("a"), [("INCR", key("a")), ("INCR", key("b"))], repeat=False) == [3, 4]


def test_what_needs_keys_of_both_sides_waits_and_is_then_done_once(mover: Mover, store: Store) -> None:
    store.update({"a": 1, "b": 2})
    journal = store.journal("j")
    journal.append(1, "first")
    mover.begin()
    mover.move(key("a"))
    answers_: dict[str, Any] = {}
    acts: dict[str, Callable[[], Any]] = {
        "read": lambda: store.get_many(["a", "b"]),
        "append": lambda: journal.append(2, "second", also={"mark": 2}),
        "deque": lambda: store.deque("d", 3).append(1),
    }
    threads = [
        threading.Thread(target=lambda name=name, act=act: answers_.update({name: act()}))
        for name, act in acts.items()
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert answers_ == {}
    mover.move(*mover.names())
    mover.end()
    for thread in threads:
        thread.join(60)
    assert answers_ == {"read": {"a": 1, "b": 2}, "append": True, "deque": None}
    assert [record.value for record in journal.read()] == ["first", "second"]
    assert store.deque("d").copy() == deque([1], 3)


def test_patience_has_an_end(mover: Mover) -> None:
    hurried = open_global(replace(mover.config, timeout_s=0.3), PREFIX)
    hurried.update({"a": 1, "b": 2})
    mover.begin()
    mover.move(key("a"))
    with pytest.raises(StoreUnavailable, match="TRYAGAIN"):
        hurried.get_many(["a", "b"])
    assert hurried["a"] == 1
    mover.move(*mover.names())
    mover.end()
    assert hurried.get_many(["a", "b"]) == {"a": 1, "b": 2}
    hurried.close()


class Traffic:
    """Threads that use a store, each in its way, and know what they were told was done."""

    def __init__(self, config: GlobalStoreConfig) -> None:
        self.config = config
        self.over = threading.Event()
        self.troubles: list[BaseException] = []
        self.values: dict[str, int] = {}
        self.appended = self.counted = self.put = self.committed = 0
        self.taken: Counter[int] = Counter()
        acts = (self.set_values, self.append, self.count, self.request, self.answer, self.lead)
        self.threads = [threading.Thread(target=self._go_on, args=(act,)) for act in acts]

    def _go_on(self, act: Callable[[Store], Iterator[None]]) -> None:
        store = open_global(self.config, PREFIX)
        try:
            for _ in act(store):
                if self.over.is_set():
                    return
        except BaseException as error:
            self.troubles.append(error)
        finally:
            store.close()

    def set_values(self, store: Store) -> Iterator[None]:
        number = 0
        while True:
            number += 1
            name = f"v{number % 50 if number % 2 else number}"  # old ones and new ones
            store.put(name, number)
            self.values[name] = number
            assert store[name] == number
            yield

    def append(self, store: Store) -> Iterator[None]:
        journal = store.journal("j")
        while True:
            assert journal.append(self.appended + 1, self.appended + 1, also={"mark": self.appended + 1})
            self.appended += 1
            yield

    def count(self, store: Store) -> Iterator[None]:
        counter = store.counter("c")
        while True:
            self.counted += 1
            assert counter.add("n") == self.counted
            store.list("l").append(self.counted)
            yield

    def request(self, store: Store) -> Iterator[None]:
        queue = store.queue("q")
        while True:
            queue.put(self.put)
            self.put += 1
            yield

    def answer(self, store: Store) -> Iterator[None]:
        queue = store.queue("q")
        while True:
            item = queue.take(0.05)
            if item is not None:
                self.taken[item.value] += 1
                queue.done(item)
            yield

    def lead(self, store: Store) -> Iterator[None]:
        lease = store.lease("lease", 120)
        assert lease.acquire()
        while True:
            store.commit(lease, {"state": self.committed + 1}, notify={"s": self.committed + 1}, keep=100_000)
            self.committed += 1
            lease.renew()
            yield


def test_nothing_is_lost_and_nothing_done_twice_while_a_slot_in_use_moves(mover: Mover, store: Store) -> None:
    store.update({f"v{number}": 0 for number in range(300)})
    traffic = Traffic(mover.config)
    for thread in traffic.threads:
        thread.start()
    wait_until(
        lambda: traffic.troubles or (traffic.appended > 5 and traffic.committed > 5),
        what="traffic",
    )
    try:
        for _ in range(2):  # there and back
            before = (traffic.appended, traffic.committed)
            mover.move_all(pause_s=0.002)
            wait_until(
                lambda before=before: (
                    traffic.troubles or (traffic.appended > before[0] and traffic.committed > before[1])
                ),
                what="traffic afterwards",
            )
    finally:
        traffic.over.set()
        for thread in traffic.threads:
            thread.join(90)
    assert traffic.troubles == []
    assert mover.moved > 600
    for name, number in traffic.values.items():
        assert store[name] == number
    journal = store.journal("j")
    assert [record.value for record in journal.read(0, 1 << 30)] == list(range(1, traffic.appended + 1))
    assert store["mark"] == last(journal) == traffic.appended
    assert store.counter("c") == {"n": traffic.counted}
    assert store.list("l").copy() == list(range(1, traffic.counted + 1))
    queue = store.queue("q")
    while (item := queue.take(0.0)) is not None:
        traffic.taken[item.value] += 1
        queue.done(item)
    assert traffic.taken == Counter(range(traffic.put))
    assert [value for _, value in store.history("s", 1 << 30)] == list(range(1, traffic.committed + 1))
