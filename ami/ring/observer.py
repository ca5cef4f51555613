"""Look at a ring without taking events: what the local reducer, the monitor and the CLI do."""

from __future__ import annotations

import time
from typing import Final

from ami.errors import RingError
from ami.ring import layout as at
from ami.ring.handle import Handle
from ami.ring.offences import TOO_MUCH, Offences
from ami.ring.segment import Segment
from ami.ring.wake import wait
from ami.ring.workers import AttachedWorker

_LOOK_S: Final = 0.2  # an observer that nobody wakes looks as often


class RingObserver(Handle):
    """A view on a ring. With ``reducer=True`` it also says which entries may be forgotten.

    Raises:
        RingGone: there is no such ring.
        RingBusy: ``reducer`` is asked for, and a living process is it already.
    """

    def __init__(self, name: str, *, reducer: bool = False) -> None:
        if reducer:
            segment = Segment.join(name, at.REDUCER_LOCK, at.REDUCER_PID, "local reducer")
        else:
            segment = Segment.attach(name)
        super().__init__(segment)
        self._reducer = reducer
        if reducer:
            self.keep_entries()
        self._seen = (-1, -1, -1)

    @property
    def claimed(self) -> int:
        """Events handed out to workers so far."""
        return self._owners.count_claimed()

    @property
    def policy(self) -> str:
        return at.POLICIES[self._words[at.POLICY]]

    @property
    def writer_alive(self) -> bool:
        return not self._segment.locks.is_free(at.WRITER_LOCK)

    @property
    def writer_pid(self) -> int:
        return self._words[at.WRITER_PID]

    def forget_entries(self, upto: int) -> None:
        """Say that entries below ``upto`` need no row in the table any more; never goes back.

        Raises:
            RingError: this observer is not the reducer.
        """
        if not self._reducer:
            raise RingError("only the local reducer says which entries may be forgotten")
        if upto > self._words[at.REDUCED]:
            self._words[at.REDUCED] = upto
            self._bell.wake_source()

    def mark_taken(self) -> None:
        """Have the source leave this ring, because its events were dealt to others.

        Raises:
            RingError: this observer is not the reducer.
        """
        if not self._reducer:
            raise RingError("only the local reducer says that a ring's events do not count any more")
        self._words[at.TAKEN] = 1
        self._bell.wake_source()

    def switch_off(self, fingerprint: str, version: int, how: str) -> None:
        """Let no worker run an operation any more that did harm elsewhere, until it is edited or removed."""
        with self._segment.locks.critical(at.CLAIM_LOCK):
            Offences(self._segment).count(fingerprint, version, TOO_MUCH, how, suspect=False)

    def wait(self, timeout_s: float) -> bool:
        """Wait until something was committed or closed since the last call, or the ring replaced.

        Only the reducer is woken; any other observer looks five times a second.
        """
        if self._reducer:
            semaphore = self._segment.semaphore(".done")
            changed = wait(self._has_changed, self._bell.announce_reducer, semaphore, timeout_s)
        else:
            deadline = time.monotonic() + timeout_s
            while not (changed := self._has_changed()):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                time.sleep(min(left_s, _LOOK_S))
        self._seen = self._now()
        return changed

    def _now(self) -> tuple[int, int, int]:
        return self._record.read_closed(), self._workers.count_commits(), self.spans_closed

    def _has_changed(self) -> bool:
        return self._now() != self._seen or self._segment.retired

    def worker_numbers(self) -> list[int]:
        """Return the numbers of the workers that were ever attached: all who can have committed."""
        return self._workers.list_attached()

    def workers(self) -> dict[int, AttachedWorker]:
        """Return every worker that was ever attached, by number."""
        owned = self._owners.count_by_worker(self._record.read_published())
        return {
            number: self._workers.read(number)._replace(
                alive=not self._segment.locks.is_free(at.WORKER_LOCK + number), owned=int(owned[number])
            )
            for number in self._workers.list_attached()
        }
