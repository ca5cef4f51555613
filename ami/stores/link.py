"""What a store asks of its connections, and how commands become bytes.

A command is a tuple of parts: bytes, str, int, or :class:`ami.stores.codec.Chunks`. Commands that go
together are for keys of one hash slot, and travel in one round trip. Large pieces are handed to the
kernel from where they lie; everything small is joined, because a system call costs more than a copy.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ami.errors import Conflict, StoreError, StoreFull
from ami.stores.codec import Buffer, Chunks

Part: TypeAlias = bytes | str | int | Chunks
Command: TypeAlias = tuple[Part, ...]
Reply: TypeAlias = Any  # what Redis says: int, bytes, None, or a list of these

LARGE_BYTES = 1 << 16  # pieces from here on are sent from where they lie
ARRIVING_MS = 60_000  # of a value that is sent before the script that stores it, which never ran
CHANGES = 200  # tries of an optimistic change, against others who change the same key


class Refused(StoreError):
    """Redis answered with an error; ``code`` is its first word, for example WRONGTYPE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"the store refused a command: {text}")
        self.code = code


class NotAllowed(Refused):
    """Who is logged in may not do this."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, f"{text}; who may what, `ami access --help` says")


class NotDone(Exception):
    """Nothing was carried out: there was no connection, or Redis would not just now.

    ``look``: it may be that another node has the key by now.
    """

    asking = False

    def __init__(self, text: str, *, look: bool = True) -> None:
        super().__init__(text)
        self.look = look


class Redirect(NotDone):
    """Another node has the key: from now on, or, with ``asking``, for this command."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        word, _, place = text.split(" ")[:3]
        host, _, port = place.rpartition(":")
        self.asking = word == "ASK"
        self.address = (host, int(port))


def error_of(text: str) -> Exception:
    """Return what an error reply of Redis is to us."""
    code = text.split(" ", 1)[0]
    if code in ("MOVED", "ASK"):
        return Redirect(text)
    if code in ("CLUSTERDOWN", "MASTERDOWN", "READONLY", "TRYAGAIN", "LOADING"):
        return NotDone(text, look=code not in ("TRYAGAIN", "LOADING"))
    if "OOM" in text[:200] and "maxmemory" in text:
        return StoreFull(
            f"the store has no memory left: {text}; wait until somebody takes values out, or raise "
            f"max_memory_bytes of its tier"
        )
    if text.startswith("MISCONF"):
        return StoreFull(
            f"the store cannot append to its file: {text}; make room there (in /dev/shm, unless append_to of "
            f"its tier is 'disk')"
        )
    return NotAllowed(code, text) if code == "NOPERM" else Refused(code, text)


class Script:
    """A Lua script, sent by its hash; Redis is given the text when it does not know it (any more)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Link(ABC):
    """Connections to one tier.

    ``repeat`` says that commands may be carried out twice without harm: only then are they sent again
    when a connection broke before the answer. Every method raises StoreUnavailable, StoreFull, or
    :class:`Refused`.

    ``copied`` says that somebody relies on what is written: where the server has copies that live, it returns
    when one of them has it (``copies.py``), and StoreUnavailable is also that none has.
    """

    tagged: bool  # whether a prefix is a hash tag
    block_s: float  # the longest that a command may block in Redis
    has_copies = False  # whether any server of the tier had some, as far as is known

    @abstractmethod
    def call(
        self, key: str, commands: Sequence[Command], *, repeat: bool, copied: bool = False
    ) -> list[Reply]:
        """Carry out ``commands``, whose keys share the slot of ``key``; return their replies in order."""

    @abstractmethod
    def change(
        self,
        key: str,
        reads: Sequence[Command],
        decide: Callable[[list[Reply]], Sequence[Command] | None],
        *,
        again: bool = False,
    ) -> bool:
        """Read, decide, write; return whether ``key`` stayed untouched meanwhile (else nothing is written).

        ``decide`` returns the commands that go together into a transaction, or None for none. ``again``: it
        sees by what it reads whether they were carried out, so all is done again where that is not known.
        """

    @abstractmethod
    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Reply]]:
        """Carry out ``commands(n)`` at each primary node n; return the replies of each, in that order.

        None is the reply about a key that lies on another node by now.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection."""

    def one(self, key: str, *command: Part, repeat: bool) -> Reply:
        """Carry out one command on ``key``, which is put behind its first word."""
        return self.call(key, [(command[0], key, *command[1:])], repeat=repeat)[0]

    def atomic(self, key: str, commands: Sequence[Command], *, repeat: bool) -> list[Reply]:
        """Carry out ``commands`` together, with nobody else's between them.

        A command that Redis refuses while it runs them does not stop the others: what must not
        happen then belongs into a script.
        """
        replies: list[Reply] = self.call(key, [("MULTI",), *commands, ("EXEC",)], repeat=repeat)[-1]
        return replies

    def script(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Part] = (),
        *,
        before: Sequence[Command] = (),
        repeat: bool,
        copied: bool = False,
    ) -> Reply:
        """Run a script, with the commands ``before`` it in the same round trip (twice, maybe)."""
        rest = (len(keys), *keys, *arguments)
        try:
            known: Command = ("EVALSHA", script.sha, *rest)
            return self.call(keys[0], [*before, known], repeat=repeat, copied=copied)[-1]
        except Refused as error:
            if error.code != "NOSCRIPT":
                raise
        told: Command = ("EVAL", script.text, *rest)
        return self.call(keys[0], [*before, told], repeat=repeat, copied=copied)[-1]

    def waits(self, timeout_s: float) -> Iterator[float]:
        """Yield how long a command may block now, until ``timeout_s`` are over; once at least, maybe 0."""
        deadline = time.monotonic() + timeout_s
        while True:
            yield max(0.0, min(deadline - time.monotonic(), self.block_s))
            if time.monotonic() >= deadline:
                return

    def changed(
        self,
        key: str,
        reads: Sequence[Command],
        decide: Callable[[list[Reply]], Sequence[Command] | None],
        *,
        again: bool = False,
    ) -> None:
        """Read, decide, write, again and again until nobody else came in between; see :meth:`change`.

        Raises:
            Conflict: others were faster too many times.
        """
        for _ in range(CHANGES):
            if self.change(key, reads, decide, again=again):
                return
        raise Conflict(f"{key!r} was changed by others during each of {CHANGES} tries")


def pack(commands: Sequence[Command]) -> list[Buffer]:
    """Return the bytes of ``commands`` in Redis' protocol, in pieces to send one after the other."""
    pieces: list[Buffer] = []
    small: list[Buffer] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for part in command:
            if isinstance(part, Chunks):
                small.append(b"$%d\r\n" % part.nbytes)
                for buffer in part.buffers:
                    if len(buffer) >= LARGE_BYTES:
                        pieces.append(b"".join(small))
                        pieces.append(buffer)
                        small = []
                    else:
                        small.append(buffer)
                small.append(b"\r\n")
            else:
                data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
                small.append(b"$%d\r\n%s\r\n" % (len(data), data))
    pieces.append(b"".join(small))
    return pieces
