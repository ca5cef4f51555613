"""Streams over ZeroMQ: what a message may say, what is refused, and what is counted as missing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from ami import offline
from ami.errors import SourceError
from ami.event import Slots, Transition
from ami.graph.language.text import graph_of
from ami.sources import Source, open_source, take
from ami.sources.base import NOTHING_YET, Span
from ami.sources.live import zeromq
from ami.sources.live.message import Malformed, Reader
from tests.zmq_rig import Sender, documented, free_port

NOW = 1_700_000_000 * 10**9
X = {"name": "x", "dtype": "<f8", "shape": []}
GOOD: dict[str, Any] = {"sequence": 5, "timestamp": NOW, "fields": [X]}
FRAME = bytes(8)


def test_a_message_says_what_its_frames_are() -> None:
    image = np.arange(6, dtype=">u2").reshape(2, 3)
    fields = [X, {"name": "image", "dtype": ">u2", "shape": [2, 3], "unit": "counts"}]
    message = Reader().read([json.dumps({**GOOD, "fields": fields}).encode(), FRAME, image.tobytes()])
    assert (message.sequence, message.count, message.timestamps) == (5, 1, NOW)
    assert message.layout["image"].field.unit == "counts"
    np.testing.assert_array_equal(message.column("image")[0], image)


def test_a_byte_that_is_not_0_or_1_is_a_bool_all_the_same() -> None:
    fields = [{"name": "on", "dtype": "|b1", "shape": [3]}]
    message = Reader().read([msgpack.packb({**GOOD, "fields": fields}), b"\x00\x02\xff"])
    assert message.column("on").sum() == 2


def with_field(**entries: Any) -> dict[str, Any]:
    return {**GOOD, "fields": [{**X, **entries}]}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([], "a map is wanted"),
        ({**GOOD, "sequence": -1}, "its sequence is -1"),
        ({**GOOD, "sequence": 2**53 + 1}, "its sequence is 9007199254740993; 0 to"),
        ({**GOOD, "sequence": True}, "an integer is wanted"),
        ({"timestamp": NOW, "fields": [X]}, "its sequence is 'None'"),
        ({**GOOD, "timestamp": "now"}, "its timestamp is 'now'"),
        ({**GOOD, "timestamp": 16_725_225_600 * 10**9}, "its timestamp is 16725225600000000000; "),
        ({**GOOD, "timestamp": 1.5}, "an integer is wanted"),
        ({**GOOD, "session": [1]}, "its session is a list"),
        ({**GOOD, "events": 0}, "its events is 0; 1 to 1048576 are possible"),
        ({**GOOD, "events": 2**40}, "1 to 1048576 are possible"),
        ({**GOOD, "events": 2}, "2 events of float64 () are 16"),
        ({**GOOD, "fields": None}, "no list of 1 to 16385"),
        ({**GOOD, "fields": {}}, "no list of 1 to 16385"),
        ({**GOOD, "fields": []}, "no list of 1 to 16385"),
        ({**GOOD, "fields": [X, X]}, "stands twice"),
        ({**GOOD, "fields": [X, {**X, "name": "y"}]}, "1 frames behind its header, which describes 2"),
        ({**GOOD, "fields": ["x"]}, "described by a str"),
        (with_field(name=7), "called '7'"),
        (with_field(name="a\nb"), "letters, digits"),
        (with_field(name="x" * 200), "letters, digits"),
        (with_field(name="sequence"), "every event has one already"),
        (with_field(name="timestamp"), "int64 of shape [] is wanted"),
        (with_field(dtype="O"), "the dtype 'O'"),
        (with_field(dtype="f4,f4"), "the dtype 'f4,f4'"),
        (with_field(dtype="3f4"), "the dtype '3f4'"),
        (with_field(dtype="<U4"), "the dtype '<U4'"),
        (with_field(dtype="c16"), "the dtype 'c16'"),
        (with_field(dtype="f16"), "the dtype 'f16'"),
        (with_field(dtype=None), "the dtype 'None'"),
        (with_field(shape=[0]), "integers above 0"),
        (with_field(shape=[2.0]), "integers above 0"),
        (with_field(shape=[2**40]), "integers above 0"),
        (with_field(shape=[2**30] * 8), "bytes; 1 events"),
        (with_field(shape=3), "integers above 0"),
        (with_field(shape=[1] * 9), "up to 8 integers"),
        (with_field(dtype="<f4"), "field 'x' has 8 bytes; 1 events of float32 () are 4"),
        ({"sequence": 1, "transition": "begin"}, "known: begin_run, end_run, begin_step, end_step"),
        ({"sequence": 1, "transition": ["begin_run"]}, "known: begin_run"),
        ({"sequence": 1, "transition": "begin_step", "value": "far"}, "a finite number is wanted"),
        ({"sequence": 1, "transition": "begin_step", "value": float("nan")}, "a finite number is wanted"),
    ],
)
@pytest.mark.parametrize(
    "pack", [lambda header: json.dumps(header).encode(), msgpack.packb], ids=["json", "msgpack"]
)
def test_a_message_that_cannot_be_believed_is_refused_with_the_reason(
    pack: Any, header: Any, words: str
) -> None:
    try:
        packed = pack(header)
    except OverflowError:
        pytest.skip("msgpack has no such integer")
    with pytest.raises(Malformed) as refused:
        Reader().read([packed, FRAME])
    assert words in str(refused.value)


def test_any_bytes_are_a_message_or_malformed() -> None:
    random = np.random.default_rng(1)
    good = [json.dumps(GOOD).encode(), msgpack.packb(GOOD)]
    spoiled = [
        b"",
        b"{",
        b"[" * 60_000,
        b'{"a":' * 9000,
        b"\x80",
        b"\xc1",
        b"{" + bytes(70_000),
        b"\xdf\xff\xff\xff\xff",
    ]
    spoiled += [bytes(random.integers(0, 256, n, dtype=np.uint8)) for n in range(1, 200)]
    for one in good:
        spoiled += [one[:n] for n in range(len(one))]
        for at in range(len(one)):
            spoiled.append(one[:at] + bytes([random.integers(0, 256)]) + one[at + 1 :])
    reader = Reader()
    for header in spoiled:
        try:
            reader.read([header, FRAME])
        except Malformed:
            continue
    for frames in ([], [good[0]], [good[0], FRAME, FRAME], [good[0], FRAME[1:]]):
        with pytest.raises(Malformed):
            reader.read(frames)
    assert reader.read([good[0], FRAME]).sequence == 5


@pytest.fixture
def sender() -> Iterator[Sender]:
    with Sender() as sender:
        yield sender


def heard(sender: Sender, options: str = "") -> Source:
    """Return a source that has subscribed."""
    source = open_source(f"zmq://127.0.0.1:{sender.port}{options}")
    assert source.span(0, 1) is NOTHING_YET
    sender.wait_for()
    return source


def received(source: Source, count: int) -> list[Span]:
    """Return the spans up to the one with which ``count`` events came."""
    found: list[Span] = []
    end = time.monotonic() + 20
    while sum(span.count for span in found) < count:
        assert time.monotonic() < end, f"of {count} events only {found}"
        span = source.span(0, 1000, 0.1)
        if isinstance(span, Span):
            found.append(span)
    return found


def account(spans: list[Span]) -> list[tuple[int, int, int]]:
    """Return (first, count, lost) of the runs of events, however many were received at once."""
    found: list[tuple[int, int, int]] = []
    for span in spans:
        first, count, lost = found[-1] if found else (-1, 0, 0)
        if found and not span.lost and span.first == first + count:
            found[-1] = (first, count + span.count, lost)
        else:
            found.append((span.first, span.count, span.lost))
    return found


def test_a_gap_in_the_sequence_is_counted_once(sender: Sender) -> None:
    with closing(heard(sender)) as source:
        for sequence in (100, 101, 105, 106, 1000):
            sender.sequence = sequence
            sender.send(NOW + sequence, x=1.0)
        assert account(received(source, 5)) == [(100, 2, 0), (105, 2, 3), (1000, 1, 893)]
        assert source.counters["lost"] == 896


def test_a_sender_that_begins_anew_begins_at_0(sender: Sender) -> None:
    with closing(heard(sender)) as source:
        for session, sequence in (("a", 7), ("b", 2), ("b", 3), ("c", 4), ("c", 6)):
            sender.session, sender.sequence = session, sequence
            sender.send(NOW + sequence, x=1.0)
        assert account(received(source, 5)) == [(7, 1, 0), (2, 3, 2), (6, 1, 1)]


def test_without_a_session_a_lower_sequence_begins_anew_and_nothing_is_known_missing(sender: Sender) -> None:
    sender.session = None
    with closing(heard(sender)) as source:
        for sequence in (7, 3, 4):
            sender.sequence = sequence
            sender.send(NOW, x=1.0)
        assert account(received(source, 3)) == [(7, 1, 0), (3, 2, 0)]


def test_what_a_session_sends_twice_or_far_ahead_is_refused(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(heard(sender)) as source, caplog.at_level(logging.WARNING):
        for sequence in (7, 7, 2**52, 8):
            sender.sequence = sequence
            sender.send(NOW, x=1.0)
        assert account(received(source, 2)) == [(7, 2, 0)]
        assert source.counters["refused"] == 2
    assert "sequence 7 comes after 7, of the same session" in caplog.text


def test_two_numbers_in_a_row_that_are_far_ahead_are_another_way_to_number(sender: Sender) -> None:
    with closing(heard(sender)) as source:
        for sequence in (7, 2**52, 2**52 + 1, 2**52 + 2, 2**52 + 4):
            sender.sequence = sequence
            sender.send(NOW, x=1.0)
        assert account(received(source, 4)) == [(7, 1, 0), (2**52 + 1, 2, 0), (2**52 + 4, 1, 1)]
        assert source.counters["refused"] == 1


def test_a_flood_of_refusals_is_told_once_and_holds_nobody_up(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(heard(sender)) as source, caplog.at_level(logging.WARNING):
        for _ in range(2000):
            sender.raw(b"not a header", b"")
        sender.send(NOW, x=1.0)
        received(source, 1)
        assert source.counters["refused"] == 2000
    assert len(caplog.records) == 1


def test_another_dtype_or_shape_is_refused_until_the_agreed_one_comes_again(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ami.sources.stream.QUIET_S", 0.0)
    with closing(heard(sender)) as source:
        sender.send(NOW, x=1.0, image=np.zeros((2, 3), np.uint16))
        received(source, 1)
        sender.send(NOW, x=1.0, image=np.zeros((4, 3), np.uint16))
        while not source.counters["refused"]:
            source.span(0, 1000, 0.1)
        assert source.state == (
            f"failed: zmq://127.0.0.1:{sender.port} sends only what is refused: field 'image' is "
            f"uint16 (4, 3), uint16 (2, 3) was agreed; restart the source to take it up"
        )
        sender.send(NOW, x=1.0, image=np.zeros((2, 3), np.uint16), new=3.0)
        assert account(received(source, 1)) == [(2, 1, 1)]
        assert source.schema.names == ("x", "image")
        assert "new: it is not among the agreed fields" in source.skipped[0]
        assert "not among the agreed fields" in source.schema.left_out["new"]
        sender.send(NOW, x=np.zeros(()), image=np.zeros((2, 3), ">u2"))  # the same in another byte order
        assert account(received(source, 1)) == [(3, 1, 0)]


def test_the_fields_may_be_agreed_in_a_file(sender: Sender, tmp_path: Path) -> None:
    path = tmp_path / "fields.json"
    path.write_text(
        '[{"name": "x", "dtype": "float64"}, {"name": "late", "dtype": "<i4", "shape": [2], "unit": "mm"}]'
    )
    with closing(heard(sender, f"?schema={path}")) as source:
        assert source.schema.names == ("x", "late")
        assert source.schema["late"].unit == "mm"
        sender.send(NOW, x=1.0)
        received(source, 1)
        path.write_text("[{}]")
    with pytest.raises(SourceError, match="a list of name, dtype, shape is wanted"):
        open_source(f"zmq://127.0.0.1:1?schema={path}")


def test_large_frames_are_not_copied_on_the_way(sender: Sender) -> None:
    image = np.random.default_rng(1).integers(0, 9, (300, 300))
    with closing(heard(sender)) as source:
        for number in range(4):
            sender.send(NOW + number, image=image + number)
        first = 0
        while first < 4:
            for span in received(source, 1):  # before more is received
                slots = Slots.allocate(source.schema, span.count)
                source.read(span.first, slots, frozenset({"image"}))
                for number in range(span.count):
                    np.testing.assert_array_equal(slots["image"][number], image + first + number)
                first += span.count


def test_a_frame_that_is_too_large_ends_the_connection_for_a_moment(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zeromq, "MESSAGE_BYTES", 4096)
    with closing(heard(sender)) as source:
        sender.send(NOW, x=np.zeros(8))
        received(source, 1)
        sender.send(NOW, x=np.zeros(8000))
        while source.span(0, 1000, 0.01) is NOTHING_YET and not sender.socket.poll(10):
            pass
        sender.wait_for(b"\x00")
        while not sender.socket.poll(10):  # it subscribes again
            source.span(0, 1000, 0.01)
        sender.wait_for()
        sender.send(NOW, x=np.zeros(8))
        assert account(received(source, 1)) == [(2, 1, 1)]


def test_events_that_lack_fields_in_turn_are_taken_as_they_are(sender: Sender) -> None:
    with closing(heard(sender)) as source:
        for number in range(60):
            optional = {name: 1.0 for at, name in enumerate("abcdefghij") if number == 0 or number % 10 == at}
            sender.send(NOW + number, x=float(number), **optional)
        valid: list[int] = []
        while len(valid) < 60:
            for span in received(source, 1):
                slots = Slots.allocate(source.schema, span.count)
                source.read(span.first, slots, frozenset(source.schema.names))
                valid += slots.valid[0].tolist()
    assert valid[1:] == [1 | 2 << number % 10 for number in range(1, 60)]


def test_only_the_topic_that_was_asked_for_is_received() -> None:
    with Sender() as sender, closing(heard(sender, "?topic=camera")) as source:
        good = [json.dumps({**GOOD, "sequence": n}).encode() for n in range(3)]
        sender.raw(b"other", good[0], FRAME)
        sender.raw(b"camera", good[1], FRAME)
        sender.raw(b"camera2", good[2], FRAME)
        assert account(received(source, 2)) == [(1, 2, 0)]


def test_the_source_may_bind_and_the_senders_connect() -> None:
    port = free_port()
    with closing(open_source(f"zmq://*:{port}?bind&socket=pull")) as source:
        assert source.span(0, 1) is NOTHING_YET
        with zmq.Context() as context, context.socket(zmq.PUSH) as push:
            push.connect(f"tcp://127.0.0.1:{port}")
            push.send_multipart([json.dumps(GOOD).encode(), FRAME])
            received(source, 1)
        why = rf"cannot bind to tcp://\*:{port}: Address already in use"
        with (
            closing(open_source(f"zmq://*:{port}?bind&socket=pull")) as two,
            pytest.raises(SourceError, match=why),
        ):
            two.span(0, 1)


def test_the_documented_sender_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    module = documented()
    port = free_port()
    sender = module.Sender(f"tcp://127.0.0.1:{port}")
    with closing(open_source(f"zmq://127.0.0.1:{port}")) as source:
        end = time.monotonic() + 20
        while not source.ready(0.01):  # a PUB does not tell when somebody hears it
            assert time.monotonic() < end
            sender.send(NOW, signal=1.5, image=np.ones((2, 3), np.uint16))
        first = sender.sequence
        sender.say("begin_run", 4)
        sender.send(NOW, signal=2.5, image=np.full((2, 3), 7, np.uint16))
        spans = received(source, 1)
        while spans[-1].first < first:
            spans += received(source, 1)
        assert [t for span in spans for t in span.transitions] == [(Transition.BEGIN_RUN, 4.0)]
        slots = Slots.allocate(source.schema, 1)
        source.read(first, slots, frozenset({"signal", "image"}))
        assert (slots["signal"][0], slots["image"].sum()) == (2.5, 42)
    sender.socket.close(0)
    text = (Path(module.__file__)).read_text()
    assert len(text.partition("class Sender")[2].partition("if __name__")[0].splitlines()) <= 30


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("zmq://", "zmq://HOST:PORT is wanted"),
        ("zmq://host", "zmq://HOST:PORT is wanted"),
        ("zmq://host:99999", "zmq://HOST:PORT is wanted"),
        ("zmq://*:5555", "whom to connect to"),
        ("zmq://host:5555?rate=5", "unknown option 'rate'"),
        ("zmq://host:5555?socket=rep", "sub, pull"),
        ("zmq://host:5555?schema=/no/such/file", "No such file"),
    ],
)
def test_a_uri_that_names_no_sender_is_refused(uri: str, words: str) -> None:
    with pytest.raises(SourceError) as refused:
        open_source(uri)
    assert words in str(refused.value)


def test_a_sender_that_does_not_come_is_told_to_whoever_asks_for_its_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ami.sources.stream.SCHEMA_WAIT_S", 0.05)
    why = r"no event came within 0\.05 s; is its sender there\?"
    with (
        closing(open_source(f"zmq://127.0.0.1:{free_port()}")) as source,
        pytest.raises(SourceError, match=why),
    ):
        take(source, 0, 1)


def test_a_stream_may_be_run_offline_and_says_what_did_not_come(sender: Sender) -> None:
    with closing(heard(sender)) as source:
        for number in (0, 1, 2, 5, 6):
            sender.sequence = number
            sender.send(NOW + number, x=float(number))
        found = offline.run(graph_of("results: {xs: sum_events(x)}"), source, limit=5)
    assert (found["xs"].value, found.events) == (14.0, 5)
    assert (found["xs"].events.expected, found["xs"].events.dropped) == (7, 2)
