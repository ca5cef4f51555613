"""Exchange packed commands for replies over one connected socket, as fast as Python can.

Two things cost more than the exchange itself in redis-py's own reading and writing, and are left out here:
its bookkeeping around each reply, and Python's time-out of a socket, which is a poll() before each send
and receive (the kernel can watch the time as well: 8 of 24 µs for 8 KiB). Replies are parsed by hiredis;
a single large one is received into its place, without the copies through a parser.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from ami.stores.codec import Buffer
from ami.stores.link import Reply, error_of

# At once: of 8 MiB, 64 KiB each time double the time. But most connections never have that much to read, and
# a process has several: so a wire begins with little, and has more from when there was more.
FIRST_BYTES, READ_BYTES = 1 << 16, 1 << 20
SEND_BYTES = 4 << 20  # that a unix socket may hold
DIRECT_BYTES = 1 << 18  # a reply from here on is received into its place
_DIRECT_DIGITS = len(str(DIRECT_BYTES))
_STRING = ord("$")


class Traffic:
    """Bytes that went over connections. Of two threads at once a count may be lost, which nobody misses."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.sent = self.received = 0


class Broken(Exception):
    """The connection broke: what was sent may have been carried out, or not.

    ``stale``: it had worked before; a server that was restarted breaks every one of those.
    """

    def __init__(self, text: str, *, stale: bool) -> None:
        super().__init__(text)
        self.stale = stale


class Wire:
    """One connection, used by one thread at a time.

    An error of Redis is an exception of ours, which is a reply like any other; ``close_it`` closes the
    socket, ``traffic`` counts. Large replies are memoryviews, others bytes.
    """

    def __init__(
        self, sock: socket.socket, timeout_s: float, close_it: Callable[[], Any], traffic: Traffic
    ) -> None:
        self._sock = sock
        self._close_it = close_it
        self._traffic = traffic
        self._reader = hiredis.Reader(replyError=error_of)
        self._used = False
        self._make_room(FIRST_BYTES)
        # OpenSSL would take a kernel's time-out for a reason to try again, for ever.
        self._is_plain = not hasattr(sock, "pending")
        if not self._is_plain:
            sock.settimeout(timeout_s)
            return
        interval = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        if sock.family == socket.AF_UNIX:
            # Otherwise 2 MiB go over in ten pieces, each with a switch to the server and back. The kernel
            # gives what net.core.wmem_max allows. TCP sockets grow by themselves.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        sock.settimeout(None)

    def _make_room(self, size: int) -> None:
        self._storage: Any = bytearray(size)  # hiredis takes it, its annotations do not say so
        self._buffer = memoryview(self._storage)

    def converse(self, pieces: Sequence[Buffer], count: int) -> list[Reply]:
        """Send ``pieces`` and return ``count`` replies, of which some may be exceptions.

        Raises:
            Broken: the connection is of no use any more.
        """
        try:
            for piece in pieces:
                self._sock.sendall(piece)
                self._traffic.sent += len(piece)
            replies = self._receive(count)
        except (BlockingIOError, TimeoutError) as error:
            raise Broken("no answer in time", stale=False) from error
        except (OSError, hiredis.HiredisError) as error:
            raise Broken(str(error) or type(error).__name__, stale=self._used) from error
        self._used = True
        return replies

    def _receive(self, count: int) -> list[Reply]:
        replies: list[Reply] = []
        reader, storage = self._reader, self._storage
        received = self._receive_into(self._buffer)
        # Most are small, which costs no more than to see that their length has few digits.
        if (
            count == 1
            and received > 1
            and storage[0] == _STRING
            and storage.find(b"\r\n", 1, 24) > _DIRECT_DIGITS
        ):
            large = self._receive_large(received)
            if large is not None:
                return [large]
        while True:
            if not received:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(self._storage, 0, received)
            # False says that more is to come: RESP2 has no such reply.
            while (reply := reader.gets()) is not False:
                replies.append(reply)
            if len(replies) >= count:
                return replies
            if received == len(self._buffer) < READ_BYTES:
                self._make_room(READ_BYTES)
            received = self._receive_into(self._buffer)

    def _receive_into(self, place: memoryview) -> int:
        received = self._sock.recv_into(place)
        self._traffic.received += received
        return received

    def _receive_large(self, received: int) -> memoryview | None:
        """Return the one large string whose first bytes were received; None if it is not large."""
        head, line_end, _ = bytes(self._buffer[1 : min(received, 24)]).partition(b"\r\n")
        if not line_end or int(head) < DIRECT_BYTES:
            return None
        length, start = int(head), len(head) + 3
        reply = memoryview(bytearray(length + 2))
        place = received - start
        reply[:place] = self._buffer[start:received]
        while place < len(reply):
            received = self._receive_into(reply[place:])
            if not received:
                raise ConnectionResetError("the server closed the connection")
            place += received
        return reply[:length].toreadonly()

    def is_open(self) -> bool:
        """Return whether the other side still has this connection, as far as one can see from here."""
        try:
            # Something to read, between two exchanges, is an end or a reply to nobody's command.
            if not self._is_plain:
                return not select.select([self._sock], [], [], 0)[0]
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._close_it()

    __del__ = close
