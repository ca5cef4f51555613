"""Turn a count that only grows into a rate."""

from __future__ import annotations

import time


class Rate:
    """Growth per second between the last two looks that were at least a second apart."""

    def __init__(self, count: float = 0.0) -> None:
        self._at = time.monotonic()
        self._count = count
        self._per_s = 0.0

    def per_s(self, count: float) -> float:
        """Return the rate of ``count``."""
        now = time.monotonic()
        if now - self._at >= 0.9:
            self._per_s = max(0.0, (count - self._count) / (now - self._at))
            self._at, self._count = now, count
        return self._per_s
