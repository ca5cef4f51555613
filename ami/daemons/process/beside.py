"""Do large pieces of work in a thread beside a stage's loop, so that what is small never waits for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Beside:
    """A thread that does one piece of work at a time. What goes wrong in it goes wrong in the loop."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._piece: Future[object] | None = None

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
            self._piece = self._thread.submit(work)

    def finish(self) -> None:
        """Wait for the piece that is under way, if there is one, and raise what it raised."""
        piece, self._piece = self._piece, None
        if piece is not None:
            piece.result()

    def close(self) -> None:
        """Let go of the thread, which first ends its piece."""
        self._thread.shutdown()
