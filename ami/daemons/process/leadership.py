"""Act only while holding a lease: one of several processes leads, the others stand by."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ami.errors import Conflict, StoreError
from ami.stores import Lease

logger = logging.getLogger(__name__)


class Leadership:
    """A lease that is taken when it is free, and renewed three times in its life.

    Args:
        ttl_s: the lease's life.
        on_gain: called each time that it was taken, before anything is done under it: loads what the last
            leader left. If it raises, the lease is taken again, and this called again.
        keeps: what was loaded stays true while nobody else leads, whatever failed. So a lease that ran out,
            on a machine that stood still, and that nobody else had since, is taken again without loading: who
            has to load for longer than a lease lasts would never get on.
    """

    def __init__(
        self, lease: Lease, ttl_s: float, on_gain: Callable[[], None], *, keeps: bool = False
    ) -> None:
        self.lease = lease
        self._ttl_s = ttl_s
        self._on_gain = on_gain
        self._renew_at = 0.0
        self.held = False
        self._keeps = keeps
        self._loaded = 0  # token under which that was done last

    def hold(self) -> bool:
        """Take or renew the lease, if it is time; return whether it is held."""
        now = time.monotonic()
        if self.held and now < self._renew_at:
            return True
        try:
            if self.held:
                self.lease.renew()
            elif self.lease.acquire():
                # Tokens ascend by one with each holder.
                if not (self._keeps and 0 < self._loaded == self.lease.token - 1):
                    self._loaded = 0
                    self._on_gain()
                self._loaded = self.lease.token
                self.held = True
            else:
                return False
        except Conflict as error:
            self.lose(error)
            return False
        self._renew_at = now + self._ttl_s / 3
        return True

    @contextmanager
    def kept(self, most_s: float) -> Iterator[None]:
        """Renew the lease, for so long at the most, while something takes longer than it lasts."""
        over, until = threading.Event(), time.monotonic() + most_s

        def renew() -> None:
            while not over.wait(self._ttl_s / 3) and time.monotonic() < until:
                try:
                    self.lease.renew()
                except StoreError as error:
                    # Whoever writes under the lease meets the same, and acts on it.
                    logger.warning("%s", error)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def lose(self, error: Conflict | None = None) -> None:
        """Begin anew with the next :meth:`hold`, as who does not know what was done under the lease."""
        if error is not None:
            logger.warning("%s", error)
        self.held = False

    def release(self) -> None:
        """Leave the lease to the next one, if it is held."""
        if self.held:
            self.held = False
            self.lease.release()
