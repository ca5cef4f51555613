"""Segments that are cut, damaged or not ours."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ami.errors import RingError
from ami.ring import RingObserver, RingReader, find_leaked, reclaim
from ami.ring.layout import VERSION
from tests import ring_rig as rig


@pytest.fixture
def name() -> Iterator[str]:
    with rig.ring_name() as name:
        rig.create(name).close(unlink=False)
        yield name


@pytest.fixture
def file(name: str) -> Path:
    return Path("/dev/shm" + name)


def _refused(name: str, match: str) -> None:
    with pytest.raises(RingError, match=match):
        RingReader(name, 0)
    with pytest.raises(RingError, match=match):
        RingObserver(name)
    with pytest.raises(RingError, match=match):
        rig.create(name)


@pytest.mark.parametrize("size", [0, 7, 63, 64, 4096, 41000, 50000])
def test_a_cut_segment_is_refused_with_both_sizes(name: str, file: Path, size: int) -> None:
    os.truncate(file, size)
    _refused(name, f"has {size} bytes")
    if size < 8:
        file.unlink()


def test_a_longer_segment_is_refused(name: str, file: Path) -> None:
    os.truncate(file, 1 << 20)
    _refused(name, "has 1048576 bytes")


def test_another_programs_segment_is_refused_and_not_reclaimed(name: str, file: Path) -> None:
    file.write_bytes(b"somebody's data" * 10000)
    _refused(name, "belongs to another program")
    assert name not in find_leaked()
    with pytest.raises(RingError, match="not touched"):
        reclaim(name)
    file.unlink()


def test_another_layout_version_is_refused_but_may_be_reclaimed(name: str, file: Path) -> None:
    with file.open("r+b") as segment:
        segment.seek(8)
        segment.write(b"\x63\0\0\0")
    _refused(name, f"layout version 99, this ami knows {VERSION}")
    assert reclaim(name)


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_header_is_refused(name: str, file: Path, seed: int) -> None:
    chance = random.Random(seed)
    with file.open("r+b") as segment:
        fixed = [*range(16, 64), *range(40960, 40960 + 60)]
        place = chance.choice(fixed)
        segment.seek(place)
        old = segment.read(1)
        segment.seek(place)
        segment.write(bytes([old[0] ^ (1 << chance.randrange(8))]))
    _refused(name, "bytes|damaged")


def _make_link(place: Path) -> None:
    place.symlink_to("/nowhere")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, _make_link])
@pytest.mark.parametrize("suffix", ["", ".new", ".c7", ".a1-0", ".p7-0"])
def test_what_is_no_shared_memory_harms_no_ring(
    name: str, file: Path, suffix: str, make: Callable[[Path], object]
) -> None:
    other = name + "x"
    reclaim(name)
    place = file.with_name(file.name + suffix)
    make(place)
    try:
        assert other not in find_leaked()
        if suffix in ("", ".new"):
            with pytest.raises(RingError, match="no shared memory"):
                rig.create(name)
        else:
            rig.create(name).close(unlink=False)
            assert name in find_leaked()
            assert reclaim(name)
        assert place.is_symlink() or place.exists()
    finally:
        place.rmdir() if place.is_dir() else place.unlink()
