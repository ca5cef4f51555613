"""Receive events over ZeroMQ: ``zmq://HOST:PORT``. ``docs/sources.md`` has the bytes.

The sender numbers its events, so what is missing is counted. A message that cannot be read is refused,
counted and told, and the stream goes on.
"""

from __future__ import annotations

import json
import logging
import re
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ami.errors import SourceError
from ami.event import TIMESTAMP, Schema, Slots
from ami.sources import uri
from ami.sources.base import NOTHING_YET, LiveInput, Opener, Received, Silence
from ami.sources.live import message as wire
from ami.sources.live.message import Layout, Malformed, Message
from ami.sources.refusals import Refusals
from ami.sources.uri import LIVE, Option, Uri

if TYPE_CHECKING:  # it takes 30 ms and a thread, which a simulation does not need
    import zmq

logger = logging.getLogger(__name__)

OPTIONS: Mapping[str, Option] = {
    "socket": Option(uri.one_of("sub", "pull"), "sub"),
    "bind": Option(uri.one_of("yes", "no", ""), "no"),
    "topic": Option(str, ""),
    "schema": Option(Path, None),
}

MESSAGE_BYTES = 1 << 28  # of one frame, at most; a larger one ends the connection, which then is made anew
GIVEN_UP_S = 0.5
HELD_BYTES = 16 << 20  # received at once
QUEUE_BYTES = 1 << 28  # waiting to be received
QUEUE_MESSAGES = (64, 100_000)
COPY_BYTES = 1 << 16  # frames of smaller messages are cheaper copied than shared
LONGEST_S = 0.05  # nothing is received at one go for longer, whatever comes
MAX_LEFT_OUT = 64  # fields that are told one by one
GAP_EVENTS = 10**10  # a number that is further ahead is no gap: that would be 11 days at 10 kHz


class ZeroMQ:
    """The :class:`~ami.sources.base.LiveInput` of one sender."""

    def __init__(self, endpoint: str, parts: Uri, options: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self._text = parts.text
        self._options = options
        self.content = f"zmq {endpoint} {options['socket']} {options['topic']}"
        self.skipped: tuple[str, ...] = ()
        self.refusals = Refusals(parts.text)
        self.schema: Schema | None = None if options["schema"] is None else _read_agreed(options["schema"])
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._gone_at: float | None = None
        self._copy = True
        self._reader = wire.Reader()
        self._largest = 1  # bytes of a message
        self._left_out: set[str] = set()
        self._expected: int | None = None
        self._far: int | None = None  # what would follow a number that was too far ahead
        self._session: str | None = None
        self._next: Message | None = None  # received, and not of the batch before it
        self._batch: list[Message] = []
        self._starts: list[int] = []

    def resume(self, position: int) -> int:
        """Expect the event of this number; 0 is the state of somebody who never listened."""
        self._expected = position or None
        return position

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        """See :class:`~ami.sources.base.LiveInput`."""
        first = self._first(timeout_s)
        if first is None:
            return NOTHING_YET
        message, lost = first
        self._session = message.session
        self._expected = message.sequence + message.count
        if message.transition is not None:
            return Received(message.sequence, np.empty(0, np.int64), (message.transition,), lost)
        self._batch, self._starts = [message], [0]
        self._gather(limit)
        return Received(message.sequence, self._timestamps(), (), lost)

    def _first(self, timeout_s: float) -> tuple[Message, int] | None:
        """Return the next message that can be taken, and how many events before it are missing."""
        end = time.monotonic() + timeout_s
        while True:
            message, self._next = self._next or self._poll(max(0.0, end - time.monotonic())), None
            if message is not None and (lost := self._missing(message)) is not None:
                return message, lost
            if time.monotonic() >= end:
                return None

    def _gather(self, limit: int) -> None:
        """Take what is there already and follows without a gap."""
        events, held_bytes = self._batch[0].count, self._batch[0].bytes
        end = time.monotonic() + LONGEST_S
        while events < limit and held_bytes < HELD_BYTES and time.monotonic() < end:
            message = self._poll(0.0)
            if message is None:
                return
            follows = message.transition is None and message.sequence == self._expected
            if not follows or message.session != self._session:
                self._next = message
                return
            self._batch.append(message)
            self._starts.append(events)
            events += message.count
            held_bytes += message.bytes
            self._expected = message.sequence + message.count

    def _missing(self, message: Message) -> int | None:
        """Return how many events before this message did not come; None where it is not to be taken."""
        expected, sequence = self._expected, message.sequence
        if expected is None or sequence == expected:
            return 0
        if sequence > expected:
            if sequence - expected <= GAP_EVENTS:
                return sequence - expected
            far, self._far = self._far, sequence + message.count
            if sequence == far:
                return 0  # two in a row are no slip: it numbers its events in another way
            self.refusals.add(f"sequence {sequence} comes after {expected - 1}: no gap is so wide")
        elif message.session is None:
            return 0  # who begins anew without a name for it cannot be told from who sends twice
        elif message.session != self._session:
            return sequence if sequence <= GAP_EVENTS else 0  # it began anew, and a beginning is number 0
        else:
            self.refusals.add(f"sequence {sequence} comes after {expected - 1}, of the same session")
        return None

    def _poll(self, timeout_s: float) -> Message | None:
        """Return the next message if one comes in time and can be read."""
        import zmq

        socket = self._socket or self._open()
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK, copy=self._copy)
        except zmq.Again:
            if timeout_s <= 0 or not socket.poll(max(1, round(timeout_s * 1000))):
                self._see_to_connection()
                return None
            return self._poll(0.0)
        try:
            message = self._reader.read(frames[1:] if self._options["topic"] else frames)
            if message.transition is None:
                self._check(message)
        except Malformed as error:
            self.refusals.add(str(error))
            return None
        return message

    def _see_to_connection(self) -> None:
        """Connect anew where ZeroMQ has given up: after what breaks its rules, such as a frame too large."""
        import zmq
        from zmq.utils.monitor import recv_monitor_message

        if self._monitor is None:
            return
        while self._monitor.poll(0):
            gone = recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED
            self._gone_at = time.monotonic() if gone else None
        if self._gone_at is not None and time.monotonic() - self._gone_at > GIVEN_UP_S:
            self.refusals.add(
                f"a frame was larger than {MESSAGE_BYTES} bytes, or is not ZeroMQ's; connecting anew"
            )
            self._disconnect()

    def _disconnect(self) -> None:
        self._gone_at = None
        for socket in (self._socket, self._monitor):
            if socket is not None:
                socket.close(0)
        self._socket = self._monitor = None

    def _check(self, message: Message) -> None:
        """Raises Malformed: the message does not fit the schema, which the first one makes."""
        if self.schema is None:
            self.schema = wire.schema(message.layout)
        layout = message.layout
        if layout.unfit is None:
            layout.unfit = self._unfit(layout)
            self._suit_queue(message.bytes)
        if layout.unfit:
            raise Malformed(layout.unfit)

    def _unfit(self, layout: Layout) -> str:
        """Return why events of this layout cannot be taken, "" if they can; tell of fields left out."""
        assert self.schema is not None
        for name, (field, _, _) in layout.items():
            if name not in self.schema:
                self._leave_out(name)
                continue
            agreed = self.schema[name]
            if replace(field, unit=agreed.unit) != agreed:
                seen, wanted = (
                    f"{f.dtype} {f.shape}{' of variable length' * f.variable}" for f in (field, agreed)
                )
                return f"field {name!r} is {seen}, {wanted} was agreed; restart the source to take it up"
        return ""

    def _leave_out(self, name: str) -> None:
        if name != TIMESTAMP and name not in self._left_out and len(self._left_out) < MAX_LEFT_OUT:
            self._left_out.add(name)
            reason = "it is not among the agreed fields; restart the source to take it up"
            self.skipped = (*self.skipped, f"{name}: {reason}")
            assert self.schema is not None
            self.schema = replace(self.schema, left_out={**self.schema.left_out, name: reason})
            logger.warning("%s: left out %s: %s", self._text, name, reason)

    def _suit_queue(self, message_bytes: int) -> None:
        """Let so many messages wait as a moment's absence needs, and memory allows."""
        import zmq

        assert self._socket is not None
        self._largest = max(self._largest, message_bytes)
        least, most = QUEUE_MESSAGES
        self._socket.setsockopt(zmq.RCVHWM, min(max(QUEUE_BYTES // self._largest, least), most))
        self._copy = self._largest < COPY_BYTES

    def _open(self) -> zmq.Socket[bytes]:
        import zmq

        context = self._context = self._context or zmq.Context(1)
        kind = zmq.SUB if self._options["socket"] == "sub" else zmq.PULL
        socket = context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
        socket.setsockopt(zmq.IPV6, 1)
        # A peer whose cable was pulled says nothing; the kernel finds out within 10 s.
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 5)
        socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 1)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, self._options["topic"].encode())
        self._socket = socket
        bind = self._options["bind"] != "no"
        if not bind:
            # Who was cut off tries again and says so; who has given up says nothing more.
            self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
        try:
            (socket.bind if bind else socket.connect)(self._endpoint)
        except zmq.ZMQError as error:
            self._disconnect()
            does = "bind to" if bind else "connect to"
            raise SourceError(f"{self._text!r}: cannot {does} {self._endpoint}: {error}") from error
        return socket

    def _timestamps(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        times = [message.timestamps for message in self._batch]
        if all(message.count == 1 for message in self._batch):
            return np.array(times, np.int64).reshape(-1)
        return np.concatenate([np.atleast_1d(np.asarray(some, np.int64)) for some in times])

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        """See :class:`~ami.sources.base.LiveInput`."""
        layout, there, valid = None, fields, fields
        number = bisect_right(self._starts, start) - 1
        done = 0
        while done < into.count:
            message = self._batch[number]
            first = start + done - self._starts[number]
            stop = min(message.count, first + into.count - done)
            here = slice(done, done + stop - first)
            if message.layout is not layout:
                layout, there = message.layout, fields & message.layout.keys()
                valid = into.schema.with_lengths(there)
            for name in there:
                message.write(name, first, stop, into, here)
            into.set_valid(valid, here)
            done, number = done + stop - first, number + 1

    def close(self) -> None:
        self._disconnect()
        if self._context is not None:
            self._context.term()


def _read_agreed(path: Path) -> Schema:
    try:
        return wire.schema(wire.describe(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, Malformed) as error:
        raise SourceError(f"schema={path}: {error}; a list of name, dtype, shape is wanted") from error


def _open(parts: Uri) -> tuple[LiveInput, dict[str, Any]]:
    values = parts.values({**LIVE, **OPTIONS})
    match = re.fullmatch(r"(\*|\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})", parts.body)
    if match is None or not 0 < int(match[2]) < 65536:
        raise SourceError(f"{parts.text!r}: zmq://HOST:PORT is wanted, such as zmq://127.0.0.1:5555")
    if match[1] == "*" and values["bind"] == "no":
        raise SourceError(
            f"{parts.text!r}: '*' is every address of this machine, for bind; whom to connect to?"
        )
    return ZeroMQ(f"tcp://{match[1]}:{match[2]}", parts, values), values


PROTOCOLS: Mapping[str, Opener] = {"zmq": _open}
