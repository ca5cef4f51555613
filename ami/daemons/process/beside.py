"""Do large pieces of work in a thread beside a stage's loop, so that what is small never waits for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ami.errors import StoreFull, StoreUnavailable

logger = logging.getLogger(__name__)

LONG_S = 5.0
AGAIN_S = 0.2
SAY_AGAIN_S = 10.0


class Beside:
    """A thread that does one piece of work at a time. What goes wrong in it goes wrong in the loop."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._piece: Future[object] | None = None
        self._number = 0
        self._began = self._again_at = self._said_at = 0.0
        self._said = ""

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
    def piece(self) -> int:
        """Number of the piece that is under way; 0: none is."""
        return 0 if self.is_idle else self._number

    @property
    def is_idle(self) -> bool:
        """Whether no piece is under way."""
        return self._piece is None or self._piece.done()

    def look(self) -> bool:
        """Return whether a piece may begin now: none is under way, and no store failed just now.

        Raises:
            Whatever the last piece raised, but for a store that cannot be reached or is full: that is
            told, and the loop, which may have other stores, goes on.
        """
        if self._piece is not None and self._piece.done():
            piece, self._piece = self._piece, None
            try:
                piece.result()
            except (StoreUnavailable, StoreFull) as error:
                now = time.monotonic()
                self._again_at = now + AGAIN_S
                if str(error) != self._said or now - self._said_at > SAY_AGAIN_S:
                    logger.warning("large states: %s; trying again", error)
                    self._said, self._said_at = str(error), now
        return self._piece is None and time.monotonic() >= self._again_at

    def begin(self, work: Callable[[], object]) -> None:
        """Begin a piece. None may be under way."""
        assert self._piece is None
        self._began = time.monotonic()
        self._number += 1
        self._piece = self._thread.submit(work)

    def finish(self) -> None:
        """Wait for the piece that is under way, if there is one, and raise what it raised."""
        piece, self._piece = self._piece, None
        if piece is not None:
            piece.result()

    def close(self) -> None:
        """Let go of the thread, which first ends its piece."""
        self._thread.shutdown()
