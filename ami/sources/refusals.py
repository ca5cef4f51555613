"""Count what an input sent that could not be taken, and say why, seldom: there may be much of it."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

SAY_AGAIN_S = 10.0
RECENT_S = 5.0


class Refusals:
    """What was refused of one input.

    Attributes:
        count: messages or events.
        reason: of the last one.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.count = 0
        self.reason = ""
        self._at = self._said_at = float("-inf")
        self._said = 0

    def add(self, reason: str, count: int = 1) -> None:
        self.count += count
        self.reason = reason
        self._at = time.monotonic()
        if self._at - self._said_at >= SAY_AGAIN_S:
            logger.warning(
                "%s: %d refused, the last because %s", self._where, self.count - self._said, reason
            )
            self._said, self._said_at = self.count, self._at

    def since(self, taken_at: float) -> bool:
        """Return whether something was refused just now, and nothing taken since (monotonic, s)."""
        return self._at > taken_at and time.monotonic() - self._at < RECENT_S
