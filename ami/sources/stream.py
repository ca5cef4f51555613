"""Hand on what a live input receives: in order, with plausible times, and with a count of what is missing.

Times are the sender's. Equal ones are fine; one that is a little earlier than the newest goes into its own
interval. One that is absurd is refused by name and counted, as is a far too early one, unless nothing else
comes any more: then the sender's clock was set back, and another run begins.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.errors import SourceError
from ami.event import Schema, Slots, Transition
from ami.sources.base import (
    NOTHING_YET,
    Dictates,
    LiveInput,
    Received,
    Silence,
    Span,
    Timestamps,
    Transitions,
)
from ami.sources.pace import AsTheyCome
from ami.sources.uri import Uri

AHEAD_NS = 86_400 * 10**9  # no event is a day later than now
LATE_NS = 10 * 10**9  # an event that is so much earlier than the newest one is no late one
SET_BACK_S = 1.0  # for so long nothing but such events: their time is the time now
QUIET_S = 2.0
SCHEMA_WAIT_S = 5.0

Mask = NDArray[np.bool_]

SET_BACK = ((Transition.END_RUN, 0.0), (Transition.BEGIN_RUN, 0.0))


class Stream:
    """A :class:`~ami.sources.base.Source` of what a live input receives.

    Args:
        events: the input; closed with this.
        options: values of ``policy`` and ``interval``.
    """

    length: int | None = None
    live = True
    whole = ""

    def __init__(self, events: LiveInput, uri: Uri, options: Mapping[str, Any]) -> None:
        self._input = events
        self._uri = uri
        self.pace = AsTheyCome()
        self.numbers_runs: bool = getattr(events, "numbers_runs", False)
        self.identity = hashlib.sha256(events.content.encode()).hexdigest()
        # Who waits lets the sender's buffers fill, and then it waits, too, or loses events without a word.
        self.policy: str | None = options["policy"] or "drop"
        self.interval_s: float | None = options["interval"]
        self.interval_fixed = self.interval_s is not None
        self._spans: deque[Span] = deque()
        self._first = 0  # of what was received last
        self._times: Timestamps = np.empty(0, np.int64)
        self._newest_ns = -1
        self._early_since: float | None = None
        self._came_at = time.monotonic()
        self._lost = self._late = self._set_back = 0
        self._uncounted = 0  # of the lost ones
        self._says = self.numbers_runs  # what begins and ends

    @property
    def skipped(self) -> tuple[str, ...]:
        return self._input.skipped

    @property
    def schema(self) -> Schema:
        if not self.ready(SCHEMA_WAIT_S):
            raise SourceError(
                f"{self._uri.text!r}: no event came within {SCHEMA_WAIT_S:g} s; is its sender there?"
            )
        assert self._input.schema is not None
        return self._input.schema

    @property
    def dictates(self) -> Dictates:
        """See :class:`~ami.sources.base.Source`: who has said a border says the others, too."""
        why = f"the sender of {self._uri.text} says them" if self._says else ""
        return Dictates(why, why)

    @property
    def state(self) -> str:
        quiet_s = time.monotonic() - self._came_at
        if quiet_s < QUIET_S:
            return ""
        refusals = self._input.refusals
        if refusals.since(self._came_at):
            return f"failed: {self._uri.text} sends only what is refused: {refusals.reason}"
        return f"waiting: no events for {quiet_s:.0f} s from {self._uri.text}"

    @property
    def counters(self) -> Mapping[str, float]:
        return {
            "lost": self._lost,
            "refused": self._input.refusals.count,
            "late": self._late,
            "set_back": self._set_back,
        }

    def ready(self, timeout_s: float, earlier: Schema | None = None) -> bool:
        """See :class:`~ami.sources.base.Source`."""
        if self._input.schema is None:
            self._input.schema = earlier
        end = time.monotonic() + timeout_s
        while self._input.schema is None and (left_s := end - time.monotonic()) > 0:
            self._receive(left_s, 1)
        return self._input.schema is not None

    def resume(self, position: int) -> int:
        """See :class:`~ami.sources.base.Source`."""
        return self._input.resume(position)

    def span(self, first: int, limit: int, timeout_s: float = 0.0) -> Span | Silence:
        """Return the events that come next; see :class:`~ami.sources.base.Source`."""
        if not self._spans and (silence := self._receive(timeout_s, limit)) is not None:
            return silence
        if not self._spans:
            return NOTHING_YET  # all was refused
        span = self._spans.popleft()
        if span.count > limit:
            rest = span.timestamps[limit:]
            self._spans.appendleft(
                replace(span, first=span.first + limit, timestamps=rest, transitions=(), lost=0)
            )
            span = replace(span, timestamps=span.timestamps[:limit])
        return span

    def read(self, first: int, into: Slots, fields: frozenset[str]) -> None:
        """Write events of the last span; see :class:`~ami.sources.base.Source`."""
        start = first - self._first
        into.timestamps[:] = self._times[start : start + into.count]
        self._input.read(start, into, fields)

    def close(self) -> None:
        self._input.close()

    def _receive(self, timeout_s: float, limit: int) -> Silence | None:
        received = self._input.receive(timeout_s, limit)
        if isinstance(received, Silence):
            return received
        self._first, self._times = received.position, received.timestamps
        self._miss(received.lost)
        self._says = self._says or bool(received.transitions)
        if received.transitions or not len(received.timestamps):
            self._spans.append(self._span(received, 0, received.timestamps[:0], received.transitions))
        self._spans.extend(self._plausible(received))
        return None

    def _miss(self, count: int) -> None:
        self._lost += count
        self._uncounted += count

    def _plausible(self, received: Received) -> Iterator[Span]:
        """Yield the runs of ascending events among those received, without those that are refused."""
        times = received.timestamps
        if not len(times):
            return
        transitions: Transitions = ()
        good = self._good(times, self._newest_ns)
        if self._was_set_back(times, good):
            self._newest_ns = -1
            self._set_back += 1
            transitions = SET_BACK
            good = self._good(times, -1)
        self._refuse(times, good)
        edges = np.flatnonzero((good[1:] != good[:-1]) | (times[1:] < times[:-1])) + 1
        for start, stop in pairwise([0, *edges.tolist(), len(times)]):
            if not good[start]:
                self._miss(stop - start)
                continue
            here = times[start:stop]
            self._late += int(np.searchsorted(here, self._newest_ns))
            self._newest_ns = max(self._newest_ns, int(here[-1]))
            yield self._span(received, start, here, transitions, lost=self._uncounted)
            self._came_at, self._early_since = time.monotonic(), None
            self._uncounted, transitions = 0, ()

    @staticmethod
    def _span(
        received: Received, start: int, times: Timestamps, transitions: Transitions, lost: int = 0
    ) -> Span:
        return Span(
            received.position + start, times, transitions, received.step_value, lost,
            received.run, received.step,
        )  # fmt: skip

    @staticmethod
    def _possible(times: Timestamps) -> Mask:
        return (times >= 0) & (times < time.time_ns() + AHEAD_NS)

    def _good(self, times: Timestamps, newest_ns: int) -> Mask:
        possible = self._possible(times)
        if self.numbers_runs:
            return possible  # what a node that is gone did not bring home comes again, however old it is
        newest = np.maximum(np.maximum.accumulate(np.where(possible, times, -1)), newest_ns)
        good: Mask = possible & (times >= newest - LATE_NS)
        return good

    def _was_set_back(self, times: Timestamps, good: Mask) -> bool:
        """Return whether events have been nothing but far too early for long enough."""
        if good.any() or not self._possible(times).any():
            return False
        now = time.monotonic()
        if self._early_since is None:
            self._early_since = now
        return now - self._early_since >= SET_BACK_S

    def _refuse(self, times: Timestamps, good: Mask) -> None:
        bad = np.flatnonzero(~good)
        if not len(bad):
            return
        time_ns = int(times[bad[-1]])
        reason = "is before 1970 or more than a day from now"
        if self._possible(times[bad[-1:]]).all():
            newest_ns = max(self._newest_ns, int(times[good].max(initial=-1)))
            reason = f"is {(newest_ns - time_ns) / 1e9:.0f} s before that of the newest event"
        self._input.refusals.add(f"timestamp {time_ns} ns {reason}", len(bad))
