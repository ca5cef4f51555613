"""Kill -9 a worker after any bytecode of ring, arena and hand-on: every event is in each lane exactly once.

The child counts bytecodes and kills itself; the parent is the successor, or an adopter. The flushes' store is
a file: one short write is there as a whole or not at all.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
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
from ami.ring.block import Stretch
from tests import ring_rig as rig

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


class Store:
    """Flushes that outlive their worker: counted events, and the slots that they came from."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # outlives this call; close() closes it

    def flush(self, worker: int, held: Held) -> None:
        count = held.partial.states[GRAPH.fingerprint("shots")]
        record = json.dumps([worker, count, held.runs]).encode() + b"\n"
        os.pwrite(self._file.fileno(), record, os.fstat(self._file.fileno()).st_size)

    def _flushes(self) -> list[tuple[int, int, list[Stretch]]]:
        return [json.loads(line) for line in os.pread(self._file.fileno(), 1 << 20, 0).splitlines()]

    def covered(self, worker: int) -> list[Stretch]:
        mine = [runs for who, _, runs in self._flushes() if who == worker]
        return [(first, count) for first, count in mine[-1]] if mine else []

    def events(self) -> int:
        return sum(count for _, count, _ in self._flushes())

    def close(self) -> None:
        self._file.close()


def _fill(name: str) -> None:
    with rig.create(name, slots=16, entries=8) as writer:
        for interval, count in enumerate(COUNTS):
            rig.open_entry(writer, interval, large=True)
            rig.publish(writer, count)
            writer.close_entry()
        writer.end_span()


def _hand_on(reader: RingReader, held: Held, store: Store) -> None:
    assert held.store_large()
    if held.is_large:
        reader.set_large_done(held.runs)
    store.flush(reader.worker, held)
    reader.commit(held.runs)


def _work(name: str, worker: int, store: Store, *, adopts: bool = False, most: int = 1 << 30) -> None:
    """A worker's life: blocks of two events, handed on two at a time."""
    with RingReader(name, worker) as reader:
        large = LargeStates(reader, 1 << 20)
        blocks = reader.recover(store.covered(worker), large=read_covered(reader, worker))
        if adopts:
            blocks += reader.adopt(covered=store.covered, large=lambda other: read_covered(reader, other))
        held: Held | None = None
        for _ in range(most):
            block = blocks.pop(0) if blocks else reader.claim(2)
            if block is None:
                break
            if held is not None and (not held.takes(block) or held.events > 2):
                _hand_on(reader, held, store)
                held = None
            held = held or Held(block, PLAN, large)
            PLAN.run(block.slots, block.sequence, held.partial, interval=block.entry.interval)
            held.add(block)
        if held is not None:
            _hand_on(reader, held, store)
        large.close()


def _check(name: str, store: Store) -> None:
    """See that both lanes have each event once, by sums that do not come from the code."""
    events = sum(COUNTS)
    numbers = np.arange(events)
    pictures = np.broadcast_to((numbers % 251)[:, None, None], (events, 3, 5))
    assert store.events() == events
    with RingObserver(name) as observer:
        span = find_span(observer, 0)
        assert isinstance(span, Span)
        assert (span.end, span.complete) == (len(COUNTS), True)
        arenas = Arenas(name, observer.ring_id, observer.worker_numbers())
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


def _moments(work: Callable[[], None], reset: Callable[[], None], samples: int) -> list[int]:
    """Return after how many bytecodes to kill: a spread that reaches over all of the work."""
    high = 1
    while True:
        reset()
        if not rig.killed_after(work, high, ROOMS):
            break
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        reset()
        if rig.killed_after(work, middle, ROOMS):
            low = middle
        else:
            high = middle
    return sorted(random.Random(20180912).sample(range(low), min(samples, low)))


class Scene:
    """A full ring and an empty store, laid anew for each killing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.store = Store()

    def lay(self) -> None:
        rig.reclaim(self.name)
        self.store.close()
        self.store = Store()
        _fill(self.name)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with rig.ring_name() as name:
        scene = Scene(name)
        yield scene
        scene.store.close()


def test_a_worker_that_lives_has_each_event_in_each_lane_once(scene: Scene) -> None:
    scene.lay()
    _work(scene.name, 0, scene.store)
    _check(scene.name, scene.store)


def test_a_worker_killed_anywhere_is_followed_exactly(scene: Scene) -> None:
    def victim() -> None:
        _work(scene.name, 0, scene.store)

    kills = 0
    for moment in _moments(victim, scene.lay, 150):
        scene.lay()
        kills += rig.killed_after(victim, moment, ROOMS)
        _work(scene.name, 0, scene.store)
        _check(scene.name, scene.store)
    assert kills > 140


def test_who_takes_over_from_a_worker_killed_anywhere_has_the_rest(scene: Scene) -> None:
    def victim() -> None:
        _work(scene.name, 0, scene.store)

    for moment in _moments(victim, scene.lay, 80):
        scene.lay()
        rig.killed_after(victim, moment, ROOMS)
        _work(scene.name, 1, scene.store, adopts=True)
        _check(scene.name, scene.store)


@pytest.mark.parametrize("first_back", [0, 1])
def test_an_adopter_killed_anywhere_is_followed_exactly(scene: Scene, first_back: int) -> None:
    def dies_between_the_lanes() -> None:
        with RingReader(scene.name, 0) as reader:
            large = LargeStates(reader, 1 << 20)
            block = reader.claim(2)
            assert block is not None
            held = Held(block, PLAN, large)
            PLAN.run(block.slots, block.sequence, held.partial, interval=block.entry.interval)
            held.add(block)
            assert reader.claim(1) is not None
            assert held.store_large()

    def victim() -> None:
        _work(scene.name, 1, scene.store, adopts=True)

    def lay() -> None:
        scene.lay()
        _, status = os.waitpid(rig.start(dies_between_the_lanes), 0)
        assert status == 0

    kills = 0
    for moment in _moments(victim, lay, 80):
        lay()
        kills += rig.killed_after(victim, moment, ROOMS)
        for worker in (first_back, 1 - first_back):
            _work(scene.name, worker, scene.store)
        _check(scene.name, scene.store)
    assert kills > 70
