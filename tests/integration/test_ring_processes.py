"""The ring between real processes: deaths at random moments, locks, waking and waiting."""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ami.errors import RingBusy
from ami.ring import Block, RingObserver, RingReader, find_leaked, reclaim
from tests import ring_rig as rig
from tests.waiting import PATIENCE_S, wait_until

SLOTS = 512
EVENTS_PER_ENTRY = 700  # more than the ring holds
WORKERS = 2


@pytest.fixture
def name() -> Iterator[str]:
    with rig.ring_name() as name:
        yield name


class Ledger:
    """A worker's stored flushes: a file of records, each written with one short write."""

    HEAD = struct.Struct("<qqq")  # events, sum of their numbers, runs
    RUN = struct.Struct("<qq")

    def __init__(self, folder: Path, worker: int) -> None:
        self._path = folder / f"worker-{worker}"
        self._path.touch()

    def flush(self, blocks: list[Block]) -> list[tuple[int, int]]:
        runs = [rig.run(block) for block in blocks]
        total = sum(int(block.slots["x"].sum()) for block in blocks)
        head = self.HEAD.pack(sum(count for _, count in runs), total, len(runs))
        with self._path.open("ab", buffering=0) as file:
            file.write(head + b"".join(self.RUN.pack(*run) for run in runs))
        return runs

    def read(self) -> tuple[int, int, list[tuple[int, int]]]:
        """Return events, sum of their numbers, and the runs of the last flush."""
        text, offset = self._path.read_bytes(), 0
        events, total, runs = 0, 0, 0
        while offset < len(text):
            offset += self.RUN.size * runs
            count, sum_, runs = self.HEAD.unpack_from(text, offset)
            events, total, offset = events + count, total + sum_, offset + self.HEAD.size
            if offset + self.RUN.size * runs == len(text):
                break
        last = text[offset : offset + self.RUN.size * runs]
        return events, total, list(self.RUN.iter_unpack(last))


def _source(name: str, events: int) -> None:
    with rig.create(name, slots=SLOTS, entries=8) as writer:
        chance = random.Random(os.getpid())
        while (position := writer.cursor.position) < events:
            interval, place = divmod(position, EVENTS_PER_ENTRY)
            if writer.open is not None and writer.open.interval != interval:
                writer.close_entry()
            if writer.open is None and not rig.open_entry(writer, interval):
                writer.wait_for_space(0.05)
                continue
            wanted = min(chance.randrange(1, 90), EVENTS_PER_ENTRY - place, events - position)
            if not rig.publish(writer, wanted):
                writer.wait_for_space(0.05)
        if writer.open is not None:
            writer.close_entry()


def _worker(name: str, number: int, folder: Path) -> None:
    ledgers = [Ledger(folder, n) for n in range(WORKERS)]
    chance = random.Random(os.getpid())
    with RingReader(name, number) as reader:
        held = reader.recover(ledgers[number].read()[2])
        while True:
            block = reader.claim(chance.randrange(1, 60))
            if block is not None:
                held.append(block)
            if held and (block is None or reader.space_wanted or len(held) > 8):
                reader.commit(ledgers[number].flush(held))
                held = []
            elif block is None:
                if chance.random() < 0.3:
                    held = reader.adopt(covered=lambda n: ledgers[n].read()[2])
                reader.wait(0.05)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_event_counts_once_while_source_and_workers_are_killed(
    name: str, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    events = 1_000_000
    works: list[Callable[[], None]] = [lambda: _source(name, events)]
    works += [lambda n=n: _worker(name, n, tmp_path) for n in range(WORKERS)]  # type: ignore[misc]
    # The reducer comes when the workers may have finished more entries than the table has rows.
    rig.create(name, slots=SLOTS, entries=8, reduced=True).close(unlink=False)
    pids = [rig.start(work) for work in works]
    try:
        time.sleep(chance.random() / 10)
        with RingObserver(name, reducer=True) as reducer:
            done = kills = 0
            deadline = time.monotonic() + PATIENCE_S
            next_kill = time.monotonic()
            while not (reducer.cursor.position == events and reducer.is_drained()):
                assert time.monotonic() < deadline, (reducer.cursor, reducer.workers(), reducer.writer_alive)
                reducer.wait(0.01)
                while reducer.is_complete(done):
                    entry = reducer.entry(done)
                    assert entry.interval == done
                    assert entry.first_sequence == done * EVENTS_PER_ENTRY
                    done += 1
                    reducer.forget_entries(done)
                if kills < 60 and time.monotonic() > next_kill:
                    victim = chance.randrange(len(pids))
                    rig.kill(pids[victim])
                    pids[victim] = rig.start(works[victim])
                    kills += 1
                    next_kill = time.monotonic() + chance.random() * 0.04
    finally:
        for pid in pids:
            rig.kill(pid)
    counted = [Ledger(tmp_path, n).read() for n in range(WORKERS)]
    assert sum(found for found, _, _ in counted) == events
    assert sum(total for _, total, _ in counted) == events * (events - 1) // 2
    assert all(found for found, _, _ in counted)
    assert kills > 5  # of a fast machine


def test_an_entry_is_never_complete_before_its_last_event_is_committed(name: str) -> None:
    """The observer looks while slots are committed, filled and claimed again at full speed."""
    entries, size = 3000, 6

    def source() -> None:
        with rig.create(name, slots=16, entries=64) as writer:
            for interval in range(entries):
                while not rig.open_entry(writer, interval):
                    writer.wait_for_space(0.2)
                target = (interval + 1) * size
                while left := target - writer.cursor.position:
                    rig.publish(writer, left) or writer.wait_for_space(0.2)
                writer.close_entry()

    def worker() -> None:
        with RingReader(name, 0) as reader:
            while True:
                block = reader.claim(4)
                if block is None:
                    reader.wait(0.2)
                    continue
                with Path(f"/dev/shm{name}-committed").open("r+b") as file:
                    file.write(struct.pack("<q", block.sequence))  # all below are committed
                reader.commit([rig.run(block)])

    committed = Path(f"/dev/shm{name}-committed")
    committed.write_bytes(bytes(8))
    rig.create(name, slots=16, entries=64).close(unlink=False)
    try:
        with RingObserver(name, reducer=True) as reducer, rig.child(source), rig.child(worker):
            for index in range(entries):
                deadline = time.monotonic() + PATIENCE_S
                while not reducer.is_complete(index):
                    assert time.monotonic() < deadline
                # Worker 0 claims in order: the block in work may be the entry's last.
                assert struct.unpack("<q", committed.read_bytes())[0] >= (index + 1) * size - 4
                reducer.forget_entries(index + 1)
            assert reducer.is_drained()
    finally:
        committed.unlink()


# --- deaths and locks -------------------------------------------------------------------------------


def _hold(name: str, handle: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        kept = handle()
        Path(f"/dev/shm{name}-ready").touch()
        signal.pause()
        del kept

    return work


@pytest.mark.parametrize("place", ["source", "worker", "reducer"])
def test_a_place_is_free_as_soon_as_its_holder_is_killed(name: str, place: str) -> None:
    handles: dict[str, Callable[[], object]] = {
        "source": lambda: rig.create(name),
        "worker": lambda: RingReader(name, 7),
        "reducer": lambda: RingObserver(name, reducer=True),
    }
    rig.create(name).close(unlink=False)
    ready = Path(f"/dev/shm{name}-ready")
    try:
        with rig.child(_hold(name, handles[place])) as pid:
            wait_until(ready.exists, what=f"the {place} to attach")
            with pytest.raises(RingBusy, match=f"process {pid} "):
                handles[place]()
            with pytest.raises(RingBusy, match=f"process {pid}"):
                reclaim(name)
            assert name not in find_leaked()
            with RingObserver(name) as observer:
                assert observer.writer_alive == (place == "source")
                assert [n for n, w in observer.workers().items() if w.alive] == [7] * (place == "worker")
            rig.kill(pid)
            handle = handles[place]()
            handle.close(**({"unlink": False} if place == "source" else {}))  # type: ignore[attr-defined]
    finally:
        ready.unlink(missing_ok=True)
    assert name in find_leaked()


def test_a_forked_child_does_not_keep_its_dead_parents_place(name: str) -> None:
    ready = Path(f"/dev/shm{name}-ready")

    def worker_with_a_trial() -> None:
        reader = RingReader(name, 0)
        if not os.fork():
            ready.write_text(str(os.getpid()))
            signal.pause()
        signal.pause()
        del reader

    rig.create(name).close(unlink=False)
    try:
        with rig.child(worker_with_a_trial) as pid:
            wait_until(lambda: ready.exists() and ready.read_text(), what="the trial to run")
            rig.kill(pid)
            with RingReader(name, 0):
                pass
    finally:
        os.kill(int(ready.read_text()), signal.SIGKILL)
        ready.unlink()


def test_two_readers_in_one_process_exclude_each_other(name: str) -> None:
    with rig.create(name) as writer, RingReader(name, 0) as first, RingReader(name, 1) as second:
        rig.open_entry(writer)
        rig.publish(writer, 8)
        claims = [reader.claim(2) for reader in (first, second, first, second)]
        assert [c.sequence for c in claims if c] == [0, 2, 4, 6]
        with pytest.raises(RingBusy):
            RingReader(name, 1)


# --- waiting ----------------------------------------------------------------------------------------


def is_woken(wait: Callable[[float], bool]) -> bool:
    """Wait; return whether a wake-up ended that: who is not woken sees at the end what is there."""
    began = time.monotonic()
    return wait(PATIENCE_S) and time.monotonic() - began < PATIENCE_S / 2


def test_a_waiting_worker_is_woken_by_an_event_and_by_the_end_of_an_entry(name: str) -> None:
    def source() -> None:
        with rig.create(name) as writer:
            rig.open_entry(writer)
            time.sleep(0.1)
            rig.publish(writer, 1)
            time.sleep(0.1)
            writer.close_entry()
            time.sleep(0.1)

    rig.create(name).close(unlink=False)
    with RingReader(name, 0) as reader, rig.child(source):
        assert is_woken(reader.wait)
        assert reader.claim(1) is not None
        assert is_woken(lambda timeout_s: reader.wait(timeout_s, holding=True))
        assert reader.entry(0).closed
        assert not reader.wait(0.01)


def test_a_waiting_source_and_reducer_are_woken_by_a_commit(name: str) -> None:
    def worker() -> None:
        with RingReader(name, 0) as reader:
            while not reader.space_wanted:
                time.sleep(0.01)
            block = reader.claim(8)
            assert block is not None
            reader.commit([rig.run(block)])

    with rig.create(name) as writer, RingObserver(name, reducer=True) as reducer:
        rig.open_entry(writer)
        rig.publish(writer, 8)
        reducer.wait(0)
        with rig.child(worker):
            assert is_woken(writer.wait_for_space)
            assert is_woken(reducer.wait)
            assert reducer.outstanding(0) == 0


def test_a_worker_that_sleeps_on_events_is_woken_by_a_source_that_waits_for_their_slots(name: str) -> None:
    def source() -> None:
        with rig.create(name) as writer:
            # The worker's wait began meanwhile, for certain: nothing else wakes it.
            wait_until(lambda: bool(writer._bell._sleeping[0]), what="the worker to sleep")
            writer.wait_for_space(PATIENCE_S)

    with rig.create(name) as writer:
        rig.open_entry(writer)
        rig.publish(writer, 8)
    with RingReader(name, 0) as reader, rig.child(source):
        assert reader.claim(8) is not None
        assert not reader.wait(0)
        assert is_woken(lambda timeout_s: reader.wait(timeout_s, holding=True))
        assert reader.space_wanted
        assert not reader.wait(0.01)


def test_waiting_takes_no_processor_time(name: str) -> None:
    with rig.create(name) as writer, RingReader(name, 0) as reader, RingObserver(name) as observer:
        rig.open_entry(writer)
        rig.publish(writer, 8)
        reader.claim(8)
        reader.wait(0)
        observer.wait(0)
        before = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(5):
            assert not reader.wait(0.2)
            assert not writer.wait_for_space(0.2)
            assert not observer.wait(0.2)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used_s < 0.3  # of 3 s; who spun would take all of them


def test_a_signal_ends_a_wait(name: str) -> None:
    got = []
    before = signal.signal(signal.SIGUSR1, lambda *_: got.append(time.monotonic()))
    try:
        with rig.create(name), RingReader(name, 0) as reader:
            parent = os.getpid()

            def knock() -> None:
                time.sleep(0.2)
                os.kill(parent, signal.SIGUSR1)

            with rig.child(knock):
                assert not reader.wait(60)
            assert got
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_two_sources_at_once_make_one_ring(name: str) -> None:
    """Both create; one has it, the other is told so."""
    result = np.memmap(f"/dev/shm{name}-result", np.int8, "w+", shape=2)

    def contend(number: int) -> Callable[[], None]:
        def work() -> None:
            try:
                writer = rig.create(name, source_id=str(number))
            except RingBusy:
                result[number] = 2
            else:
                result[number] = 1
                signal.pause()
                writer.close(unlink=False)

        return work

    try:
        for _ in range(3):
            result[:] = 0
            with rig.child(contend(0)), rig.child(contend(1)):
                wait_until(result.all, what="both to have their answer")
                assert sorted(result.tolist()) == [1, 2]
    finally:
        os.unlink(f"/dev/shm{name}-result")
