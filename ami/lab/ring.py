"""Measure the event ring alone: one process publishes, one claims and commits; no graph, no store."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping

import numpy as np

from ami.errors import AmiError
from ami.event import Field, Schema
from ami.lab import bare
from ami.lab.figures import Bench, Measured
from ami.lab.machine import Busy
from ami.ring import reclaim
from ami.ring.reader import RingReader
from ami.ring.writer import RingWriter

RING_BYTES = 64 << 20
MAX_SLOTS = 1 << 18
BLOCK = 1024
WAIT_S = 20.0
EVENT = Schema(tuple(Field(name, np.dtype(np.float64)) for name in "abcd"))


def ring_blocks(bench: Bench) -> Mapping[str, Measured]:
    """Measure small events in blocks, in turn with a plain copy of the same bytes in the same blocks."""
    lasting_s, pool = bench.choose(2.0, 0.6), np.ones((BLOCK * 16, 4))
    rates, limits = [], []
    for _ in range(bench.choose(5, 2)):
        limits.append(bare.copy_between_processes(pool, BLOCK, lambda some: some[:, 0].sum(), lasting_s))
        rate, busy = ring_rate(BLOCK, lasting_s)
        rates.append(rate)
    slower = max(busy.shares, key=busy.shares.__getitem__)
    measured = Measured(
        samples=rates,
        limit=statistics.median(limits),
        limit_is="two bare processes that copy the same events in the same blocks and sum one field",
        limited_by=f"{slower}, busy {busy.shares[slower]:.0%} of a core",
        busy=busy.shares,
        notes=(f"blocks of {BLOCK}",),
    )
    return {"ring_blocks": measured}


def ring_rate(block: int, lasting_s: float) -> tuple[float, Busy]:
    """Return events per second through a ring, and what both processes take.

    Raises:
        AmiError: events were lost: fewer arrived than were published, or others.
    """
    name = f"/ami-bench-{os.getpid()}"
    outcome = bare.fork.SimpleQueue()
    try:
        with (
            _create(name) as ring,
            bare.fork_off(lambda: outcome.put(_read(name, block))) as reader,
            Busy({"writer": os.getpid(), "reader": reader.pid or 0}) as busy,
        ):
            published = _write(ring, block, lasting_s)
            taken, elapsed_s, total = outcome.get()
    finally:
        reclaim(name)
    if taken != published or total != published:
        raise AmiError(
            f"{published} events were published, {taken} arrived, whose field sums up to {total:.0f}"
        )
    return taken / elapsed_s, busy


def _create(name: str) -> RingWriter:
    ring = RingWriter.create(
        name, EVENT, source_id="bench", bytes=RING_BYTES, max_slots=MAX_SLOTS, entries=64,
        interval_ns=1, policy="wait",
    )  # fmt: skip
    while not ring.configure(EVENT.names):
        pass
    return ring


def _write(ring: RingWriter, block: int, lasting_s: float) -> int:
    """Publish for ``lasting_s``, wait until all is committed; return how many events that were."""
    ones = np.ones(block)
    ring.open_entry(interval=0, run=1, step=0, step_value=0.0, graph_version=1)
    published, end = 0, time.monotonic() + lasting_s
    while time.monotonic() < end:
        slots = ring.reserve(block)
        if slots is None:
            ring.wait_for_space(0.1)
            continue
        for column in slots.columns.values():
            column[:] = ones[: slots.count]
        slots.set_valid(EVENT.name_set)
        slots.timestamps[:] = published
        published += slots.count
        ring.publish(slots.count, position=published)
    ring.close_entry()
    end = time.monotonic() + WAIT_S
    while not ring.is_drained() and time.monotonic() < end:
        ring.wait_for_space(0.01)
    ring.close(unlink=True)
    return published


def _read(name: str, block: int) -> tuple[int, float, float]:
    """Take everything; return events, seconds from first to last block, and the sum of field ``a``."""
    taken, total, started, last = 0, 0.0, 0.0, 0.0
    parent = os.getppid()
    with RingReader(name, 0) as reader:
        while os.getppid() == parent:
            claimed = reader.claim(block)
            if claimed is None:
                if reader.replaced:
                    break
                reader.wait(0.05)
                continue
            count = claimed.slots.count
            total += float(claimed.slots.columns["a"].sum())
            reader.commit([(claimed.sequence, count)])
            started = started or time.perf_counter()
            taken, last = taken + count, time.perf_counter()
    return taken, last - started, total
