"""Speak with the nodes over ZeroMQ: who they are, how far they are, and what they are dealt.

One socket, one thread, no queue but the blocks that are kept: a node's credit says how much is on its way.
``docs/daq.md`` has the bytes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack
import zmq
from zmq.auth.thread import ThreadAuthenticator

from ami.daq.block import Block, Border, Packed, describe
from ami.daq.dealer import Dealer, Dealt, Item, Member, Part, Place, Said
from ami.errors import SourceError
from ami.event import Schema
from ami.sources.live.curve import Keys, secure

logger = logging.getLogger(__name__)

VERSION: Final = 1
MESSAGE_BYTES: Final = 1 << 16  # of what a node says
FENCE_AGAIN_S: Final = 5.0
SENT_BY_REFERENCE: Final = 1 << 15  # a smaller frame is cheaper copied
SAID: Final = ("hello", "ready", "had", "bye", "fenced")


class Sender:
    """A socket to which the nodes of ``daq://`` connect, and a dealer behind it.

    Args:
        address: HOST:PORT to listen at.
        told: what nodes must know of the input beside its fields: ``interval_s``, ``speed``.
        load: reads the events of a block again; None: they cannot be.
        lease_s: how long a node may be away before others get what it has not brought home.
    """

    def __init__(
        self, address: str, schema: Schema, dealer: Dealer, *, told: Mapping[str, Any], lease_s: float,
        keys: Keys | None = None, load: Callable[[Block], Packed] | None = None,
    ) -> None:  # fmt: skip
        self.dealer = dealer
        self.last_run = 0  # that any node knows of
        self.refused = 0
        self._lease_s = lease_s
        self._load = load
        self._welcome = msgpack.packb(
            {
                "say": "welcome",
                "daq": VERSION,
                "fields": describe(schema),
                "session": os.urandom(8).hex(),
                **told,
            }
        )
        self._pack = msgpack.Packer().pack
        self._context = zmq.Context(1)
        self._guard = None if keys is None else self._admit(keys)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # credit bounds what is on its way
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
        self._socket.setsockopt(zmq.IPV6, address.startswith("["))
        secure(self._socket, keys, server=True)
        self._look_at = 0.0
        try:
            self._socket.bind(f"tcp://{address}")
        except zmq.ZMQError as error:
            self.close()
            raise SourceError(f"cannot listen at {address}: {error}; is another sender there?") from error

    def _admit(self, keys: Keys) -> ThreadAuthenticator:
        """Let nobody in but those who have the nodes' key."""

        class Known:
            def callback(self, _domain: str, key: bytes) -> bool:
                return key == keys.peer

        guard = ThreadAuthenticator(self._context)
        guard.start()
        guard.configure_curve_callback(credentials_provider=Known())
        return guard

    def close(self) -> None:
        """Let go of the socket; what is on its way has a second."""
        self._socket.close()
        if self._guard is not None:
            self._guard.stop()
        self._context.term()

    # --- what nodes say -------------------------------------------------------------------------

    def step(self, timeout_s: float) -> None:
        """Hear what nodes say, for up to ``timeout_s`` if nobody says anything; see who stayed away."""
        wait_ms = round(1000 * timeout_s)
        while self._socket.poll(wait_ms):
            wait_ms = 0
            line, *frames = self._socket.recv_multipart()
            try:
                self._hear(line, msgpack.unpackb(frames[0]))
            except (
                KeyError,
                TypeError,
                ValueError,
                IndexError,
                AttributeError,
                msgpack.UnpackException,
            ) as error:
                self.refused += 1
                if self.refused < 10:
                    logger.warning("what a node says cannot be read: %r", error)
        now_s = time.monotonic()
        if now_s >= self._look_at:
            self._look_at = now_s + min(0.2, self._lease_s / 4)
            for member in self.dealer.look(now_s, self._lease_s, FENCE_AGAIN_S):
                self._have_fenced(member, now_s)

    def _hear(self, line: bytes, said: Mapping[str, Any]) -> None:
        kind = said["say"]
        if kind == "hello":
            self._send(line, self._welcome)
        elif kind == "ready":
            self._hear_ready(line, said)
        elif kind == "had":
            known = self.dealer.hear(line, said["turn"], said["last"], said["safe"], time.monotonic())
            if not known:
                self._send(line, self._pack({"say": "again"}))
        elif kind == "bye":
            self.dealer.leave(line, said["last"], said["safe"], time.monotonic())
        elif kind == "fenced":
            self._hear_fenced(said)
        else:
            raise ValueError(f"{kind!r} is nothing that a node says; known: {', '.join(SAID)}")

    def _hear_ready(self, line: bytes, said: Mapping[str, Any]) -> None:
        place = Place(str(said["node"]), int(said["ring"]))
        self.last_run = max(self.last_run, int(said["run"]))
        if self.dealer.was_taken(place):
            self._send(line, self._pack({"say": "taken", "ring": place.ring}))
            return
        unsent = self.dealer.join(
            place, line, turn=int(said["turn"]), last=int(said["last"]), safe=int(said["safe"]),
            credit=int(said["credit"]), now_s=time.monotonic(),
        )  # fmt: skip
        if unsent is None:
            # It is being fenced. Where nobody else can do that it does so itself, and hears that it was.
            self._ask_to_fence(line, place)
            return
        member = self.dealer.at(place)
        logger.info(
            "%s is here, at event %d of its own; %d are sent again", place.node, member.last, len(unsent)
        )
        for item in unsent:
            if not self._send_item(member, item):
                break

    def _have_fenced(self, member: Member, now_s: float) -> None:
        """Ask a node that is there to fence one that is not; the one with another ring may be the same."""
        present = sorted(self.dealer.present, key=lambda one: one.place.node == member.place.node)
        for other in present:
            assert other.line is not None
            if self._ask_to_fence(other.line, member.place):
                if member.condemned_s is None:
                    logger.warning(
                        "%s stays away; others get what it has not brought home", member.place.node
                    )
                member.condemned_s = now_s
                return

    def _ask_to_fence(self, line: bytes, place: Place) -> bool:
        return self._send(line, self._pack({"say": "fence", "node": place.node, "ring": place.ring}))

    def _hear_fenced(self, said: Mapping[str, Any]) -> None:
        place = Place(str(said["node"]), int(said["ring"]))
        again = self.dealer.take(place, int(said["safe"]))
        if again:
            logger.warning("%d events of %s are dealt again", again, place.node)

    # --- what they are sent ---------------------------------------------------------------------

    def deal(self, part: Part) -> bool:
        """Give a block to a node that has room for it; False: none has, or it can be reached no more."""
        self._see_to(part.block)
        given = self.dealer.deal(part)
        if given is None:
            return False
        self._send_item(*given)  # where it could not be, it is kept, and sent when that node comes again
        return True

    def deal_pool(self) -> bool:
        """Deal what was taken from nodes; return whether that was all."""
        pool = self.dealer.pool
        while pool:
            part = pool.popleft()
            if not self.deal(part):
                pool.appendleft(part)
                return False
        return True

    def announce(self, border: Border) -> None:
        """Tell every node of a border."""
        for member, said in self.dealer.announce(border):
            self._send_item(member, said)

    def _see_to(self, block: Block) -> None:
        """Read a block of which a predecessor has left only the place."""
        if block.packed is None:
            assert self._load is not None
            block.packed = self._load(block)

    def _send_item(self, member: Member, item: Item) -> bool:
        if member.line is None:
            return False
        after = member.send(item)
        if isinstance(item, Said):
            said = {"transition": item.border.transition.name.lower(), **_phase(item.border.phase)}
            return self._send(
                member.line, self._pack({"turn": member.turn, "sequence": item.at, "after": after, **said})
            )
        return self._send_block(member, item, after)

    def _send_block(self, member: Member, dealt: Dealt, after: int) -> bool:
        self._see_to(dealt.block)
        packed = dealt.block.packed
        assert packed is not None
        assert member.line is not None
        head = {
            "turn": member.turn, "sequence": dealt.at, "after": after, "events": dealt.block.count,
            **_phase(dealt.block.phase),
        }  # fmt: skip
        if dealt.skip:
            head["skip"] = dealt.skip
        if packed.lacking:
            head["lacking"] = packed.lacking
        if packed.lengths:
            head["lengths"] = packed.lengths
        return self._send(member.line, self._pack(head), *packed.frames)

    def _send(self, line: bytes, *frames: Any) -> bool:
        """Send a message; False: nobody is there any more."""
        try:
            self._socket.send(line, zmq.SNDMORE)
            for number, frame in enumerate(frames, start=1):
                flags = zmq.SNDMORE if number < len(frames) else 0
                self._socket.send(frame, flags, copy=len(memoryview(frame).cast("B")) < SENT_BY_REFERENCE)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.dealer.hang_up(line)
            return False
        return True


def _phase(phase: Any) -> dict[str, Any]:
    return {"run": phase.run, "step": phase.step, "value": phase.value}
