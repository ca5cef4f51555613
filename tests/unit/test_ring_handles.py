"""Writer, reader and observer of a ring in one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from ami.errors import RingBusy, RingError, RingGone
from ami.event import Field, Schema, Transition
from ami.ring import RingObserver, RingReader, RingWriter, find_leaked, reclaim
from ami.ring import layout as at
from ami.ring.owners import UNCLAIMED
from tests import ring_rig as rig
from tests.waiting import wait_until


@pytest.fixture
def name() -> Iterator[str]:
    with rig.ring_name() as name:
        yield name


@pytest.fixture
def writer(name: str) -> Iterator[RingWriter]:
    writer = rig.create(name)
    yield writer
    writer.close(unlink=True)


@pytest.fixture
def reader(name: str, writer: RingWriter) -> Iterator[RingReader]:
    with RingReader(name, 0) as reader:
        yield reader


def test_events_are_seen_as_they_were_published(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer, 7)
    rig.publish(writer, 5)
    block = reader.claim(10)
    assert block is not None
    assert rig.events(block) == [0, 1, 2, 3, 4]
    assert block.slots.valid.tolist() == [[3] * 5]
    assert block.slots["image"].shape == (5, 3, 5)
    assert (block.sequence, block.attempts, block.entry.interval, block.entry.step_value) == (0, 0, 7, 0.5)


def test_a_readers_arrays_are_views_that_cannot_be_written(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 1)
    block = reader.claim(1)
    assert block is not None
    for array in (block.slots["x"], block.slots["image"], block.slots.valid, block.slots.timestamps):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
        assert array.base is not None


def test_nothing_is_claimable_before_it_is_published(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    writer.reserve(3)
    assert reader.claim(3) is None


def test_a_claim_stops_at_the_limit_at_the_entry_and_at_the_rings_end(
    writer: RingWriter, reader: RingReader
) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 5)
    writer.close_entry()
    rig.open_entry(writer, transition=Transition.END_RUN)
    rig.open_entry(writer)
    writer.close_entry()
    rig.open_entry(writer)
    rig.publish(writer, 3)
    claims = []
    for limit in (2, 9, 9, 9):
        block = reader.claim(limit)
        if block is not None:
            claims.append((block.entry.index, block.sequence, block.count))
    assert claims == [(0, 0, 2), (0, 2, 3), (3, 5, 3)]
    reader.commit([(0, 8)])
    rig.publish(writer, 2)
    reader.commit([rig.run(block)] if (block := reader.claim(1)) else [])
    rig.publish(writer, 7)
    block = reader.claim(9)
    assert block is not None
    assert rig.run(block) == (9, 7)  # sequence 16 is the ring's first slot again


def test_what_there_is_of_an_entry_is_shared_out(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 5)
    counts = []
    while (block := reader.claim(9, sharers=2)) is not None:
        counts.append(block.count)
    assert counts == [3, 1, 1]


def test_events_and_ends_wake_the_worker_that_holds_something_and_the_others_sleep_on(
    name: str, writer: RingWriter, reader: RingReader
) -> None:
    rig.open_entry(writer)
    with RingReader(name, 1) as holder, ThreadPoolExecutor(2) as threads:

        def sleep() -> tuple[Future[bool], Future[bool]]:
            sleeps = threads.submit(reader.wait, 60.0), threads.submit(holder.wait, 60.0, holding=True)
            asleep = at.SLEEPING, at.SLEEPING + 2
            wait_until(lambda: all(writer._segment.memory[slice(*asleep)]), what="both to sleep")
            return sleeps

        idle, held = sleep()
        rig.publish(writer, 1)
        assert held.result(20)
        assert not idle.done()
        rig.publish(writer, 1)  # nobody who holds something sleeps
        assert idle.result(20)
        assert holder.claim(9) is not None
        idle, held = sleep()
        writer.close_entry()
        assert held.result(20)
        assert not idle.done()
        rig.open_entry(writer)
        rig.publish(writer, 1)
        assert idle.result(20)


def test_a_slot_is_free_only_when_it_is_committed(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    assert rig.publish(writer, 20) == 8
    assert writer.reserve(1) is None
    reader.claim(8)
    assert writer.reserve(1) is None
    reader.commit([(0, 3)])
    slots = writer.reserve(8)
    assert slots is not None
    assert slots.count == 3


def test_slots_committed_out_of_order_are_used_in_order(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 8)
    reader.claim(8)
    reader.commit([(4, 4)])
    assert writer.reserve(1) is None
    reader.commit([(0, 1)])
    slots = writer.reserve(8)
    assert slots is not None
    assert slots.count == 1


@pytest.mark.parametrize("stays", [False, True], ids=["committed", "flushed"])
def test_the_reducer_is_woken_by_what_makes_an_entry_complete(name: str, stays: bool) -> None:
    with rig.create(name) as writer, RingReader(name, 0) as first, RingReader(name, 1) as second:
        words = first._words
        rig.open_entry(writer)
        rig.publish(writer, 4)
        store = {worker: worker.set_flushed if stays else worker.commit for worker in (first, second)}
        for worker in (first, second):
            worker.claim(2)
        steps: list[tuple[Callable[[], object], bool]] = [
            (lambda: store[second]([(2, 2)], entry=0), False),
            (writer.close_entry, False),
            (lambda: store[first]([(0, 1)], entry=0), False),
            (lambda: store[first]([(1, 1)], entry=0), True),
            (lambda: rig.open_entry(writer, 1), False),
            (writer.close_entry, True),  # nothing is in it
            (lambda: store[first]([]), True),  # of whatever entries
        ]
        for number, (step, wakes) in enumerate(steps):
            words[at.REDUCER_WAITS] = 1
            step()
            assert (words[at.REDUCER_WAITS] == 0) == wakes, number


def test_events_of_another_worker_cannot_be_committed(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 4)
    reader.claim(2)
    with RingReader(writer.name, 1) as other:
        other.claim(2)
        with pytest.raises(RingError, match="not its own"):
            other.commit([(0, 2)])
        other.commit([(2, 2)])
        with pytest.raises(RingError, match="not its own"):
            other.commit([(2, 2)])


def test_an_entry_tells_counts_drops_and_times(writer: RingWriter) -> None:
    rig.open_entry(writer, 3)
    rig.publish(writer, 4)
    writer.drop(2, position=6)
    with RingObserver(writer.name) as observer:
        entry = observer.entry(0)
        assert (entry.count, entry.dropped, entry.closed) == (4, 2, False)
        assert (entry.first_ns, entry.last_ns) == (0, 30)
        assert entry == writer.open
        writer.close_entry()
        entry = observer.entry(0)
        assert (entry.count, entry.dropped, entry.last_ns, entry.closed) == (4, 2, 30, True)
        assert entry.closed_wall_ns >= entry.opened_wall_ns > 0
        rig.open_entry(writer, 4)
        assert (observer.entry(1).count, observer.entry(1).dropped) == (0, 0)
        assert observer.cursor.dropped == 2
        with pytest.raises(RingError, match="does not exist"):
            observer.entry(2)


def test_an_entry_is_complete_when_closed_and_committed(writer: RingWriter, reader: RingReader) -> None:
    with RingObserver(writer.name) as observer:
        rig.open_entry(writer)
        rig.publish(writer, 3)
        assert observer.outstanding(0) == 3
        reader.claim(3)
        reader.commit([(0, 3)])
        assert not observer.is_complete(0)
        writer.close_entry()
        assert observer.is_complete(0)
        rig.open_entry(writer)
        rig.publish(writer, 8)  # in the same slots
        assert observer.is_complete(0)
        assert observer.outstanding(1) == 8


def test_an_entry_stays_complete_while_its_slots_are_filled_anew(
    writer: RingWriter, reader: RingReader
) -> None:
    """Also when the source dies after it marked the slots and before they are published."""
    with RingObserver(writer.name) as observer:
        rig.open_entry(writer)
        rig.publish(writer, 8)
        writer.close_entry()
        reader.claim(8)
        reader.commit([(0, 8)])
        writer._owners.bytes[:3] = UNCLAIMED
        assert observer.outstanding(0) == 0
        assert observer.is_complete(0)


def test_slots_that_change_hands_during_the_look_are_not_held_against_the_old_entry(
    writer: RingWriter, reader: RingReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RingObserver(writer.name) as observer:
        rig.open_entry(writer)
        rig.publish(writer, 8)
        writer.close_entry()
        reader.claim(8)
        reader.commit([(0, 8)])
        rig.open_entry(writer)
        look = observer._owners.between

        def look_later(first: int, stop: int) -> NDArray[np.uint8]:
            rig.publish(writer, 8)
            reader.claim(8)
            return look(first, stop)

        monkeypatch.setattr(observer._owners, "between", look_later)
        assert observer.outstanding(0) == 0
        assert observer.cursor.published == 16


def test_the_table_is_full_until_its_oldest_entry_is_reduced(writer: RingWriter, reader: RingReader) -> None:
    with RingObserver(writer.name, reducer=True) as reducer:
        for interval in range(4):
            assert rig.open_entry(writer, interval)
            rig.publish(writer, 1)
            writer.close_entry()
        assert not rig.open_entry(writer, 4)
        assert not writer.wait_for_space(0.01)
        reducer.forget_entries(1)
        assert not rig.open_entry(writer, 4)  # its event is not committed yet
        reader.claim(1)
        reader.commit([(0, 1)])
        assert writer.wait_for_space(0.01)
        assert rig.open_entry(writer, 4)
        with pytest.raises(RingError, match="has left the table"):
            reducer.entry(0)
        assert reducer.oldest_entry == 1


def test_no_entry_leaves_the_table_before_a_reducer_that_comes_late(name: str) -> None:
    with rig.create(name, reduced=True) as writer:
        opened = 0
        while opened < 9 and rig.open_entry(writer, opened):
            writer.close_entry()
            opened += 1
        assert opened == 4
    with rig.create(name, reduced=True) as writer, RingObserver(name, reducer=True) as reducer:
        assert [reducer.entry(index).interval for index in range(4)] == [0, 1, 2, 3]
        assert not rig.open_entry(writer, 4)
        reducer.forget_entries(2)
        assert rig.open_entry(writer, 4)


def test_claims_go_on_after_many_empty_entries(writer: RingWriter, reader: RingReader) -> None:
    for interval in range(11):
        rig.open_entry(writer, interval)
        writer.close_entry()
    rig.open_entry(writer, 99)
    rig.publish(writer, 2)
    block = reader.claim(9)
    assert block is not None
    assert (block.entry.index, block.entry.interval, block.count) == (11, 99, 2)


def test_a_ring_is_drained_when_all_is_closed_committed_and_reduced(
    writer: RingWriter, reader: RingReader
) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 2)
    assert not writer.is_drained()
    writer.close_entry()
    reader.claim(2)
    assert not writer.is_drained()
    reader.commit([(0, 2)])
    assert writer.is_drained()
    with RingObserver(writer.name, reducer=True) as reducer:
        assert not writer.is_drained()
        reducer.forget_entries(1)
        assert writer.is_drained()


def test_misuse_is_refused(writer: RingWriter, reader: RingReader) -> None:
    with pytest.raises(RingError, match="no entry"):
        writer.publish(0, position=0)
    with pytest.raises(RingError, match="no entry"):
        writer.close_entry()
    with pytest.raises(RingError, match="no entry"):
        writer.drop(1, position=1)
    rig.open_entry(writer)
    with pytest.raises(RingError, match="still open"):
        rig.open_entry(writer)
    writer.reserve(2)
    with pytest.raises(RingError, match="2 were reserved"):
        writer.publish(3, position=3)
    with pytest.raises(RingError, match="at least 1"):
        reader.claim(0)
    with pytest.raises(RingError, match="0 to 249"):
        RingReader(writer.name, 250)
    with RingObserver(writer.name) as observer, pytest.raises(RingError, match="only the local reducer"):
        observer.forget_entries(1)


# --- places and names ---------------------------------------------------------------------------


def test_a_place_that_is_taken_is_refused(writer: RingWriter, reader: RingReader) -> None:
    with pytest.raises(RingBusy, match="is the worker 0"):
        RingReader(writer.name, 0)
    with pytest.raises(RingBusy, match="is the source"):
        rig.create(writer.name)
    with RingObserver(writer.name, reducer=True), pytest.raises(RingBusy, match="is the local reducer"):
        RingObserver(writer.name, reducer=True)
    with RingObserver(writer.name, reducer=True):
        pass


def test_there_is_no_ring_before_the_source_made_one(name: str) -> None:
    with pytest.raises(RingGone):
        RingReader(name, 0)
    with pytest.raises(RingGone):
        RingObserver(name)


@pytest.mark.parametrize("bad", ["ami", "/ami/events", "/"])
def test_a_name_that_the_system_could_not_have_is_refused(bad: str) -> None:
    with pytest.raises(RingError, match="a slash and a word"):
        rig.create(bad)


def test_a_writer_continues_its_predecessors_ring(name: str) -> None:
    with rig.create(name) as first:
        rig.open_entry(first, 5)
        rig.publish(first, 3)
        first.drop(2, position=5)
        ring_id = first.ring_id
    with rig.create(name, policy="drop") as second:
        assert second.resumed
        assert second.ring_id == ring_id
        assert (second.cursor.published, second.cursor.position, second.cursor.dropped) == (3, 5, 2)
        assert second.open is not None
        assert (second.open.interval, second.open.count, second.open.dropped) == (5, 3, 2)
        with RingObserver(name) as observer:
            assert observer.policy == "drop"


@pytest.mark.parametrize(
    "change",
    [
        {"source_id": "other"},
        {"slots": 16},
        {"entries": 8},
        {"interval_ns": 2},
        {"schema": Schema.of([Field("y", np.dtype(np.float32))])},
    ],
)
def test_a_writer_of_something_else_replaces_the_ring(name: str, change: dict[str, object]) -> None:
    first = rig.create(name)
    reader, observer = RingReader(name, 0), RingObserver(name)
    assert not reader.replaced
    first.close(unlink=False)
    with rig.create(name, **change) as second, reader, observer:
        assert not second.resumed
        assert reader.replaced
        assert observer.replaced
        assert reader.wait(0.01)
        with RingReader(name, 0) as again:
            assert again.ring_id == second.ring_id != reader.ring_id


def test_what_a_dead_writer_left_can_be_drained_first(name: str) -> None:
    assert RingWriter.leftover(name) is None
    with rig.create(name) as writer:
        rig.open_entry(writer)
        rig.publish(writer, 2)
        with pytest.raises(RingBusy):
            RingWriter.leftover(name)
    left = RingWriter.leftover(name)
    assert left is not None
    with left, RingReader(name, 0) as reader:
        assert not left.is_drained()
        reader.claim(2)
        reader.commit([(0, 2)])
        assert left.is_complete(0)
        assert left.is_drained()
    assert RingWriter.leftover(name) is None


def test_an_unlinked_ring_is_gone_but_stays_readable_for_who_has_it(name: str) -> None:
    writer = rig.create(name)
    reader = RingReader(name, 0)
    rig.open_entry(writer)
    rig.publish(writer, 2)
    block = reader.claim(2)
    assert block is not None
    writer.close(unlink=True)
    with pytest.raises(RingGone):
        RingReader(name, 1)
    assert reader.replaced
    reader.close()
    assert rig.events(block) == [0, 1]


def test_a_ring_larger_than_shared_memory_is_refused(name: str) -> None:
    with pytest.raises(RingError, match=r"lower ring\.bytes"):
        rig.create(name, slots=1 << 44)
    with pytest.raises(RingGone):
        RingObserver(name)
    assert not reclaim(name)


def test_the_places_follow_bytes_and_fields_within_bounds(name: str) -> None:
    for bytes_, most, keep, expected in (
        (0, 100, ["x"], 8),
        (1 << 20, 100, ["x"], 100),
        (39 * 50, 100, ["x", "image"], 50),
        (39 * 50, 100, ["x"], 81),
        (39 * 50, 100, [], 100),
    ):
        with rig.create(name, bytes=bytes_, max_slots=most, keep=keep) as writer:
            assert writer.depth == expected
            with RingObserver(name) as observer:
                assert observer.depth == expected
            writer.close(unlink=True)


def test_memory_is_had_before_it_is_used(name: str) -> None:
    with rig.create(name, slots=1 << 18) as writer:
        for part, least in ((name, 11 << 18), (f"{name}.c1", 31 << 18)):
            facts = os.stat("/dev/shm" + part)
            assert facts.st_blocks * 512 >= facts.st_size > least
        writer.close(unlink=True)


def test_a_dead_ring_is_found_and_reclaimed_but_not_a_live_one(name: str) -> None:
    writer = rig.create(name)
    assert name not in find_leaked()
    with pytest.raises(RingBusy, match="source"):
        reclaim(name)
    reader = RingReader(name, 3)
    writer.close(unlink=False)
    assert name not in find_leaked()
    with pytest.raises(RingBusy, match="worker 3"):
        reclaim(name)
    reader.close()
    assert name in find_leaked()
    assert reclaim(name)
    assert name not in find_leaked()
    assert not reclaim(name)
    assert reader.replaced


# --- after a death (here: after close, which leaves the same behind) ------------------------------


def test_a_workers_successor_runs_what_its_last_flush_does_not_cover(writer: RingWriter) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 8)
    with RingReader(writer.name, 0) as first:
        first.claim(6)
        first.leave_breadcrumb(2, 3, 1)
    with RingReader(writer.name, 0) as second:
        blocks = second.recover([(0, 2), (700, 5)])
        assert [(*rig.run(b), b.attempts) for b in blocks] == [(2, 3, 1), (5, 1, 0)]
        assert second.recover([])[0].attempts == 1  # the breadcrumb counts once
        assert writer.reserve(8) is not None  # 0 and 1 are free
        second.commit([(2, 4)])
        assert rig.run(block := second.claim(9) or blocks[0]) == (6, 2)
        assert block.attempts == 0


def test_attempts_are_forgotten_with_the_event(writer: RingWriter) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 8)
    for attempt in range(3):
        with RingReader(writer.name, 0) as worker:
            blocks = worker.recover([])
            assert [b.attempts for b in blocks] == [attempt] * len(blocks)
            worker.claim(8)
            worker.leave_breadcrumb(0, 8, 5)
    with RingReader(writer.name, 0) as worker:
        worker.recover([])
        worker.commit([(0, 8)])
        rig.publish(writer, 8)
        block = worker.claim(8)
    with RingReader(writer.name, 0) as worker:
        assert [b.attempts for b in worker.recover([])] == [0]
        assert block is not None
        assert block.attempts == 0


def test_a_worker_adopts_only_from_the_dead(writer: RingWriter, reader: RingReader) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 8)
    alive, dead = RingReader(writer.name, 1), RingReader(writer.name, 2)
    alive.claim(2)
    dead.claim(4)
    dead.close()
    asked = []

    def covered(worker: int) -> list[tuple[int, int]]:
        asked.append(worker)
        with pytest.raises(RingBusy):
            RingReader(writer.name, worker)
        return [(3, 1)]

    assert [rig.run(b) for b in reader.adopt(covered=covered)] == [(2, 1), (4, 2)]
    assert asked == [2]
    with RingObserver(writer.name) as observer:
        places = {n: (p.alive, p.owned) for n, p in observer.workers().items()}
        assert places == {0: (True, 3), 1: (True, 2), 2: (False, 0)}
        assert observer.outstanding(0) == 7
    alive.close()


def test_a_failing_store_leaves_the_dead_workers_events_where_they_are(
    writer: RingWriter, reader: RingReader
) -> None:
    rig.open_entry(writer)
    rig.publish(writer, 2)
    with RingReader(writer.name, 1) as dead:
        dead.claim(2)

    def covered(_worker: int) -> list[tuple[int, int]]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        reader.adopt(covered=covered)
    assert len(reader.adopt(covered=lambda _: [])) == 1
