"""Play an input: select events of it, repeat them, and say how fast.

Position 0 is the first selected event. Positions go on through repetitions, and so does event
time: each repetition is later than the one before by the recorded span and one mean distance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Schema, Slots, Transition
from ami.sources import intervals
from ami.sources.base import THE_END, Dictates, Input, Silence, Span, Step, Timestamps, Transitions
from ami.sources.pace import Replay
from ami.sources.uri import FOREVER, MAX, Uri

NO_COUNTERS: Mapping[str, float] = MappingProxyType({})


class Playback:
    """A :class:`~ami.sources.base.Source` of the events of an input.

    Args:
        events: the input; closed with this.
        options: values of the common options, and of ``speed`` where the protocol has it. Without
            ``rate`` and ``speed`` it goes as fast as possible.
    """

    live = False
    numbers_runs = False
    state = ""

    def __init__(self, events: Input, uri: Uri, options: Mapping[str, Any]) -> None:
        self._events = events
        self._names = frozenset(events.schema.names)
        self._uri = uri
        self.schema = events.schema
        self.skipped = events.skipped
        self.policy: str | None = options["policy"]
        self._select(options["start"], options["stop"], options["repeat"])
        chosen = f"{events.content}\nstart {self._start} stop {self._stop} repeat {options['repeat']}"
        self.identity = self.whole = hashlib.sha256(chosen.encode()).hexdigest()
        rate_hz, speed = options["rate"], options.get("speed")
        if speed is None and rate_hz not in (None, MAX):
            speed = rate_hz / events.rate_hz
        self.pace = Replay(speed)
        self.interval_fixed = options["interval"] is not None
        self.interval_s: float | None = options["interval"]
        if not self.interval_fixed and not self.pace.paced and self._cycle_ns:
            cycles = 1 if self.length is None else self.length // self._count
            self.interval_s = intervals.propose_ns(self._cycle_ns * cycles) / 1e9

    def _select(self, start: int, stop: int | None, repeat: int) -> None:
        events = self._events
        if events.count is not None:
            stop = events.count if stop is None else min(stop, events.count)
            if start >= stop:
                raise SourceError(
                    f"{self._uri.text!r}: events {start} to {stop} of {events.count} are none; lower start"
                )
        if stop is None and repeat != 1:
            raise SourceError(f"{self._uri.text!r}: what has no end cannot be repeated; give stop=")
        if stop is not None and start >= stop:
            raise SourceError(f"{self._uri.text!r}: start={start} is not below stop={stop}")
        self._start, self._stop = start, stop
        # Without an end there is one cycle that is longer than any replay.
        self._count = 2**62 if stop is None else stop - start
        self.length = None if stop is None or repeat == FOREVER else self._count * repeat
        self.start_ns = self._timestamp(start)
        self.dictates = self._find_dictates()
        self._cycle_ns = 0
        if stop is not None:
            span_ns = self._timestamp(stop - 1) - self.start_ns
            mean_ns = span_ns / (self._count - 1) if self._count > 1 else 1e9 / events.rate_hz
            self._cycle_ns = span_ns + max(1, round(mean_ns))

    def _timestamp(self, index: int) -> int:
        one = np.empty(1, np.int64)
        try:
            self._events.timestamps(index, one)
        except OverflowError:
            raise SourceError(
                f"{self._uri.text!r}: event {index} would be later than the year 2262, where timestamps "
                f"of 64 bits end; lower stop or start, or raise the rate"
            ) from None
        return int(one[0])

    @property
    def counters(self) -> Mapping[str, float]:
        return getattr(self._events, "counters", NO_COUNTERS)

    def _find_dictates(self) -> Dictates:
        """Return what is not to be ordered: a recording has its runs, a simulation may have some."""
        if self._events.count is not None:
            why = f"{self._uri.text} is a recording, and has its own"
            return Dictates(why, why)
        first = self._events.step(self._start)
        if first is None:
            return Dictates()
        why = f"{self._uri.text} has its own"
        return Dictates(why if first.run else "", why)

    def ready(self, timeout_s: float, earlier: Schema | None = None) -> bool:
        return True

    def resume(self, position: int) -> int:
        return position

    def span(self, first: int, limit: int, timeout_s: float = 0.0) -> Span | Silence:
        """Return up to ``limit`` events from position ``first`` on; see :class:`Source`."""
        if self.length is not None and first >= self.length:
            return THE_END
        cycle, offset = divmod(first, self._count)
        index = self._start + offset
        count = min(limit, self._count - offset)
        here = self._events.step(index)
        if here is not None:
            count = min(count, here.stop - index)
        timestamps = np.empty(count, np.int64)
        self._write_timestamps(cycle, index, timestamps)
        if here is None:
            return Span(first, timestamps)
        return Span(first, timestamps, self._transitions(first, here), here.value)

    def said(self, first: int, stop: int) -> Transitions:
        """Return what was said before each of the positions from ``first`` up to, but without, ``stop``."""
        said: list[tuple[Transition, float]] = []
        while first < stop:
            offset = first % self._count
            here = self._events.step(self._start + offset)
            if here is None:
                break
            said += self._transitions(first, here)
            first += min(self._count - offset, here.stop - self._start - offset)
        return tuple(said)

    def _transitions(self, first: int, here: Step) -> Transitions:
        """Return what was said before position ``first``, which is in step ``here``."""
        if first == 0:
            return self._begin(here, run=False)  # whoever plays the input begins the first run
        offset = first % self._count
        before = self._events.step(self._start + (offset or self._count) - 1)
        assert before is not None  # an input has steps everywhere or nowhere
        new_run = here.run != before.run or (offset == 0 and here.run > 0)
        if not new_run and offset and here.number == before.number:
            return ()
        ended: list[tuple[Transition, float]] = [(Transition.END_STEP, before.value)]
        if new_run:
            ended.append((Transition.END_RUN, float(before.run)))
        return (*ended, *self._begin(here, run=new_run))

    @staticmethod
    def _begin(here: Step, *, run: bool) -> Transitions:
        step = (Transition.BEGIN_STEP, here.value)
        return ((Transition.BEGIN_RUN, float(here.run)), step) if run else (step,)

    def read(self, first: int, into: Slots, fields: frozenset[str]) -> None:
        """Write the events from position ``first`` on; see :class:`Source`."""
        if self.length is not None and first + into.count > self.length:
            raise SourceError(
                f"{self._uri.text!r} has {self.length} events; {first} to {first + into.count} were asked for"
            )
        fields = fields & self._names
        done = 0
        while done < into.count:
            cycle, offset = divmod(first + done, self._count)
            count = min(into.count - done, self._count - offset)
            piece = into if count == into.count else into.part(done, done + count)
            self._write_timestamps(cycle, self._start + offset, piece.timestamps)
            self._events.read(self._start + offset, piece, fields)
            done += count

    def _write_timestamps(self, cycle: int, index: int, into: Timestamps) -> None:
        self._events.timestamps(index, into)
        if cycle:
            into += cycle * self._cycle_ns

    def close(self) -> None:
        self._events.close()
