"""Parcels: whole or not there, found by the name of their ring, kept by who looks at them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.errors import RingError
from ami.ring import find_leaked, parcels, reclaim
from ami.ring.parcels import Parcels, look, remove
from tests.ring_rig import ring_name


@pytest.fixture
def name() -> Iterator[str]:
    with ring_name() as name:
        yield name


@pytest.mark.parametrize("most", [1, 3, 1 << 30], ids=["a byte at a time", "three bytes", "at once"])
def test_what_is_left_is_what_is_seen_however_much_is_written_at_once(
    name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, chance = os.writev, random.Random(most)

    def write_some(fd: int, buffers: list[memoryview]) -> int:
        return write(fd, [b"".join(buffers)[:most]])

    monkeypatch.setattr(os, "writev", write_some)
    buffers = [chance.randbytes(chance.choice([0, 1, 2, 40])) for _ in range(30)]
    left = Parcels(name).leave(7, [buffers[0], bytearray(buffers[1]), *map(memoryview, buffers[2:])])
    assert look(left) == b"".join(buffers)
    assert look(left).readonly


def test_many_buffers_are_more_than_the_kernel_takes_at_once(name: str) -> None:
    buffers = [number.to_bytes(2, "big") for number in range(5000)]
    assert look(Parcels(name).leave(1, buffers)) == b"".join(buffers)


def test_one_that_was_left_before_stays_as_it_is(name: str) -> None:
    mine = Parcels(name)
    left = mine.leave(1, [b"first"])
    assert mine.leave(1, [b"again"]) == left
    other = Parcels(name).leave(1, [b"another process"])
    assert (bytes(look(left)), bytes(look(other))) == (b"first", b"another process")
    assert mine.find() == {left: 1, other: 1}
    assert mine.measure() == len(b"first" + b"another process")


def test_one_that_could_not_be_written_leaves_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _buffers: object) -> int:
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", refuse)
        with pytest.raises(OSError, match="full"):
            Parcels(name).leave(1, [b"x"])
    assert not list(Path("/dev/shm").glob(f"{name[1:]}*"))


def test_who_looks_keeps_it_when_its_name_is_gone(name: str) -> None:
    left = Parcels(name).leave(1, [b"kept"])
    seen = look(left)
    remove([left, left])
    assert seen == b"kept"
    with pytest.raises(FileNotFoundError):
        look(left)


@pytest.mark.parametrize("text", ["/../etc/passwd", "/ami-events", "/a/b.p1-0123456789abcdef", "x"])
def test_only_a_parcel_is_looked_at(text: str) -> None:
    with pytest.raises(RingError, match="no name of a parcel"):
        look(text)


def test_parcels_are_a_rings_and_of_no_other_whose_name_begins_like_it(name: str) -> None:
    longer = Parcels(f"{name}-2").leave(1, [b"another ring's"])
    mine = Parcels(name).leave(1, [b"mine"])
    Path(f"/dev/shm{mine}.new").touch()
    assert name in find_leaked()
    assert list(Parcels(name).find()) == [mine]
    assert reclaim(name)
    assert look(longer) == b"another ring's"
    assert parcels.remove_all(f"{name}-2")
    assert not list(Path("/dev/shm").glob(f"{name[1:]}*"))
