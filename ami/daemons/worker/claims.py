"""Own blocks of a ring from their claim until their events are in a partial.

What is owned stands in a list, and leaves it when it is in the partial. So whatever fails in between leaves
the block where it was, and nothing is ever put back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from ami.daemons.process.stage import Setup
from ami.daemons.worker.large import read_covered
from ami.messages.flush import Covered
from ami.messages.message import read
from ami.ring.block import Block
from ami.ring.reader import RingReader
from ami.stores import keys

logger = logging.getLogger(__name__)


class Claims:
    """The blocks of a ring that a worker owns and has not run: what it claims, and what the dead left.

    Making it commits what an earlier worker of this number had stored, and takes up what it had not.

    Raises:
        StoreUnavailable: it is not known what that was.
    """

    def __init__(self, ring: RingReader, setup: Setup) -> None:
        self.ring = ring
        self._setup = setup
        self.last_flush, covered = self._read_covered(setup.number)
        setup.stores.local("local-reducer").set(keys.WORKERS).add(setup.number)
        large = read_covered(ring, setup.number)
        self._blocks: list[Block] = list(ring.recover(covered, large=large))
        self._look_at = 0.0
        self._abandoned: dict[int, float] = {}  # dead workers that own events: since when (monotonic, s)
        if self._blocks:
            logger.info("running %d events again", sum(block.count for block in self._blocks))

    @property
    def is_empty(self) -> bool:
        return not self._blocks

    def first(self, most: int, sharers: int = 1) -> Block | None:
        """Return the block to run next, of at most ``most`` events if nobody died of it.

        ``sharers``: workers that are to have as many of what is there.
        """
        if not self._blocks:
            claimed = self.ring.claim(most, self._setup.config.worker.block_bytes, sharers)
            if claimed is None:
                return None
            self._blocks.append(claimed)
        block = self._blocks[0]
        if block.count > most and not block.attempts:
            self._blocks[:1] = [block.part(0, most), block.part(most, block.count)]
        return self._blocks[0]

    def put_first(self, *parts: Block) -> None:
        """Put these parts in the place of the first block: none of them, because it is in the partial."""
        self._blocks[:1] = parts

    def adopt(self) -> None:
        """Take over the slots of workers that stay away."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._setup.waits.look_s
        self._abandoned = {number: self._abandoned.get(number, now) for number in self.ring.find_abandoned()}
        patience_s = self._setup.config.worker.adopt_after_s
        gone = [number for number, since in self._abandoned.items() if now - since >= patience_s]
        for number in gone:
            logger.warning("taking over from worker %d", number)
            # One at a time: what was taken over is in the list before the store is asked about the next.
            self._blocks += self.ring.adopt(
                covered=lambda worker: self._read_covered(worker)[1],
                large=lambda worker: read_covered(self.ring, worker),
                workers=[number],
            )

    def _read_covered(self, worker: int) -> tuple[int, Sequence[tuple[int, int]]]:
        """Return the last number of a worker's flushes, and its last stored one's slots if of this ring.

        It is fenced first: a flush that it sent when it died, and that a slow store carried out after we
        looked, would otherwise count again what is run again.
        """
        store = self._setup.stores.local("worker", worker)
        last = store.journal(keys.FLUSHES).fence()
        covered = read(store, keys.COVERED, Covered)
        return last, covered.runs if covered and covered.ring == self.ring.ring_id else ()
