"""Play a source to the nodes: blocks at its pace, borders between them, one thing after the other.

What cannot be dealt waits here; of a recording little, so that the source waits, too, and of a stream as much
as may be kept. Beyond that a stream's events are lost, and counted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ami.daq.block import Block, Border, Packed, Phase, pack
from ami.daq.book import FileBook
from ami.daq.dealer import Dealer, Part
from ami.daq.sender import Sender
from ami.event import Slots, Transition
from ami.sources.base import THE_END, Silence, Source, Span

SPAN_EVENTS: Final = 1 << 16
BLOCK_EVENTS: Final = 1 << 14
BLOCK_BYTES: Final = 8 << 20
AHEAD_BLOCKS: Final = 2
WAIT_S: Final = 0.01
SOON_S: Final = 0.005  # events that are due within this are dealt together


class Player:
    """Plays one source.

    Args:
        keep_bytes: of blocks that are dealt and not safe, or not dealt yet.
        barrier_s: how long the end of a run waits for its events to be safe; None: until they are.
        drop: lose events where they find no room, instead of having the source wait.
        first_run: number of the first run, at least; 0: the one after the last that anybody knows.
    """

    def __init__(
        self, source: Source, sender: Sender, book: FileBook, *, keep_bytes: int, barrier_s: float | None,
        drop: bool, first_run: int = 0,
    ) -> None:  # fmt: skip
        self._source, self._sender, self._book = source, sender, book
        self._dealer: Dealer = sender.dealer
        self._keep_bytes, self._barrier_s, self._drop = keep_bytes, barrier_s, drop
        self._first_run = first_run
        self._backlog: deque[Part | Border] = deque()
        self._backlog_bytes = 0
        self._event_bytes = source.schema.event_bytes
        self._block = max(1, min(BLOCK_EVENTS, BLOCK_BYTES // self._event_bytes))
        self.position = source.resume(book.position)
        self._phase = self._dealer.phase
        is_first = book.position == 0
        # A recording says again what it said before the next event; the begin of its first run is our own.
        self._announced = 0 if source.live else max(0, book.borders - is_first)
        self._span: Span | None = None
        self._is_over = False
        self._barrier_since: float | None = None
        self.finished = False

    # --- one step -------------------------------------------------------------------------------

    def step(self) -> None:
        """Move a block or a border, or wait for a moment until there is something to do."""
        self._sender.step(0.0)
        self._book.look()
        if self.finished:
            return
        moved = self._deal_backlog()
        if not moved and (self._is_over or not self._drop):
            self._sender.step(WAIT_S)
        elif self._is_over:
            self._finish()
        else:
            self._read(lose=not moved and self._is_full())

    def drain(self) -> bool:
        """Read nothing more; return whether all that was read is safe."""
        self._sender.step(WAIT_S)
        return self._deal_backlog() and self._dealer.is_settled

    def _finish(self) -> None:
        if self._dealer.is_settled:
            self._book.end()
            self.finished = True
        else:
            self._sender.step(WAIT_S)

    def _deal_backlog(self) -> bool:
        """Deal what waits; return whether there is room for more."""
        if not self._sender.deal_pool():
            return False
        while self._backlog:
            one = self._backlog[0]
            if isinstance(one, Border):
                if not self._may_say(one):
                    return False
                self._sender.announce(one)
            else:
                if self._dealer.kept_bytes >= self._keep_bytes or not self._sender.deal(one):
                    return False
                self._backlog_bytes -= one.block.bytes
            self._backlog.popleft()
        return True

    def _may_say(self, border: Border) -> bool:
        """Whether a border need not wait: the end of a run is behind all of its events, on every node."""
        if border.transition != Transition.END_RUN or self._dealer.is_settled:
            self._barrier_since = None
            return True
        now_s = time.monotonic()
        self._barrier_since = self._barrier_since or now_s
        if self._barrier_s is None or now_s - self._barrier_since < self._barrier_s:
            return False
        self._barrier_since = None
        return True

    def _is_full(self) -> bool:
        return self._dealer.kept_bytes + self._backlog_bytes >= self._keep_bytes

    # --- the source -----------------------------------------------------------------------------

    def _begin_run(self) -> None:
        run = max(self._first_run, self._sender.last_run + 1, self._book.run + 1)
        self._phase = Phase(run)
        self._backlog.append(Border(Transition.BEGIN_RUN, self._phase))

    def _next(self) -> Span | None:
        """Return what comes next, if there is something; see to what was said before it."""
        if self._span is None:
            span = self._source.span(self.position, SPAN_EVENTS, WAIT_S if self._source.live else 0.0)
            if isinstance(span, Silence):
                if span is THE_END:
                    self._end()
                return None
            self._span, self.position = span, span.first
            if span.lost:
                self._dealer.lose(span.lost)
            for transition, value in span.transitions[self._announced :]:
                self._say(transition, value)
            self._announced = 0
        if not self._span.count:
            self._span = None
            if not self._source.live:
                self._end()
            return None
        return self._span

    def _say(self, transition: Transition, value: float) -> None:
        ends = transition in (Transition.END_RUN, Transition.END_STEP)
        if self._phase.run == 0 and ends:
            return
        if self._phase.run == 0 or transition == Transition.BEGIN_RUN:
            self._begin_run()
        if transition == Transition.BEGIN_STEP:
            self._phase = Phase(self._phase.run, self._phase.step + 1, value)
        if transition != Transition.BEGIN_RUN:
            self._backlog.append(Border(transition, self._phase))
        if transition == Transition.END_RUN:
            self._phase = Phase(0)

    def _end(self) -> None:
        self._say(Transition.END_RUN, 0.0)
        self._is_over = True

    def _read(self, *, lose: bool) -> None:
        """Read the next block that is due, or pass it, because nobody has room for it."""
        span = self._next()
        if span is None:
            return
        if self._phase.run == 0:
            self._begin_run()
        due = self._source.pace.count_due(span.timestamps)
        if due == 0:
            wait_s = self._source.pace.due_s(int(span.timestamps[0]))
            self._sender.step(min(max(wait_s, SOON_S), WAIT_S))
            return
        if lose:
            self._dealer.lose(due)
            self._book.pass_over(self.position + due)
            self._advance(due)
            return
        count = min(due, self._block)
        slots = Slots.allocate(self._source.schema, count)
        self._source.read(self.position, slots, self._source.schema.name_set)
        packed = pack(slots)
        block = Block(self.position, count, self._phase, packed.bytes, packed)
        self._backlog.append(Part(block))
        self._backlog_bytes += block.bytes
        self._advance(count)

    def _advance(self, count: int) -> None:
        self.position += count
        assert self._span is not None
        rest = self._span.timestamps[count:]
        self._span = replace(self._span, first=self.position, timestamps=rest) if len(rest) else None

    # --- figures --------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Say in a few words what it waits for, or that it deals."""
        if self.finished:
            return "finished"
        if self._barrier_since is not None:
            return "waiting: until all events of the run are safe"
        if not self._dealer.present:
            return "waiting: for nodes"
        if self._is_full():
            return "waiting: for events to be safe, as much as may is kept"
        return self._source.state or "dealing"

    def figures(self) -> Mapping[str, Any]:
        """Return what there is to count: events, unless the name says bytes."""
        dealer = self._dealer
        return {
            "state": self.state,
            "position": self.position,
            "run": self._phase.run,
            "step": self._phase.step,
            "dealt": dealer.dealt - dealer.again,
            "again": dealer.again,
            "lost": dealer.lost,
            "unknown": dealer.unknown,
            "safe": dealer.safe,
            "kept_bytes": dealer.kept_bytes,
            "nodes": [
                {
                    "node": member.place.node,
                    "here": member.line is not None,
                    "dealt": member.next,
                    "in_ring": member.last,
                    "safe": member.safe,
                    "flying_bytes": member.flying_bytes,
                }
                for member in dealer.list_members()
            ],
        }


def load_from(source: Source, block: Block) -> Packed:
    """Return the events of a block, read again."""
    slots = Slots.allocate(source.schema, block.count)
    source.read(block.first, slots, source.schema.name_set)
    return pack(slots)
