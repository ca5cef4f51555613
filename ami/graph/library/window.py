"""Read what a reduction's ``window=`` says, and cut windows of time into panes.

A window of time is made of *panes*: so many intervals, from a multiple of that number on, so that who bins
alike cuts alike. A state is kept for each pane, and there are only so many of them, however long the window
is. It reaches back to the begin of its oldest pane: over what was asked for, and less than a pane more.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ami.errors import GraphError

KNOWN = "known: interval, run, 'last 20' (intervals), '10 s' (ms, s, min, h), '100 events'"
UNITS_NS = {"ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
LONGEST_NS = 1000 * UNITS_NS["h"]
# Each of them is a state, and all are merged when one of them is over. An image is a thousand times as dear.
MOST_PANES = 64
MOST_LARGE_PANES = 16
# Of large states there is no pane shorter than what travels at once.
SHORTEST_LARGE_NS = 250_000_000
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(ms|s|min|h)")
_COUNT = re.compile(r"(?:last ([0-9]{1,12})|([0-9]{1,12}) events)")


class Panes(NamedTuple):
    """How a window is cut: over how many intervals it reaches at least, and how many of them a pane has."""

    intervals: int
    each: int

    @property
    def most(self) -> int:
        """How many panes a window can touch."""
        return -(-(self.intervals - 1) // self.each) + 1


def check_window(window: str) -> str:
    """Return ``window`` in its one spelling: "interval", "run", "last K" (intervals), "10 s" or "N events".

    Raises:
        GraphError: it is none of these.
    """
    text = " ".join(window.split()) if isinstance(window, str) else ""
    if text in ("interval", "run"):
        return text
    if (counted := _COUNT.fullmatch(text)) and (number := int(counted[1] or counted[2])):
        return f"last {number}" if counted[1] else f"{number} events"
    if timed := _TIME.fullmatch(text):
        text = f"{timed[1]} {timed[2]}"
        if not 0 < length_ns(text) <= LONGEST_NS:
            raise GraphError(f"window {window!r} is not possible: more than nothing, and 1000 h at most")
        return text
    raise GraphError(f"window {window!r} is unknown; {KNOWN}")


def length_ns(window: str) -> int:
    """Return how long a window of time is, in ns; 0 for any other."""
    timed = _TIME.fullmatch(window)
    return round(float(timed[1]) * UNITS_NS[timed[2]]) if timed else 0


def panes_of(window: str, interval_ns: int, *, large: bool) -> Panes:
    """Return how a window of intervals or of time is cut, for intervals of this length.

    ``large``: its states are. A window that is no whole number of intervals is rounded up to one.
    """
    if not (long_ns := length_ns(window)):
        return Panes(int(window.split()[1]) if window.startswith("last ") else 1, 1)
    intervals = -(-long_ns // interval_ns)
    each = -(-intervals // (MOST_LARGE_PANES if large else MOST_PANES))
    return Panes(intervals, max(each, -(-SHORTEST_LARGE_NS // interval_ns)) if large else each)
