"""Keep who has each slot (nobody, who comes first, or a worker: one byte a slot) and what was done with it.

Each byte has one writer at any time. The source writes those that are FREE, a worker those that it owns,
and UNCLAIMED ones are handed out under the claim lock: the worker's number goes into the bytes, and only
then is the count of claimed events moved. Below that count "unclaimed" is no state of an event, above it
a worker's number is none, so a death in between has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ami.errors import RingError
from ami.ring.layout import ATTEMPTED, CLAIM_ENTRY, CLAIMED, FLUSHED
from ami.ring.segment import Segment

FREE: Final = 0
UNCLAIMED: Final = 255
_MAX_ATTEMPTS: Final = 255
_LOOK_AHEAD: Final = 1 << 16  # slots that are looked at at once for being free; 2 us

Sequences = NDArray[np.int64]


class Owners:
    """The owners of one ring's slots; each slot's attempts, which is how many workers died of its event; and
    whether its event is in a stored flush, and not in a large state that outlives its worker yet.

    Args:
        worker: whose hands these are; it is n + 1 in the bytes.
    """

    def __init__(self, segment: Segment, worker: int | None) -> None:
        layout = segment.layout
        self._memory = segment.memory
        self._words = segment.words
        self._slot_count = layout.slot_count
        self._offset = layout.offsets["owner"]
        self.bytes: NDArray[np.uint8] = self._array(segment, "owner")
        self._attempts: NDArray[np.uint8] = self._array(segment, "attempts")
        self._flushed: NDArray[np.uint8] = self._array(segment, "flushed")
        self._me = FREE if worker is None else worker + 1
        self._mine = b""

    def _array(self, segment: Segment, name: str) -> NDArray[np.uint8]:
        offset = segment.layout.offsets[name]
        return np.ndarray((self._slot_count,), np.uint8, buffer=self._memory, offset=offset)

    # --- everybody ------------------------------------------------------------------------------

    def count_claimed(self) -> int:
        """Return how many events were handed out to workers."""
        return self._words[CLAIMED]

    def _pieces(self, first: int, stop: int) -> list[slice]:
        """Return where the slots of at most a ringful of events lie: one or two slices."""
        if first >= stop:
            return []
        start, end = first % self._slot_count, (stop - 1) % self._slot_count + 1
        if start < end:
            return [slice(start, end)]
        return [slice(start, self._slot_count), slice(0, end)]

    def between(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the owners of at most a ringful of events."""
        parts = [self.bytes[piece] for piece in self._pieces(first, stop)]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    def count_uncommitted(
        self, first: int, stop: int, published: Callable[[], int], *, but_flushed: bool = False
    ) -> int:
        """Return how many of the events from ``first`` up to ``stop`` are not committed.

        ``but_flushed``: nor in a stored flush.

        The order of the reads matters. ``claimed`` comes before the owners: below it, "unclaimed" is
        no state of an event, but a source that has begun to fill the slot anew (or died
        there). ``published`` is read again after the owners: whoever owns a slot of an event that
        has left the window by then owns it for a later event.
        """
        claimed = self._words[CLAIMED]
        first = max(first, published() - self._slot_count, 0)
        if first >= stop:
            return 0
        owners = self.between(first, stop)
        owned: NDArray[np.bool_] = owners != FREE
        if not owned.any():
            return 0
        below = max(0, claimed - first)
        owned[:below] &= owners[:below] != UNCLAIMED
        if but_flushed and self._words[FLUSHED]:
            # After the owners: the source unmarks a slot before it offers it, so who owns it marked it.
            marks = [self._flushed[piece] for piece in self._pieces(first, stop)]
            owned &= np.concatenate(marks) == 0
        left = max(0, published() - self._slot_count - first)
        return int(np.count_nonzero(owned[left:]))

    def count_by_worker(self, published: int) -> NDArray[np.int64]:
        """Return how many events each worker owns."""
        owners = self.between(max(0, published - self._slot_count), self._words[CLAIMED])
        if not owners.view(np.bool_).any():  # 0.03 ms of a million slots; to count them takes 5 ms
            return np.zeros(UNCLAIMED - 1, np.int64)
        return np.bincount(owners, minlength=UNCLAIMED)[1:]

    def sequences_of(self, worker: int, published: int) -> Sequences:
        """Return the events that a worker owns, ascending. Below the count of claims only."""
        first = max(0, published - self._slot_count)
        return np.flatnonzero(self.between(first, self._words[CLAIMED]) == worker + 1) + first

    # --- the source -----------------------------------------------------------------------------

    def free_from(self, first: int, wanted: int) -> int:
        """Return up to which event slots are free from ``first`` on; it looks beyond ``wanted``.

        A slot that is free stays so until it is published, so what was seen once need not be
        looked at again: one look serves many small blocks.
        """
        start = first % self._slot_count
        owners = self.bytes[start : start + max(wanted, _LOOK_AHEAD)]
        # Workers commit meanwhile. So the first slot is looked at before: when it is free, argmax
        # (which stops at the first that is owned) is 0 only if none is.
        if owners.item(0) != FREE:
            return first
        return first + (int(owners.view(np.bool_).argmax()) or len(owners))

    def offer(self, start: int, stop: int) -> None:
        """Let workers have the events in these slots, as soon as they are published."""
        if self._words[ATTEMPTED]:
            self._attempts[start:stop] = 0
        if self._words[FLUSHED]:
            self._flushed[start:stop] = 0
        self.bytes[start:stop] = UNCLAIMED

    def withdraw(self, published: int) -> None:
        """Free what a killed source offered and never published. Under the claim lock."""
        offered = self.bytes == UNCLAIMED
        for piece in self._pieces(self._words[CLAIMED], published):
            offered[piece] = False
        self.bytes[np.flatnonzero(offered)] = FREE

    # --- a worker -------------------------------------------------------------------------------

    def claim(self, first: int, count: int, entry: int) -> None:
        """Take the next events, which lie side by side. Under the claim lock."""
        start = first % self._slot_count
        self.bytes[start : start + count] = self._me
        self._words[CLAIM_ENTRY] = entry
        self._words[CLAIMED] = first + count

    def commit(self, first: int, count: int) -> None:
        """Give back at most a ringful of events.

        Raises:
            RingError: one of them is not this worker's. Given back twice, a slot might by then be
                somebody else's: that would lose events in silence.
        """
        if count > len(self._mine):
            self._mine = bytes([self._me]) * max(count, 4096)
        for piece in self._pieces(first, first + count):
            start, stop = piece.start, piece.stop
            if self._memory[self._offset + start : self._offset + stop] != self._mine[: stop - start]:
                raise RingError(f"worker {self._me - 1} commits events from {first} on that are not its own")
            self.bytes[piece] = FREE

    def free(self, sequences: Sequences) -> None:
        """Commit a dead worker's events. Under the claim lock."""
        self.bytes[sequences % self._slot_count] = FREE

    def take(self, sequences: Sequences) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Make a dead worker's events one's own, under the claim lock; return attempts, flushed."""
        slots = sequences % self._slot_count
        self.bytes[slots] = self._me
        return self._attempts[slots], self._flushed[slots]

    def set_flushed(self, first: int, count: int) -> None:
        """Say that these events, which are this worker's, are in a stored flush."""
        self._words[FLUSHED] = 1
        for piece in self._pieces(first, first + count):
            self._flushed[piece] = 1

    def are_flushed(self, sequences: Sequences) -> NDArray[np.bool_]:
        """Return of which of a dead worker's events that was said."""
        return self._flushed[sequences % self._slot_count].view(np.bool_)

    def mark_flushed(self, sequences: Sequences) -> None:
        """Say so of events of a dead worker, under the claim lock."""
        if len(sequences):
            self._words[FLUSHED] = 1
            self._flushed[sequences % self._slot_count] = 1

    def count_attempt(self, sequences: Sequences) -> None:
        self._words[ATTEMPTED] = 1
        slots = sequences % self._slot_count
        self._attempts[slots] = np.minimum(self._attempts[slots], _MAX_ATTEMPTS - 1) + 1
