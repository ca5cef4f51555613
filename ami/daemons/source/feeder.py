"""Move the events of one source into the ring, in entries, at their pace.

The feeder is the sequencer of the node: it alone decides where an entry ends, stamps each with its
interval, run, step and graph version, and has the ring keep the fields that this graph asks for. All that
it must not forget lies in the ring, so a killed source's successor goes on with the next event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ami.daemons.process.orders import NO_INTERVAL
from ami.daemons.source.asked import Asked
from ami.daemons.source.borders import SpanBorders
from ami.daemons.source.ordered import NOBODY, Ordered, before, find_promise, list_borders
from ami.daemons.source.phase import NO_BORDER, Border, Phase
from ami.errors import RingError
from ami.event import Transition
from ami.graph.graph import Graph
from ami.messages.run_book import END_RUN, RunOrder
from ami.ring.entries import Entry
from ami.ring.writer import RingWriter
from ami.sources.base import NOTHING_YET, THE_END, Silence, Source, Span

logger = logging.getLogger(__name__)

SPAN_EVENTS = 1 << 16
# A paced source rests for a tenth of an interval, within these bounds: nothing is seen of an event
# before its interval is over, so handing it on sooner only costs wake-ups.
NAP_S = (0.001, 0.01)
# Where events are few, as images are, it waits until there are some, but for half an interval at the most:
# each hand-over wakes the source, a worker and what they hold in their caches, some 0.3 ms each.
GATHER_S = 0.025
WAIT_S = 0.1
HOLD_S = 0.005


class Feeder:
    """Feeds a ring from a source, one short step at a time.

    Args:
        graph: returns the newest graph; asked once at each entry's border.
        nap: waits for the given seconds, or until the process was asked to stop.
        new_run: returns the number of the run that begins here, which the input calls so (0: nothing).
        end_run: is told that a run of this number has ended.
        ordered: borders that people ask for; None: the input says its own.
        meet_run: is told of which run, and of what time, the first event is that this hands on of a run.

    Attributes:
        outside: the order because of which events are of no run now; they are passed over, and counted.
    """

    def __init__(
        self,
        source: Source,
        ring: RingWriter,
        *,
        interval_ns: int,
        drop: bool,
        graph: Callable[[], Graph],
        nap: Callable[[float], object],
        new_run: Callable[[int], int],
        end_run: Callable[[int], None] = lambda run: None,
        ordered: Ordered | None = None,
        meet_run: Callable[[int, int], None] = lambda run, event_ns: None,
    ) -> None:
        self._source, self._ring, self._interval_ns = source, ring, interval_ns
        self._drop, self._nap = drop, nap
        self._new_run, self._end_run, self._meet_run, self._met = new_run, end_run, meet_run, 0
        self._ordered, self._reached = ordered, NO_INTERVAL
        self.outside: RunOrder | None = None
        self.passed_over = 0
        self._pace = source.pace
        interval_s = interval_ns / self._pace.speed / 1e9
        self._nap_s = min(max(interval_s / 10, NAP_S[0]), NAP_S[1])
        self._longest_s = min(interval_s / 2, GATHER_S)
        self._span: Span | None = None
        self._announced = 0  # how many of the transitions at this position are in the ring already
        self.asked = Asked(source, ring, graph)
        self.cadence_hz = 0.0  # at which events are due; 0 is not known, a stream tells by coming
        self.position = source.resume(ring.cursor.position)
        self.finished = False
        self._newest = NO_BORDER  # of the borders in the ring, where the sender numbers runs
        self._phase = self._resume()
        self._borders = SpanBorders(ring)

    @property
    def lag_s(self) -> float:
        """Seconds that the stream is behind its pace."""
        return self._pace.lag_s

    def _resume(self) -> Phase:
        if (last := self._last_entry()) is None:
            return Phase(run=0)
        if self._ring.open is not None:
            # Its graph may be gone from this process' memory; a new entry asks for the newest.
            self._ring.close_entry()
        self._ring.end_span()
        if not self._source.live:  # what a stream said once it does not say again
            self._announced = self._trailing_transitions()
            self.finished = last.transition == Transition.END_RUN and self._is_over()
        rows = range(self._ring.oldest_entry, self._ring.cursor.entries_opened)
        there = [self._ring.entry(index) for index in rows]
        self._newest = max(map(Border.of_entry, there))
        self._reached = max((one.interval for one in there if not one.transition), default=NO_INTERVAL)
        if self._ordered is not None and self._newest.is_end:
            self.outside = self._ordered.find(self._newest)
        return Phase(last.run, last.step, last.step_value)

    def _is_over(self) -> bool:
        """Return whether a recording's end is in the ring, with an end of run, behind what it says there."""
        span = self._source.span(self.position, 1)
        if isinstance(span, Span):
            return not span.count and self._announced > len(span.transitions)
        return span is THE_END

    def _trailing_transitions(self) -> int:
        """Count the transitions in the ring after the last event, but not the feeder's own begin of run."""
        count = 0
        for index in range(self._ring.cursor.entries_opened - 1, 0, -1):
            try:
                entry = self._ring.entry(index)
            except RingError:
                break  # the table does not reach back so far
            if entry.count or entry.dropped:
                break
            # An entry that was opened, and whose source died before its first event, lies in between.
            count += entry.transition != 0
        return count

    def _last_entry(self) -> Entry | None:
        opened = self._ring.cursor.entries_opened
        return self._ring.entry(opened - 1) if opened else None

    def step(self) -> bool:
        """Move one block at the most, or wait up to 0.1 s until there is something to do."""
        if self.finished:
            if self._ordered is not None and not self._ordered.is_quiet:
                self._ordered.speak(self._newest, NOBODY)
            self._ring.tidy()
            self._nap(2 * WAIT_S)
            return False
        self.asked.go_on(self.position)
        self._speak_of_orders()
        if self._phase.run == 0 and not self._source.numbers_runs and not self._begin_run():
            return False
        span = self._span or self._next()
        if isinstance(span, Silence):
            if span is NOTHING_YET and self._is_border_over():
                return self._pass_border()
            return span is THE_END and self._finish()
        if len(span.transitions) > self._announced and not self._announce(span):
            return False
        if not span.count:
            if not self._source.live:
                return self._finish()
            self._advance(span, 0)
            return True
        wait_s = self._wait_s(span)
        due = 0 if wait_s > 0 else self._pace.count_due(span.timestamps)
        if due == 0:
            self._idle(int(span.timestamps[0]), wait_s)
            return False
        return self._feed(span, due) if self.outside is None else self._pass_over(span, due)

    def _wait_s(self, span: Span) -> float:
        """Return in how many seconds to hand on what comes next, with all that is due by then."""
        if not self._pace.paced or self._source.live:
            return 0.0
        first_ns = int(span.timestamps[0])
        if self._met != self._phase.run:
            self._meet_run(self._phase.run, first_ns)
            self._met = self._phase.run
        due_s = self._pace.due_s(first_ns)
        over_s = self._pace.due_s((first_ns // self._interval_ns + 1) * self._interval_ns)
        return min(due_s + self._gather_s, over_s)

    @property
    def _gather_s(self) -> float:
        """How long an event may wait for others: no more than a block of them takes."""
        if not self.cadence_hz:
            return self._nap_s
        return max(self._nap_s, min(self._longest_s, self.asked.block / self.cadence_hz))

    def _next(self) -> Span | Silence:
        """Return what comes next; a stream is waited for, but not longer than an open interval may wait."""
        span = self._source.span(self.position, SPAN_EVENTS, self._over_s() if self._source.live else 0.0)
        if isinstance(span, Span):
            self._span = span
            self.position = span.first
            if not self._source.live and span.count > 1 and span.timestamps[-1] > span.timestamps[0]:
                lasts_s = int(span.timestamps[-1] - span.timestamps[0]) / 1e9
                self.cadence_hz = (span.count - 1) / lasts_s * self._pace.speed
        return span

    def _speak_of_orders(self) -> None:
        if self._ordered is not None and not self._ordered.is_quiet:
            interval = find_promise(self._reached, self._interval_ns / self._pace.speed)
            self._ordered.speak(self._newest, (self._phase.run, self._phase.step, interval))

    def _is_border_over(self) -> bool:
        """Whether nothing of before the next border is to be expected any more of a stream that is silent."""
        order = self._ordered.next(self._newest) if self._ordered is not None and self._source.live else None
        return order is not None and self._pace.due_s((order.border or 0) * self._interval_ns) <= 0

    def _pass_border(self) -> bool:
        """Put what was ordered into the ring; no where it is not known yet, or there is no room."""
        assert self._ordered is not None
        order = self._ordered.next(self._newest)
        if order is None:
            self._nap(HOLD_S)  # others have not promised yet
            return False
        for transition, phase in list_borders(order, self._newest, self._phase):
            if transition == Transition.BEGIN_RUN:
                self._ordered.join(phase.run)
            if not self._barrier(transition, phase):
                return False
            self._phase = phase
        self.outside = order if order.action == END_RUN else None
        self._ordered.note()
        logger.info("%s, as %s ordered: run %d", order.action, order.client, order.run)
        return True

    def _pass_over(self, span: Span, due: int) -> bool:
        """Go on in the input without events of no run, up to the next border."""
        assert self._ordered is not None
        self._ring.tidy()
        stop, times = self._ordered.stop_at(self._newest), span.timestamps[:due]
        if stop is None and not self._pace.paced:
            self._nap(WAIT_S)  # as fast as possible there would be no end
            return False
        count = due if stop is None else int(np.searchsorted(times, max(stop, 0) * self._interval_ns))
        if not count:
            return self._pass_border()
        self._reached = max(self._reached, int(times[count - 1]) // self._interval_ns)
        self.passed_over += count
        self._advance(span, count)
        return True

    def _begin_run(self) -> bool:
        if self._ordered is not None and self.outside is None and (last := self._ordered.find_last()):
            self.outside, self._newest = last, before(last)
        if self.outside is not None:
            return True
        phase = Phase(self._new_run(0))
        if not self._barrier(Transition.BEGIN_RUN, phase):
            return False
        self._phase = phase
        logger.info("run %d begins", phase.run)
        return True

    def _finish(self) -> bool:
        if self.outside is None and not self._barrier(Transition.END_RUN, self._phase):
            return False
        self.finished = True
        logger.info("the input ends after %d events", self.position)
        return True

    def _announce(self, span: Span) -> bool:
        """Put what comes before the span's first event into the ring; no when there is no room now."""
        if self._source.numbers_runs:
            return self._announce_numbered(span)
        if self.outside is not None:
            if Transition.BEGIN_RUN not in (transition for transition, _ in span.transitions):
                self._announced = len(span.transitions)
                return True
            self.outside = None
        for transition, value in span.transitions[self._announced :]:
            phase = replace(self._phase)
            if transition == Transition.BEGIN_RUN:
                phase = Phase(self._new_run(int(value)))
            elif transition == Transition.BEGIN_STEP:
                phase.step, phase.step_value = phase.step + 1, value
            if not self._barrier(transition, phase):
                return False
            self._phase = phase
            self._announced += 1
        return True

    def _announce_numbered(self, span: Span) -> bool:
        """Put a border into the ring, unless it is there: who was away is told again what he missed."""
        ((transition, _),) = span.transitions
        phase = Phase.of(span)
        border = Border.of(transition, phase)
        if border > self._newest:
            if transition == Transition.BEGIN_RUN:
                self._new_run(span.run)
            if not self._barrier(transition, phase):
                return False
            self._phase, self._newest = phase, border
            if transition == Transition.BEGIN_RUN:
                logger.info("run %d begins, as the sender numbers it", span.run)
        self._announced = 1
        return True

    def _barrier(self, transition: Transition, phase: Phase) -> bool:
        self.close_entry()
        if not self._open(interval=0, transition=int(transition), phase=phase):
            return False
        self._newest = max(self._newest, Border.of(transition, phase))
        if transition == Transition.END_RUN:
            self._end_run(phase.run)
        return True

    def _open(self, *, interval: int, phase: Phase, transition: int = 0) -> bool:
        graph = self.asked.choose(self.position)
        if graph is None:
            if self.asked.shortage:
                self._nap(WAIT_S)
            return False
        large = self._borders.before_entry(phase.run, phase.step, graph, transition=transition)
        opened = self._ring.open_entry(
            interval=interval,
            run=phase.run,
            step=phase.step,
            step_value=phase.step_value,
            graph_version=graph.version,
            transition=transition,
            large=large,
        )
        if not opened:
            self._ring.wait_for_space(WAIT_S)
        return opened

    def _idle(self, next_ns: int, wait_s: float) -> None:
        """Wait for the next events, but close the open interval when its time is over."""
        self._ring.tidy()
        entry = self._ring.open
        # An interval whose next event is known is not over, however late it is on a busy machine by now: it
        # would be sent in two parts, and seen without the second one.
        is_in = entry is not None and next_ns // self._interval_ns == entry.interval
        self._nap(min(wait_s, WAIT_S if is_in else self._over_s()))

    def _over_s(self) -> float:
        """Close the open interval if its time is over; return for how long one may wait, s."""
        entry = self._ring.open
        if entry is None:
            self._borders.look()
            return WAIT_S
        over_s = self._pace.due_s((entry.interval + 1) * self._interval_ns)
        if over_s <= 0:
            self.close_entry()
            return WAIT_S
        return min(over_s, WAIT_S)

    def _feed(self, span: Span, due: int) -> bool:
        timestamps = span.timestamps[: min(due, self.asked.block)]
        interval = int(timestamps[0]) // self._interval_ns
        count = int(np.searchsorted(timestamps, (interval + 1) * self._interval_ns))
        stop = None if self._ordered is None else self._ordered.stop_at(self._newest)
        if stop is not None and interval >= stop:
            return self._pass_border()
        self._reached = max(self._reached, interval)
        # What a node that is gone did not bring home is dealt again, also when its step is over.
        phase = Phase.of(span) if self._source.numbers_runs else self._phase
        place, entry = (interval, phase.run, phase.step), self._ring.open
        if entry is not None and (entry.interval, entry.run, entry.step) != place:
            self.close_entry()
            entry = None
        if entry is None and not self._open(interval=interval, phase=phase):
            return False
        if span.lost:
            self._ring.drop(span.lost, position=self.position)
            span = self._span = replace(span, lost=0)
        slots = self._ring.reserve(count)
        if slots is None:
            if not self._drop:
                self._ring.wait_for_space(WAIT_S)
                return False
            self._ring.drop(count, position=self.position + count)
        else:
            count = slots.count
            self._source.read(self.position, slots, self.asked.fields)
            self._ring.publish(count, position=self.position + count)
        self._advance(span, count)
        if count == due and self._source.live and not self._source.numbers_runs:  # that comes in blocks
            self._nap(self._nap_s)
        return True

    def _advance(self, span: Span, count: int) -> None:
        self.position += count
        self._announced = 0
        left = len(span.timestamps) - count
        rest = replace(span, first=self.position, timestamps=span.timestamps[count:], transitions=(), lost=0)
        self._span = rest if left else None

    def close_entry(self) -> None:
        """Close the open interval, if any, so that it can be reduced."""
        if self._ring.open is not None:
            self._ring.close_entry()
            self._borders.look()

    def end_span(self) -> None:
        """Close the open interval and its span: nothing more comes."""
        self.close_entry()
        self._ring.end_span()
