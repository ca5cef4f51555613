"""Cut event time into intervals: which events share one, and how long it should be.

The number of an interval is ``timestamp // length``, everywhere and always, so that nodes that
never spoke with each other bin alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ami.sources.base import Source, Timestamps

SHORTEST_S = 0.05  # what a proposal is at least: 20 Hz, as fast as eyes want
PER_REPLAY = 1000  # intervals in a replay as fast as possible, at most


class Run(NamedTuple):
    """Events ``start`` to ``stop`` of a block share ``interval``."""

    interval: int
    start: int
    stop: int


def split(timestamps: Timestamps, interval_ns: int) -> list[Run]:
    """Return the runs of equal interval in ``timestamps``, which are in ns and ascend.

    Negative timestamps are fine: numbers are rounded down, so -1 ns is in interval -1.
    """
    if not len(timestamps):
        return []
    first = int(timestamps[0]) // interval_ns
    if int(timestamps[-1]) // interval_ns == first:  # the common case, without a look at each event
        return [Run(first, 0, len(timestamps))]
    numbers = timestamps // interval_ns
    starts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist()]
    stops = [*starts[1:], len(timestamps)]
    return [Run(int(numbers[a]), a, b) for a, b in zip(starts, stops, strict=True)]


def propose_ns(span_ns: int, at_least_s: float = SHORTEST_S) -> int:
    """Return a length for a replay as fast as possible of ``span_ns`` of event time.

    The span in at most 1000 intervals, rounded up to 1, 2 or 5 times a power of ten ns, and not
    below ``at_least_s``. An hour in intervals of 50 ms would be 72,000 of them, reduced and
    published in a second, for nobody's eyes.
    """
    wanted = -(-span_ns // PER_REPLAY)
    length = 1
    while length < wanted:
        length = next((m * length for m in (2, 5) if m * length >= wanted), 10 * length)
    return max(length, round(at_least_s * 1e9))


def choose(source: Source, setting_s: float) -> int:
    """Return the length of interval, in ns, with which ``source`` is to be played.

    What its URI asks for; else, for a replay as fast as possible, what it proposes or the node's
    setting, whichever is longer; else the setting, scaled by the speed of the replay, so that the
    screen goes on at its own rate.
    """
    if source.interval_s is not None and source.interval_fixed:
        return max(1, round(source.interval_s * 1e9))
    if not source.pace.paced:
        return max(1, round(max(source.interval_s or 0.0, setting_s) * 1e9))
    return max(1, round(setting_s * source.pace.speed * 1e9))


def on_the_clock(source: Source, interval_ns: int) -> int:
    """Return how long an interval of this length lasts when ``source`` is played, in ns.

    A replay as fast as possible has no pace of its own: there it is the length itself.
    """
    return max(1, round(interval_ns / source.pace.speed)) if source.pace.paced else interval_ns
