"""Fields of variable length from each source that makes them: what is read, and what is too long."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ami import offline
from ami.errors import SourceError
from ami.event import Field, Slots
from ami.graph.language.text import graph_of
from ami.sources import Source, open_source, take
from ami.sources.base import Span
from ami.sources.live.message import Malformed, Reader
from tests.zmq_rig import Sender

COUNT = 1000
RNG = np.random.default_rng(7)
PEAKS = [RNG.normal(size=n) for n in RNG.poisson(3, COUNT)]
LONGEST = max(map(len, PEAKS))
TIMES = np.arange(COUNT, dtype=np.int64) * 10**6

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write peaks into a file; return its URI."""

    def write(arrays: list[Any] = PEAKS, dtype: Any = np.float64, **options: Any) -> str:
        path = tmp_path / "run.h5"
        with h5py.File(path, "w", userblock_size=options.pop("userblock_size", 0)) as file:
            file["timestamp"] = TIMES[: len(arrays)]
            data = file.create_dataset("peaks", (len(arrays),), h5py.vlen_dtype(dtype), **options)
            data.attrs["units"] = "keV"
            for number, array in enumerate(arrays):
                if array is not None:
                    data[number] = np.asarray(array, dtype)
        return f"hdf5://{path}"

    return write


def lists(slots: Slots, name: str = "peaks") -> list[Any]:
    """Return what each event has, None for an event without the field."""
    lengths, there = slots[f"{name}.length"], slots.has(name)
    return [slots[name][row, : lengths[row]].tolist() if there[row] else None for row in range(slots.count)]


@pytest.mark.parametrize(
    "options",
    [
        {}, {"chunks": (64,)}, {"chunks": (64,), "maxshape": (None,)},
        {"chunks": (300,), "compression": "gzip"}, {"userblock_size": 512},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_is_read_whatever_its_storage(write: Write, options: dict[str, Any]) -> None:
    with closing(open_source(write(**options))) as source:
        assert source.schema["peaks"] == Field("peaks", np.dtype("f8"), (LONGEST,), True, "keV")
        got = take(source, 0, COUNT)
        assert lists(got) == [peaks.tolist() for peaks in PEAKS]
        for first, count in ((3, 1), (999, 1), (500, 130), (0, 64)):
            part = take(source, first, count, ["peaks"])
            assert lists(part) == [p.tolist() for p in PEAKS[first : first + count]]
        assert source.counters == {"too_long": 0}


def test_what_is_longer_than_asked_for_is_missing_counted_and_said(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_source(write() + "?longest=4")) as source, caplog.at_level(logging.WARNING):
        assert source.schema["peaks"].shape == (4,)
        got = lists(take(source, 0, COUNT))
    assert got == [peaks.tolist() if len(peaks) <= 4 else None for peaks in PEAKS]
    assert source.counters == {"too_long": got.count(None)}
    first = got.index(None)
    assert f"event {first} has more than 4 elements of peaks, so it lacks that field" in caplog.text


def test_empty_entries_and_entries_that_nobody_wrote(write: Write) -> None:
    for uri in (write([[], [], []]), write([None, [], None], chunks=(1,)), write([None] * 3, chunks=(2,))):
        with closing(open_source(uri)) as source:
            assert lists(take(source, 0, 3)) == [[], [], []]
            assert source.schema["peaks"].shape == (1,)


def test_what_is_no_array_of_numbers_is_left_out_and_a_giant_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = write()
    with h5py.File(tmp_path / "run.h5", "a") as file:
        file.create_dataset("names", (COUNT,), h5py.string_dtype())
        file.create_dataset("pairs", (COUNT, 2), h5py.vlen_dtype(np.int32))
        file.create_dataset("swapped", (COUNT,), h5py.vlen_dtype(np.dtype(">i4")))
    with closing(open_source(uri)) as source:
        assert source.schema.names == ("peaks", "peaks.length")
        assert [reason.split(":")[0] for reason in source.skipped] == ["names", "pairs", "swapped"]
        assert "several arrays for each event" in source.skipped[1]
        assert ">i4 is another machine's byte order" in source.skipped[2]
    monkeypatch.setattr("ami.sources.recorded.hdf5.EVENT_BYTES", 16)
    with pytest.raises(SourceError, match=rf"peaks has up to {LONGEST} elements in one event.*longest=N"):
        open_source(uri)


def test_two_lengths_are_two_inputs(write: Write) -> None:
    uri = write()
    assert open_source(uri).identity != open_source(f"{uri}?longest=4").identity


GRAPH = """
results:
  counted: sum_events(length(peaks))
  all: histogram(peaks, 10, -2, 2)
  strong: count(peaks where length(select(peaks, peaks > 1)) > 1)
"""


def test_a_graph_runs_over_a_file_in_one_process(write: Write) -> None:
    with closing(open_source(write())) as source:
        results = offline.run(graph_of(GRAPH), source, block_events=37)
    everything = np.concatenate(PEAKS)
    assert results["counted"].value == len(everything)
    assert results["all"].value.counts.tolist() == np.histogram(everything, 10, (-2, 2))[0].tolist()
    assert results["all"].label.axes == (("peaks", "keV"),)
    assert results["strong"].value == sum(1 for peaks in PEAKS if (peaks > 1).sum() > 1)


def described(tmp_path: Path, **more: Any) -> str:
    path = tmp_path / "detectors.json"
    hits = {"dtype": "Waveform", "length": 6, "variable": True, "pedestal": 3, **more}
    path.write_text(json.dumps({"config": {"hits": hits, "x": {"dtype": "Scalar"}}}))
    return str(path)


def test_a_simulation_has_every_length_and_is_repeated(tmp_path: Path) -> None:
    path = described(tmp_path)
    uri = f"sim://{path}?missing=0.3&missing_fields=hits&pool=200"
    with closing(open_source(uri)) as source, closing(open_source(uri)) as again:
        got = lists(take(source, 0, 500), "hits")
        assert lists(take(again, 100, 50, ["hits"]), "hits") == got[100:150]
        assert {len(hits) for hits in got if hits is not None} == set(range(7))
        assert 100 < got.count(None) < 200
    with closing(open_source(f"static://{path}")) as source:
        assert lists(take(source, 0, 2), "hits") == [[1] * 6] * 2
    with pytest.raises(SourceError, match="variable is true or false"):
        open_source(f"sim://{described(tmp_path, variable=1)}")


FIELDS = [{"name": "x", "dtype": "<f8"}, {"name": "hits", "dtype": "<i2", "shape": [4], "variable": True}]


def send(sender: Sender, *events: list[int], time_ns: int = 1_700_000_000 * 10**9) -> None:
    """Send one message of events with these hits."""
    fields, frames = FIELDS, []
    head: dict[str, Any] = {"timestamp": time_ns + sender.sequence}
    if len(events) > 1:
        fields = [{"name": "timestamp", "dtype": "<i8"}, *FIELDS]
        head = {"events": len(events)}
        frames = [(time_ns + sender.sequence + np.arange(len(events))).tobytes()]
    frames += [
        np.arange(float(len(events))).tobytes(),
        np.array([hit for e in events for hit in e], np.int16).tobytes(),
    ]
    head |= {"sequence": sender.sequence, "fields": fields, "lengths": {"hits": [len(e) for e in events]}}
    sender.raw(sender.header(**head), *frames)
    sender.sequence += len(events)


def receive(source: Source, count: int) -> list[Any]:
    got: list[Any] = []
    while len(got) < count:
        span = source.span(len(got), 100, 10.0)
        if isinstance(span, Span) and span.count:
            half = (span.count + 1) // 2
            for first, some in ((0, half), (half, span.count - half)):
                got += lists(take(source, span.first + first, some), "hits")
    return got


def test_a_stream_says_the_lengths_in_its_header() -> None:
    sent = [[1, 2], [], [3, 4, 5, 6], [], [7], [8, 9, 10], []]
    with Sender() as sender, closing(open_source(f"zmq://127.0.0.1:{sender.port}")) as source:
        source.span(0, 1, 0.1)
        sender.wait_for()
        send(sender, sent[0])
        send(sender, *sent[1:5])
        send(sender, sent[5])
        send(sender, sent[6])
        assert receive(source, 7) == sent
        assert source.schema["hits"] == Field("hits", np.dtype("i2"), (4,), variable=True)


@pytest.mark.parametrize(
    ("lengths", "frame", "words"),
    [
        (None, 4, "lengths must have a list of 1 integers"),
        ({"hits": 2}, 4, "lengths must have a list of 1 integers"),
        ({"hits": [2, 3]}, 4, "lengths must have a list of 1 integers"),
        ({"hits": [True]}, 2, "lengths must have a list of 1 integers"),
        ({"hits": [5]}, 10, "has 5 to 5 elements; its shape says 0 to 4"),
        ({"hits": [-1]}, 0, "has -1 to -1 elements"),
        ({"hits": [2]}, 5, "field 'hits' has 5 bytes"),
        ({"hits": [2]}, 8, r"1 events of int16 \(4,\) are 4"),
    ],
)
def test_lengths_that_are_none_are_refused(lengths: Any, frame: int, words: str) -> None:
    header = {"sequence": 0, "timestamp": 0, "fields": FIELDS, "lengths": lengths}
    with pytest.raises(Malformed, match=words):
        Reader().read([json.dumps(header).encode(), bytes(8), bytes(frame)])
