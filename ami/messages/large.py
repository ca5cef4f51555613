"""What the large lane sends: a worker's record of its arena, a node's batch of a span, how far it came."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import field

from ami.graph.execution.partial import Partial
from ami.graph.execution.windows import ALL_KEYS
from ami.messages.flush import Covers
from ami.messages.message import message

NO_INTERVAL = -1  # of a state that is of more than one interval
WHOLE = ALL_KEYS  # the label of a state that is not shared out by keys

# Span, fingerprint, interval or NO_INTERVAL, label.
Row = tuple[int, str, int, Hashable]


@message
class SpanFacts:
    """Of which run and graph version a span's states are. So they mean something when their ring is gone."""

    run: int
    graph_version: int


@message
class Account:
    """Of the events of one interval that are in a span's states: how many, from when to when.

    ``seen`` were run, ``set_aside`` were not; ``used``, by fingerprint, reached that reduction.
    """

    covers: Covers = Covers()
    seen: int = 0
    set_aside: int = 0
    used: dict[str, int] = field(default_factory=dict)

    def plus(self, other: Account) -> Account:
        """Return the account of both. They have no event in common."""
        used = dict(self.used)
        for key, count in other.used.items():
            used[key] = used.get(key, 0) + count
        return Account(
            covers=self.covers.plus(other.covers),
            seen=self.seen + other.seen,
            set_aside=self.set_aside + other.set_aside,
            used=used,
        )


@message
class ArenaRecord:
    """What lies where in a worker's arena (offset, bytes), and which events came last into it.

    ``accounts``: by span and interval.
    """

    spans: dict[int, SpanFacts] = field(default_factory=dict)
    rows: dict[Row, tuple[int, int]] = field(default_factory=dict)
    accounts: dict[tuple[int, int], Account] = field(default_factory=dict)
    covered: list[tuple[int, int]] = field(default_factory=list)


@message
class IntervalPart:
    """What is in a batch of one interval. ``expected`` events were published or dropped."""

    interval: int
    covers: Covers
    expected: int
    dropped: int
    partial: Partial


@message
class LargeBatch:
    """A record of a node's large inbox: a span, or a part of one that is too large for one record.

    The accounts of all its intervals are in the ``last`` part, with which its states are whole. States of
    more than one interval are in the span's last interval. ``complete``: nothing of the span is missing.
    """

    node: str
    ring: int
    span: int
    run: int
    graph_version: int
    interval_ns: int
    workers: tuple[str, ...]
    intervals: list[IntervalPart]
    last: bool
    complete: bool


@message
class Parcel:
    """Stands in a large inbox for a :class:`LargeBatch` that lies in the shared memory of its node."""

    name: str
    bytes: int


@message
class SpanEnd:
    """Where the last span ends that was sent of a ring: ``position`` of the input, and in which interval."""

    position: int
    interval: int
    interval_ns: int
    run: int
    graph_version: int


@message
class LargeMark:
    """How far a node's large states are in its inbox, set in one step with each batch.

    ``places``: by ring, the first entry of the next span, and how many of its parts were sent. ``ends``: by
    ring. ``void``: as in a :class:`~ami.messages.batch.Mark`.
    """

    batch: int
    places: dict[int, tuple[int, int]]
    ends: dict[int, SpanEnd] = field(default_factory=dict)
    void: int = 0
