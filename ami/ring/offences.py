"""Keep which operations kill or hang the workers of this ring: known to all of them, longer than they live.

A row an operation, by its fingerprint: what it did so far, weighed, and the first time how. It is written
under the claim lock, what counts last, so a death in between loses one offence at the most.
"""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Final

import numpy as np

from ami.ring.layout import OFFENCE_ROWS, OFFENCES_SEEN, OFFENDED_NS
from ami.ring.segment import Segment

# What an operation may do before it is switched off, and what each deed weighs: it may kill a worker
# twice. A hang weighs more, because everybody waits for its end.
TOO_MUCH: Final = 3
DEATH: Final = 1
HANG: Final = 2
# For so long after an offence blocks are tried before they are run: what kills often does not cost a worker
# each time, and what kills rarely does not slow down everybody for long.
SUSPECT_NS: Final = 1_000_000_000

ROW: Final = np.dtype([("fingerprint", "S16"), ("weight", "<i8"), ("version", "<i8"), ("how", "S224")])


class Offences:
    """The rows of one ring."""

    def __init__(self, segment: Segment) -> None:
        offset = segment.layout.offsets["offences"]
        self._rows = np.ndarray((OFFENCE_ROWS,), ROW, buffer=segment.memory, offset=offset)
        self._words = segment.words

    @property
    def generation(self) -> int:
        """A number that changes when an operation is switched off, or no longer is."""
        return self._words[OFFENCES_SEEN]

    @property
    def suspects(self) -> bool:
        """Whether some operation may well do again what it just did."""
        since_ns = self._words[OFFENDED_NS]
        return since_ns > 0 and time.monotonic_ns() - since_ns < SUSPECT_NS

    def list_off(self) -> dict[str, str]:
        """Return what each operation did that is switched off, by fingerprint."""
        rows = self._rows[self._rows["weight"] >= TOO_MUCH]
        return {row["fingerprint"].decode(): row["how"].decode(errors="ignore") for row in rows}

    def count(self, fingerprint: str, version: int, weight: int, how: str, *, suspect: bool) -> bool:
        """Add what an operation did under a graph version; return whether it is switched off now.

        ``suspect``: blocks are to be tried for a while before they are run.
        """
        rows = self._rows
        mine = np.flatnonzero(rows["fingerprint"] == fingerprint.encode())
        if not len(mine):
            mine = np.flatnonzero(rows["weight"] == 0)[:1]
            if not len(mine):
                return False  # as many operations as this are no accident; their events are set aside
            rows["how"][mine] = how.encode()
            rows["fingerprint"][mine] = fingerprint.encode()
        rows["version"][mine] = np.maximum(rows["version"][mine], version)
        rows["weight"][mine] += weight
        if rows["weight"][mine[0]] < TOO_MUCH:
            if suspect:
                self._words[OFFENDED_NS] = time.monotonic_ns()
            return False
        self._words[OFFENDED_NS] = 0
        self._words[OFFENCES_SEEN] += 1
        return True

    def forget(self, version: int, there: Container[str]) -> None:
        """Forget operations of earlier graph versions that are not ``there`` in this one."""
        for place in np.flatnonzero((self._rows["weight"] > 0) & (self._rows["version"] < version)):
            if self._rows["fingerprint"][place].decode() not in there:
                self._rows["weight"][place] = 0
                self._rows["fingerprint"][place] = b""
                self._words[OFFENCES_SEEN] += 1
