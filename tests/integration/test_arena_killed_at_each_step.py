"""Kill -9 a worker after any bytecode of ring, arena and hand-on: each event is in each lane once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ami.daemons.reduction.spans import Arenas, Batches, Span, find_span
from ami.daemons.worker.flush import Held
from ami.daemons.worker.large import LargeStates, read_covered
from ami.graph.execution.bind import reductions
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.ring import RingObserver, RingReader
from ami.stores.wire import Traffic
from tests import ring_rig as rig
from tests.deaths_rig import Store, deaths, forget

GRAPH = replace(
    graph_of("results:\n  shots: count(x)\n  total: sum_events(x)\n  picture: sum_events(image)\n"
             "  scan: mean_vs(image, key=x % 3)\n").at_version(1),
    large=(("picture", 1), ("scan", 1), ("total", 1)),
)  # fmt: skip
# "shots" is in the small lane, "total" only in the large one, the scan begins anew with each hand-on.
PLAN = WorkerPlan(GRAPH, rig.SCHEMA)
PLAN.by_key = frozenset({GRAPH.fingerprint("scan")})
ROOMS = ("ami/ring/", "worker/large.py", "worker/flush.py", "execution/lanes.py")
COUNTS = (3, 4, 1, 5)  # events of each entry


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    rig.let_arenas_be_small(monkeypatch)
    with rig.ring_name() as name:
        yield name
        forget(name)


def _fill(name: str) -> None:
    with rig.create(name, slots=16, entries=8) as writer:
        for interval, count in enumerate(COUNTS):
            rig.open_entry(writer, interval, large=True)
            rig.publish(writer, count)
            writer.close_entry()
        writer.end_span()


def _hand_on(reader: RingReader, held: Held, large: LargeStates, store: Store) -> None:
    large.add(held.plan, held.split())
    if not held.flushed:
        store.flush(reader.worker, held.partial.states[GRAPH.fingerprint("shots")], held.runs)
        reader.set_flushed(held.runs)
    if large.waiting > 4:
        _store_large(reader, large)


def _store_large(reader: RingReader, large: LargeStates) -> None:
    runs = large.store()
    assert runs is not None
    reader.commit(runs)


def _work(name: str, worker: int, store: Store, *, adopts: bool = False, most: int = 1 << 30) -> None:
    """A worker's life: blocks of two events, flushed two at a time, into the arena a few at a time."""
    with RingReader(name, worker) as reader:
        large = LargeStates(reader, rig.ARENA_BYTES)
        blocks = reader.recover(store.covered(worker), large=read_covered(reader, worker))
        if adopts:
            blocks += reader.adopt(covered=store.covered, large=lambda other: read_covered(reader, other))
        held: Held | None = None
        for _ in range(most):
            block = blocks.pop(0) if blocks else reader.claim(2)
            if block is None:
                break
            if held is not None and (not held.takes(block, PLAN) or held.events > 2):
                _hand_on(reader, held, large, store)
                held = None
            held = held or Held(block, PLAN, large)
            PLAN.run(block.slots, block.sequence, held.partial, interval=block.entry.interval)
            held.add(block)
        if held is not None:
            _hand_on(reader, held, large, store)
        _store_large(reader, large)
        large.close()


def _check(name: str) -> None:
    """See that both lanes have each event once, by sums that do not come from the code."""
    events = sum(COUNTS)
    numbers = np.arange(events)
    pictures = np.broadcast_to((numbers % 251)[:, None, None], (events, 3, 5))
    assert sum(Store(name).flushed()) == events
    with RingObserver(name) as observer:
        span = find_span(observer, 0)
        assert isinstance(span, Span)
        assert (span.end, span.complete) == (len(COUNTS), True)
        arenas = Arenas(name, observer.ring_id, observer.worker_numbers(), Traffic())
        known = reductions(GRAPH.lane(large=True))
        (batch,) = Batches(
            span, arenas, known, node="here", interval_ns=1000, prefix=lambda n: f"here:worker:{n}"
        ).make()
        assert [(one.expected, one.partial.seen) for one in batch.intervals] == [(n, n) for n in COUNTS]
        last = batch.intervals[-1].partial
        found = {n: known[GRAPH.fingerprint(n)].result(last.states[GRAPH.fingerprint(n)])
                 for n in ("picture", "total", "scan")}  # fmt: skip
        assert found["total"] == numbers.sum()
        np.testing.assert_array_equal(found["picture"], pictures.sum(axis=0))
        of_key = [pictures[numbers % 3 == key] for key in range(3)]
        np.testing.assert_array_equal(found["scan"].keys, range(3))
        np.testing.assert_array_equal(found["scan"].counts, [len(one) for one in of_key])
        np.testing.assert_allclose(found["scan"].means, [one.mean(axis=0) for one in of_key])
        used = [one.partial.used[GRAPH.fingerprint("picture")] for one in batch.intervals]
        assert used == list(COUNTS)
        arenas.close()


def test_a_worker_that_lives_has_each_event_in_each_lane_once(name: str) -> None:
    _fill(name)
    _work(name, 0, Store(name))
    _check(name)


@pytest.mark.parametrize("successor", [0, 1], ids=["itself again", "an adopter"])
def test_a_worker_killed_anywhere_is_followed_exactly(name: str, successor: int) -> None:
    store = Store(name)
    for _ in deaths(lambda: _work(name, 0, store), lambda: _fill(name), name, ROOMS):
        _work(name, successor, store, adopts=successor == 1)
        _check(name)


@pytest.mark.parametrize("first_back", [0, 1])
def test_an_adopter_killed_anywhere_is_followed_exactly(name: str, first_back: int) -> None:
    store = Store(name)

    def dies_between_the_lanes() -> None:
        with RingReader(name, 0) as reader:
            large = LargeStates(reader, rig.ARENA_BYTES)
            block = reader.claim(2)
            assert block is not None
            held = Held(block, PLAN, large)
            PLAN.run(block.slots, block.sequence, held.partial, interval=block.entry.interval)
            held.add(block)
            assert reader.claim(1) is not None
            large.add(PLAN, held.split())
            store.flush(0, held.partial.states[GRAPH.fingerprint("shots")], held.runs)

    def lay() -> None:
        _fill(name)
        _, status = os.waitpid(rig.start(dies_between_the_lanes), 0)
        assert status == 0

    for _ in deaths(lambda: _work(name, 1, store, adopts=True), lay, name, ROOMS):
        for worker in (first_back, 1 - first_back):
            _work(name, worker, store)
        _check(name)
