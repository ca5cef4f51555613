"""Hold connections to a tier, and decide what is done when one breaks.

When a connection breaks, nobody knows whether the last commands were carried out. Those that may be
repeated are: at once on a fresh connection, and then again and again, with back-off, for as long as the
tier's patience lasts, because a cluster's master that died takes seconds to be replaced. Those that may
not (a push, a script that changes something) end as StoreUnavailable. What Redis certainly did not carry
out (no connection; the slot has moved; it is still loading) is always tried again. The client library's
own retries are off: they know no difference (one RPUSH became two) and do not wait between tries.
"""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from ami.errors import StoreError, StoreUnavailable
from ami.stores.link import Command, Link, Reply, pack
from ami.stores.wire import Broken, Wire

Address: TypeAlias = tuple[str, int]  # of a node; the local tier has ("", 0)

BACK_OFF_S = (0.02, 0.2)  # first and longest pause between tries


class NotSent(Exception):
    """Nothing was carried out: there was no connection, or Redis sent us elsewhere."""


class HeldLink(Link):
    """Held connections, and what is done when they break. Safe for threads and after a fork."""

    tagged = False

    def __init__(self, what: str, patience_s: float, stopping: threading.Event | None) -> None:
        self._what = what
        self._patience_s = patience_s
        self._stopping = stopping or threading.Event()
        self._idle: dict[Address, list[Wire]] = {}
        self._process = os.getpid()
        self._closed = False

    # what the tiers differ in

    @abstractmethod
    def _connect(self, address: Address) -> Wire:
        """Return a new connection. NotSent: there is none now; ConfigError: there will be none."""

    @abstractmethod
    def _address(self, key: str) -> Address:
        """Return the node that has ``key``; NotSent when that is not known now."""

    @abstractmethod
    def _addresses(self) -> list[Address]:
        """Return the primary nodes."""

    @abstractmethod
    def _checked(self, replies: list[Reply]) -> list[Reply]:
        """Return ``replies`` if none is an error; raise ours, or NotSent, if one is."""

    @abstractmethod
    def _look_again(self) -> None:
        """Forget which node has what."""

    # what they share

    def call(self, key: str, commands: Sequence[Command], *, repeat: bool) -> list[Reply]:
        pieces = pack(commands)
        count = len(commands)

        def exchange(wire: Wire) -> list[Reply]:
            return self._checked(wire.converse(pieces, count))

        replies: list[Reply] = self._with_wire(lambda: self._address(key), exchange, repeat=repeat)
        return replies

    def change(
        self, key: str, reads: Sequence[Command], decide: Callable[[list[Reply]], Sequence[Command] | None]
    ) -> bool:
        written = False
        unwatch = pack([("UNWATCH",)])

        def exchange(wire: Wire) -> bool:
            nonlocal written
            try:
                seen = self._checked(wire.converse(pack([("WATCH", key), *reads]), 1 + len(reads)))
                writes = decide(seen[1:])
            except Broken:
                raise
            except BaseException:
                wire.converse(unwatch, 1)
                raise
            if not writes:
                # The wire goes back to others: a watch left on it would void their transactions.
                wire.converse(unwatch, 1)
                return True
            written = True
            replies = self._checked(wire.converse(pack([("MULTI",), *writes, ("EXEC",)]), 2 + len(writes)))
            return replies[-1] is not None

        done: bool = self._with_wire(lambda: self._address(key), exchange, repeat=lambda: not written)
        return done

    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Reply]]:
        results: list[list[Reply]] = []
        addresses: list[Address] = self._with_wire(None, lambda _wire: self._addresses(), repeat=True)
        for number, address in enumerate(addresses):
            batch = commands(number)
            if not batch:
                results.append([])
                continue

            def exchange(wire: Wire, batch: Sequence[Command] = batch) -> list[Reply]:
                return self._checked(wire.converse(pack(batch), len(batch)))

            def where(address: Address = address) -> Address:
                return address

            results.append(self._with_wire(where, exchange, repeat=True))
        return results

    def close(self) -> None:
        self._closed = True
        self._drop_idle()

    def _with_wire(
        self,
        where: Callable[[], Address] | None,
        exchange: Callable[[Any], Any],
        *,
        repeat: bool | Callable[[], bool],
    ) -> Any:
        """Let ``exchange`` talk over a wire, and try again where that is allowed and useful."""
        started: float | None = None
        pause = BACK_OFF_S[0]
        while True:
            try:
                return self._once(where, exchange, check=repeat is False)
            except Broken as error:
                if not (repeat() if callable(repeat) else repeat):
                    raise StoreUnavailable(
                        f"{self._what}: the connection broke, so it is not known whether the last command "
                        f"was carried out ({error})"
                    ) from error
                problem: Exception = error
            except NotSent as error:
                problem = error
            self._drop_idle()
            self._look_again()
            now = time.monotonic()
            if started is None:
                started = now
                if isinstance(problem, Broken) and problem.stale:
                    continue
            if now + pause - started > self._patience_s or self._stopping.is_set() or self._closed:
                raise StoreUnavailable(f"{self._what} cannot be reached: {problem}") from problem
            self._stopping.wait(pause)
            pause = min(2 * pause, BACK_OFF_S[1])

    def _once(
        self, where: Callable[[], Address] | None, exchange: Callable[[Any], Any], *, check: bool
    ) -> Any:
        if where is None:
            return exchange(None)
        address = where()
        wire = self._take(address, check=check)
        try:
            result = exchange(wire)
        except Broken:
            wire.close()
            raise
        except BaseException as error:
            # Our own errors come after all replies were read; anything else (Ctrl-C) may come before.
            if isinstance(error, (StoreError, NotSent)):
                self._give_back(address, wire)
            else:
                wire.close()
            raise
        self._give_back(address, wire)
        return result

    def _take(self, address: Address, *, check: bool) -> Wire:
        if self._process != os.getpid():
            # The wires belong to the process that we were forked from: not even to be closed.
            self._idle, self._process = {}, os.getpid()
        idle = self._idle.get(address)
        while idle:
            try:
                wire = idle.pop()
            except IndexError:
                break
            # What may be done only once must not be sent into a connection that is known to be dead.
            if not check or wire.is_open():
                return wire
            wire.close()
        return self._connect(address)

    def _give_back(self, address: Address, wire: Wire) -> None:
        if self._closed:
            wire.close()
        else:
            self._idle.setdefault(address, []).append(wire)

    def _drop_idle(self) -> None:
        for idle in list(self._idle.values()):
            while idle:
                with suppress(IndexError):  # another thread took it
                    idle.pop().close()
