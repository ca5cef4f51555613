"""Tell the time of a store, which all who use it share, without asking it each time."""

from __future__ import annotations

import time
from typing import Final

from ami.errors import StoreUnavailable
from ami.stores.store import Store

LOOK_S: Final = 10.0
NEAR_NS: Final = 50_000_000  # what a busy server may take to answer: nearer than so, clocks are the same


class StoreClock:
    """The time of a store's server, read off this machine's own clock and how far that is from it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._skew_ns = 0
        self._look_at = 0.0

    def time_ns(self) -> int:
        """Return the time since 1970, in ns; while the store is away, by what was known of it."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            self._look()
        return time.time_ns() - self._skew_ns

    def _look(self) -> None:
        before = time.time_ns()
        try:
            told = self._store.time_ns()
        except StoreUnavailable:
            return
        skew_ns = (before + time.time_ns()) // 2 - told
        self._skew_ns = skew_ns if abs(skew_ns) > NEAR_NS else 0
