"""Look at a ring without taking events: what the local reducer, the monitor and the CLI do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import numpy as np

from ami.errors import RingError, RingGone
from ami.event import Schema
from ami.ring import layout as at
from ami.ring.layout import Cursor, Entry
from ami.ring.segment import Segment
from ami.ring.state import RingState
from ami.ring.wake import Bell, wait

_LOOK_S: Final = 0.2  # an observer that nobody wakes looks as often


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """A worker that was ever attached to this ring.

    ``owned``: events that it must still commit. ``commits`` and ``committed``: calls of commit, and
    events, since the ring was made. ``first``, ``count``, ``operation``, ``since_ns``: what it runs
    (``operation`` 0: nothing), since when (CLOCK_MONOTONIC). ``attached_ns`` is wall-clock time.
    """

    number: int
    alive: bool
    pid: int
    attached_ns: int
    owned: int
    commits: int
    committed: int
    first: int
    count: int
    operation: int
    since_ns: int


class RingObserver:
    """A view on a ring. With ``reducer=True`` it also says which entries may be forgotten.

    Raises:
        RingGone: there is no such ring.
        RingBusy: ``reducer`` is asked for, and a living process is it already.
    """

    def __init__(self, name: str, *, reducer: bool = False) -> None:
        self._segment = segment = Segment.attach(name)
        self._reducer = reducer
        if reducer:
            try:
                segment.hold(at.REDUCER_LOCK, at.REDUCER_PID, "local reducer")
            except BaseException:
                segment.close()
                raise
            segment.sign(at.REDUCER_PID, at.REDUCER_SINCE)
            if segment.retired:
                segment.close()
                raise RingGone(f"ring {name} is being replaced")
        self._state = RingState(segment)
        self._bell = Bell(segment)
        if reducer and segment.words[at.REDUCED] < 0:
            segment.words[at.REDUCED] = self._state.oldest_entry()
        self._seen = (-1, -1)
        self.name = name
        self.schema: Schema = segment.layout.schema
        self.source_id = segment.layout.source_id
        self.interval_ns = segment.layout.interval_ns
        self.slot_count = segment.layout.slot_count
        self.entry_count = segment.layout.entry_count
        self.ring_id = segment.ring_id

    @property
    def cursor(self) -> Cursor:
        return self._state.cursor()

    @property
    def claimed(self) -> int:
        """Events handed out to workers so far."""
        return int(self._segment.words[at.CLAIMED])

    @property
    def policy(self) -> str:
        return at.POLICIES[self._segment.words[at.POLICY]]

    @property
    def writer_alive(self) -> bool:
        return self._segment.locks.is_free(at.WRITER_LOCK) is False

    @property
    def writer_pid(self) -> int:
        return int(self._segment.words[at.WRITER_PID])

    @property
    def replaced(self) -> bool:
        """Whether this ring was retired: attach again when nothing is left to do here."""
        return self._segment.retired

    @property
    def oldest_entry(self) -> int:
        """Index of the oldest entry that still has its place in the table."""
        return self._state.oldest_entry()

    def entry(self, index: int) -> Entry:
        """Return an entry as it is now.

        Raises:
            RingError: it was not opened yet, or a later one has its place.
        """
        return self._state.entry(index)

    def complete(self, index: int) -> bool:
        """Return whether an entry is closed and each of its events committed."""
        return self._state.complete(index)

    def outstanding(self, index: int) -> int:
        """Return how many events of an entry are not committed yet."""
        return self._state.outstanding(index)

    def drained(self) -> bool:
        """As :meth:`RingWriter.drained`."""
        return self._state.drained()

    def reduced(self, upto: int) -> None:
        """Say that entries below ``upto`` need no place in the table any more; never goes back.

        Raises:
            RingError: this observer is not the reducer.
        """
        if not self._reducer:
            raise RingError("only the local reducer says which entries may be forgotten")
        words = self._segment.words
        if upto > words[at.REDUCED]:
            words[at.REDUCED] = upto
            self._bell.wake_source()

    def wait(self, timeout_s: float) -> bool:
        """Wait until something was committed or closed since the last call, or the ring replaced.

        Only the reducer is woken; any other observer looks five times a second.
        """
        if self._reducer:
            semaphore = self._segment.semaphore(".done")
            changed = wait(self._changed, self._bell.announce_reducer, semaphore, timeout_s)
        else:
            deadline = time.monotonic() + timeout_s
            while not (changed := self._changed()):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                time.sleep(min(left_s, _LOOK_S))
        self._seen = self._now()
        return changed

    def _now(self) -> tuple[int, int]:
        # Each worker counts its own commits, because two could not count in one word.
        return self._state.entries_closed(), int(self._state.workers["commits"].sum())

    def _changed(self) -> bool:
        return self._now() != self._seen or self._segment.retired

    def worker_numbers(self) -> list[int]:
        """Return the numbers of the workers that were ever attached: all who can have committed."""
        numbers: list[int] = np.flatnonzero(self._state.workers["pid"]).tolist()
        return numbers

    def workers(self) -> dict[int, WorkerPlace]:
        """Return every worker that was ever attached, by number."""
        state = self._state
        claimed = self._segment.words[at.CLAIMED]
        owners = state.owners(max(0, state.published() - state.slot_count), claimed)
        owned = np.bincount(owners, minlength=256)
        return {
            number: WorkerPlace(
                number=number,
                alive=not self._segment.locks.is_free(at.WORKER_LOCK + number),
                pid=int(row["pid"]),
                attached_ns=int(row["since_ns"]),
                owned=int(owned[number + 1]),
                commits=int(row["commits"]),
                committed=int(row["committed"]),
                first=int(row["first"]),
                count=int(row["count"]),
                operation=int(row["operation"]),
                since_ns=int(row["run_ns"]),
            )
            for number, row in enumerate(state.workers)
            if row["pid"]
        }

    def close(self) -> None:
        self._segment.close()

    def __enter__(self) -> RingObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
