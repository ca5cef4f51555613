"""Take requests off the queue: many at once, what is none in bulk, and what a manager ended of with care.

A request that was in the hands of a manager that died is met again by the next one. It is tried apart then;
and who died of it in spite of that was the last one to look at it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from typing import Any

from ami.errors import GraphError
from ami.messages.request import Request
from ami.stores import Item, Store, keys

logger = logging.getLogger(__name__)

Taken = tuple[Item, Request]


class Intake:
    """The requests that one manager takes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue = store.queue(keys.REQUESTS)
        self._ahead: deque[Taken] = deque()
        self._suspect: tuple[str, int] | None = None  # digest of a request, managers that ended meanwhile
        self._is_first_time = True
        self.refused = 0

    def recover(self) -> int:
        """Begin where the last leader stopped; return how many requests it had and did not answer.

        Call it when no other leader lives. Of what this process itself had, it is told nothing bad.
        """
        self._ahead.clear()
        raw = self._queue.first_taken()
        if raw is not None and self._is_first_time:
            digest = _digest(raw)
            known: Any = self._store.get(keys.TRIED)
            same = isinstance(known, dict) and known.get("item") == digest
            times = int(known["times"]) + 1 if same else 1
            self._store.put(keys.TRIED, {"item": digest, "times": times}, expire_s=keys.TRIED_EXPIRE_S)
            self._suspect = (digest, times)
        self._is_first_time = False
        return self._queue.recover()

    def next(self, wait_s: float) -> Taken | None:
        """Return the oldest request; None: there is none within ``wait_s``, or all that came were none."""
        if not self._ahead:
            self._fill(wait_s)
        return self._ahead.popleft() if self._ahead else None

    def _fill(self, wait_s: float) -> None:
        items, broken = self._queue.take_some(wait_s)
        reasons: list[Exception] = list(broken)
        junk = []
        for item in items:
            try:
                self._ahead.append((item, Request.from_plain(item.value)))
            except GraphError as error:
                # Nobody to answer: without an id there is no key for the answer.
                reasons.append(error)
                junk.append(item)
        if junk:
            self._queue.done(*junk)
        if reasons:
            self.refused += len(reasons)
            others = f", and {len(reasons) - 1} others" if len(reasons) > 1 else ""
            logger.warning("a request is no request%s: %s", others, reasons[0])

    def count_ends(self, item: Item) -> int:
        """Return how many managers ended while they had this request in hand."""
        return self._suspect[1] if self._suspect is not None and self._suspect[0] == _digest(item.raw) else 0

    def done(self, item: Item) -> None:
        """Let go of a request that was answered."""
        self._queue.done(item)


def _digest(raw: bytes) -> str:
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest()
