"""Speak with a sender that deals events to several nodes, and take this one's. See ``docs/daq.md``.

The sender keeps a block until this node says that it is safe, and sends what is missing again; so nothing is
taken here that does not follow what is in the ring. What a message is for, its turn says: a number that this
side makes up each time that it says where it is.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np

from ami.errors import SourceError, StoreUnavailable
from ami.event import TIMESTAMP, Schema, Slots
from ami.sources.base import NOTHING_YET, Home, Received, Silence
from ami.sources.live import message as wire
from ami.sources.live.curve import Keys, secure
from ami.sources.live.message import Malformed, Message
from ami.sources.refusals import Refusals
from ami.sources.uri import Uri

if TYPE_CHECKING:  # it takes 30 ms and a thread, which a simulation does not need
    import zmq

logger = logging.getLogger(__name__)

VERSION = 1
CREDIT_BYTES = 64 << 20
MESSAGE_BYTES = 1 << 30
HELD_BYTES = 16 << 20  # handed on at once
HELLO_S = 0.5  # between two of them, while nobody answers
BEAT_S = 0.25  # so often the sender hears that this node lives
NEWS_S = 0.005  # and so soon that there is room again
TRIES = 3  # to get what cannot be read, before it is counted as lost
COPY_BYTES = 1 << 14  # frames of smaller messages are cheaper copied than shared
TIMES: Mapping[str, Any] = {"name": TIMESTAMP, "dtype": "<i8", "shape": []}


class Dealt:
    """The :class:`~ami.sources.base.LiveInput` of what one sender deals to this node.

    Attributes:
        taken: what is in the ring was dealt to others; it must be left for a new one.
        interval_s, interval_fixed, speed: what the sender says of its input.
    """

    numbers_runs = True

    def __init__(self, endpoint: str, parts: Uri, options: Mapping[str, Any], keys: Keys | None) -> None:
        self._endpoint = endpoint
        self._text = parts.text
        self._keys = keys
        self._acknowledges_ring = options["ack"] == "ring"
        self.content = f"daq {endpoint}"
        self.skipped: tuple[str, ...] = ()
        self.refusals = Refusals(parts.text)
        self.schema: Schema | None = None
        self.interval_s: float | None = None
        self.interval_fixed = False
        self.speed = 1.0
        self.taken = False
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._copy = True
        self._reader = wire.Reader()
        self._fields: list[Any] = []  # as the sender describes them
        self._home: Home | None = None
        self._turn = 0  # 0: the sender does not know yet where this node is
        self._thread = ThreadPoolExecutor(1)
        self._fencing: tuple[str, int, Future[int]] | None = None
        self._said_at = 0.0
        self._said: tuple[int, int] = (-1, -1)
        self._expected = 0
        self._lost = 0  # before it, not told yet
        self._failed_at: tuple[int, int] = (0, 0)  # an event that cannot be read, and how often it was tried
        self._next: Message | None = None  # received, and not of the batch before it
        self._batch: list[Message] = []
        self._starts: list[int] = []
        self._skips: list[int] = []

    def join(self, home: Home) -> None:
        """See :class:`~ami.sources.base.Dealing`."""
        self._home, self._turn, self.taken = home, 0, False
        self._expected, self._next, self._batch = home.position, None, []

    def resume(self, position: int) -> int:
        self._expected = position
        return position

    # --- what is said ---------------------------------------------------------------------------

    def tend(self) -> None:
        """Say what there is to say: that this node lives, what it has, and what is safe."""
        self._tell_fenced()
        now_s = time.monotonic()
        if self._home is None:
            # As soon as there is a connection: what cannot be said now is tried again at the next call.
            if now_s - self._said_at >= HELLO_S and not self._say({"say": "hello", "daq": VERSION}):
                self._said_at = now_s - HELLO_S
            return
        if self._turn == 0:
            if now_s - self._said_at >= NEWS_S:
                self._say_ready(self._home)
            return
        if now_s - self._said_at < NEWS_S:
            return
        here = self._place(self._home)
        if here != self._said or now_s - self._said_at >= BEAT_S:
            self._said = here
            self._say({"say": "had", "turn": self._turn, "last": here[0], "safe": here[1]})

    def _place(self, home: Home) -> tuple[int, int]:
        last = home.position
        return last, last if self._acknowledges_ring else min(last, home.find_safe())

    def _say_ready(self, home: Home) -> None:
        """Say where this node is. What comes before the answer is of an earlier turn, and passed over."""
        here = self._place(home)
        self._turn, self._said = time.time_ns() >> 10, here
        # What was received, and is not in the ring, is in the feeder's hands; but for this one.
        self._next, self._lost = None, 0
        self._say({
            "say": "ready", "turn": self._turn, "node": home.node, "ring": home.ring, "last": self._expected,
            "safe": here[1], "credit": CREDIT_BYTES, "run": home.last_run,
        })  # fmt: skip

    def _say(self, said: Mapping[str, Any]) -> bool:
        """Return whether somebody is there. If not: what is said next says it, too."""
        import zmq

        self._said_at = time.monotonic()
        try:
            (self._socket or self._open()).send(msgpack.packb(said), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    # --- what is heard --------------------------------------------------------------------------

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        """See :class:`~ami.sources.base.LiveInput`."""
        end_s = time.monotonic() + timeout_s
        while True:
            self.tend()
            message, self._next = self._next or self._poll(max(0.0, end_s - time.monotonic())), None
            if message is not None:
                break
            if time.monotonic() >= end_s or self.taken or (self._home is None and self.schema is not None):
                return NOTHING_YET  # who has not joined waits for the fields only
        return self._hand_on(message, limit)

    def _hand_on(self, message: Message, limit: int) -> Received:
        """Return a message, and those of the same step that are there behind it, as events of one stretch."""
        phase = {name: message.header[name] for name in ("run", "step")}
        phase["step_value"] = message.header["value"]
        lost, self._lost = self._lost, 0
        if message.transition is not None:
            return Received(message.sequence, np.empty(0, np.int64), (message.transition,), lost, **phase)
        first = self._expected = message.sequence
        self._batch, self._starts, self._skips = [], [], []
        held = events = 0
        while True:
            self._starts.append(events)
            self._skips.append(message.skip)
            self._batch.append(message)
            events += message.count - message.skip
            held += message.bytes
            self._expected = first + events
            if events >= limit or held >= HELD_BYTES:
                break
            following = self._poll(0.0)
            if following is None:
                break
            if following.transition is not None or self._lost or not _are_alike(message, following):
                self._next = following
                break
            message = following
        times = [np.atleast_1d(m.timestamps)[skip:] for m, skip in zip(self._batch, self._skips, strict=True)]
        return Received(first, times[0] if len(times) == 1 else np.concatenate(times), (), lost, **phase)

    def _poll(self, timeout_s: float) -> Message | None:
        """Return the next message that follows, if one comes in time."""
        import zmq

        socket = self._socket or self._open()
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK, copy=self._copy)
        except zmq.Again:
            # This node must be heard of meanwhile.
            if timeout_s <= 0 or not socket.poll(max(1, round(min(timeout_s, BEAT_S / 2) * 1000))):
                return None
            return self._poll(0.0)
        try:
            header = wire.parse_header(frames)
            if "say" in header:
                self._hear(header)
                return None
            if self._turn == 0 or header.get("turn") != self._turn:
                return None
            return self._follow(header, frames)
        except Malformed as error:
            self.refusals.add(str(error))
            return None

    def _hear(self, header: Mapping[str, Any]) -> None:
        said = header["say"]
        if said == "welcome":
            self._welcome(header)
        elif self._home is None:
            return
        elif said == "again":
            if self._turn:
                self._turn = 0
        elif said == "taken":
            self.taken = header.get("ring") == self._home.ring
            if self.taken:
                logger.warning(
                    "%s: this node was away for long, and others got what was in its ring", self._text
                )
        elif said == "fence":
            self._fence(self._home, str(header.get("node")), header.get("ring"))

    def _welcome(self, header: Mapping[str, Any]) -> None:
        if header.get("daq") != VERSION:
            raise Malformed(f"the sender speaks version {str(header.get('daq'))[:20]}, this ami {VERSION}")
        fields = header.get("fields")
        schema = wire.schema(wire.describe(fields))
        if self.schema is not None and schema != self.schema:
            raise SourceError(
                f"{self._text}: the sender has other fields now than this node's ring; restart the source"
            )
        assert isinstance(fields, list)
        self.schema, self._fields = schema, [dict(TIMES), *fields]
        interval_s, speed = header.get("interval_s"), header.get("speed")
        self.interval_s = (
            float(interval_s) if isinstance(interval_s, int | float) and interval_s > 0 else None
        )
        self.interval_fixed = bool(header.get("interval_fixed")) and self.interval_s is not None
        self.speed = float(speed) if isinstance(speed, int | float) and 0 < speed < 1e12 else 1.0

    def _fence(self, home: Home, node: str, ring: object) -> None:
        """Fence another node on the sender's behalf: this one has the store.

        In a thread, because the store may be away with that node, and this one must be heard of meanwhile.
        """
        if not isinstance(ring, int):
            raise Malformed("it asks to fence a node, and names no ring")
        if self._fencing is None:
            self._fencing = (node, ring, self._thread.submit(home.fence, node, ring))

    def _tell_fenced(self) -> None:
        if self._fencing is None or not self._fencing[2].done():
            return
        node, ring, fenced = self._fencing
        self._fencing = None
        try:
            safe = fenced.result()
        except StoreUnavailable as error:
            logger.warning("node %s is not fenced: %s", node, error)  # it will be asked for again
            return
        self._say({"say": "fenced", "node": node, "ring": ring, "safe": safe})

    def _follow(self, header: Mapping[str, Any], frames: list[Any]) -> Message | None:
        """Return a message if it follows what is there; ask for it again where something is missing."""
        try:
            message = self._reader.understand({"fields": self._fields, **header}, frames)
            after = wire.integer(header, "after", most=wire.MAX_SEQUENCE)
            _check(header)
            message.skip = wire.integer(header, "skip", 0, most=wire.MAX_EVENTS)
            if message.transition is None:
                self._suit(message)
        except Malformed:
            self._fail(header)
            raise
        expected = self._expected + self._lost
        if after > expected:
            if not self._is_given_up():
                self._turn = 0
                return None
            self._lost += after - expected
            expected = after
        if message.sequence > expected:
            self._lost += message.sequence - expected
        if message.transition is not None:
            return message
        message.skip += max(0, expected - message.sequence)
        if message.skip >= message.count:
            return None  # it has all of it
        message.sequence = max(expected, message.sequence)
        return message

    def _suit(self, message: Message) -> None:
        self._copy = message.bytes < COPY_BYTES * len(message.frames)

    def _fail(self, header: Mapping[str, Any]) -> None:
        """Have a message sent again that cannot be read; after some times it is lost."""
        where, times = self._failed_at
        self._failed_at = (self._expected, times + 1 if where == self._expected else 1)
        self._turn = 0 if not self._is_given_up() else self._turn

    def _is_given_up(self) -> bool:
        where, times = self._failed_at
        return where == self._expected and times >= TRIES

    # --- values ---------------------------------------------------------------------------------

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        """See :class:`~ami.sources.base.LiveInput`."""
        number = bisect_right(self._starts, start) - 1
        done = 0
        valid = into.schema.with_lengths(fields)
        while done < into.count:
            message, skip = self._batch[number], self._skips[number]
            first = start + done - self._starts[number] + skip
            stop = min(message.count, first + into.count - done)
            here = slice(done, done + stop - first)
            into.set_valid(valid, here)
            for name in fields:
                if name in message:
                    message.write(name, first, stop, into, here)
            for name, rows in message.lacking.items():
                if name in fields:
                    lacks = rows[(rows >= first) & (rows < stop)] - first + done
                    into.set_missing(into.schema.with_lengths([name]), lacks)
            done, number = done + stop - first, number + 1

    # --- the socket -----------------------------------------------------------------------------

    def _open(self) -> zmq.Socket[bytes]:
        import zmq

        context = self._context = self._context or zmq.Context(1)
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 100)
        socket.setsockopt(zmq.RCVHWM, 0)  # credit bounds what is on its way
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # what is said to nobody is said again when somebody is there
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
        socket.setsockopt(zmq.IPV6, "[" in self._endpoint)
        secure(socket, self._keys, server=False)
        self._socket = socket
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise SourceError(f"{self._text!r}: cannot connect to {self._endpoint}: {error}") from error
        return socket

    def close(self) -> None:
        """Say good-bye, so that what is on its way is dealt to others at once."""
        if self._socket is not None:
            if self._home is not None and self._turn:
                last, safe = self._place(self._home)
                self._say({"say": "bye", "turn": self._turn, "last": last, "safe": safe})
            self._socket.close()
            self._socket = None
        if self._context is not None:
            self._context.term()
            self._context = None
        self._thread.shutdown(wait=False)


def _are_alike(one: Message, other: Message) -> bool:
    return all(one.header[name] == other.header[name] for name in ("run", "step", "value"))


def _check(header: Mapping[str, Any]) -> None:
    """Raises Malformed: it does not say of which run and step it is."""
    wire.integer(header, "run", least=1, most=2**53)
    wire.integer(header, "step", most=2**53)
    if not isinstance(header.get("value"), int | float):
        raise Malformed("it has no value of the step")
