"""Deal the events of a replay to several nodes: each plays every Nth one, and hears of all borders.

Position k of a share is position ``offset + k * every`` of the whole, which was selected and repeated
before. So each event is in one share, with its own time, and all have pace and intervals of the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Schema, Slots
from ami.sources.base import THE_END, Dictates, Silence, Source, Span
from ami.sources.pace import Replay
from ami.sources.playback import Playback
from ami.sources.uri import Uri

# Of small fields whole stretches are read, and every Nth row is taken: a call for each event would cost more
# than what it spares. It is the other way round where so many bytes lie between two events of a share.
APART_BYTES = 1 << 16
STRETCH_BYTES = 1 << 20  # read at once: still in the cache when the rows are taken
FIELD_BYTES = 1 << 12  # and so many for each field: of thousands a stretch would be a few events, all calls
STRETCH_EVENTS = 1 << 18  # of which the times are looked at for one span


def deal(whole: Playback, uri: Uri, options: Mapping[str, Any]) -> Source:
    """Return the share of ``whole`` that ``every`` and ``offset`` name, which may be the whole.

    Raises:
        SourceError: there is no such share.
    """
    every, offset = options["every"], options["offset"]
    if offset >= every:
        raise SourceError(
            f"{uri.text!r}: offset={offset} is not below every={every}; the first share is offset=0"
        )
    return whole if every == 1 else Share(whole, uri, every, offset)


class Share:
    """A :class:`~ami.sources.base.Source` of the events ``offset``, ``offset + every`` ... of a replay.

    Args:
        whole: closed with this.
    """

    live = False
    numbers_runs = False
    state = ""

    def __init__(self, whole: Playback, uri: Uri, every: int, offset: int) -> None:
        self._whole = whole
        self._uri = uri
        self._every, self._offset = every, offset
        self.length = None if whole.length is None else len(range(offset, whole.length, every))
        self.identity = hashlib.sha256(
            f"{whole.identity}\nevery {every} offset {offset}".encode()
        ).hexdigest()
        self.whole = whole.whole
        self.schema, self.skipped = whole.schema, whole.skipped
        self.pace = Replay(whole.pace.speed if whole.pace.paced else None, is_shared=True)
        self.policy = whole.policy
        self.interval_s, self.interval_fixed = whole.interval_s, whole.interval_fixed
        self._plan = _Plan(self.schema, frozenset(), every)

    @property
    def counters(self) -> Mapping[str, float]:
        return self._whole.counters

    @property
    def dictates(self) -> Dictates:
        return self._whole.dictates

    def ready(self, timeout_s: float, earlier: Schema | None = None) -> bool:
        return True

    def resume(self, position: int) -> int:
        return position

    def _place(self, position: int) -> int:
        """Return the position in the whole."""
        return self._offset + position * self._every

    def span(self, first: int, limit: int, timeout_s: float = 0.0) -> Span | Silence:
        """Return up to ``limit`` events from position ``first`` on; see :class:`~ami.sources.base.Source`."""
        unsaid = self._place(first - 1) + 1 if first else 0
        if self.length is not None and first >= self.length:
            assert self._whole.length is not None
            said = self._whole.said(unsaid, self._whole.length)
            return Span(first, np.empty(0, np.int64), said) if said else THE_END
        place = self._place(first)
        count = min(limit, max(1, STRETCH_EVENTS // self._every))
        here = self._whole.span(place, (count - 1) * self._every + 1)
        assert isinstance(here, Span)
        said = self._whole.said(unsaid, place + 1)
        return Span(first, here.timestamps[:: self._every].copy(), said, here.step_value)

    def read(self, first: int, into: Slots, fields: frozenset[str]) -> None:
        """Write the events from position ``first`` on; see :class:`~ami.sources.base.Source`."""
        if self.length is not None and first + into.count > self.length:
            raise SourceError(
                f"{self._uri.text!r} has {self.length} events; {first} to {first + into.count} were asked for"
            )
        if not self._plan.suits(into.schema, fields):
            self._plan = _Plan(into.schema, fields, self._every)
        plan = self._plan
        into.valid[:] = 0
        if plan.apart:
            for row in range(into.count):
                self._whole.read(self._place(first + row), into.part(row, row + 1), plan.apart)
        for start in range(0, into.count, plan.at_once):
            part = into.part(start, min(start + plan.at_once, into.count))
            stretch = plan.stretch.part(0, (part.count - 1) * self._every + 1)
            self._whole.read(self._place(first + start), stretch, plan.together)
            for name in plan.together:
                part[name][:] = stretch[name][:: self._every]
            part.valid[:] |= stretch.valid[:, :: self._every]
            part.timestamps[:] = stretch.timestamps[:: self._every]

    def close(self) -> None:
        self._whole.close()


class _Plan:
    """How ``fields`` are read: ``apart``, event by event, or ``together``, by stretches of the whole, of
    which ``at_once`` events are taken. A variable field and its lengths are read alike."""

    def __init__(self, schema: Schema, fields: frozenset[str], every: int) -> None:
        self._schema, self._fields = schema, fields
        fields = fields & schema.name_set
        self.apart = fields & schema.with_lengths(
            name for name in fields if schema[name].event_bytes * (every - 1) >= APART_BYTES
        )
        self.together = fields - self.apart
        kept = schema.select(self.together)
        event_bytes = kept.event_bytes + 8 * schema.word_count
        most = (STRETCH_BYTES + FIELD_BYTES * len(self.together)) // event_bytes
        self.at_once = max(1, (most - 1) // every + 1)
        room = Slots.allocate(kept, (self.at_once - 1) * every + 1)
        # Of the schema of who asks, so that validity has its bits where he has his.
        valid = np.zeros((schema.word_count, room.count), np.int64)
        self.stretch = Slots(schema, room.count, room.columns, valid, room.timestamps)

    def suits(self, schema: Schema, fields: frozenset[str]) -> bool:
        # The same set, not an equal one: to compare thousands of names takes as long as to read them.
        return self._schema is schema and self._fields is fields
