"""What every source keeps to, be it recorded, simulated or live."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ami.errors import SourceError
from ami.event import Field, Schema, Slots, Transition
from ami.sources import Source, open_source, take
from ami.sources.base import NOTHING_YET, THE_END, Span
from tests.waiting import PATIENCE_S
from tests.zmq_rig import Sender, documented, free_port

COUNT = 60
TIMES = 1_700_000_000 * 10**9 + np.arange(COUNT, dtype=np.int64) // 2 * 2_000_000  # each one twice
X = np.arange(COUNT) ** 2
WAVE = np.arange(COUNT * 5, dtype=np.float32).reshape(COUNT, 5) / 3
LACK_WAVE = frozenset(range(3, COUNT, 7))

BEGIN_STEP, END_STEP = Transition.BEGIN_STEP, Transition.END_STEP


class Kind:
    """An input of COUNT events that is there as a whole. ``slots`` are its events, as they must be read."""

    live = False
    gone = 0  # of seven events that came while nobody listened
    refused = 0  # when it is cut

    def __init__(self, uri: str, slots: Slots, other: str, step_events: int = 0) -> None:
        self.uri = uri
        self.slots = slots
        self.other = other  # URI of another input
        self.step_events = step_events

    def open(self) -> Source:
        return open_source(self.uri)

    def send(self, start: int, stop: int) -> None:
        """Have the events from ``start`` up to ``stop`` come."""

    def cut(self, source: Source) -> None:
        """Spoil what comes next."""
        pytest.skip("made on the spot, so nothing can be cut")


class Recorded(Kind):
    def cut(self, source: Source) -> None:
        path = Path(self.uri.removeprefix("hdf5://").partition("?")[0])
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)


class Live(Kind):
    """A sender of ``zmq://`` of one event, or ``block`` of them, a message."""

    live = True
    gone = 7
    refused = 2

    def __init__(self, sender: Sender, options: str, block: int) -> None:
        uri = f"zmq://127.0.0.1:{sender.port}?{options}"
        super().__init__(uri, sent(frozenset() if block > 1 else LACK_WAVE), f"{uri}&topic=t", step_events=20)
        self._sender = sender
        self._block = block
        self._opened = False

    def open(self) -> Source:
        if self._opened:
            self._sender.wait_for(b"\x00")
        self._opened = True
        source = open_source(self.uri)
        assert source.span(0, 1) is NOTHING_YET
        self._sender.wait_for()
        return source

    def send(self, start: int, stop: int) -> None:
        self._sender.sequence = start
        while start < stop:
            if start % self.step_events == 0:
                if start:
                    self._sender.say("end_step", start // self.step_events - 1)
                self._sender.say("begin_step", start // self.step_events)
            border = start - start % self.step_events + self.step_events
            here = slice(start, min(start + self._block, stop, border))
            if self._block > 1:
                self._sender.send(TIMES[here], x=X[here], wave=WAVE[here])
            else:
                wave = {} if start in LACK_WAVE else {"wave": WAVE[start]}
                self._sender.send(int(TIMES[start]), x=X[start], **wave)
            start = here.stop

    def cut(self, source: Source) -> None:
        at = {"sequence": self._sender.sequence, "timestamp": 5, "session": "s"}
        described = {"name": "x", "dtype": "<i8", "shape": []}
        self._sender.raw(self._sender.header(**at, fields=[described]), b"1234567")
        self._sender.raw(self._sender.header(**at)[:-3])
        self._sender.sequence += 1


class Dealt(Kind):
    """The documented sender of ``daq://``, which keeps what nobody read, and sends what is missing again."""

    live = True
    refused = 3  # it is asked for twice more

    def __init__(self) -> None:
        self._port, other = free_port(), free_port()
        super().__init__(
            f"daq://127.0.0.1:{self._port}", sent(LACK_WAVE), f"daq://127.0.0.1:{other}", step_events=20
        )
        fields = [("x", X.dtype, ()), ("wave", WAVE.dtype, (5,))]
        self.sender = documented("daq_sender").Sender(f"tcp://127.0.0.1:{self._port}", fields)
        self.sender.begin_run()
        self._stop = threading.Event()
        self._blocks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            self.sender.step(5)
            with contextlib.suppress(queue.Empty):
                self._blocks.get_nowait()()

    def open(self) -> Source:
        source: Any = open_source(self.uri)
        began = time.monotonic()
        assert source.ready(PATIENCE_S)
        assert time.monotonic() - began < PATIENCE_S, "it is ready as soon as it knows its fields"
        source.join(RingOfOne())
        return source  # type: ignore[no-any-return]

    def send(self, start: int, stop: int) -> None:
        self._blocks.put(lambda: self._send(start, stop))

    def _send(self, start: int, stop: int) -> None:
        while not self.sender.nodes and not self._stop.is_set():
            self.sender.step(5)  # a border is told to who is there
        while start < stop:
            step = start // self.step_events
            if start % self.step_events == 0:
                if start:
                    self.sender.say("end_step")
                self.sender.begin_step(float(step))
            here = slice(start, min(start + 7, stop, (step + 1) * self.step_events))
            lacking = {"wave": [n - start for n in range(start, here.stop) if n in LACK_WAVE]}
            self.sender.send(TIMES[here], X[here], WAVE[here], lacking=lacking)
            start = here.stop

    def cut(self, source: Source) -> None:
        def send_cut() -> None:
            self.sender.send(TIMES[30:31], X[30:31], WAVE[30:31, :2])

        self._blocks.put(send_cut)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.sender.close()


class RingOfOne:
    """A :class:`ami.sources.base.Home` without a ring: nothing is safe, and nobody else is there."""

    node, ring, position, last_run = "here", 1, 0, 6

    def find_safe(self) -> int:
        return 0

    def fence(self, node: str, ring: int) -> int:
        raise AssertionError("nobody is to be fenced")


class Lines(Kind):
    """The example plug-in: a text file that grows. It keeps what nobody read."""

    live = True
    refused = 1

    def __init__(self, path: Path) -> None:
        y = np.where(np.isin(np.arange(COUNT), list(LACK_WAVE)), np.nan, X / 7)
        valid = np.where(np.isnan(y), 1, 3)[None]
        super().__init__(
            f"lines://{path}",
            Slots(two("y"), COUNT, {"x": X, "y": y}, valid, TIMES),
            f"lines://{path}?scale=2",
        )
        self._path = path
        path.write_text("timestamp,x,y\n")

    def send(self, start: int, stop: int) -> None:
        y = ["" if n in LACK_WAVE else repr(float(X[n] / 7)) for n in range(COUNT)]
        with self._path.open("a") as file:
            file.writelines(f"{TIMES[n]},{X[n]},{y[n]}\n" for n in range(start, stop))

    def cut(self, source: Source) -> None:
        with self._path.open("a") as file:
            file.write(f"{TIMES[30]},{X[30]}\n")


def two(name: str) -> Schema:
    """Return the schema of the events that are sent; only its names count."""
    return Schema((Field("x", X.dtype), Field(name, np.dtype(np.float64))))


def sent(without_wave: frozenset[int]) -> Slots:
    valid = np.array([[1 if n in without_wave else 3 for n in range(COUNT)]])
    return Slots(two("wave"), COUNT, {"x": X, "wave": WAVE}, valid, TIMES)


def recording(every: int = 1) -> Callable[[Path], Any]:
    """Return what makes a recording, or one of which only the last of ``every`` events is played."""

    @contextlib.contextmanager
    def make(folder: Path) -> Iterator[Kind]:
        for name in ("run.h5", "other.h5"):
            write(folder / name, every)
        share = f"?every={every}&offset={every - 1}" if every > 1 else ""
        yield Recorded(
            f"hdf5://{folder}/run.h5{share}", sent(frozenset()), f"hdf5://{folder}/other.h5{share}"
        )

    return make


def write(path: Path, every: int) -> None:
    with h5py.File(path, "w") as file:
        # In the order of the names.
        for key, values in (("timestamp", TIMES), ("x", X), ("wave", WAVE)):
            others = values if key == "timestamp" else -1 - values
            played = np.stack([*[others] * (every - 1), values], axis=1)
            file.create_dataset(key, data=played.reshape(-1, *values.shape[1:]))
        file.attrs["filled"] = np.zeros(4096)  # so that half of the file is not all of its events


def simulation(uri: str, step_events: int = 0) -> Callable[[Path], Any]:
    @contextlib.contextmanager
    def make(_folder: Path) -> Iterator[Kind]:
        with closing(open_source(uri)) as source:
            slots = take(source, 0, COUNT)
        yield Kind(uri, slots, uri.replace(f"stop={COUNT}", f"stop={COUNT - 1}"), step_events)

    return make


def dealt(uri: str, step_events: int = 0) -> Callable[[Path], Any]:
    """Return what makes the second of three shares of a simulation that has three times COUNT events."""

    @contextlib.contextmanager
    def make(_folder: Path) -> Iterator[Kind]:
        with closing(open_source(uri)) as source:
            whole = take(source, 0, 3 * COUNT)
        columns = {name: column[1::3] for name, column in whole.columns.items()}
        slots = Slots(whole.schema, COUNT, columns, whole.valid[:, 1::3], whole.timestamps[1::3])
        yield Kind(f"{uri}&every=3&offset=1", slots, f"{uri}&every=3&offset=2", step_events)

    return make


def over_zmq(options: str = "", block: int = 1, **how: Any) -> Callable[[Path], Any]:
    @contextlib.contextmanager
    def make(_folder: Path) -> Iterator[Kind]:
        with Sender(**how) as sender:
            yield Live(sender, options, block)

    return make


@contextlib.contextmanager
def dealt_by_a_sender(_folder: Path) -> Iterator[Kind]:
    kind = Dealt()
    try:
        yield kind
    finally:
        kind.close()


@contextlib.contextmanager
def plugged_in(folder: Path) -> Iterator[Kind]:
    yield Lines(folder / "events.csv")


SCAN = "sim://pump-probe?rate=max&camera=16x16&samples=8&missing=0.2&missing_fields=camera,diode"
SCALARS = "sim://scalars?rate=max"
STATIC = "static://?rate=max&fields=x:scalar,laser:binary"
KINDS: dict[str, Callable[[Path], Any]] = {
    "recording": recording(),
    "recording, dealt": recording(every=3),
    "pump-probe": simulation(f"{SCAN}&step_events=20&stop={COUNT}", 20),
    "pump-probe, dealt": dealt(f"{SCAN}&step_events=60&stop={3 * COUNT}", 20),
    "scalars": simulation(f"{SCALARS}&stop={COUNT}"),
    "scalars, dealt": dealt(f"{SCALARS}&stop={3 * COUNT}"),
    "static": simulation(f"{STATIC}&stop={COUNT}"),
    "static, dealt": dealt(f"{STATIC}&stop={3 * COUNT}"),
    "zmq, JSON": over_zmq(),
    "zmq, msgpack": over_zmq(packed=True),
    "zmq, blocks": over_zmq(block=7, packed=True),
    "daq": dealt_by_a_sender,
    "a plug-in": plugged_in,
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    if request.param == "a plug-in":
        monkeypatch.syspath_prepend(request.getfixturevalue("plugin_folder"))
    with KINDS[request.param](tmp_path) as made:
        yield made


def spans(source: Source, first: int, stop: int, limit: int = 1000) -> Iterator[Span]:
    """Yield the spans up to position ``stop``."""
    end = time.monotonic() + 20
    while first < stop:
        assert time.monotonic() < end, f"nothing comes after {first}"
        span = source.span(first, limit, 0.1)
        if isinstance(span, Span):
            yield span
            first = span.first + span.count
        else:
            assert span is NOTHING_YET


def fields_of(kind: Kind) -> frozenset[str]:
    return frozenset(kind.slots.columns)


def check(kind: Kind, source: Source, span: Span, fields: frozenset[str]) -> None:
    """Read a span in two pieces, and hold it against what was sent."""
    slots = Slots.allocate(source.schema, span.count)
    slots.valid[:] = -1
    half = span.count // 2
    for start, stop in ((0, half), (half, span.count)):
        if stop > start:
            source.read(span.first + start, slots.part(start, stop), fields)
    here = slice(span.first, span.first + span.count)
    np.testing.assert_array_equal(span.timestamps, kind.slots.timestamps[here])
    np.testing.assert_array_equal(slots.timestamps, kind.slots.timestamps[here])
    for name in kind.slots.columns:
        has, wanted = slots.has(name), kind.slots.has(name)[here]
        np.testing.assert_array_equal(has, wanted & (name in fields))
        np.testing.assert_array_equal(slots[name][has], kind.slots[name][here][has])


@pytest.mark.parametrize("limit", [1000, 4])
def test_events_are_given_in_order_and_read_as_they_were_sent(kind: Kind, limit: int) -> None:
    with closing(kind.open()) as source:
        kind.send(0, COUNT)
        position = 0
        for span in spans(source, 0, COUNT, limit):
            assert (span.first, span.lost) == (position, 0)
            assert span.count <= limit
            assert (np.diff(span.timestamps) >= 0).all()
            check(kind, source, span, fields_of(kind))
            position += span.count
        assert position == COUNT


def test_fields_that_nobody_asks_for_are_not_read(kind: Kind) -> None:
    with closing(kind.open()) as source:
        kind.send(0, COUNT)
        for span in spans(source, 0, COUNT):
            for wanted in fields_of(kind):
                check(kind, source, span, frozenset({wanted}))
            if span.count:
                slots = Slots.allocate(source.schema, span.count)
                source.read(span.first, slots, frozenset())
                assert not any(column.any() for column in slots.columns.values())
                assert not slots.valid.any()


def test_it_is_ready_when_its_fields_are_known_and_they_stay(kind: Kind) -> None:
    with closing(kind.open()) as source:
        assert kind.live or source.ready(0.01)
        kind.send(0, 20)
        assert source.ready(10)
        names, schema = set(source.schema.names), source.schema
        list(spans(source, 0, 20))
        assert source.schema is schema
    assert names == fields_of(kind)


def test_equal_inputs_are_equal_and_others_are_not(kind: Kind) -> None:
    with (
        closing(open_source(kind.uri)) as one,
        closing(open_source(kind.uri)) as same,
        closing(open_source(kind.other)) as other,
    ):
        assert one.identity == same.identity != other.identity
        assert one.live == kind.live


def test_a_successor_goes_on_where_its_predecessor_was_and_counts_what_it_missed(kind: Kind) -> None:
    with closing(kind.open()) as source:
        kind.send(0, 25)
        list(spans(source, 0, 25))
        schema = source.schema
    if kind.live:
        kind.send(25, 32)  # nobody hears it
    with closing(kind.open()) as source:
        assert source.ready(0.01, schema)
        position = source.resume(25)
        assert position == 25
        kind.send(32, COUNT)
        gone = kind.gone
        for span in spans(source, 25, COUNT):
            if span.count:
                assert span.lost == gone
                gone = 0
                assert span.first >= 25 + kind.gone
            check(kind, source, span, fields_of(kind))


def test_transitions_stand_before_the_event_after_them(kind: Kind) -> None:
    if not kind.step_events:
        pytest.skip("it has no steps")
    said: list[tuple[int, Transition]] = []
    with closing(kind.open()) as source:
        kind.send(0, COUNT)
        for span in spans(source, 0, COUNT):
            steps = [(span.first, transition) for transition, _ in span.transitions]
            said += [one for one in steps if one[1] in (BEGIN_STEP, END_STEP)]
            assert span.first // 20 == max(span.first, span.first + span.count - 1) // 20
    assert said == [(0, BEGIN_STEP), (20, END_STEP), (20, BEGIN_STEP), (40, END_STEP), (40, BEGIN_STEP)]


def test_after_the_last_event_comes_the_end_or_nothing_yet(kind: Kind) -> None:
    with closing(kind.open()) as source:
        kind.send(0, 40)
        list(spans(source, 0, 40 if kind.live else COUNT))
        for _ in range(2):
            began = time.monotonic()
            assert source.span(40 if kind.live else COUNT, 1000, 0.05) is (
                NOTHING_YET if kind.live else THE_END
            )
            assert not kind.live or time.monotonic() - began >= 0.04, "it waits as long as it may"
        if kind.live:
            kind.send(40, COUNT)
            assert sum(span.count for span in spans(source, 40, COUNT)) == 20


def test_what_is_cut_is_told_and_a_stream_goes_on(kind: Kind) -> None:
    with closing(kind.open()) as source:
        kind.send(0, 30)
        list(spans(source, 0, 30))
        kind.cut(source)
        if not kind.live:
            with pytest.raises(SourceError, match="cut or damaged"):
                take(source, 0, COUNT)
            return
        kind.send(31, COUNT)
        counts = [(span.count, span.lost) for span in spans(source, 30, COUNT)]
        assert sum(count for count, _ in counts) == 29
        assert sum(lost for _, lost in counts) == 1
        assert source.counters["refused"] == kind.refused
