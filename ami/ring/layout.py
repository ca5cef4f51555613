"""Say where everything lies in a ring's control segment, and read and write nothing.

offset 0         Static header: magic, version, checksum, geometry (never changes)
       4096      words: cursor, claims, flags, each in a cache line of who writes it
       6144      one byte for each worker that sleeps
       8192      one row for each worker: who it is, what it runs
       40960     description: schema and source as JSON (never changes)
       ...       entry table, owner, attempts, flushed, timestamps, offences: all that does not depend on
                 what the graph asks for. The fields lie in segments of their own: ami.ring.columns
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

import numpy as np

from ami.errors import RingUnfit, SourceError
from ami.event import Schema

MAGIC: Final = b"ami-ring"
VERSION: Final = 5
PAGE: Final = 4096
CACHE_LINE: Final = 64
MIN_SLOTS: Final = 8

MAX_WORKERS: Final = 250  # each has a number in one byte, and two of those are for others

STATIC: Final = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("checksum", "<u4"),  # CRC-32 of what follows here and of the description
        ("total_bytes", "<i8"),
        ("ring_id", "<i8"),
        ("slot_count", "<i8"),
        ("column_bytes", "<i8"),  # what the columns of one configuration may take
        ("entry_count", "<i8"),
        ("interval_ns", "<i8"),
        ("description_bytes", "<i8"),
    ]
)
CHECKED_FROM: Final = 16  # first byte that the checksum covers

# Numbers of 8-byte words in the segment. Words of different writers lie in different cache lines.
_WORDS: Final = PAGE // 8
SELECTOR: Final = _WORDS + 0  # generation g of the cursor; copy g % 2 is the valid one
CURSORS: Final = (_WORDS + 8, _WORDS + 16)
CLAIMED: Final = _WORDS + 24  # events handed out to workers
CLAIM_ENTRY: Final = _WORDS + 25  # an entry at or before that of the next event to hand out
REDUCED: Final = _WORDS + 32  # entries below it need no row any more; -1: no reducer was ever there
TAKEN: Final = (
    _WORDS + 33
)  # 1 when the events in it were dealt to other nodes, and none of them counts any more
RETIRED: Final = _WORDS + 40
POLICY: Final = _WORDS + 41
ATTEMPTED: Final = _WORDS + 42  # 1 when any slot's attempts were ever counted up
FLUSHED: Final = _WORDS + 43  # 1 when any slot was ever marked as flushed
SPANS_CLOSED: Final = _WORDS + 45  # entries below it are in spans to which none is added
OFFENCES_SEEN: Final = _WORDS + 46  # counted up when an operation is switched off, or no longer is
OFFENDED_NS: Final = _WORDS + 47  # when an operation did something last for which it was not switched off
DEPTH: Final = _WORDS + 44  # places of the newest configuration, for people
SLEEPERS: Final = _WORDS + 48  # 1 when some worker's byte may be set
SOURCE_WAITS: Final = _WORDS + 56
REDUCER_WAITS: Final = _WORDS + 64
WRITER_PID: Final = _WORDS + 72  # and since when
REDUCER_PID: Final = _WORDS + 80  # and since when

SLEEPING: Final = PAGE + 2048  # offset of the workers' bytes: 0 or one of these
IDLE: Final = 1
HOLDING: Final = 2  # it has run events, and not stored what came of them

POLICIES: Final = ("wait", "drop")

WORKERS: Final = 2 * PAGE
WORKER_BYTES: Final = 128  # a row of ami.ring.workers, two cache lines
DESCRIPTION: Final = 10 * PAGE

ENTRY_BYTES: Final = 192  # a row of ami.ring.entries

OFFENCE_BYTES: Final = 256  # a row of ami.ring.offences
OFFENCE_ROWS: Final = 256

# Offsets of the record locks. They name no bytes: a record lock may lie anywhere.
CLAIM_LOCK: Final = 0
WRITER_LOCK: Final = 1
REDUCER_LOCK: Final = 2
WORKER_LOCK: Final = 4096
LOCKS: Final = WORKER_LOCK + MAX_WORKERS

# One each for the first workers, so that it is chosen who is woken; of more, some share one.
WORK_SEMAPHORES: Final = tuple(f".work{number}" for number in range(8))
SEMAPHORES: Final = (*WORK_SEMAPHORES, ".space", ".done")


SLOT_BYTES: Final = 16  # no event takes less: its timestamp and a validity word


def align(offset: int, size: int) -> int:
    """Return where something of ``size`` bytes may begin, at ``offset`` or behind it."""
    step = PAGE if size >= PAGE else CACHE_LINE
    return -(-offset // step) * step


class Layout:
    """Offsets of everything behind the header, in bytes."""

    def __init__(
        self,
        schema: Schema,
        *,
        source_id: str,
        slot_count: int,
        column_bytes: int,
        entry_count: int,
        interval_ns: int,
    ) -> None:
        self.schema = schema
        self.source_id = source_id
        self.slot_count = slot_count
        self.column_bytes = column_bytes
        self.entry_count = entry_count
        self.interval_ns = interval_ns
        self.description = json.dumps({"schema": schema.to_json(), "source": source_id}).encode()
        offset = DESCRIPTION + len(self.description)
        sizes = {
            "entries": entry_count * ENTRY_BYTES,
            "owner": slot_count,
            "attempts": slot_count,
            "flushed": slot_count,
            "timestamps": 8 * slot_count,
            "offences": OFFENCE_ROWS * OFFENCE_BYTES,
        }
        self.offsets: dict[str, int] = {}
        for name, size in sizes.items():
            offset = align(offset, max(size, PAGE))
            self.offsets[name] = offset
            offset += size
        self.total_bytes = align(offset, PAGE)

    @classmethod
    def fit(
        cls, schema: Schema, source_id: str, max_slots: int, entry_count: int, interval_ns: int, bytes: int
    ) -> Layout:
        """Return the layout with as many slots as ``bytes`` can need: at least 8, at most ``max_slots``."""
        return cls(
            schema,
            source_id=source_id,
            slot_count=max(MIN_SLOTS, min(max_slots, bytes // SLOT_BYTES)),
            column_bytes=bytes,
            entry_count=entry_count,
            interval_ns=interval_ns,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self._geometry() == other._geometry()

    def __hash__(self) -> int:
        return hash(self._geometry())

    def _geometry(self) -> tuple[bytes, int, int, int, int]:
        return self.description, self.slot_count, self.column_bytes, self.entry_count, self.interval_ns

    def static(self, ring_id: int) -> bytes:
        """Return the header's unchanging bytes."""
        header = np.zeros((), STATIC)
        header["magic"] = MAGIC
        header["version"] = VERSION
        header["total_bytes"] = self.total_bytes
        header["ring_id"] = ring_id
        header["slot_count"] = self.slot_count
        header["column_bytes"] = self.column_bytes
        header["entry_count"] = self.entry_count
        header["interval_ns"] = self.interval_ns
        header["description_bytes"] = len(self.description)
        header["checksum"] = checksum(header.tobytes(), self.description)
        return header.tobytes()


def checksum(static: bytes, description: bytes) -> int:
    """Return what guards a header and its description."""
    return zlib.crc32(description, zlib.crc32(static[CHECKED_FROM:]))


def parse(name: str, head: bytes, size: int) -> tuple[Layout, int]:
    """Return the layout and the ring's id that a segment's first bytes tell.

    Args:
        head: the segment up to the end of the description, or less where it is cut.
        size: bytes of the whole segment.

    Raises:
        RingUnfit: this is no ring, one of another layout version, or it is cut or damaged.
    """
    if len(head) < STATIC.itemsize:
        raise RingUnfit(f"segment {name} has {size} bytes, a ring has at least {DESCRIPTION}; remove it")
    static: Any = np.frombuffer(head, STATIC, 1)[0]
    if static["magic"] != MAGIC:
        raise RingUnfit(
            f"segment {name} begins with {bytes(static['magic'])!r}, a ring with {MAGIC!r}: "
            "it belongs to another program; set another ring.name"
        )
    if static["version"] != VERSION:
        raise RingUnfit(
            f"segment {name} has layout version {static['version']}, this ami knows {VERSION}: "
            "stop the other version's processes and remove the segment"
        )
    if static["total_bytes"] != size:
        raise RingUnfit(
            f"segment {name} has {size} bytes, its header says {static['total_bytes']}: it was cut; remove it"
        )
    description = head[DESCRIPTION : DESCRIPTION + int(static["description_bytes"])]
    found = checksum(head[: STATIC.itemsize], description)
    if found != static["checksum"]:
        raise RingUnfit(
            f"segment {name}: the header's checksum is {found:#x}, "
            f"{int(static['checksum']):#x} was written: it is damaged; remove it"
        )
    try:
        plain = json.loads(description)
        schema = Schema.from_json(plain["schema"])
        layout = Layout(
            schema,
            source_id=str(plain["source"]),
            slot_count=int(static["slot_count"]),
            column_bytes=int(static["column_bytes"]),
            entry_count=int(static["entry_count"]),
            interval_ns=int(static["interval_ns"]),
        )
    except (ValueError, KeyError, TypeError, SourceError) as error:
        raise RingUnfit(f"segment {name} describes no events: {error}; remove it") from error
    if layout.total_bytes != size:
        raise RingUnfit(f"segment {name} has {size} bytes, its schema needs {layout.total_bytes}: remove it")
    return layout, int(static["ring_id"])
