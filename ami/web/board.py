"""Keep the newest chunk of all that is shown, with a number: one thread writes, the viewers' loop reads.

Each result is encoded once for all who show it alike. What nobody shows is neither read nor encoded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ami.result import Result
from ami.web.chunks import encode_result
from ami.web.pictures import Showing

Wanted = Mapping[str, frozenset[Showing]]
NOTHING: Wanted = {}


class Chunk(NamedTuple):
    """An encoded result, and the number of the moment in which it was put here."""

    number: int
    data: bytes


class Board:
    """The newest of each name.

    ``wanted`` is the loop's, results and chunks are the writer's; neither waits while the other encodes. What
    nobody shows is let go of at once, lest somebody is shown it later as if it were new.

    Args:
        tell: called, by the writer, after something new was put here.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self.wanted: Wanted = NOTHING
        self.asked = threading.Event()  # set when somebody shows something else than before
        self.number = 0
        # How many were encoded, their bytes, and how old they were together, s: for /metrics.
        self.encoded, self.encoded_bytes, self.encoded_age_s = 0, 0, 0.0
        self._lock = threading.Lock()
        self._results: dict[str, Result] = {}
        self._chunks: dict[tuple[str, Showing], Chunk] = {}

    def want(self, shown: Iterable[Mapping[str, Showing]]) -> None:
        """Take in what all viewers show together."""
        wanted: dict[str, set[Showing]] = {}
        for one in shown:
            for name, showing in one.items():
                wanted.setdefault(name, set()).add(showing)
        new = {name: frozenset(showings) for name, showings in wanted.items()}
        if new != self.wanted:
            with self._lock:
                self.wanted = new
                self._let_go()
            self.asked.set()

    def put(self, results: Mapping[str, Result], now_ns: int) -> None:
        """Take in new results, and encode what is shown of them or was not yet."""
        with self._lock:
            self._results = {**self._results, **results}
            self._let_go()
            wanted, known, there = self.wanted, self._results, set(self._chunks)
        number = self.number + 1
        made = {
            (name, showing): Chunk(number, encode_result(result, showing, now_ns))
            for name, result in known.items()
            for showing in wanted[name]
            if name in results or (name, showing) not in there
        }
        self.encoded += len(made)
        self.encoded_bytes += sum(len(chunk.data) for chunk in made.values())
        self.encoded_age_s += sum(known[name].age_s(now_ns) for name, _ in made)
        if made:
            with self._lock:
                self._chunks = {**self._chunks, **made}
                self._let_go()
                self.number = number
            self._tell()

    def _let_go(self) -> None:
        wanted = self.wanted
        self._results = {name: one for name, one in self._results.items() if name in wanted}
        self._chunks = {key: one for key, one in self._chunks.items() if key[1] in wanted.get(key[0], ())}

    def read(self, shown: Mapping[str, Showing], seen: Mapping[str, int]) -> dict[str, Chunk]:
        """Return what of ``shown`` is newer than the numbers ``seen``."""
        chunks = self._chunks
        found = {}
        for key in shown.items():
            chunk = chunks.get(key)
            if chunk is not None and chunk.number > seen.get(key[0], 0):
                found[key[0]] = chunk
        return found
