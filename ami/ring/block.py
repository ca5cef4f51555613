"""Cut numbers of events into blocks of one entry that lie side by side in the ring. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ami.event import Slots
from ami.ring.entries import Entry
from ami.ring.owners import Sequences

Stretch = tuple[int, int]  # first sequence and count of consecutive events


@dataclass(slots=True)  # not frozen, as slots are not
class Block:
    """Consecutive events of one entry, handed to a worker.

    ``slots`` are views into the ring, read-only, valid until they are committed. ``sequence`` is the
    number of the first event. ``entry`` is as it was when this worker first met it, so an open
    one may have grown since. ``attempts`` is how many workers died while running just these events, the
    last one in the operation of number ``died_in`` (0: it is not known).
    ``flushed``: they are in a stored flush, and only their large states are missing.
    """

    slots: Slots
    sequence: int
    entry: Entry
    attempts: int
    flushed: bool = False
    died_in: int = 0

    @property
    def count(self) -> int:
        return self.slots.count

    def part(self, start: int, stop: int) -> Block:
        """Return the events ``start`` to ``stop`` of this block as one of their own."""
        return replace(self, slots=self.slots.part(start, stop), sequence=self.sequence + start)


@dataclass(frozen=True, slots=True)
class Piece:
    """What becomes a block: ``count`` events from ``first`` on, all of one entry."""

    first: int
    count: int
    entry: int
    attempts: int
    flushed: bool = False


def among(sequences: Sequences, stretches: Iterable[Stretch]) -> NDArray[np.bool_]:
    """Return which of the ascending ``sequences`` lie in one of ``stretches``."""
    inside = np.zeros(len(sequences), np.bool_)
    for first, count in stretches:
        low, high = np.searchsorted(sequences, (first, first + count))
        inside[low:high] = True
    return inside


def entries_of(sequences: Sequences, entries: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the index of the entry of each of the ascending ``sequences``.

    ``entries``: (first sequence, index), ascending; an entry without events has the same first
    sequence as the next one, which wins.
    """
    firsts = np.array([first for first, _ in entries], np.int64)
    indices = np.array([index for _, index in entries], np.int64)
    return indices[np.searchsorted(firsts, sequences, side="right") - 1]


def split(
    sequences: Sequences,
    attempts: NDArray[np.uint8],
    flushed: NDArray[np.uint8],
    entries: Sequence[tuple[int, int]],
    *,
    slot_count: int,
    limit: int,
) -> list[Piece]:
    """Cut ascending sequence numbers into pieces.

    A piece has no gap, does not cross the ring's end or an entry's border, has equal attempts and
    flushed throughout, and at most ``limit`` events.

    Args:
        attempts, flushed: of each sequence.
        entries: as of :func:`entries_of`.
    """
    if not len(sequences):
        return []
    entry = entries_of(sequences, entries)
    border = (
        (np.diff(sequences) != 1)
        | (sequences[1:] % slot_count == 0)
        | (np.diff(entry) != 0)
        | (attempts[1:] != attempts[:-1])
        | (flushed[1:] != flushed[:-1])
    )
    starts = [0, *(np.flatnonzero(border) + 1).tolist(), len(sequences)]
    pieces = []
    for start, stop in pairwise(starts):
        for low in range(start, stop, limit):
            pieces.append(
                Piece(
                    first=int(sequences[low]),
                    count=min(limit, stop - low),
                    entry=int(entry[low]),
                    attempts=int(attempts[low]),
                    flushed=bool(flushed[low]),
                )
            )
    return pieces
