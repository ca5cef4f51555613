"""Do large pieces of work in a thread beside a stage's loop, so that what is small never waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

LONG_S = 5.0


class Beside:
    """A thread that does one piece of work at a time. What goes wrong in it goes wrong in the loop."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._piece: Future[object] | None = None
        self._began = 0.0

    @property
    def note(self) -> str:
        """What people should know of a piece that takes long; "" as a rule."""
        took_s = time.monotonic() - self._began
        return (
            ""
            if self.is_idle or took_s < LONG_S
            else f"large states: one step has taken {took_s:.0f} s so far"
        )

    @property
    def is_idle(self) -> bool:
        """Whether no piece is under way."""
        return self._piece is None or self._piece.done()

    def look(self) -> None:
        """Raise what the last piece raised, if it has ended since."""
        if self._piece is not None and self._piece.done():
            piece, self._piece = self._piece, None
            piece.result()

    def begin(self, work: Callable[[], object]) -> None:
        """Begin a piece, if none is under way.

        Raises:
            Whatever the last piece raised.
        """
        self.look()
        if self._piece is None:
            self._began = time.monotonic()
            self._piece = self._thread.submit(work)

    def finish(self) -> None:
        """Wait for the piece that is under way, if there is one, and raise what it raised."""
        piece, self._piece = self._piece, None
        if piece is not None:
            piece.result()

    def close(self) -> None:
        """Let go of the thread, which first ends its piece."""
        self._thread.shutdown()
