"""What the ring's tests share: a schema whose events number themselves, and children to be killed.

Field ``x`` of each event is its position in the input, so it can be told which events were run, and
how often.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from ami.event import Field, Schema
from ami.ring import Block, RingWriter, arena, reclaim

SCHEMA = Schema.of([Field("x", np.dtype(np.int64)), Field("image", np.dtype(np.uint8), (3, 5))])
INTERVAL_NS = 1000
ARENA_BYTES = 1 << 17
_numbers = itertools.count()


def let_arenas_be_small(patch: pytest.MonkeyPatch) -> None:
    """Give an arena's record 16 KiB: a test that makes hundreds of arenas would else clear 8 MiB for each."""
    patch.setattr(arena, "RECORD_BYTES", 1 << 14)
    patch.setattr(arena, "DATA", arena.PAGE + 2 * arena.RECORD_BYTES)


@contextmanager
def ring_name() -> Iterator[str]:
    """Give a name that nobody uses, and leave nothing of it behind."""
    name = f"/ami-test-{os.getpid()}-{next(_numbers)}"
    try:
        yield name
    finally:
        reclaim(name)


def create(name: str, **changes: Any) -> RingWriter:
    settings: dict[str, Any] = {
        "source_id": "rig",
        "bytes": 0,
        "max_slots": 8,
        "entries": 4,
        "interval_ns": INTERVAL_NS,
        "policy": "wait",
    }
    slots = changes.pop("slots", 8)
    settings |= {"bytes": slots * SCHEMA.event_bytes, "max_slots": slots} | changes
    schema, keep = settings.pop("schema", SCHEMA), settings.pop("keep", None)
    writer = RingWriter.create(name, schema, **settings)
    configure(writer, schema.names if keep is None else keep)
    return writer


def configure(writer: RingWriter, names: Iterable[str]) -> None:
    """Keep these fields; where an entry was left open, they are kept already."""
    if writer.open is None:
        while not writer.configure(names):
            pass


def open_entry(writer: RingWriter, interval: int = 0, *, transition: int = 0, large: bool = False) -> bool:
    return writer.open_entry(
        interval=interval, run=1, step=0, step_value=0.5, graph_version=1, transition=transition, large=large
    )


def publish(writer: RingWriter, count: int) -> int:
    """Publish up to ``count`` events in as few blocks as the ring allows; return how many."""
    done = 0
    while done < count:
        slots = writer.reserve(count - done)
        if slots is None:
            break
        position = writer.cursor.position
        numbers = np.arange(position, position + slots.count)
        slots["x"][:] = numbers
        if "image" in slots.schema:
            slots["image"][:] = (numbers % 251)[:, None, None]
        slots.timestamps[:] = numbers * 10
        slots.set_valid(slots.schema.names)
        writer.publish(slots.count, position=position + slots.count)
        done += slots.count
    return done


def events(block: Block) -> list[int]:
    """Return the events' own numbers, after a look whether all columns tell the same."""
    numbers = block.slots["x"]
    if "image" in block.slots.schema:
        assert (block.slots["image"] == (numbers % 251)[:, None, None]).all()
        assert block.slots.has("image").all()
    assert (block.slots.timestamps == numbers * 10).all()
    found: list[int] = numbers.tolist()
    return found


def run(block: Block) -> tuple[int, int]:
    return block.sequence, block.count


@contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """Run ``work`` in a forked process; kill it at the end of the block if it still runs."""
    pid = start(work)
    try:
        yield pid
    finally:
        kill(pid)


def start(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def kill(pid: int) -> int:
    """Kill -9 and wait; return the wait status (0 when it had ended well before)."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0
