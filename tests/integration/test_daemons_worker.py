"""A worker on a real ring and real stores: each event is in one flush, and no slot is free before it is."""

from __future__ import annotations

import faulthandler
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ami.config import Config, GlobalStoreConfig, LocalStoreConfig, WorkerConfig
from ami.daemons.worker import storing, worker
from ami.daemons.worker.worker import WorkerStage
from ami.errors import StoreFull, StoreUnavailable
from ami.graph.execution.bind import reductions
from ami.graph.execution.partial import OFF
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.operation import Operation
from ami.messages.flush import Covers, EntryFacts, Flush
from ami.messages.message import expect
from ami.ring import RingObserver
from ami.ring.offences import TOO_MUCH
from ami.stores import keys
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.opened import Stores
from tests import ring_rig
from tests.daemons_rig import (
    GRAPH,
    Faults,
    FaultyLink,
    Shift,
    config,
    die,
    publish_graph,
    setup,
    steps,
)
from tests.journals import last
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

hosts = (f"host{number}" for number in itertools.count())


class Node:
    """A ring, and the flushes of workers of one host that no other test has."""

    def __init__(self, local: LocalStoreConfig, cluster: GlobalStoreConfig, ring: str, **parts: Any) -> None:
        self.host = next(hosts)
        self.config: Config = config(ring, local, cluster, host=self.host, **parts)
        self.shift = Shift(ring)
        self.eyes = RingObserver(ring)
        self.links = LocalLink(local), ClusterLink(cluster)
        self.stores = Stores(self.config, local=self.links[0], cluster=self.links[1])
        self.faults = Faults()  # of the local store

    def stage(self, number: int = 0, graph_faults: Faults | None = None) -> WorkerStage:
        local = FaultyLink(self.links[0], self.faults)
        cluster = FaultyLink(self.links[1], graph_faults or Faults())
        stage = WorkerStage(setup(self.config, local=local, cluster=cluster, number=number))
        stage.start()
        return stage

    def flushes(self, number: int = 0) -> list[Flush]:
        records = self.stores.local("worker", number).journal(keys.FLUSHES).read(0, 999)
        return [expect(Flush, record.value) for record in records]

    def sums(self, numbers: tuple[int, ...] = (0,)) -> dict[int, tuple[int, int]]:
        """Return by entry how many events are in flushes, and the sum of their ``x``."""
        found: dict[int, tuple[int, int]] = {}
        for flush in itertools.chain(*map(self.flushes, numbers)):
            events, total = found.get(flush.entry.index, (0, 0))
            found[flush.entry.index] = (events + flush.covers.events, total + self.total(flush))
        return found

    def total(self, flush: Flush, graph: Graph = GRAPH, name: str = "total") -> int:
        key = graph.fingerprint(name)
        states = flush.partial.states
        return int(reductions(graph)[key].result(states[key])) if key in states else 0

    def free(self) -> bool:
        """Whether every slot is committed."""
        return all(self.eyes.outstanding(i) == 0 for i in range(self.eyes.cursor.entries_opened))

    def close(self) -> None:
        self.eyes.close()
        self.shift.close()
        self.stores.close()


@pytest.fixture
def node(local_redis: LocalStoreConfig, cluster: GlobalStoreConfig) -> Iterator[Node]:
    publish_graph(cluster, GRAPH)
    with ring_rig.ring_name() as name:
        node = Node(local_redis, cluster, name, worker=WorkerConfig(adopt_after_s=0.0, trial_s=0.5))
        yield node
        node.close()


COUNTS = (40, 1, 33, 26)


def publish_all(shift: Shift) -> dict[int, tuple[int, int]]:
    """Publish some entries; return the number of events and the sum of ``x`` of each."""
    want: dict[int, tuple[int, int]] = {}
    for count in COUNTS:
        first, index = shift.ring.cursor.position, shift.ring.cursor.entries_opened
        shift.interval(count)
        want[index] = (count, sum(range(first, first + count)))
    return want


def test_each_closed_entry_is_flushed_with_what_it_says_and_its_slots_are_freed(node: Node) -> None:
    want = publish_all(node.shift)
    stage = node.stage()
    steps(stage, node.free)
    assert node.sums() == want
    first = node.flushes()[0]
    entry = node.eyes.entry(0)
    assert first.entry == EntryFacts(
        ring=node.shift.ring.ring_id, index=0, interval=1, run=1, step=0, step_value=0.0, graph_version=1
    )
    assert first.covers == Covers(events=40, first_ns=entry.first_ns, last_ns=entry.last_ns)
    assert stage.state == "running"
    assert (stage.counters["events"], stage.counters["flushes"]) == (100, 4)
    kept = node.shift.ring.configuration
    assert kept is not None
    assert stage._setup.shared.received == 100 * kept.schema.event_bytes
    assert set(node.stores.local("local-reducer").set(keys.WORKERS)) == {0}
    stage.close()


def test_an_open_entry_is_held_until_it_is_closed(node: Node) -> None:
    stage = node.stage()
    node.shift.interval(10, closed=False)
    for _ in range(5):
        stage.step()
    assert node.flushes() == []
    assert not node.free()
    node.shift.ring.close_entry()
    steps(stage, node.free)
    assert [flush.covers.events for flush in node.flushes()] == [10]
    stage.close()


def test_of_an_open_entry_a_quarter_of_the_ring_is_handed_on_so_that_the_source_finds_room(
    node: Node,
) -> None:
    stage = node.stage()
    node.shift.interval(150, closed=False)  # of 256 slots

    def has_handed_on() -> bool:
        stage.step()
        handed_on = sum(flush.covers.events for flush in node.flushes())
        # The slots are given back when the store has answered, which is beside the loop.
        return handed_on > 64 and node.eyes.outstanding(0) == 150 - handed_on

    wait_until(has_handed_on, what="a quarter of the ring")
    stage.close()
    assert sum(flush.covers.events for flush in node.flushes()) == 150


def test_a_worker_asked_to_stop_stores_what_it_ran_and_leaves_the_rest_to_the_next(node: Node) -> None:
    node.shift.interval(100)
    stage = node.stage()
    stage.step()
    ran = int(stage.counters["events"])
    assert 0 < ran < 100
    stage.close()
    assert sum(flush.covers.events for flush in node.flushes()) == ran
    assert node.eyes.outstanding(0) == 100 - ran
    successor = node.stage()
    steps(successor, node.free)
    successor.close()
    assert node.sums() == {0: (100, sum(range(100)))}


def test_while_the_local_store_is_away_no_slot_is_freed(node: Node) -> None:
    faults = node.faults
    stage = node.stage()
    stage.step()  # attached
    node.shift.interval(20)
    faults.down = True
    failures = 0
    for _ in range(20):
        try:
            stage.step()
        except StoreUnavailable:
            failures += 1
    assert failures > 10
    assert node.eyes.outstanding(0) == 20
    faults.down = False
    steps(stage, node.free)
    assert node.sums() == {0: (20, sum(range(20)))}
    assert stage.counters["flushes"] == 1
    stage.close()


def test_while_a_flush_is_being_stored_the_next_events_are_run(node: Node) -> None:
    answered = threading.Event()

    class Slow(Faults):
        def around(self, call: Callable[[], Any]) -> Any:
            if self.down:
                assert answered.wait(10)
            return call()

    faults = node.faults = Slow()
    stage = node.stage()
    stage.step()  # attached
    faults.down = True
    node.shift.interval(30)
    node.shift.interval(10)
    steps(stage, lambda: stage.counters["events"] == 40)
    assert node.flushes() == []
    assert [node.eyes.outstanding(index) for index in (0, 1)] == [30, 10]
    answered.set()
    steps(stage, node.free)
    assert [flush.covers.events for flush in node.flushes()] == [30, 10]
    stage.close()


@pytest.mark.parametrize("then", ["a successor", "the same process"])
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
def test_whichever_call_to_the_store_fails_every_event_is_in_one_flush(
    local_redis: LocalStoreConfig,
    cluster: GlobalStoreConfig,
    then: str,
    answer_lost: bool,
) -> None:
    publish_graph(cluster, GRAPH)
    for fails_at in itertools.count(1):
        faults = Faults(fails_at, answer_lost=answer_lost)
        with ring_rig.ring_name() as name:
            node = Node(local_redis, cluster, name)
            want = publish_all(node.shift)
            node.faults = faults
            run_through(node, same_process=then == "the same process")
            assert node.sums() == want, f"after a fault at call {fails_at}"
            node.close()
        if not faults.met:
            break
    assert fails_at > 6


def run_through(node: Node, *, same_process: bool) -> None:
    """Step until all is committed. A call fails: go on with the stage, or with a successor."""
    stage = node.stage()
    for _ in range(200):
        if node.free():
            break
        try:
            stage.step()
        except StoreUnavailable:
            if not same_process:
                die(stage)
                stage = node.stage()
    assert node.free()
    die(stage)


class Killed(BaseException):
    """The death of a process, where a test wants it."""


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def test_what_the_last_flush_covers_is_committed_by_the_successor_and_not_run_again(node: Node) -> None:
    """Killed between the store's answer and the commit, with more events in hand."""
    node.shift.interval(30)
    node.shift.interval(10)
    stage = node.stage()
    stage.step()
    assert stage._claims is not None
    ring = stage._claims.ring
    ring.commit = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        steps(stage, lambda: False)
    assert [flush.covers.events for flush in node.flushes()] == [30]
    assert node.eyes.outstanding(0) == 30
    die(stage)
    successor = node.stage()
    successor.step()
    assert node.eyes.outstanding(0) == 0
    steps(successor, node.free)
    assert node.sums() == {0: (30, sum(range(30))), 1: (10, sum(range(30, 40)))}
    assert successor.counters["events"] == 10
    successor.close()


def test_a_worker_that_stays_away_is_taken_over_from_without_counting_twice(node: Node) -> None:
    node.shift.interval(30)
    first = node.stage(1)
    first.step()
    assert first._claims is not None
    ring = first._claims.ring
    ring.commit = killed  # type: ignore[method-assign]
    first._hand_on(ring)
    with pytest.raises(Killed):
        first._storing.finish()
    stored = sum(flush.covers.events for flush in node.flushes(1))
    assert stored
    assert first._claims.first(100) is not None  # more events, which no flush covers
    die(first)
    second = node.stage(0)
    steps(second, node.free)
    second.close()
    assert node.sums((0, 1)) == {0: (30, sum(range(30)))}
    assert node.sums((1,))[0][0] == stored


def test_whichever_call_fails_while_two_are_taken_over_from_every_event_is_in_one_flush(
    local_redis: LocalStoreConfig, cluster: GlobalStoreConfig
) -> None:
    publish_graph(cluster, GRAPH)
    for fails_at in itertools.count(1):
        with ring_rig.ring_name() as name:
            node = Node(local_redis, cluster, name, worker=WorkerConfig(adopt_after_s=0.0))
            node.shift.interval(30)
            for number in (1, 2):
                dead = node.stage(number)
                dead.step()
                die(dead)
            faults = node.faults = Faults(fails_at)
            run_through(node, same_process=True)
            assert node.sums() == {0: (30, sum(range(30)))}, f"after a fault at call {fails_at}"
            node.close()
        if not faults.met:
            break
    assert fails_at > 8


def test_the_number_of_flushes_goes_on_after_a_death_also_when_the_reducer_took_them_all(node: Node) -> None:
    publish_all(node.shift)
    stage = node.stage()
    steps(stage, node.free)
    die(stage)
    journal = node.stores.local("worker").journal(keys.FLUSHES)
    before = last(journal)
    journal.remove(range(1, before + 1))
    node.shift.interval(3)
    successor = node.stage()
    steps(successor, node.free)
    successor.close()
    (record,) = journal.read(0, 10)
    assert record.number > before


def test_a_replaced_ring_is_finished_first_and_then_left(node: Node) -> None:
    node.shift.interval(20)
    stage = node.stage()
    stage.step()
    node.shift.interval(5)
    node.shift.ring.close(unlink=False)
    node.eyes.close()
    node.shift = Shift(node.config.ring.name, source_id="another input")
    node.eyes = RingObserver(node.config.ring.name)
    node.shift.interval(7)
    steps(stage, node.free)
    assert [flush.covers.events for flush in node.flushes()] == [20, 5, 7]
    assert [flush.entry.index for flush in node.flushes()] == [0, 1, 0]
    stage.close()


def test_without_a_ring_it_says_that_it_waits_for_one(
    local_redis: LocalStoreConfig, cluster: GlobalStoreConfig
) -> None:
    stage = WorkerStage(setup(config("/ami-not-there", local_redis, cluster)))
    stage.step()
    assert "/ami-not-there" in stage.state
    stage.close()


def test_a_second_worker_of_the_same_number_waits_while_the_first_one_lives(node: Node) -> None:
    first, second = node.stage(), node.stage()
    first.step()
    second.step()
    assert second.state.startswith("waiting: for ")
    die(first)
    second.step()
    assert second.state == "running"
    second.close()


# --- graphs


def test_a_block_whose_graph_cannot_be_read_now_is_run_when_it_can(node: Node) -> None:
    faults = Faults()
    stage = node.stage(graph_faults=faults)
    stage.step()
    faults.down = True
    publish_graph(node.config.global_store, GRAPH.at_version(2))
    node.shift.interval(20, graph_version=2)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            stage.step()
    assert node.eyes.outstanding(0) == 20
    faults.down = False
    steps(stage, node.free)
    assert node.sums() == {0: (20, sum(range(20)))}
    stage.close()


def test_a_scan_that_outgrows_each_flush_is_switched_off_and_nobody_else_misses_events(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FLUSH_BYTES", 500)  # of 32 a key, and of sums that do not grow
    graph = graph_of(
        "results: {total: sum_events(x), few: 'mean_vs(x, key=x % 3)', many: 'mean_vs(x, key=x)'}"
    ).at_version(2)
    publish_graph(node.config.global_store, graph)
    intervals = TOO_MUCH + 2  # the plan of the block in hand is made before what came before is handed on
    for _ in range(intervals):
        node.shift.interval(20, graph_version=2)
    stage = node.stage()
    steps(stage, node.free)
    stage.close()
    flushes = node.flushes()
    assert sum(node.total(flush, graph) for flush in flushes) == sum(range(20 * intervals))
    assert all(flush.partial.used[graph.fingerprint("few")] == 20 for flush in flushes)
    told = [flush.partial.errors["many"] for flush in flushes]
    assert [record.count for record in told] == [20] * intervals
    assert [record.text.startswith(OFF) for record in told] == [False] * (TOO_MUCH + 1) + [True]
    assert all("use fewer keys" in record.text for record in told)
    assert all(flush.partial.errors.keys() == {"many"} for flush in flushes)


def test_events_of_each_entry_are_run_on_its_own_graph(node: Node) -> None:
    doubled = graph_of("results: {total: sum_events(2 * x)}").at_version(2)
    publish_graph(node.config.global_store, doubled)
    node.shift.interval(4, graph_version=1)
    node.shift.interval(4, graph_version=2)
    stage = node.stage()
    steps(stage, node.free)
    stage.close()
    first, second = node.flushes()
    assert (first.entry.graph_version, node.total(first)) == (1, 0 + 1 + 2 + 3)
    assert (second.entry.graph_version, node.total(second, doubled)) == (2, 2 * (4 + 5 + 6 + 7))


def test_what_a_graph_can_do_with_the_fields_is_done_and_the_rest_counts_as_errors(node: Node) -> None:
    graph = graph_of(
        """
        results:
          total: sum_events(x)
          gone: sum_events(laser + 1)
          wrong: sum_events(matrix(x))
        functions:
          matrix: |
            def matrix(x):
                return x[0, 0]
        """
    ).at_version(2)
    strange = (
        Operation("strange/1", "wobble", ("x",)),
        Operation("strange", "sum_events", ("strange/1",), reduces=True),
    )
    graph = Graph(2, (*graph.operations, *strange), (*graph.results, "strange"))
    publish_graph(node.config.global_store, graph)
    node.shift.interval(12, graph_version=2)
    stage = node.stage()
    steps(stage, node.free)
    stage.close()
    (flush,) = node.flushes()
    partial = flush.partial
    assert node.total(flush, graph) == sum(range(12))
    assert {name: record.count for name, record in partial.errors.items()} == {
        "gone/1": 12, "wrong/1": 12, "strange/1": 12,
    }  # fmt: skip
    assert "laser" in partial.errors["gone/1"].text
    where = f"on worker:0 of {node.config.node.host}"
    assert f"operation 'wobble' is not installed {where}; install" in partial.errors["strange/1"].text


# --- events that kill

POISON = """
functions:
  bad: |
    import ctypes, os
    def bad(x):
        if x == 17:
            {deed}
        return x
results:
  total: sum_events(x)
  poisoned: sum_events(bad(x))
"""


@pytest.fixture
def _no_tracebacks_of_segfaults() -> Iterator[None]:
    """pytest's faulthandler would print one for each child that dies on purpose."""
    faulthandler.disable()
    yield
    faulthandler.enable()


@pytest.mark.usefixtures("_no_tracebacks_of_segfaults")
@pytest.mark.parametrize(
    ("deed", "told"),
    [("ctypes.string_at(0)", "SIGSEGV"), ("os._exit(3)", "exit code 3"), ("while True: pass", "more than")],
    ids=["segfault", "exit", "endless loop"],
)
def test_an_event_that_kills_is_set_aside_and_all_others_are_run(node: Node, deed: str, told: str) -> None:
    graph = graph_of(POISON.format(deed=deed)).at_version(2)
    publish_graph(node.config.global_store, graph)
    node.shift.interval(40, graph_version=2)

    def work() -> None:
        stage = node.stage()
        for _ in range(100):
            stage.step()

    assert ended(node, ring_rig.start(work), hangs="while" in deed) != 0
    assert node.flushes() == []
    stage = node.stage()
    steps(stage, node.free)
    assert stage.counters["set_aside"] == 1
    stage.close()
    partials = [flush.partial for flush in node.flushes()]
    assert sum(partial.seen for partial in partials) == 39
    assert sum(partial.set_aside for partial in partials) == 1
    assert sum(node.total(flush, graph) for flush in node.flushes()) == sum(range(40)) - 17
    assert sum(node.total(flush, graph, "poisoned") for flush in node.flushes()) == sum(range(40)) - 17
    ((name, record),) = [item for partial in partials for item in partial.errors.items()]
    assert name.startswith("poisoned")
    assert (record.count, record.first_sequence) == (1, 17)
    assert told in record.text
    assert sum(flush.covers.events for flush in node.flushes()) == 40  # none is missing from the entry


@pytest.mark.usefixtures("_no_tracebacks_of_segfaults")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_operation_that_kills_is_switched_off_for_both_and_nothing_else_misses_events(
    node: Node, workers: int
) -> None:
    text = POISON.format(deed="os._exit(3)").replace("x == 17", "x % 10 == 7")
    graph = graph_of(text).at_version(2)
    publish_graph(node.config.global_store, graph)
    for _ in range(2):
        node.shift.interval(100, graph_version=2)
    deaths = 0
    for number in itertools.cycle(range(workers)):
        if node.free():
            break

        def work(number: int = number) -> None:
            stage = node.stage(number)
            for _ in range(60):
                stage.step()
            stage.close()

        deaths += os.waitpid(ring_rig.start(work), 0)[1] != 0
    assert 1 <= deaths <= TOO_MUCH + workers - 1  # of each the next one finds an event that is to blame
    flushes = [flush for number in range(workers) for flush in node.flushes(number)]
    aside = sum(flush.partial.set_aside for flush in flushes)
    assert aside == TOO_MUCH
    assert sum(flush.partial.seen for flush in flushes) == 200 - aside
    errors = {name: record for flush in flushes for name, record in flush.partial.errors.items()}
    assert [name.partition("/")[0] for name in errors] == ["poisoned"]
    total = sum(node.total(flush, graph) for flush in flushes)
    assert (sum(range(200)) - total) % 10 == 7 * aside % 10  # each of them ends with a 7
    run = sum(f.partial.used.get(graph.fingerprint("poisoned"), 0) for f in flushes)
    failed = sum(record.count for flush in flushes for record in flush.partial.errors.values())
    assert run + failed == 200
    (record,) = [record for record in errors.values() if record.text.startswith("switched off")]
    assert "exit code 3 (event " in record.text

    edited = graph_of(text.replace("x % 10 == 7", "x == -1")).at_version(3)
    publish_graph(node.config.global_store, edited)
    node.shift.interval(30, graph_version=3)
    stage = node.stage()
    steps(stage, node.free)
    stage.close()
    assert node.total(node.flushes()[-1], edited, "poisoned") == sum(range(200, 230))


def test_code_that_ends_workers_and_not_who_tries_it_is_switched_off_and_no_event_is_missed(
    node: Node,
) -> None:
    deed = f"import os\n    if os.getppid() == {os.getpid()}: os._exit(3)"
    text = POISON.format(deed="pass").replace("import ctypes, os", deed)
    graph = graph_of(text).at_version(2)
    publish_graph(node.config.global_store, graph)
    node.shift.interval(100, graph_version=2)

    def work() -> None:
        stage = node.stage()
        for _ in range(60):
            stage.step()
        stage.close()

    deaths = 0
    while not node.free():
        deaths += os.waitpid(ring_rig.start(work), 0)[1] != 0
        assert deaths <= TOO_MUCH + 1
    assert sum(node.total(flush, graph) for flush in node.flushes()) == sum(range(100))
    assert sum(flush.partial.set_aside for flush in node.flushes()) == 0
    (record,) = [one for flush in node.flushes() for one in flush.partial.errors.values()]
    assert record.text.startswith(f"{OFF}ended 2 workers")


def ended(node: Node, pid: int, *, hangs: bool) -> int:
    """Wait for the end of a worker's process; one that hangs is killed as the monitor does."""
    if hangs:
        wait_for_the_poison(node)
        return ring_rig.kill(pid)
    return os.waitpid(pid, 0)[1]


def wait_for_the_poison(node: Node) -> None:
    def stands_at_the_poison() -> bool:
        place = node.eyes.workers().get(0)
        # Not any block: killed at another one, its successor would run this one itself, and for ever.
        return place is not None and place.operation > 0 and place.first <= 17 < place.first + place.count

    wait_until(stands_at_the_poison, what="the worker at the event that hangs it")


def test_a_block_in_which_a_worker_was_killed_by_somebody_else_is_run_as_a_whole(node: Node) -> None:
    node.shift.interval(40)
    first = node.stage()
    first.step()
    assert first._claims is not None
    ring = first._claims.ring
    block = ring.claim(30)
    assert block is not None
    ring.leave_breadcrumb(block.sequence, block.slots.count, 1)
    die(first)  # by hand: no event is to blame
    stage = node.stage()
    steps(stage, node.free)
    assert stage.counters["set_aside"] == 0
    stage.close()
    assert node.sums() == {0: (40, sum(range(40)))}


def test_images_arrive_whole(node: Node) -> None:
    graph = graph_of("results: {picture: sum_events(image)}").at_version(2)
    publish_graph(node.config.global_store, graph)
    node.shift.interval(25, graph_version=2)
    stage = node.stage()
    steps(stage, node.free)
    stage.close()
    key = graph.fingerprint("picture")
    (flush,) = node.flushes()
    partial = flush.partial
    np.testing.assert_array_equal(reductions(graph)[key].result(partial.states[key]), np.full((2, 3), 25.0))


def test_flushes_that_nobody_takes_stop_at_their_share_and_each_event_is_in_one_of_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 10_000
    monkeypatch.setattr(storing, "LOOK_S", 0.0)
    monkeypatch.setattr(worker, "FLUSHES_SHARE", room / node.config.local_store.max_memory_bytes)
    for _ in range(60):
        node.shift.interval(3)
    stage, journal = node.stage(), node.stores.local("worker", 0).journal(keys.FLUSHES)
    events = total = stops = 0
    while not node.free():
        try:
            steps(stage, node.free)
        except StoreFull:
            assert stage.state == "waiting: for the local reducer to take flushes"
            stops += 1
        waiting, flushes = journal.measure(), node.flushes()
        assert waiting <= room + 2 * waiting / len(flushes)
        events += sum(flush.covers.events for flush in flushes)
        total += sum(map(node.total, flushes))
        journal.remove(record.number for record in journal.read(0, 999))  # as the local reducer does
    assert stops > 1
    assert (events, total) == (180, sum(range(180)))
    assert stage.state == "running"
    stage.close()
