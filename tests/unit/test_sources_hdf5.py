"""Recordings in HDF5: what is read, what is left out, and what is refused."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ami.errors import SourceError
from ami.sources import open_source, take
from ami.sources.recorded.column import WINDOW_BYTES

Write = Callable[..., str]
TIMES = np.arange(10, dtype=np.int64) * 10**6


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write datasets into a file of their own; return its URI."""

    def write(datasets: dict[str, Any], name: str = "run.h5", **options: Any) -> str:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, values in datasets.items():
                file.create_dataset(key, data=values, **(options if np.ndim(values) else {}))
        return f"hdf5://{path}"

    return write


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("hdf5://"))


def test_event_i_is_index_i_of_every_dataset(write: Write) -> None:
    x, image = np.arange(10.0) ** 2, np.arange(60, dtype=np.int16).reshape(10, 2, 3)
    source = open_source(write({"timestamp": TIMES, "x": x, "image": image}))
    events = take(source, 3, 5)
    np.testing.assert_array_equal(events["x"], x[3:8])
    np.testing.assert_array_equal(events["image"], image[3:8])
    np.testing.assert_array_equal(events.timestamps, TIMES[3:8])
    assert (events.valid == 3).all()
    assert (source.length, source.start_ns, source.schema["image"].dtype) == (10, 0, np.int16)


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize("block", [1, 7, 1000, 100_000])
def test_blocks_of_any_size_give_the_file(write: Write, options: dict[str, Any], block: int) -> None:
    count = 2 * WINDOW_BYTES // 8 + 12_345
    count = count if block >= 1000 else 5000
    x = np.random.default_rng(1).integers(0, 1000, count)
    source = open_source(write({"timestamp": np.arange(count), "x": x}, **options))
    for first in range(0, count, block):
        events = take(source, first, min(block, count - first))
        np.testing.assert_array_equal(events["x"], x[first : first + block])
        np.testing.assert_array_equal(events.timestamps, np.arange(count)[first : first + block])


def test_blocks_can_be_read_in_any_order(write: Write) -> None:
    image = np.arange(200 * 64 * 64, dtype=np.float32).reshape(200, 64, 64)
    source = open_source(
        write({"timestamp": np.arange(200), "image": image}, chunks=True, compression="gzip")
    )
    for first in (150, 3, 199, 0, 64, 63):
        np.testing.assert_array_equal(take(source, first, 1)["image"][0], image[first])


def test_datasets_in_groups_are_named_with_dots(write: Write) -> None:
    source = open_source(write({"timestamp": TIMES, "det/raw/x": TIMES, "det/y": TIMES}))
    assert source.schema.names == ("det.raw.x", "det.y")
    assert take(source, 2, 1)["det.raw.x"][0] == TIMES[2]


def test_values_of_another_byte_order_and_booleans_are_read(write: Write) -> None:
    uri = write({"timestamp": TIMES.astype(">i8"), "x": TIMES.astype(">f4"), "on": TIMES % 2 == 0})
    events = take(open_source(uri), 0, 10)
    assert events["x"].dtype == np.dtype("=f4")
    np.testing.assert_array_equal(events["x"], TIMES.astype("f4"))
    np.testing.assert_array_equal(events["on"], TIMES % 2 == 0)
    np.testing.assert_array_equal(events.timestamps, TIMES)


def test_unsigned_timestamps_before_zero_are_negative(write: Write) -> None:
    uri = write({"timestamp": (TIMES - 5_000_000).view(np.uint64), "x": TIMES})
    source = open_source(uri)
    assert source.start_ns == -5_000_000
    np.testing.assert_array_equal(take(source, 0, 10).timestamps, TIMES - 5_000_000)


def test_small_timestamps_of_32_bits_are_read(write: Write) -> None:
    uri = write({"timestamp": np.arange(5, dtype=np.uint32), "x": np.arange(5)})
    assert take(open_source(uri), 0, 5).timestamps.tolist() == [0, 1, 2, 3, 4]


def test_units_are_kept(write: Write) -> None:
    uri = write({"timestamp": TIMES, "x": TIMES})
    with h5py.File(path_of(uri), "a") as file:
        file["x"].attrs["units"] = "mm"
    assert open_source(uri).schema["x"].unit == "mm"


def test_what_can_be_no_field_is_left_out_with_its_reason(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    compound = np.zeros(10, [("a", "i4"), ("b", "f8")])
    datasets = {
        "timestamp": TIMES, "x": TIMES, "names": [b"a"] * 10, "pairs": compound,
        "mask": np.ones(4), "run": 17, "nothing": np.ones((10, 0)), "complex": np.ones(10, complex),
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        source = open_source(write(datasets))
    assert source.schema.names == ("x",)
    reasons = dict(reason.split(": ", 1) for reason in source.skipped)
    assert set(reasons) == {"names", "pairs", "mask", "run", "nothing", "complex"}
    assert reasons["mask"] == "it has 4 entries, 'timestamp' has 10"
    assert reasons["run"].startswith("it is one value")
    assert "complex128 is not of" in reasons["complex"]
    assert all(name in caplog.text for name in reasons)


def test_fields_can_be_chosen(write: Write) -> None:
    uri = write({"timestamp": TIMES, "x": TIMES, "y": TIMES, "mask": np.ones(4)})
    assert open_source(uri + "?fields=y").schema.names == ("y",)
    with pytest.raises(SourceError, match="fields=z: there is none; known: x, y"):
        open_source(uri + "?fields=z")
    with pytest.raises(SourceError, match="fields=mask: it has 4 entries"):
        open_source(uri + "?fields=mask")


def test_of_more_datasets_than_there_can_be_fields_some_must_be_chosen(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = write({"timestamp": TIMES, **{f"x{i}": TIMES for i in range(64)}})
    events = take(open_source(uri), 0, 10)
    assert all(events.has(f"x{i}").all() and (events[f"x{i}"] == TIMES).all() for i in range(64))
    monkeypatch.setattr("ami.sources.recorded.hdf5.MAX_FIELDS", 63)
    with pytest.raises(SourceError, match=r"64 datasets, at most 63 .* fields=NAME"):
        open_source(uri)
    assert open_source(uri + "?fields=x3,x60").schema.names == ("x3", "x60")


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        ({"x": TIMES}, "no dataset 'timestamp' (integers, ns); it has x"),
        ({}, "no dataset at all"),
        ({"timestamp": TIMES / 1.0, "x": TIMES}, "floats need the attribute units (s, ms, us or ns)"),
        ({"timestamp": TIMES.reshape(5, 2), "x": TIMES}, "of shape (5, 2)"),
        ({"timestamp": 5, "x": TIMES}, "of shape ()"),
        ({"timestamp": [b"2026"] * 10, "x": TIMES}, "integers (ns) along one axis"),
        ({"timestamp": TIMES[:0], "x": TIMES[:0]}, "no events"),
        ({"timestamp": TIMES, "mask": np.ones(4)}, "left out: mask: it has 4 entries"),
        ({"timestamp": TIMES}, "no dataset beside 'timestamp'"),
        ({"timestamp": [0, 1, 5, 4, 9, 3], "x": np.ones(6)}, "at index 3 4 follows 5; sort the file"),
        ({"timestamp": TIMES, "a.b": TIMES, "a/b": TIMES}, "both be called 'a.b'"),
    ],
)
def test_a_recording_that_cannot_be_played_is_refused(
    write: Write, datasets: dict[str, Any], words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        open_source(write(datasets))
    assert words in str(refused.value)


def test_timestamps_that_fall_far_inside_a_long_file_are_found(write: Write) -> None:
    times = np.arange((1 << 20) + 5)
    times[1 << 20] = 17
    with pytest.raises(SourceError, match="at index 1048576 17 follows 1048575"):
        open_source(write({"timestamp": times, "x": times}))


def test_equal_timestamps_are_allowed(write: Write) -> None:
    assert open_source(write({"timestamp": [3, 3, 3], "x": [1, 2, 3]})).length == 3


def test_a_file_that_is_absent_empty_foreign_or_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("timestamp,x\n1,2\n")
    for name, words in [
        ("absent.h5", "there is no file"),
        ("empty.h5", "is empty"),
        ("text.h5", "is no HDF5 file"),
        ("", "is no file"),
        ("text.h5/inside.h5", "Not a directory"),
    ]:
        with pytest.raises(SourceError) as refused:
            open_source(f"hdf5://{tmp_path}/{name}")
        assert words in str(refused.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.999])
def test_a_file_that_is_cut_is_refused(write: Write, share: float) -> None:
    uri = write({"timestamp": np.arange(1000), "x": np.ones((1000, 50))})
    os.truncate(path_of(uri), int(path_of(uri).stat().st_size * share))
    with pytest.raises(SourceError, match="is cut|damaged|no HDF5"):
        open_source(uri)


def test_a_file_with_random_damage_is_read_or_refused_and_raises_nothing_else(write: Write) -> None:
    rng, refused = np.random.default_rng(1), 0
    uri = write({"timestamp": np.arange(300), "x": rng.random((300, 5))}, chunks=True, compression="gzip")
    whole = path_of(uri).read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        start = int(rng.integers(0, len(whole)))
        damaged[start : start + 40] = rng.bytes(len(damaged[start : start + 40]))
        path_of(uri).write_bytes(damaged)
        try:
            # Closed each time: HDF5 would take the next file of this name for the one it has open.
            with contextlib.closing(open_source(uri)) as source:
                take(source, 0, source.length or 0)
        except SourceError:
            refused += 1
    assert refused > 20


def test_a_file_that_is_cut_while_it_is_played_is_noticed(write: Write) -> None:
    count = 4 * WINDOW_BYTES // 8
    uri = write({"timestamp": np.arange(count), "x": np.ones(count)})
    source = open_source(uri)
    assert take(source, 0, 100)["x"].all()
    os.truncate(path_of(uri), path_of(uri).stat().st_size // 2)
    with pytest.raises(SourceError, match="cut or damaged"):
        take(source, count - 100, 100)


def test_identity_follows_path_size_and_time_of_change(write: Write) -> None:
    uri = write({"timestamp": TIMES, "x": TIMES})
    before = open_source(uri).identity
    assert open_source(uri + "?speed=3").identity == before
    assert open_source(write({"timestamp": TIMES, "x": TIMES}, "other.h5")).identity != before
    os.utime(path_of(uri), ns=(1, 1))
    assert open_source(uri).identity != before


@pytest.mark.parametrize(
    ("options", "paced", "speed"),
    [("", False, 1), ("pace=max", False, 1), ("rate=max", False, 1), ("pace=recorded", True, 1),
     ("speed=10", True, 10), ("rate=500", True, 0.5)],
)  # fmt: skip
def test_a_recording_is_played_at_its_own_pace_at_a_mean_rate_or_as_fast_as_possible(
    write: Write, options: str, paced: bool, speed: float
) -> None:
    source = open_source(write({"timestamp": TIMES, "x": TIMES}) + "?" + options)
    assert (source.pace.paced, source.pace.speed) == (paced, pytest.approx(speed))


def test_a_repetition_begins_a_mean_distance_after_the_end(write: Write) -> None:
    source = open_source(write({"timestamp": [100, 110, 160], "x": [1, 2, 3]}) + "?repeat=2")
    assert take(source, 0, 6).timestamps.tolist() == [100, 110, 160, 190, 200, 250]


def test_a_simulation_does_not_import_h5py() -> None:
    code = "import sys, ami.sources as s; s.open_source('sim://scalars'); sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
