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
from ami.stores.wire import Broken, Wire

Address: TypeAlias = tuple[str, int]  # of a node; the local tier has ("", 0)

FOLLOWED = 3  # redirections in a row that are followed at once: to the owner, and from there to the next


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

    def __init__(self, what: str, waits: Waits, stopping: threading.Event | None) -> None:
        self.block_s = waits.answer_s / 2
        self._what = what
        self._waits = waits
        self._stopping = stopping or threading.Event()
        self._idle: dict[Address, list[Wire]] = {}
        self._process = os.getpid()
        self._closed = False

    # what the tiers differ in

    @abstractmethod
    def _connect(self, address: Address) -> Wire:
        """Return a new connection. NotDone: there is none now; ConfigError: there will be none."""

    @abstractmethod
    def _address(self, key: str) -> Address:
        """Return the node that has ``key``; NotDone when that is not known now."""

    @abstractmethod
    def _addresses(self) -> list[Address]:
        """Return the primary nodes; NotDone when they are not known now."""

    @abstractmethod
    def _forget(self, knows: Address | None = None) -> None:
        """Ask again who has what before the next try; ``knows`` does, if it is given."""

    # what they share

    def call(self, key: str, commands: Sequence[Command], *, repeat: bool) -> list[Reply]:
        replies: list[Reply] = self._hold(Exchange(commands, repeat=repeat), key)
        return replies

    def change(
        self, key: str, reads: Sequence[Command], decide: Callable[[list[Reply]], Sequence[Command] | None]
    ) -> bool:
        return bool(self._hold(Change(key, reads, decide), key))

    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Reply]]:
        tries = _Tries(self._what, self._waits, self._stopping)
        while True:
            try:
                addresses = self._addresses()
                break
            except NotDone as error:
                self._forget()
                tries.pause(error, self._closed)
        results = []
        for number, address in enumerate(addresses):
            batch = commands(number)
            here = Exchange(batch, repeat=True, here=True)
            results.append(self._hold(here, "", address) if batch else [])
        return results

    def close(self) -> None:
        self._closed = True
        for address in list(self._idle):
            self._drop_idle(address)

    def _hold(self, exchange: Exchange, key: str, at: Address | None = None) -> Any:
        """Hold ``exchange`` with the node that has ``key``, or is ``at``; again where that is of use."""
        tries: _Tries | None = None
        asked: Address | None = None
        while True:
            try:
                return self._once(asked or at or self._address(key), exchange, asking=asked is not None)
            except (NotDone, Broken) as error:
                problem = error
            tries = tries or _Tries(self._what, self._waits, self._stopping)
            if isinstance(problem, Broken) and not exchange.repeat:
                raise StoreUnavailable(
                    f"{self._what}: the connection broke, so it is not known whether the last command "
                    f"was carried out ({problem})"
                ) from problem
            asked = None
            if isinstance(problem, Redirect):
                if not problem.asking:
                    self._forget(problem.address)
                if tries.follow():
                    asked = problem.address if problem.asking else None
                    continue
            elif isinstance(problem, Broken) or problem.look:
                self._forget()
                if isinstance(problem, Broken) and problem.stale and tries.first():
                    continue
            tries.pause(problem, self._closed)

    def _once(self, address: Address, exchange: Exchange, *, asking: bool = False) -> Any:
        wire = self._take(address, check=not exchange.repeat)
        try:
            result = exchange.over(wire, asking=asking)
        except Broken:
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
        if self._closed:
            wire.close()
        else:
            self._idle.setdefault(address, []).append(wire)

    def _drop_idle(self, address: Address) -> None:
        idle = self._idle.get(address, [])
        while idle:
            with suppress(IndexError):  # another thread took it
                idle.pop().close()


class _Tries:
    """The tries of one exchange: which come at once, the pauses between the others, and their end."""

    def __init__(self, what: str, waits: Waits, stopping: threading.Event) -> None:
        self._what, self._waits, self._stopping = what, waits, stopping
        self._ends = time.monotonic() + waits.patience_s
        self._pause_s, self._longest_s = waits.pauses_s
        self._follow = FOLLOWED
        self._is_first = True

    def first(self) -> bool:
        """Return whether nothing was tried again yet."""
        is_first, self._is_first = self._is_first, False
        return is_first

    def follow(self) -> bool:
        """Return whether a redirection is to be followed at once."""
        self._follow -= 1
        return self._follow >= 0

    def pause(self, problem: Exception, closed: bool) -> None:
        """Wait until the next try.

        Raises:
            StoreUnavailable: there is none.
        """
        if time.monotonic() + self._pause_s > self._ends or self._stopping.is_set() or closed:
            raise StoreUnavailable(f"{self._what} cannot be reached: {problem}") from problem
        self._stopping.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self._longest_s)
        self._follow, self._is_first = FOLLOWED, False
