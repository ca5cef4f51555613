"""Kill -9 after any bytecode of ami.ring, then look whether every event is run exactly once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ami.ring import Block, RingObserver, RingReader, configurations
from tests import ring_rig as rig
from tests.deaths_rig import Store, deaths, forget

EVENTS = 30  # in a ring of 32 slots


@pytest.fixture
def name() -> Iterator[str]:
    with rig.ring_name() as name:
        yield name
        forget(name)


def _flush(store: Store, worker: int, blocks: list[Block]) -> list[tuple[int, int]]:
    runs = [rig.run(block) for block in blocks]
    store.flush(worker, [n for block in blocks for n in rig.events(block)], runs)
    return runs


def _events(store: Store) -> list[int]:
    return sorted(n for numbers in store.flushed() for n in numbers)


def _source(name: str, until: int, *, edits: bool = False) -> None:
    """Publish, drop and change entries until the input is at ``until``, from where it is.

    With ``edits`` every other entry has the image, and columns of its own.
    """
    with rig.create(name, slots=32, entries=8, keep=["x"] if edits else None) as writer:
        while (position := writer.cursor.position) < until:
            interval = position // 5
            if writer.open is not None and writer.open.interval != interval:
                writer.close_entry()
            if writer.open is None:
                if edits:
                    rig.configure(writer, ["x", "image"] if interval % 2 else ["x"])
                rig.open_entry(writer, interval)
            if position % 7 == 3:
                writer.drop(1, position=position + 1)
            else:
                wanted = 1 if position % 7 == 2 else min(2, 5 - position % 5)
                assert rig.publish(writer, wanted), "no slot is free, though all were committed"
        if writer.open is not None:
            writer.close_entry()


def _run_all(name: str, worker: int, store: Store) -> None:
    with RingReader(name, worker) as reader:
        blocks = reader.recover(store.covered(worker))
        while blocks or (block := reader.claim(4)):
            if not blocks:
                assert block is not None
                blocks = [block]
            reader.commit(_flush(store, worker, blocks))
            blocks = []


@pytest.mark.parametrize(("used", "edits"), [(0, False), (30, False), (0, True), (30, True)])
def test_a_source_killed_anywhere_is_continued_without_a_gap(name: str, used: int, edits: bool) -> None:
    """The ring does not exist yet, or its slots held other events before; with edits, columns are made,
    exchanged and removed meanwhile."""

    store = Store(name)

    def victim() -> None:
        _source(name, used + 12, edits=edits)

    def lay() -> None:
        if used:
            _source(name, used, edits=edits)
            _run_all(name, 0, store)

    for _ in deaths(victim, lay, name):
        _source(name, used + EVENTS, edits=edits)
        assert not edits or len(configurations.find(name)) > 2
        with RingObserver(name) as observer:
            _run_all(name, 0, store)
            cursor = observer.cursor
            assert cursor.position == used + EVENTS
            assert cursor.published + cursor.dropped == used + EVENTS
            entries = [observer.entry(i) for i in range(observer.oldest_entry, cursor.entries_opened)]
            assert all(e.closed and observer.is_complete(e.index) for e in entries)
            assert observer.is_drained()
        assert _events(store) == [n for n in range(used + EVENTS) if n % 7 != 3]
        with rig.create(name, slots=32, entries=8, keep=["x", "image"]) as last:
            last.tidy()
            assert configurations.find(name) == [last.configuration.number if last.configuration else 0]


def _fill(name: str) -> None:
    """Leave a ring of 8 slots with 8 events in three entries across the ring's end."""
    with rig.create(name) as writer, RingReader(name, 9) as first:
        rig.open_entry(writer, 0)
        rig.publish(writer, 6)
        first.claim(6)
        first.commit([(0, 6)])
        writer.close_entry()
        for interval, count in ((1, 3), (2, 4), (3, 1)):
            rig.configure(writer, ["x", "image"] if interval % 2 else ["x"])
            rig.open_entry(writer, interval)
            rig.publish(writer, count)
            writer.close_entry()


def _work(name: str, worker: int, store: Store) -> None:
    """A worker's life: flush two blocks at a time, with word left of what runs."""
    with RingReader(name, worker) as reader:
        blocks = reader.recover(store.covered(worker))
        while True:
            while len(blocks) < 2 and (block := reader.claim(2)):
                blocks.append(block)
                reader.leave_breadcrumb(block.sequence, block.count, 1)
            if not blocks:
                return
            reader.leave_breadcrumb(0, 0, 0)
            reader.commit(_flush(store, worker, blocks))
            blocks = []


def _check(name: str) -> None:
    assert _events(Store(name)) == list(range(6, 14))
    with RingObserver(name) as observer:
        assert observer.is_drained()


def test_a_worker_killed_anywhere_loses_and_repeats_no_event(name: str) -> None:
    store = Store(name)
    for _ in deaths(lambda: _work(name, 0, store), lambda: _fill(name), name):
        _run_all(name, 0, store)
        _check(name)


@pytest.mark.parametrize("first_back", [0, 1])
def test_an_adopter_killed_anywhere_loses_and_repeats_no_event(name: str, first_back: int) -> None:
    store = Store(name)

    def dies_with_a_flush_that_is_not_committed() -> None:
        with RingReader(name, 0) as reader:
            blocks = [b for b in (reader.claim(3), reader.claim(2), reader.claim(2)) if b]
            _flush(store, 0, blocks[:2])

    def victim() -> None:
        with RingReader(name, 1) as reader:
            blocks = reader.recover(store.covered(1))
            blocks += reader.adopt(covered=store.covered)
            if blocks:
                reader.commit(_flush(store, 1, blocks))

    def lay() -> None:
        _fill(name)
        _, status = os.waitpid(rig.start(dies_with_a_flush_that_is_not_committed), 0)
        assert status == 0

    for _ in deaths(victim, lay, name):
        for worker in (first_back, 1 - first_back):
            _run_all(name, worker, store)
        _check(name)
