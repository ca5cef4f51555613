"""When events are due: the recorded or simulated pace, mapped to the clock of this machine."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

# A replay that fell behind by more than this does not run after its schedule for ever: the
# schedule is moved. The lag until then is made up at full speed.
LAG_S = 1.0


class Pace:
    """Maps event time to due time; ``speed`` 2 plays twice as fast. As fast as possible: always due."""

    def __init__(self, *, paced: bool, speed: float) -> None:
        self._paced = paced
        self._speed = speed
        self._origin_ns: int | None = None
        self._origin_s = 0.0
        self.lag_s = 0.0

    def due_s(self, event_ns: int) -> float:
        """Return in how many seconds (negative: since how many) an event of this time is due."""
        if not self._paced:
            return 0.0
        now = time.monotonic()
        if self._origin_ns is None:
            self._anchor(event_ns, now)
        assert self._origin_ns is not None
        wait_s = self._origin_s + (event_ns - self._origin_ns) / (1e9 * self._speed) - now
        if wait_s < -LAG_S:
            self._anchor(event_ns, now)
            return 0.0
        return wait_s

    def count_due(self, timestamps: NDArray[np.int64]) -> int:
        """Return how many of these ascending timestamps are due now; the first decides on the lag."""
        if not self._paced:
            return len(timestamps)
        first_s = self.due_s(int(timestamps[0]))
        self.lag_s = max(0.0, -first_s)
        if first_s > 0:
            return 0
        assert self._origin_ns is not None
        reached_s = time.monotonic() - self._origin_s
        reached_ns = self._origin_ns + int(reached_s * 1e9 * self._speed)
        return max(1, int(np.searchsorted(timestamps, reached_ns, side="right")))

    def _anchor(self, event_ns: int, now: float) -> None:
        self._origin_ns, self._origin_s = event_ns, now
