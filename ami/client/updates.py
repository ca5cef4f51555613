"""Hear of new results by push, and read each at most as often as somebody looks.

The global reducer appends to one notification stream which names it published; this blocks on that
stream (no polling), and then reads the newest value of each name once, however many notifications
came in between. So a slow reader of large images lags by one read, never by a queue.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from ami.result import Result
from ami.stores import Store, keys

# The longest one blocking read of the store's connection, seconds: what Ctrl-C may have to wait for.
BLOCK_S = 1.0


class Updates:
    """What is new among the results ``names`` (None: all), in the store of the global reducer."""

    def __init__(self, reducer: Store, names: Collection[str] | None = None) -> None:
        self._store = reducer
        self._names = None if names is None else set(names)
        # The place in the stream is taken before the values are read: what is published in
        # between is read twice rather than missed.
        last = reducer.history(keys.RESULTS, 1)
        self._after = last[-1][0] if last else "0"
        self._unread: set[str] = set(reducer.get(keys.CATALOGUE) or {}) if names is None else set(names)

    def take(self, timeout_s: float) -> dict[str, Result]:
        """Return the new results by name; empty when none came within ``timeout_s``.

        The first call returns what is there already.

        Raises:
            StoreUnavailable: call again later; nothing new is missed.
        """
        end = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, end - time.monotonic())
            if not self._unread:
                self._listen(min(left_s, BLOCK_S))
            found = self._read() if self._unread else {}
            if found or time.monotonic() >= end:
                return found

    def _listen(self, timeout_s: float) -> None:
        for place, notice in self._store.watch(keys.RESULTS, self._after, timeout_s):
            self._after = place
            named = notice.get("names") if isinstance(notice, dict) else None
            for name in named if isinstance(named, list | tuple | set) else ():
                if self._names is None or name in self._names:
                    self._unread.add(str(name))

    def _read(self) -> dict[str, Result]:
        wanted = {keys.result(name): name for name in sorted(self._unread)}
        values = self._store.get_many(list(wanted))
        # Only now: if the read failed they are still to be read.
        self._unread.clear()
        return {wanted[key]: value for key, value in values.items() if isinstance(value, Result)}
