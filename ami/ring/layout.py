"""Say where everything lies in a ring's segment, and read and write nothing.

    offset 0         Static header: magic, version, checksum, geometry (never changes)
           4096      words: cursor, claims, flags, each in a cache line of who writes it
           6144      one byte for each worker that sleeps
           8192      one row for each worker: who it is, what it runs
           40960     description: schema and source as JSON (never changes)
           ...       entry table, owner, attempts, valid, timestamps, one column per field

Columns lie one behind the other, so a field that nobody reads or writes keeps its pages
untouched, and a page of shared memory that nobody touched does not exist.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ami.errors import RingError, SourceError
from ami.event import Schema

MAGIC: Final = b"ami-ring"
VERSION: Final = 1
PAGE: Final = 4096
CACHE_LINE: Final = 64
MIN_SLOTS: Final = 8

# Owners of a slot. Worker n is n + 1.
FREE: Final = 0
UNCLAIMED: Final = 255
MAX_WORKERS: Final = 250

STATIC: Final = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("checksum", "<u4"),  # CRC-32 of what follows here and of the description
        ("total_bytes", "<i8"),
        ("ring_id", "<i8"),
        ("slot_count", "<i8"),
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
REDUCED: Final = _WORDS + 32  # entries below it need no place any more; -1: no reducer was ever there
RETIRED: Final = _WORDS + 40
POLICY: Final = _WORDS + 41
ATTEMPTED: Final = _WORDS + 42  # 1 when any slot's attempts were ever counted up
SLEEPERS: Final = _WORDS + 48  # 1 when some worker's byte may be set
SOURCE_WAITS: Final = _WORDS + 56
REDUCER_WAITS: Final = _WORDS + 64
WRITER_PID: Final = _WORDS + 72
WRITER_SINCE: Final = _WORDS + 73
REDUCER_PID: Final = _WORDS + 80
REDUCER_SINCE: Final = _WORDS + 81

SLEEPING: Final = PAGE + 2048  # offset of the workers' bytes

POLICIES: Final = ("wait", "drop")

WORKERS: Final = 2 * PAGE
WORKER: Final = np.dtype(
    {
        "names": ["pid", "since_ns", "commits", "committed", "first", "count", "operation", "run_ns"],
        "formats": ["<i8"] * 8,
        # What changes with every block has a cache line of its own.
        "offsets": [0, 8, 16, 24, 64, 72, 80, 88],
        "itemsize": 128,
    }
)
RUNNING: Final = 64  # offset of the breadcrumb in a worker's row
DESCRIPTION: Final = 10 * PAGE

ENTRY: Final = np.dtype(
    {
        "names": [
            "index", "interval", "run", "step", "step_value", "graph_version", "transition",
            "first_sequence", "first_ns", "opened_wall_ns", "count", "dropped", "last_ns", "closed_wall_ns",
        ],
        "formats": ["<i8"] * 4 + ["<f8"] + ["<i8"] * 9,
        "itemsize": 128,
    }
)  # fmt: skip
ENTRY_WORDS: Final = ENTRY.itemsize // 8
# Words of an entry's row.
ENTRY_FIRST: Final = 7
ENTRY_FIRST_NS: Final = 8
ENTRY_COUNT: Final = 10  # count, dropped, last_ns, closed_wall_ns: valid when the entry is closed

# Offsets of the record locks. They name no bytes: a record lock may lie anywhere.
CLAIM_LOCK: Final = 0
WRITER_LOCK: Final = 1
REDUCER_LOCK: Final = 2
WORKER_LOCK: Final = 4096
LOCKS: Final = WORKER_LOCK + MAX_WORKERS

SEMAPHORES: Final = (".work", ".space", ".done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run of consecutive events of one interval, run, step and graph version.

    ``count``, ``dropped`` and ``last_ns`` are those so far while the entry is open.
    ``transition`` is 0 or an :class:`ami.event.Transition`; such an entry has no events.
    """

    index: int
    interval: int
    run: int
    step: int
    step_value: float
    graph_version: int
    transition: int
    first_sequence: int
    count: int
    dropped: int
    first_ns: int
    last_ns: int
    closed: bool
    opened_wall_ns: int
    closed_wall_ns: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the source is; ``dropped`` is the total of this ring."""

    published: int
    position: int
    entries_opened: int
    entries_closed: int
    dropped: int


def slot_count(schema: Schema, bytes: int, max_slots: int) -> int:
    """Return how many events fit ``bytes``: at least 8, at most ``max_slots``."""
    return max(MIN_SLOTS, min(max_slots, bytes // schema.event_bytes))


def _aligned(offset: int, size: int) -> int:
    step = PAGE if size >= PAGE else CACHE_LINE
    return -(-offset // step) * step


class Layout:
    """Offsets of everything behind the header, in bytes."""

    def __init__(
        self, schema: Schema, *, source_id: str, slot_count: int, entry_count: int, interval_ns: int
    ) -> None:
        self.schema = schema
        self.source_id = source_id
        self.slot_count = slot_count
        self.entry_count = entry_count
        self.interval_ns = interval_ns
        self.description = json.dumps({"schema": schema.to_json(), "source": source_id}).encode()
        offset = DESCRIPTION + len(self.description)
        sizes = {
            "entries": entry_count * ENTRY.itemsize,
            "owner": slot_count,
            "attempts": slot_count,
            "valid": 8 * slot_count,
            "timestamps": 8 * slot_count,
        }
        self.offsets: dict[str, int] = {}
        for name, size in sizes.items():
            offset = _aligned(offset, max(size, PAGE))
            self.offsets[name] = offset
            offset += size
        self.columns: dict[str, int] = {}
        for field in schema.fields:
            size = field.event_bytes * slot_count
            offset = _aligned(offset, size)
            self.columns[field.name] = offset
            offset += size
        self.total_bytes = _aligned(offset, PAGE)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self._geometry() == other._geometry()

    def __hash__(self) -> int:
        return hash(self._geometry())

    def _geometry(self) -> tuple[bytes, int, int, int]:
        return self.description, self.slot_count, self.entry_count, self.interval_ns

    def static(self, ring_id: int) -> bytes:
        """Return the header's unchanging bytes."""
        header = np.zeros((), STATIC)
        header["magic"] = MAGIC
        header["version"] = VERSION
        header["total_bytes"] = self.total_bytes
        header["ring_id"] = ring_id
        header["slot_count"] = self.slot_count
        header["entry_count"] = self.entry_count
        header["interval_ns"] = self.interval_ns
        header["description_bytes"] = len(self.description)
        header["checksum"] = _checksum(header.tobytes(), self.description)
        return header.tobytes()


def _checksum(static: bytes, description: bytes) -> int:
    return zlib.crc32(description, zlib.crc32(static[CHECKED_FROM:]))


def parse(name: str, head: bytes, size: int) -> tuple[Layout, int]:
    """Return the layout and the ring's id that a segment's first bytes tell.

    Args:
        head: the segment up to the end of the description, or less where it is cut.
        size: bytes of the whole segment.

    Raises:
        RingError: this is no ring, one of another layout version, or it is cut or damaged.
    """
    if len(head) < STATIC.itemsize:
        raise RingError(f"segment {name} has {size} bytes, a ring has at least {DESCRIPTION}; remove it")
    static: Any = np.frombuffer(head, STATIC, 1)[0]
    if static["magic"] != MAGIC:
        raise RingError(
            f"segment {name} begins with {bytes(static['magic'])!r}, a ring with {MAGIC!r}: "
            "it belongs to another program; set another ring.name"
        )
    if static["version"] != VERSION:
        raise RingError(
            f"segment {name} has layout version {static['version']}, this ami knows {VERSION}: "
            "stop the other version's processes and remove the segment"
        )
    if static["total_bytes"] != size:
        raise RingError(
            f"segment {name} has {size} bytes, its header says {static['total_bytes']}: it was cut; remove it"
        )
    description = head[DESCRIPTION : DESCRIPTION + int(static["description_bytes"])]
    checksum = _checksum(head[: STATIC.itemsize], description)
    if checksum != static["checksum"]:
        raise RingError(
            f"segment {name}: the header's checksum is {checksum:#x}, "
            f"{int(static['checksum']):#x} was written: it is damaged; remove it"
        )
    try:
        plain = json.loads(description)
        schema = Schema.from_json(plain["schema"])
        layout = Layout(
            schema,
            source_id=str(plain["source"]),
            slot_count=int(static["slot_count"]),
            entry_count=int(static["entry_count"]),
            interval_ns=int(static["interval_ns"]),
        )
    except (ValueError, KeyError, TypeError, SourceError) as error:
        raise RingError(f"segment {name} describes no events: {error}; remove it") from error
    if layout.total_bytes != size:
        raise RingError(f"segment {name} has {size} bytes, its schema needs {layout.total_bytes}: remove it")
    return layout, int(static["ring_id"])
