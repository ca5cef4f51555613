"""Measure the event ring alone: one process publishes, one claims and commits; no graph, no store."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from ami.errors import AmiError, RingGone
from ami.event import Field, Schema, Slots
from ami.lab.bench import bare, busy
from ami.lab.bench.figure import Measured
from ami.lab.bench.measure import Bench
from ami.lab.bench.rows import SLOTS
from ami.ring import reclaim
from ami.ring.reader import RingReader
from ami.ring.writer import RingWriter

RING_BYTES = 64 << 20
MAX_SLOTS = 1 << 18
BLOCK = 1024
PIECE_BYTES = 1 << 20  # of large events: about so many bytes at once
LASTING_S = 2.0
WAIT_S = 20.0
SMALL = Schema(tuple(Field(name, np.dtype(np.float64)) for name in "abcd"))

_fork = multiprocessing.get_context("fork")


def ring_blocks(bench: Bench) -> dict[str, Measured]:
    """Measure small events in blocks, beside a plain copy of the same bytes in the same blocks."""
    pool = np.ones((BLOCK * 16, 4))
    limit_is = "two bare processes that copy the same events in the same blocks and sum one field with numpy"
    return {"ring_blocks": _compared(SMALL, BLOCK, bench, pool, limit_is)}


def ring_single(bench: Bench) -> dict[str, Measured]:
    """Measure small events one by one, beside two processes that hand them over with bare semaphores."""
    limit_is = "two bare processes that copy one event at a time and wake each other by semaphores"
    return {"ring_single": _compared(SMALL, 1, bench, np.ones((BLOCK, 4)), limit_is)}


def slot_sizes(bench: Bench) -> dict[str, Measured]:
    """Measure the ring's bandwidth by the size of an event."""
    found = {}
    for name, size in SLOTS.items():
        schema = Schema((Field("a", np.dtype(np.float64), (size // 8,)),))
        block = min(BLOCK, bare.events_per_piece(size, PIECE_BYTES))
        # So much memory that it comes out of the caches, as detectors' data does.
        pool = np.ones((max(2 * block, bare.events_per_piece(size, 16 * PIECE_BYTES)), size // 8))
        measured = _compared(
            schema, block, bench, pool, "two bare processes that copy the same events", repeats=2
        )
        found[f"slot_{name}"] = _in_megabytes(measured, size)
    return found


def _in_megabytes(rates: Measured, event_bytes: int) -> Measured:
    factor = event_bytes / 1e6
    return Measured(
        samples=[rate * factor for rate in rates.samples],
        limit=None if rates.limit is None else rates.limit * factor,
        limit_is=rates.limit_is,
        limited_by=rates.limited_by,
        busy=rates.busy,
        notes=rates.notes,
    )


def _compared(
    schema: Schema, block: int, bench: Bench, pool: np.ndarray, limit_is: str, *, repeats: int = 5
) -> Measured:
    """Measure ring and bare copy in turn, so that both meet the same machine."""
    lasting_s = bench.seconds(LASTING_S, 0.6)
    rates, limits = [], []
    shares: dict[str, float] = {}
    for _ in range(bench.times(repeats, 2)):
        limits.append(bare.copied_between_processes(pool, block, _first_sum, lasting_s))
        rate, shares = ring_rate(schema, block, lasting_s)
        rates.append(rate)
    slower = max(shares, key=lambda name: shares[name])
    return Measured(
        samples=rates,
        limit=statistics.median(limits),
        limit_is=limit_is,
        limited_by=f"{slower}, busy {shares[slower]:.0%} of a core",
        busy=shares,
        notes=(f"blocks of {block}",),
    )


def _first_sum(events: np.ndarray) -> object:
    return events[..., 0].sum() if events.shape[-1] == 4 else events.sum()


def ring_rate(schema: Schema, block: int, lasting_s: float) -> tuple[float, dict[str, float]]:
    """Return events per second through a ring, and the shares of a core of both processes.

    Raises:
        AmiError: events were lost: fewer arrived than were published, or others.
    """
    name = f"/ami-bench-{os.getpid()}"
    outcome = _fork.SimpleQueue()
    writer = _fork.Process(target=partial(_write, name, schema, block, lasting_s, outcome.put), daemon=True)
    writer.start()
    try:
        with _attached(name) as reader:
            before = busy.usage({"writer": writer.pid or 0, "reader": os.getpid()})
            taken, elapsed_s, total = _read(reader, block, lasting_s)
            shares = busy.between(
                before, busy.usage({"writer": writer.pid or 0, "reader": os.getpid()})
            ).shares
        published = int(outcome.get())
    finally:
        writer.join(WAIT_S)
        writer.kill()
        writer.join(WAIT_S)
        outcome.close()
        reclaim(name)
    if taken != published or total != published:
        raise AmiError(
            f"{published} events were published, {taken} arrived, whose field sums up to {total:.0f}"
        )
    return taken / elapsed_s, dict(shares)


def _attached(name: str) -> RingReader:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return RingReader(name, 0)
        except RingGone as error:
            if time.monotonic() > end:
                raise AmiError(f"no ring after {WAIT_S:g} s: {error}") from error
            time.sleep(0.01)


def _write(name: str, schema: Schema, block: int, lasting_s: float, report: Callable[[int], object]) -> None:
    """Publish for ``lasting_s``; say how many events; wait until all are committed."""
    bare.leave_signals_to_the_parent()
    pool = Slots.allocate(schema, block)
    for column in pool.columns.values():
        column[:] = 1
    pool.valid[:] = schema.mask(schema.names)
    with RingWriter.create(
        name, schema, source_id="bench", bytes=RING_BYTES, max_slots=MAX_SLOTS, entries=64,
        interval_ns=1, policy="wait",
    ) as ring:  # fmt: skip
        ring.open_entry(interval=0, run=1, step=0, step_value=0.0, graph_version=1)
        published, parent, end = 0, os.getppid(), time.monotonic() + lasting_s
        while time.monotonic() < end:
            slots = ring.reserve(block)
            if slots is None:
                if os.getppid() != parent:
                    return
                ring.wait_for_space(0.1)
                continue
            _copy(pool, slots)
            published += slots.count
            ring.publish(slots.count, position=published)
        ring.close_entry()
        end = time.monotonic() + WAIT_S
        while not ring.drained() and time.monotonic() < end:
            ring.wait_for_space(0.01)
        ring.close(unlink=True)
        report(published)


def _copy(pool: Slots, slots: Slots) -> None:
    count = slots.count
    for name, column in slots.columns.items():
        column[:] = pool.columns[name][:count]
    slots.valid[:] = pool.valid[:count]
    slots.timestamps[:] = pool.timestamps[:count]


def _read(reader: RingReader, block: int, lasting_s: float) -> tuple[int, float, float]:
    """Take everything; return events, seconds from first to last block, and the sum of field ``a``."""
    taken, total, started, last = 0, 0.0, 0.0, 0.0
    deadline = time.monotonic() + lasting_s + WAIT_S
    while True:
        claimed = reader.claim(block)
        if claimed is None:
            if taken and reader.replaced:
                return taken, last - started, total
            if time.monotonic() > deadline:
                raise AmiError("the ring's writer does not end")
            reader.wait(0.05)
            continue
        count = claimed.slots.count
        column = claimed.slots.columns["a"]
        total += float(column.sum()) / column[0].size
        reader.commit([(claimed.sequence, count)])
        started = started or time.perf_counter()
        taken, last = taken + count, time.perf_counter()
