"""Turn counts that only grow into rates."""

from __future__ import annotations

import time

# What is told of flows reaches back one to two spans of this length: large states go in bursts.
SPAN_S = 5.0


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


class _Span:
    def __init__(self) -> None:
        self.began = time.monotonic()
        self.amounts: dict[str, float] = {}


class Flows:
    """Amounts by name, per second.

    One thread adds, the heartbeat's tells. So spans are replaced and never cleared: a reader has the ones
    or the others.
    """

    def __init__(self) -> None:
        first = _Span()
        self._spans = (first, first)

    def add(self, name: str, amount: float) -> None:
        """Note an amount."""
        amounts = self._spans[1].amounts
        amounts[name] = amounts.get(name, 0.0) + amount

    def per_s(self, most: int = 50) -> dict[str, float]:
        """Return how much of each there was per second of late, of the ``most`` largest."""
        before, this = self._spans
        now = time.monotonic()
        totals = dict(this.amounts)
        if before is not this:
            for name, amount in dict(before.amounts).items():
                totals[name] = totals.get(name, 0.0) + amount
        if now - this.began > SPAN_S:
            self._spans = (this, _Span())
        # In the first second nobody knows a rate yet.
        took_s = max(1.0, now - before.began)
        largest = sorted(totals, key=totals.__getitem__, reverse=True)[:most]
        return {name: totals[name] / took_s for name in largest if totals[name] > 0}
