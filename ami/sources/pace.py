"""Say when events are due: at a recorded pace, as fast as possible, or as they come.

Each source has a pace. The feeder asks it how many of the next events are due, and when an interval is over.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# A replay that fell behind by more than this does not run after its schedule for ever: the
# schedule is moved. The lag until then is made up at full speed; and any lag, where others keep the schedule.
LAG_S = 1.0
# How long after its end an interval of a stream is closed although no later event says that it is over:
# longer than what a network holds up. What comes later still is an entry of its own of that interval.
GRACE_S = 0.1


class Pace(Protocol):
    """When events are due.

    paced: they come in time, so that there is time to rest; False: as fast as possible.
    speed: event time per wall time.
    lag_s: seconds that the events are behind their pace.
    """

    paced: bool
    speed: float
    lag_s: float

    def due_s(self, event_ns: int) -> float:
        """Return in how many seconds (negative: since how many) an event of this time is due."""

    def count_due(self, timestamps: NDArray[np.int64]) -> int:
        """Return how many of these ascending timestamps are due now."""


class Replay:
    """Maps recorded or simulated time to the clock of this machine; ``speed`` 2 plays twice as fast.

    Args:
        speed: None is as fast as possible: always due.
        is_shared: others play to the same schedule, so it is kept, however late this one is.
    """

    def __init__(self, speed: float | None, *, is_shared: bool = False) -> None:
        self.paced = speed is not None
        self.is_shared = is_shared
        self.speed = 1.0 if speed is None else speed
        self.lag_s = 0.0
        self._origin_ns: int | None = None
        self._origin_s = 0.0

    def begin(self, event_ns: int, late_s: float) -> None:
        """Begin a schedule in which an event of this time is due for so long already."""
        self._anchor(event_ns, time.monotonic() - late_s)

    def due_s(self, event_ns: int) -> float:
        if not self.paced:
            return 0.0
        now = time.monotonic()
        if self._origin_ns is None:
            self._anchor(event_ns, now)
        assert self._origin_ns is not None
        wait_s = self._origin_s + (event_ns - self._origin_ns) / (1e9 * self.speed) - now
        if wait_s < -LAG_S and not self.is_shared:
            self._anchor(event_ns, now)
            return 0.0
        return wait_s

    def count_due(self, timestamps: NDArray[np.int64]) -> int:
        """See :class:`Pace`; the first one decides on the lag."""
        if not self.paced:
            return len(timestamps)
        first_s = self.due_s(int(timestamps[0]))
        self.lag_s = max(0.0, -first_s)
        if first_s > 0:
            return 0
        assert self._origin_ns is not None
        reached_s = time.monotonic() - self._origin_s
        reached_ns = self._origin_ns + int(reached_s * 1e9 * self.speed)
        return max(1, int(np.searchsorted(timestamps, reached_ns, side="right")))

    def _anchor(self, event_ns: int, now: float) -> None:
        self._origin_ns, self._origin_s = event_ns, now


class AsTheyCome:
    """The pace of a stream: what is there is due. Its newest event says what its time is.

    The machine's own clock is not asked: the sender's may be another, or that of a recording.
    """

    paced = True

    def __init__(self) -> None:
        self.speed = 1.0  # of a replay somewhere else
        self.lag_s = 0.0
        self._newest_ns: int | None = None
        self._came_s = 0.0

    def due_s(self, event_ns: int) -> float:
        """Return in how many seconds nothing of before ``event_ns`` is to be expected any more."""
        if self._newest_ns is None:
            return 0.0
        return (event_ns - self._newest_ns) / (1e9 * self.speed) + GRACE_S - (time.monotonic() - self._came_s)

    def count_due(self, timestamps: NDArray[np.int64]) -> int:
        self._newest_ns, self._came_s = int(timestamps[-1]), time.monotonic()
        return len(timestamps)
