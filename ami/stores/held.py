"""Hold connections to a tier, and decide what is done when one breaks or a key lies elsewhere.

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
from dataclasses import dataclass
from typing import Any, TypeAlias

from ami.errors import StoreError, StoreUnavailable
from ami.stores.exchange import Change, Exchange
from ami.stores.link import Command, Link, NotDone, Redirect, Reply
from ami.stores.wire import Broken, Traffic, Wire

Address: TypeAlias = tuple[str, int]  # of a node

ONLY: Address = ("", 0)  # the one server of a tier that is no cluster
AT_ONCE = 3  # tries without a pause: to the key's owner, from there to the next, with a fresh connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long a link waits: for an answer, for a connection, and from try to try.

    ``patience_s`` ends the tries. ``refresh_s``: nobody is asked more often who has what, because of
    nodes that do not answer.
    """

    answer_s: float
    connect_s: float = 0.5
    patience_s: float = 0.0
    pauses_s: tuple[float, float] = (0.02, 0.2)  # the first, and the longest
    refresh_s: float = 0.2


class HeldLink(Link):
    """Connections that are held, and what is done when they break.

    Made to be shared by the threads of a process: each exchange has a connection of its own for as long
    as it takes, one that is idle or a new one. So a thread that blocks in Redis keeps nobody waiting, and
    there are as many connections as there ever were exchanges at once. A forked child opens its own.
    """

    tagged = False

    def __init__(self, what: str, waits: Waits) -> None:
        self.block_s = waits.answer_s / 2
        self.traffic = Traffic()
        self._what = what
        self._waits = waits
        self._idle: dict[Address, list[Wire]] = {}
        self._process = os.getpid()
        self._closed = threading.Event()

    # what the tiers differ in; a single server needs no more than to be connected to

    @abstractmethod
    def _connect(self, address: Address) -> Wire:
        """Return a new connection. NotDone: there is none now; ConfigError: there will be none."""

    def _address(self, key: str) -> Address:
        """Return the node that has ``key``; NotDone when that is not known now."""
        return ONLY

    def _addresses(self) -> list[Address]:
        """Return the primary nodes; NotDone when they are not known now."""
        return [ONLY]

    def _forget(self, knows: Address | None = None) -> None:
        """Ask again who has what before the next try; ``knows`` does, if it is given."""

    def _confirm(self, address: Address, wire: Wire) -> None:
        """Wait until a copy of a node has what was written over a wire; see :meth:`Copies.wait`."""

    # what they share

    def call(
        self, key: str, commands: Sequence[Command], *, repeat: bool, copied: bool = False
    ) -> list[Reply]:
        replies: list[Reply] = self._hold(Exchange(commands, repeat=repeat, copied=copied), key)
        return replies

    def change(
        self,
        key: str,
        reads: Sequence[Command],
        decide: Callable[[list[Reply]], Sequence[Command] | None],
        *,
        again: bool = False,
    ) -> bool:
        return bool(self._hold(Change(key, reads, decide, again=again), key))

    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Reply]]:
        results: list[list[Reply]] = []
        for number, address in enumerate(self._primaries()):
            batch = commands(number)
            here = Exchange(batch, repeat=True, here=True)
            results.append(self._hold(here, "", address) if batch else [])
        return results

    def _primaries(self) -> list[Address]:
        tries = self._tries()
        while True:
            try:
                return self._addresses()
            except NotDone as error:
                self._forget()
                tries.pause(error)

    def close(self) -> None:
        self._closed.set()
        for address in list(self._idle):
            self._drop_idle(address)

    def _hold(self, exchange: Exchange, key: str, at: Address | None = None) -> Any:
        """Hold ``exchange`` with the node that has ``key``, or is ``at``; again where that is of use."""
        tries: _Tries | None = None
        asked: Address | None = None
        while True:
            try:
                return self._once(asked or at or self._address(key), exchange, asking=asked is not None)
            except Broken as error:
                if not exchange.repeat:
                    raise StoreUnavailable(
                        f"{self._what}: the connection broke, so it is not known whether the last command "
                        f"was carried out ({error})"
                    ) from error
                problem: Exception = error
                at_once, asked = error.stale, None
                self._forget()
            except Redirect as error:
                problem = error
                at_once, asked = True, error.address if error.asking else None
                if not error.asking:
                    self._forget(error.address)
            except NotDone as error:
                problem = error
                at_once, asked = False, None
                if error.look:
                    self._forget()
            tries = tries or self._tries()
            if not (at_once and tries.at_once()):
                tries.pause(problem)
                asked = None

    def _once(self, address: Address, exchange: Exchange, *, asking: bool = False) -> Any:
        wire = self._take(address, check=not exchange.repeat)
        try:
            result = exchange.over(wire, asking=asking)
            if exchange.copied:
                self._confirm(address, wire)
        except Broken:
            exchange.begin_again()
            wire.close()
            self._drop_idle(address)
            raise
        except BaseException as error:
            # Our own errors come after all replies were read; anything else (Ctrl-C) may come before.
            if isinstance(error, (StoreError, NotDone)):
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
            except IndexError:  # another thread took it
                break
            # What may be done only once must not be sent into a connection that is known to be dead.
            if not check or wire.is_open():
                return wire
            wire.close()
        return self._connect(address)

    def _give_back(self, address: Address, wire: Wire) -> None:
        if self._closed.is_set():
            wire.close()
        else:
            self._idle.setdefault(address, []).append(wire)

    def _drop_idle(self, address: Address) -> None:
        idle = self._idle.get(address, [])
        while idle:
            with suppress(IndexError):  # another thread took it
                idle.pop().close()

    def _tries(self) -> _Tries:
        return _Tries(self._what, self._waits, self._closed)


class _Tries:
    """The tries of one exchange: which come at once, the pauses before the others, and their end."""

    def __init__(self, what: str, waits: Waits, closed: threading.Event) -> None:
        self._what, self._closed = what, closed
        self._ends = time.monotonic() + waits.patience_s
        self._pause_s, self._longest_s = waits.pauses_s
        self._left_at_once = AT_ONCE

    def at_once(self) -> bool:
        """Return whether a try that promises more than the last one may come at once."""
        self._left_at_once -= 1
        return self._left_at_once >= 0

    def pause(self, problem: Exception) -> None:
        """Wait until the next try.

        Raises:
            StoreUnavailable: there is none.
        """
        if time.monotonic() + self._pause_s > self._ends or self._closed.wait(self._pause_s):
            raise StoreUnavailable(f"{self._what} cannot be reached: {problem}") from problem
        self._pause_s = min(2 * self._pause_s, self._longest_s)
        self._left_at_once = AT_ONCE
