"""The event ring: shared memory through which one source hands events to the workers of a node.

The ring is the write-ahead log: a slot is free only when the partial that contains its event
is in the local store. So a worker may be killed at any instruction, and nothing is lost.
"""

from ami.ring.block import Block
from ami.ring.cursor import Cursor
from ami.ring.entries import Entry
from ami.ring.leaked import find_leaked, reclaim
from ami.ring.observer import RingObserver
from ami.ring.reader import RingReader
from ami.ring.workers import AttachedWorker
from ami.ring.writer import RingWriter

__all__ = [
    "AttachedWorker",
    "Block",
    "Cursor",
    "Entry",
    "RingObserver",
    "RingReader",
    "RingWriter",
    "find_leaked",
    "reclaim",
]
