"""Hear of new results by push, and read each at most as often as somebody looks.

The global reducer appends to one notification stream which names it published; this blocks on that
stream (no polling), and then reads the newest value of each name once, however many notifications
came in between. So a slow reader of large images lags by one read, never by a queue.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from ami.errors import Undecodable
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
        # When each name was published last, ns, as far as it was since this began; by the store's clock.
        self.published_ns: dict[str, int] = {}
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
                self.published_ns[str(name)] = int(place.partition("-")[0]) * 10**6
                if self._names is None or name in self._names:
                    self._unread.add(str(name))

    def _read(self) -> dict[str, Result]:
        found = read_results(self._store, sorted(self._unread))
        # Only now: if the read failed they are still to be read.
        self._unread.clear()
        return found


def read_results(reducer: Store, names: Collection[str]) -> dict[str, Result]:
    """Return the newest values of those ``names`` that have one, in their order, in one round trip.

    One that cannot be decoded is there with its error; it does not hide the others.

    Raises:
        StoreUnavailable
    """
    wanted = {name: keys.result(name) for name in names}
    try:
        values = reducer.get_many(wanted.values())
    except Undecodable:
        values = {key: _readable(reducer, name, key) for name, key in wanted.items()}
    found = {name: values.get(key) for name, key in wanted.items()}
    return {name: value for name, value in found.items() if isinstance(value, Result)}


def _readable(reducer: Store, name: str, key: str) -> object:
    try:
        return reducer.get(key)
    except Undecodable as error:
        return Result(name=name, error=str(error), complete=False)
