"""Decide where spans end: runs of entries whose large states are sent together.

A span is of one run, step and graph version, and lasts some 0.3 s, or longer: as long as the one before is
not in the global store. So the pace of large states is that of the slowest who handles them, and a node
that could not send any for a while has one span to send, not many.
"""

from __future__ import annotations

import time

from ami.graph.graph import Graph
from ami.ring.writer import RingWriter

SPAN_S = 0.3


class SpanBorders:
    """The spans of one ring, for its source."""

    def __init__(self, ring: RingWriter) -> None:
        self._ring = ring
        self._facts: tuple[int, int, int] | None = None  # run, step and graph version of the open span
        self._began = 0.0

    def before_entry(self, run: int, step: int, graph: Graph, *, transition: int) -> bool:
        """End the span, if the next entry cannot be in it; return whether that one is in a span."""
        large = bool(graph.large) and not transition
        facts = (run, step, graph.version)
        if self._ring.open_span is not None and not (large and facts == self._facts):
            self._ring.end_span()
        if large and self._ring.open_span is None:
            self._facts, self._began = facts, time.monotonic()
        return large

    def look(self) -> None:
        """End the span, if its time is over and the one before is gone. No entry may be open."""
        span = self._ring.open_span
        if span is None or time.monotonic() - self._began < SPAN_S:
            return
        if self._ring.released >= span:
            self._ring.end_span()
