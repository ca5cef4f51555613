"""Say what a source is: events with their times and values, from a recording or from a stream.

A source knows nothing of rings, stores or clocks. It answers which events come next and when they
happened (:meth:`Source.span`), and writes their values where it is told (:meth:`Source.read`), straight
into slots of the ring. A protocol provides one of two kinds of input:

- :class:`Input`: event i, again, at any time. The daemon that plays it can be killed at any instruction: its
  successor asks again from the position that the ring remembers, and gets the same events.
- :class:`LiveInput`: what comes, once. What came while nobody listened is gone; the input counts it where it
  can tell, and it is counted as dropped.

:mod:`ami.sources.playback` and :mod:`ami.sources.stream` make a source of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ami.event import Schema, Slots, Transition
from ami.sources.pace import Pace
from ami.sources.refusals import Refusals
from ami.sources.uri import Uri

Timestamps = NDArray[np.int64]
Transitions = tuple[tuple[Transition, float], ...]


class Dictates(NamedTuple):
    """Why the runs, and the steps, of an input are its own, and not to be ordered; "" where they may be."""

    runs: str = ""
    steps: str = ""


NOTHING: Final = Dictates()


class Silence(Enum):
    """Why there are no events."""

    NOTHING_YET = "nothing yet"
    THE_END = "the end"


NOTHING_YET: Final = Silence.NOTHING_YET
THE_END: Final = Silence.THE_END


@dataclass(frozen=True, slots=True)
class Span:
    """Some of the events that come next, all of one step; perhaps none, only transitions: of a stream, or
    at the end of a recording, behind its last event.

    ``timestamps`` has an entry for each event, in ns, ascending. ``transitions`` are what the data
    acquisition said between the event before ``first`` and ``first``, in order, with their values:
    the number of the run, or the value of the step. Begin of the first run and end of the last are
    not among them: whoever plays an input begins a run with it, and ends it. ``lost`` events came
    before ``first`` and are gone.

    ``run`` and ``step`` are the numbers that a sender gave who numbers runs, of the events, or of what the
    one transition leads to; 0: whoever plays it counts.
    """

    first: int
    timestamps: Timestamps
    transitions: Transitions = ()
    step_value: float = 0.0
    lost: int = 0
    run: int = 0
    step: int = 0

    @property
    def count(self) -> int:
        return len(self.timestamps)


class Home(Protocol):
    """Where the events of a sender go that keeps what it dealt until it is safe: a ring of a node.

    node: its name; ring: the number of its ring, which ascends; position: how far the ring has the input;
    last_run: the highest number of a run that was known when it was made.
    """

    node: str
    ring: int
    last_run: int

    @property
    def position(self) -> int: ...

    def find_safe(self) -> int:
        """Return up to which position each event is in a batch that the global store has accepted."""

    def fence(self, node: str, ring: int) -> int:
        """Let nothing more of a ring into the global store; return up to which position its events are in it.

        Whoever still brings some of them is refused, and leaves that ring.

        Raises:
            StoreUnavailable
        """


@runtime_checkable
class Dealing(Protocol):
    """What a source does beside, whose sender keeps what it dealt.

    was_taken: what is in the ring was dealt to others; it must be left for a new one.
    """

    @property
    def was_taken(self) -> bool: ...

    def join(self, home: Home) -> None:
        """Begin, or begin anew, with this ring."""

    def tend(self) -> None:
        """Tell the sender how things are. To be called several times a second, whatever is to be done."""


class Source(Protocol):
    """A numbered input of events with its pace; see the module.

    identity: hex digest of what the input is. Equal input, equal identity; pace and policy do not
        enter, so that a replay may go on at another speed.
    whole: equal for inputs that are parts of one thing, as the shares of a replay that several nodes play; ""
        where nobody can tell. Without a blank.
    length: number of events, or None where there is no end.
    live: what was handed on once is not there again.
    pace: when events are due.
    interval_s: length of interval that the URI asks for or, in a replay as fast as possible, that is
        proposed; None: the node's setting. :func:`ami.sources.intervals.choose` weighs them.
    interval_fixed: the URI asks for ``interval_s``.
    policy: "wait" or "drop" where the URI, or the kind of source, says so.
    skipped: what of the input is no field, each with the reason, for people.
    numbers_runs: each span says of which run and step it is, borders may be said again, and events of a step
        may come after its end: the sender deals them to several nodes.
    """

    identity: str
    whole: str
    length: int | None
    live: bool
    numbers_runs: bool
    interval_s: float | None
    interval_fixed: bool
    policy: str | None

    @property
    def schema(self) -> Schema:
        """Fields of every event. Of a stream they may have to be waited for: see :meth:`ready`."""

    @property
    def pace(self) -> Pace: ...

    @property
    def skipped(self) -> tuple[str, ...]: ...

    @property
    def dictates(self) -> Dictates:
        """Whether runs and steps are the input's own. A stream shows it with the first that it says."""

    @property
    def state(self) -> str:
        """Say in a few words what it waits for, or what is wrong; "" when events come."""

    @property
    def counters(self) -> Mapping[str, float]:
        """What a stream counted beside its events, or a recording left out; {} of most recordings."""

    def ready(self, timeout_s: float, earlier: Schema | None = None) -> bool:
        """Wait until the schema is known; return whether it is.

        Args:
            earlier: what it was in the ring that is to be continued; a stream that knows none keeps it.

        Raises:
            SourceError: the input cannot be reached as it is asked for.
        """

    def resume(self, position: int) -> int:
        """Go on at ``position`` (0: from the beginning) as far as that is possible; return the position.

        A recording goes on where it was. A stream is where it is: what lies between is in ``lost`` of its
        first span.
        """

    def span(self, first: int, limit: int, timeout_s: float = 0.0) -> Span | Silence:
        """Return up to ``limit`` events from position ``first`` on, NOTHING_YET or THE_END.

        A stream waits for up to ``timeout_s`` for some, and gives those that come next, whatever ``first``
        is: a position in a stream is passed once. Of a recording a span without events is the end, as THE_END
        is, with what was said before it.

        Raises:
            SourceError: the input has gone bad.
        """

    def read(self, first: int, into: Slots, fields: frozenset[str]) -> None:
        """Write the events from position ``first`` on: the columns of ``fields``, which event has which of
        them (:meth:`~ami.event.Slots.set_valid`), and timestamps.

        Events have no other fields. What stands in a column where an event lacks it means nothing. A
        stream writes events of its last span.

        Raises:
            SourceError: the input has gone bad, or ends before ``first + into.count``.
        """

    def close(self) -> None:
        """Let go of files, sockets and memory. Called once."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an event stands in runs and steps: numbers, value, and index of the first event behind."""

    run: int
    number: int
    value: float
    stop: int


class Input(Protocol):
    """What a protocol of recorded or simulated events provides: events by index. Selection, repetition and
    pace are put around it by :class:`ami.sources.playback.Playback`, once for all of them.

    content: text that is equal for equal input, from which the identity is made.
    count: number of events, or None where there is no end.
    rate_hz: mean number of events per second of event time.
    counters: may be there: what was left out of events, by names of its own.
    """

    schema: Schema
    content: str
    count: int | None
    skipped: tuple[str, ...]

    @property
    def rate_hz(self) -> float: ...

    def timestamps(self, index: int, into: Timestamps) -> None:
        """Write the timestamps, in ns, of ``len(into)`` events from ``index`` on."""

    def step(self, index: int) -> Step | None:
        """Return the step of an event; None where the input has no steps."""

    def read(self, index: int, into: Slots, fields: frozenset[str]) -> None:
        """Write columns of ``fields`` of the events from ``index`` on, and which event has which of them."""

    def close(self) -> None:
        """Let go of files and memory."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a stream gave at once: consecutive events, the first of which has the number ``position``.

    timestamps: of each event, ns, as they were sent. No event: only transitions.
    transitions: what was said before the first event.
    lost: events before the first one that did not come.
    run, step, step_value: as in :class:`Span`, where the sender numbers runs.
    """

    position: int
    timestamps: Timestamps
    transitions: Transitions = ()
    lost: int = 0
    run: int = 0
    step: int = 0
    step_value: float = 0.0


@runtime_checkable
class LiveInput(Protocol):
    """What a protocol of a stream provides: what comes. Refusals of absurd times, waiting and pace are put
    around it by :class:`ami.sources.stream.Stream`, once for all of them.

    It keeps what :meth:`receive` gave until it is asked for more, and :meth:`read` writes it: so values go
    from where they were received straight into the ring, only those that the graph of their entry asks for,
    and nothing is decoded of events that find no room. (Rejected: ``receive`` writes into slots reserved
    before it is known which interval, so which graph and which fields, the events belong to.)

    schema: None until it is known, at the latest with the first events that ``receive`` returns. Who knows it
        from elsewhere sets it.
    content: text that is equal for equal input, from which the identity is made.
    refusals: what came and was not taken.
    numbers_runs: may be there: see :class:`Source`. Its times are not held against each other.
    """

    schema: Schema | None
    content: str
    skipped: tuple[str, ...]
    refusals: Refusals

    def resume(self, position: int) -> int:
        """Go on after ``position`` events (0: nothing is known); see :meth:`Source.resume`."""

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        """Return about ``limit`` events at most, as soon as there are some; wait for up to ``timeout_s``.

        Raises:
            SourceError: nothing can be received as it is asked for.
        """

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        """Write the events from index ``start`` of the last :meth:`receive` on: columns of ``fields``,
        and which event has which of them."""

    def close(self) -> None:
        """Let go of sockets and memory. Called once."""


# What opens the inputs of a protocol; it returns the input, or a source, and the values of its options.
Opener = Callable[[Uri], tuple[Any, dict[str, Any]]]
