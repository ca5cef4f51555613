"""Which fields a ring keeps, for how many events, and what becomes of columns that nobody needs any more."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ami.errors import RingError, RingFull
from ami.event import MAX_FIELDS, Field, Schema, Slots
from ami.ring import RingReader, RingWriter, configurations, find_leaked, reclaim
from ami.ring.block import Block
from tests import ring_rig as rig

DEEP = 39 * 64  # bytes for 64 events with image, 104 without


@pytest.fixture
def name() -> Iterator[str]:
    with rig.ring_name() as name:
        yield name


def _run_all(reader: RingReader) -> list[Block]:
    """Claim what there is; commit nothing."""
    return list(iter(lambda: reader.claim(1000), None))


def _entry(writer: RingWriter, interval: int, count: int) -> None:
    assert rig.open_entry(writer, interval)
    assert rig.publish(writer, count) == count
    writer.close_entry()


def _keep(writer: RingWriter, *names: str) -> None:
    rig.configure(writer, names)


def test_only_fields_that_are_asked_for_have_columns(name: str) -> None:
    with rig.create(name, bytes=DEEP, max_slots=1000, keep=["x"]) as writer, RingReader(name, 0) as reader:
        assert writer.depth == 104
        _entry(writer, 0, 10)
        _keep(writer, "x", "image")
        assert writer.depth == 64
        _entry(writer, 1, 10)
        _keep(writer)
        assert writer.depth == DEEP // 16
        assert rig.open_entry(writer, 2)
        slots = writer.reserve(5)
        assert slots is not None
        assert (slots.count, dict(slots.columns), slots.valid.shape) == (5, {}, (0, 5))
        writer.publish(5, position=25)
        kept = [(b.sequence, b.count, list(b.slots.columns), b.entry.configuration) for b in _run_all(reader)]
        assert kept == [(0, 10, ["x"], 1), (10, 10, ["x", "image"], 2), (20, 5, [], 3)]
        assert configurations.find(name) == [1, 2, 3]


def test_columns_go_when_their_events_are_committed_and_stay_with_who_looks_at_them(name: str) -> None:
    with rig.create(name, slots=64, keep=["x"]) as writer, RingReader(name, 0) as reader:
        _entry(writer, 0, 10)
        block = reader.claim(100)
        _keep(writer, "x", "image")
        _entry(writer, 1, 1)
        reader.commit([(0, 9)])
        writer.tidy()
        assert configurations.find(name) == [1, 2]
        reader.commit([(9, 1)])
        writer.tidy()
        assert configurations.find(name) == [2]
        assert block is not None
        assert rig.events(block) == list(range(10))
        writer.close(unlink=True)
    assert configurations.find(name) == []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_kept_each_event_arrives_once_and_whole(name: str, seed: int) -> None:
    """Events go through many rings' lengths, while fields, and with them places, come and go."""
    chance = random.Random(seed)
    with rig.create(name, bytes=DEEP, max_slots=150, entries=64, keep=["x"]) as writer:
        readers = [RingReader(name, number) for number in range(2)]
        seen: list[int] = []
        owned: list[list[tuple[Block, list[int]]]] = [[], []]
        kept = {"x"}
        for interval in range(150):
            if chance.random() < 0.3:
                kept = {"x"} | ({"image"} if chance.random() < 0.5 else set())
                _keep(writer, *kept)
            if not rig.open_entry(writer, interval):
                writer_waits = True
            else:
                writer_waits = False
                rig.publish(writer, chance.randrange(40))
                writer.close_entry()
            for reader, mine in zip(readers, owned, strict=True):
                while (writer_waits or chance.random() < 0.8) and (
                    block := reader.claim(chance.randint(1, 30))
                ):
                    numbers = rig.events(block)
                    mine.append((block, numbers))
                    assert set(block.slots.columns) == {"x"} | set(block.slots.columns)
                    seen += numbers
                chance.shuffle(mine)
                while mine and (writer_waits or chance.random() < 0.7):
                    block, numbers = mine.pop()
                    assert rig.events(block) == numbers  # nobody has written over it
                    reader.commit([rig.run(block)])
        assert len(configurations.find(name)) <= 64
        assert sorted(seen) == list(range(len(seen)))
        assert writer.cursor.published > 2 * writer.slot_count
        for reader, mine in zip(readers, owned, strict=True):
            while (block := reader.claim(1000)) is not None:
                mine.append((block, []))
            reader.commit([rig.run(block) for block, _ in mine])
            reader.close()
        assert writer.is_committed(writer.cursor.published)
        writer.tidy()
        assert len(configurations.find(name)) == 1


def test_places_are_used_again_only_when_the_event_that_had_them_is_committed(name: str) -> None:
    with rig.create(name, bytes=39 * 10, max_slots=20) as writer, RingReader(name, 0) as reader:
        assert (writer.depth, writer.slot_count) == (10, 20)
        rig.open_entry(writer)
        assert rig.publish(writer, 100) == 10
        assert writer.reserve(1) is None
        assert not writer.wait_for_space(0.01)
        for _ in range(10):
            assert reader.claim(1) is not None
        reader.commit([(1, 9)])
        assert writer.reserve(1) is None  # event 0 has the place of event 10
        reader.commit([(0, 1)])
        assert writer.wait_for_space(0.01)
        assert rig.publish(writer, 100) == 10
        blocks = _run_all(reader)
        assert [rig.run(b) for b in blocks] == [(10, 10)]
        assert rig.events(blocks[0]) == list(range(10, 20))


def test_a_block_ends_where_its_columns_end_also_when_it_is_taken_up(name: str) -> None:
    with rig.create(name, bytes=39 * 10, max_slots=64) as writer, RingReader(name, 1) as first:
        rig.open_entry(writer)
        rig.publish(writer, 6)
        first.claim(6)
        first.commit([(0, 6)])
        assert rig.publish(writer, 4) + rig.publish(writer, 4) == 8
        with RingReader(name, 0) as dead:
            assert [rig.run(b) for b in _run_all(dead)] == [(6, 4), (10, 4)]
        with RingReader(name, 0) as reader:
            blocks = reader.recover([])
            assert [rig.run(b) for b in blocks] == [(6, 4), (10, 4)]
            assert [n for b in blocks for n in rig.events(b)] == list(range(6, 14))


def test_a_claim_is_bounded_by_bytes_but_not_below_one_event(name: str) -> None:
    with rig.create(name, slots=64) as writer, RingReader(name, 0) as reader:
        rig.open_entry(writer)
        rig.publish(writer, 20)
        counts = [
            block.count for bytes_ in (39 * 5 + 1, 39, 1, 1 << 20) if (block := reader.claim(8, bytes_))
        ]
        assert counts == [5, 1, 1, 8]


def test_what_is_flushed_is_known_to_who_follows_until_the_slot_is_used_again(name: str) -> None:
    with rig.create(name) as writer:
        rig.open_entry(writer, large=True)
        rig.publish(writer, 8)
        with RingReader(name, 0) as worker:
            worker.claim(6)
            worker.set_flushed([(1, 2), (4, 1)])
            worker.set_flushed([(1, 2)])
        with RingReader(name, 0) as worker:
            blocks = worker.recover([])
            assert [(*rig.run(b), b.flushed) for b in blocks] == [
                (0, 1, False), (1, 2, True), (3, 1, False), (4, 1, True), (5, 1, False),
            ]  # fmt: skip
            assert blocks[1].part(0, 1).flushed
            worker.commit([(0, 6)])
            rig.publish(writer, 6)
            worker.claim(2)
            worker.claim(6)
        with RingReader(name, 0) as worker:
            assert not any(b.flushed for b in worker.recover([]))


# --- what a killed source leaves ------------------------------------------------------------------


def test_a_successor_goes_on_with_the_columns_and_removes_what_no_entry_names(name: str) -> None:
    with rig.create(name, slots=64, keep=["x"]) as writer:
        _entry(writer, 0, 3)
        _keep(writer, "x", "image")
        _entry(writer, 1, 4)
        configurations.Construction(
            name, writer.ring_id, configurations.Configuration(7, writer.schema, 64)
        ).go_on()
        Path(f"/dev/shm{name}.c9").touch()
    assert configurations.find(name) == [1, 2, 7, 9]
    with rig.create(name, slots=64, keep=["x", "image"]) as writer, RingReader(name, 0) as reader:
        assert writer.resumed
        assert configurations.find(name) == [1, 2]
        _entry(writer, 2, 2)
        assert configurations.find(name) == [1, 2]
        blocks = _run_all(reader)
        assert [(*rig.run(b), b.entry.configuration) for b in blocks] == [(0, 3, 1), (3, 4, 2), (7, 2, 2)]
        assert [n for b in blocks for n in rig.events(b)] == list(range(9))
        reader.commit([rig.run(b) for b in blocks])
        writer.tidy()
        assert configurations.find(name) == [2]
        _keep(writer, "x")
        assert configurations.find(name) == [2, 10]  # no number is used twice, not even of what was half-made


def test_columns_of_a_ring_that_was_replaced_stay_until_its_events_are_committed(name: str) -> None:
    first = rig.create(name, slots=64)
    reader = RingReader(name, 0)
    _entry(first, 0, 5)
    first.close(unlink=False)
    with rig.create(name, slots=32) as second, RingReader(name, 0) as other:
        assert configurations.find(name) == [1, 2]
        block = reader.claim(100)
        assert block is not None
        assert rig.events(block) == list(range(5))
        _entry(second, 0, 2)
        assert configurations.find(name) == [1, 2]
        reader.commit([(0, 5)])
        second.tidy()
        assert configurations.find(name) == [2]
        claimed = other.claim(9)
        assert claimed is not None
        assert rig.events(claimed) == [0, 1]
    reader.close()


def test_columns_of_another_ring_are_not_mapped(name: str) -> None:
    with rig.create(name) as writer, RingReader(name, 0) as reader:
        _entry(writer, 0, 2)
        file = Path(f"/dev/shm{name}.c1")
        whole = file.read_bytes()
        for damage in (
            b"",
            whole[:100],
            whole[:-4096],
            whole[:24] + b"\7" * 8 + whole[32:],
            b"x" * len(whole),
        ):
            file.unlink()
            file.write_bytes(damage)
            with pytest.raises(RingError, match="restart the source|needs|bytes"):
                reader.claim(2)
        file.unlink()
        with pytest.raises(RingError, match="cannot be opened: No such file"):
            reader.claim(2)
        file.write_bytes(whole)  # nothing was taken meanwhile
        block = reader.claim(2)
        assert block is not None
        assert rig.events(block) == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_header_of_columns_is_refused(name: str, seed: int) -> None:
    chance = random.Random(seed)
    with rig.create(name) as writer, RingReader(name, 0) as reader:
        _entry(writer, 0, 2)
        with Path(f"/dev/shm{name}.c1").open("r+b") as file:
            file.seek(place := chance.choice([*range(56), *range(64, 75)]))
            old = file.read(1)
            file.seek(place)
            file.write(bytes([old[0] ^ (1 << chance.randrange(8))]))
        with pytest.raises(RingError, match="restart the source"):
            reader.claim(2)


def test_what_is_left_of_columns_is_found_and_reclaimed_with_the_ring(name: str) -> None:
    writer = rig.create(name)
    _keep(writer, "x")
    assert name not in find_leaked()
    writer.close(unlink=False)
    assert name in find_leaked()
    os.unlink("/dev/shm" + name)
    assert name in find_leaked()
    assert not any(leaked.startswith(f"{name}.c") for leaked in find_leaked())
    assert reclaim(name)
    assert configurations.find(name) == []


# --- memory that cannot be had --------------------------------------------------------------------


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As if there were so many bytes of shared memory, some of them taken by others."""
    left = [0]
    allocate = os.posix_fallocate

    def limited(fd: int, offset: int, size: int) -> None:
        if size > left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= size
        allocate(fd, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", limited)
    return left


def test_columns_that_find_no_room_are_told_and_what_is_there_goes_on(
    name: str, small_memory: list[int]
) -> None:
    small_memory[0] = 1 << 30
    with (
        rig.create(name, bytes=8 << 20, max_slots=1 << 20, keep=["x"]) as writer,
        RingReader(name, 0) as reader,
    ):
        _entry(writer, 0, 2)
        small_memory[0] = 5 << 20  # not enough for 8 MiB, which are had by the piece
        with pytest.raises(RingFull, match=rf"free, \d+ MiB wanted for ring {name}"):
            _keep(writer, "x", "image")
        assert configurations.find(name) == [1]
        _keep(writer, "x")
        _entry(writer, 1, 2)
        small_memory[0] = 1 << 30
        _keep(writer, "x", "image")
        _entry(writer, 2, 2)
        assert [n for b in _run_all(reader) for n in rig.events(b)] == list(range(6))


def test_a_ring_that_finds_no_room_is_told(name: str, small_memory: list[int]) -> None:
    with pytest.raises(RingFull, match="free, .* wanted"):
        rig.create(name, slots=1000)
    assert not reclaim(name)


def test_a_ring_without_a_size_of_its_own_takes_a_share_and_keeps_it(name: str) -> None:
    with rig.create(name, bytes=0, max_slots=1 << 20, share=lambda: DEEP) as writer:
        assert (writer.depth, writer.column_bytes) == (64, DEEP)
    with rig.create(name, bytes=0, max_slots=1 << 20, share=lambda: 1 << 30) as writer:
        assert (writer.resumed, writer.column_bytes) == (True, DEEP)
    with rig.create(name, bytes=0, entries=5, share=lambda: 2 * DEEP) as writer:
        assert (writer.resumed, writer.column_bytes) == (False, 2 * DEEP)


# --- thousands of fields --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 62, 63, 64, 126, 127, MAX_FIELDS])
def test_each_of_many_fields_is_there_or_missing_by_itself(name: str, count: int) -> None:
    schema = Schema(tuple(Field(f"f{i}", np.dtype(np.int16)) for i in range(count)))
    chance = random.Random(count)
    some = sorted({0, count // 2, count - 1, *(chance.randrange(count) for _ in range(20))})
    with (
        rig.create(name, schema=schema, bytes=1 << 20, max_slots=64) as writer,
        RingReader(name, 0) as reader,
    ):
        rig.open_entry(writer)
        slots = writer.reserve(5)
        assert slots is not None
        slots.set_valid(schema.names)
        for i in some:
            slots[f"f{i}"][:] = i
            slots.set_missing([f"f{i}"], [i % 5])
        slots.set_missing([f"f{count - 1}"], np.array([True, False, False, False, True]))
        writer.publish(5, position=5)
        block = reader.claim(5)
    assert block is not None
    for i in some:
        there = np.arange(5) != i % 5
        if i == count - 1:
            there &= [False, True, True, True, False]
        assert (block.slots.has(f"f{i}") == there).all()
        assert (block.slots[f"f{i}"] == i).all()
    whole = sum(bin(word).count("1") for word in block.slots.valid.ravel().tolist())
    assert whole == 5 * count - len(some) - len({0, 4} - {(count - 1) % 5})


def test_a_schema_of_too_many_or_equal_names_is_refused() -> None:
    fields = [Field(f"f{i}", np.dtype(np.int8)) for i in range(MAX_FIELDS + 1)]
    with pytest.raises(Exception, match="16385 fields; at most 16384"):
        Schema(tuple(fields))
    with pytest.raises(Exception, match="stand twice: f3, f5"):
        Schema((*fields[:9], fields[5], fields[3]))


def test_fields_are_valid_where_they_were_set_in_any_part_of_a_run() -> None:
    schema = Schema(tuple(Field(f"f{i}", np.dtype(np.int8)) for i in range(100)))
    slots = Slots.allocate(schema, 10)
    slots.part(2, 9).set_valid(["f0", "f99"], slice(1, 4))
    slots.part(4, 6).set_missing(["f99"])
    assert np.flatnonzero(slots.has("f0")).tolist() == [3, 4, 5]
    assert np.flatnonzero(slots.has("f99")).tolist() == [3]
    assert not slots.has("f5").any()


def test_memory_of_columns_is_read_only_for_workers(name: str) -> None:
    with rig.create(name) as writer, RingReader(name, 0) as reader:
        _entry(writer, 0, 1)
        block = reader.claim(1)
        assert block is not None
        for array in (block.slots["x"], block.slots.valid, block.slots.timestamps):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
