"""Measure dealing: one process deals blocks over loopback, one has them in its ring; no graph, no store.

Beside it a bare transfer of the same bytes: a PUSH and a PULL, and one copy out of each frame.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
import zmq

from ami.cluster.node import free_port
from ami.daemons.source.feeder import Feeder
from ami.daq.block import Block, Border, Packed, Phase, pack
from ami.daq.book import MemoryBook
from ami.daq.dealer import Dealer, Part
from ami.daq.sender import Sender
from ami.errors import AmiError
from ami.event import Field, Schema, Slots, Transition
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.lab import bare
from ami.lab.figures import Bench, Measured
from ami.ring import reclaim
from ami.ring.reader import RingReader
from ami.ring.writer import RingWriter
from ami.sources import open_source

RING_BYTES = 64 << 20
MAX_SLOTS = 1 << 18
WAIT_S = 20.0
EVENTS = Schema(tuple(Field(name, np.dtype(np.float64)) for name in "abcd"))
IMAGES = Schema((Field("image", np.dtype(np.float32), (512, 512)),))
IMAGE_MB = IMAGES.fields[0].event_bytes / 1e6
EVENTS_GRAPH = "results: {ma: sum_events(a), mb: sum_events(b), mc: sum_events(c), md: sum_events(d)}"
IMAGES_GRAPH = "results: {mean: mean_events(image)}"


def dealing(bench: Bench) -> Mapping[str, Measured]:
    """Measure small events and images, each in turn with the bare transfer."""
    return {
        "dealt_events": _measure(bench, EVENTS, EVENTS_GRAPH, count=1 << 14, unit=1.0),
        "dealt_images": _measure(bench, IMAGES, IMAGES_GRAPH, count=8, unit=IMAGE_MB),
    }


def _measure(bench: Bench, schema: Schema, text: str, *, count: int, unit: float) -> Measured:
    packed, lasting_s = pack(_make(schema, count)), bench.choose(2.0, 0.6)
    rates, limits, copies = [], [], []
    for _ in range(bench.choose(5, 2)):
        limits.append(unit * bare_rate(packed, count, lasting_s))
        rates.append(unit * dealt_rate(schema, graph_of(text).at_version(1), packed, count, lasting_s))
        copies.append(_copy_rate(packed) / 1e6)
    return Measured(
        samples=rates,
        limit=statistics.median(limits),
        limit_is="bare PUSH and PULL over loopback, the same blocks, one copy out of each frame",
        notes=(
            f"blocks of {count} events, {packed.bytes / count:.0f} bytes each",
            f"one process copies {statistics.median(copies):.0f} MB/s in memory",
        ),
    )


def _make(schema: Schema, count: int) -> Slots:
    slots = Slots.allocate(schema, count)
    for number, column in enumerate(slots.columns.values()):
        column[:] = number + 1
    slots.timestamps[:] = 10**18
    slots.set_valid(schema.names)
    return slots


def _copy_rate(packed: Packed) -> float:
    frames = packed.frames
    into = [np.empty_like(frame) for frame in frames]

    def copy() -> int:
        for one, frame in zip(into, frames, strict=True):
            one[:] = frame
        return packed.bytes

    return bare.rate(copy, 0.2)


def dealt_rate(schema: Schema, graph: Graph, packed: Packed, count: int, lasting_s: float) -> float:
    """Return events per second from a sender into a node's ring, all of which are checked to have come.

    Raises:
        AmiError: events were lost, or none came.
    """
    port, name = free_port(), f"/ami-bench-{os.getpid()}"
    try:
        with bare.fork_off(lambda: _deal(schema, packed, count, port)):
            return _take(port, name, graph, lasting_s)
    finally:
        reclaim(name)


def _deal(schema: Schema, packed: Packed, count: int, port: int) -> None:
    told = {"interval_s": 1.0, "interval_fixed": True, "speed": 1.0}
    dealer, parent, first = Dealer(MemoryBook()), os.getppid(), 0
    with closing(Sender(f"127.0.0.1:{port}", schema, dealer, told=told, lease_s=60)) as sender:
        sender.announce(Border(Transition.BEGIN_RUN, Phase(1)))
        while os.getppid() == parent:
            sender.step(0.0)
            # Many blocks, one memory: they are only sent.
            if sender.deal(Part(Block(first, count, Phase(1), packed.bytes, packed))):
                first += count
            else:
                sender.step(0.002)


class _Home:
    """A :class:`~ami.sources.base.Home` for which all is safe that is in the ring."""

    node, last_run = "bench", 0

    def __init__(self, ring: RingWriter) -> None:
        self._ring = ring
        self.ring = ring.ring_id

    @property
    def position(self) -> int:
        return self._ring.cursor.position

    def find_safe(self) -> int:
        return self.position

    def fence(self, node: str, ring: int) -> int:
        raise AmiError(f"nobody is to be fenced here, least of all {node}")


def _take(port: int, name: str, graph: Graph, lasting_s: float) -> float:
    source: Any = open_source(f"daq://127.0.0.1:{port}")
    with closing(source):
        end_s = time.monotonic() + WAIT_S
        while not source.ready(0.05):
            if time.monotonic() > end_s:
                raise AmiError("the sender does not answer")
        ring = RingWriter.create(
            name, source.schema, source_id="bench", bytes=RING_BYTES, max_slots=MAX_SLOTS, entries=256,
            interval_ns=10**9, policy="wait",
        )  # fmt: skip
        with ring, RingReader(name, 0) as reader:
            source.join(_Home(ring))
            feeder = Feeder(
                source, ring, interval_ns=10**9, drop=False, graph=lambda: graph, nap=time.sleep,
                new_run=lambda given: given,
            )  # fmt: skip
            return _feed(source, feeder, ring, reader, lasting_s)


def _feed(source: Any, feeder: Feeder, ring: RingWriter, reader: RingReader, lasting_s: float) -> float:
    """Feed the ring and empty it; return events per second, without the first round through new memory."""
    taken, started, first, end_s = 0, 0.0, 0, time.monotonic() + WAIT_S
    while True:
        source.tend()
        feeder.step()
        while (block := reader.claim(MAX_SLOTS)) is not None:
            taken += block.slots.count
            reader.commit([(block.sequence, block.slots.count)])
        now = time.perf_counter()
        if not started and taken >= ring.depth:
            started, first = now, taken
        if started and now - started >= lasting_s:
            break
        if time.monotonic() > end_s:
            raise AmiError(f"only {taken} events came within {WAIT_S:g} s")
    cursor = ring.cursor
    if (cursor.published, cursor.dropped) != (taken, 0):
        raise AmiError(f"{cursor.published} events were published, {taken} taken, {cursor.dropped} dropped")
    return (taken - first) / (now - started)


def bare_rate(packed: Packed, count: int, lasting_s: float) -> float:
    """Return events per second of a bare transfer of the same blocks, copied out of the frames."""
    port, depth = free_port(), max(1, RING_BYTES // packed.bytes)
    rooms = [np.empty((depth, *frame.shape), frame.dtype) for frame in packed.frames]
    with (
        bare.fork_off(lambda: _push(packed, port)),
        zmq.Context() as context,
        context.socket(zmq.PULL) as pull,
    ):
        pull.setsockopt(zmq.RCVHWM, 16)
        pull.setsockopt(zmq.RCVTIMEO, int(1000 * WAIT_S))
        pull.connect(f"tcp://127.0.0.1:{port}")
        number = 0

        def receive() -> int:
            nonlocal number
            frames: Any = pull.recv_multipart(0, packed.bytes < 1 << 17)
            for room, frame in zip(rooms, frames[1:], strict=True):
                place = room[number % len(room)]
                place[...] = np.frombuffer(frame, place.dtype).reshape(place.shape)
            number += 1
            return count

        for _ in range(len(rooms[0])):
            receive()
        return bare.rate(receive, lasting_s)


def _push(packed: Packed, port: int) -> None:
    parent = os.getppid()
    frames: Any = [b"header", *packed.frames]
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.setsockopt(zmq.SNDHWM, 16)
        push.setsockopt(zmq.LINGER, 0)
        push.setsockopt(zmq.SNDTIMEO, 1000)
        push.bind(f"tcp://127.0.0.1:{port}")
        while os.getppid() == parent:
            try:
                push.send_multipart(frames, copy=packed.bytes < 1 << 17)
            except zmq.Again:
                continue
