"""Say what a daemon's work is, without its process: what the runtime loops and tests step by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ami.config import Config
from ami.daemons.process.name import NodeName
from ami.stores.opened import Stores
from ami.stores.wire import Traffic

# The longest step that is known on a busy machine: to check, or to plan, the largest graph that is accepted.
LONG_STEP_S = 60.0
BUSY_S = 1.0  # after its last work a process is at rest


class Stopping(threading.Event):
    """Set when the process was asked to stop. Stages wait on it instead of sleeping."""


class Patience:
    """What a step says before it does what may take long: that this is no hang, up to a time.

    A step that reads a graph of 10,000 operations computes for seconds, and no bytes go through its hands.
    """

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def is_asked(self) -> bool:
        """Whether a step is in what it said takes long, and not for too long."""
        return time.monotonic() < self._until

    @contextmanager
    def up_to(self, most_s: float = LONG_STEP_S) -> Iterator[None]:
        """Ask for patience with what is done in a ``with`` statement."""
        self._until = time.monotonic() + most_s
        try:
            yield
        finally:
            self._until = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long the daemons wait for what, in seconds. Nobody sets these but tests, which wait for nothing."""

    ring_s: float = 0.1  # for events, or for an entry
    rest_s: float = 0.2  # the same, where none has come for a while
    store_s: float = 0.2  # for a batch, a request or a lease
    push_s: float = 1.0  # for another graph; the watch looks by itself after it
    look_s: float = 1.0  # between looks for what is rare: workers that stay away, nodes, rings left behind
    step_s: float = 0.5  # until a step leaves the rest of a backlog to the next one
    schema_s: float = 5.0  # for a source, before a graph is checked without its fields
    # What user code gets for one event. The monitor is patient for longer than this.
    check_s: float = 1.5


class Rest:
    """How long to wait for work in the ring: longer where none has come for a while.

    A wake-up that is missed costs one wait, which is seldom; each wait that ends for nothing costs a node at
    rest, always.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._worked_at = time.monotonic()

    def note_work(self) -> None:
        self._worked_at = time.monotonic()

    @property
    def wait_s(self) -> float:
        is_busy = time.monotonic() - self._worked_at < BUSY_S
        return self._waits.ring_s if is_busy else self._waits.rest_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a stage is made from; the process opens it and lets go of it.

    ``shared``: where the stage counts the bytes that it puts into shared memory and takes from there;
    ``patience``: where it says that a step may take long. ``gets_on`` is called within such a step, where it
    is known not to be stuck. ``alone``: whether the process is the stage's own, so that it may set limits and
    timers. ``name``: that of the node, where a process holds it.
    """

    config: Config
    stores: Stores
    number: int = 0
    stopping: Stopping = field(default_factory=Stopping)
    waits: Waits = Waits()
    shared: Traffic = field(default_factory=Traffic)
    patience: Patience = field(default_factory=Patience)
    gets_on: Callable[[], None] = lambda: None
    alone: bool = False
    name: NodeName | None = None


class Stage(Protocol):
    """One daemon's work, without its process: what tests drive step by step.

    It is made from a :class:`Setup`. Its constructor asks nobody for anything.
    """

    @property
    def state(self) -> str:
        """Say in a few words what it does now, for people."""

    @property
    def counters(self) -> Mapping[str, float]:
        """Numbers for the heartbeat, by the names of the glossary."""

    def start(self) -> None:
        """Do what comes before the first step.

        Raises:
            StoreUnavailable, RingError: it could not be done now; nothing is left behind, call again.
        """

    def step(self) -> None:
        """Do one short piece of work, or wait for some for at most 0.2 s."""

    def close(self) -> None:
        """Hand on what was accepted and let go of everything. Called exactly once, started or not."""
