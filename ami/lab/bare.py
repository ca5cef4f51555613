"""Do without ami what ami does, by hand and with nothing else: the limits that figures are held against.

Two processes share anonymous memory, which has no name and so cannot be left behind.
"""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Semaphore

import numpy as np
from numpy.typing import NDArray

from ami.errors import AmiError
from ami.event import Array, Slots

WAIT_S = 10.0
# About as much memory as the ring of a node has.
SHARED_BYTES = 256 << 20
MAX_PIECES = 256

fork = multiprocessing.get_context("fork")  # the pool of images need not be copied into the child


@contextmanager
def fork_off(work: Callable[[], object]) -> Iterator[BaseProcess]:
    """Do ``work`` in a child meanwhile; it is gone afterwards."""

    def alone() -> None:
        # Ctrl-C, which goes to the whole foreground group, ends the parent only; it ends its children.
        for signum in (signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()

    child = fork.Process(target=alone, daemon=True)
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join(WAIT_S)


def rate(work: Callable[[], int], duration_s: float) -> float:
    """Return events per second of ``work``, which does some events and returns how many."""
    work()
    events, started = 0, time.perf_counter()
    while True:
        events += work()
        elapsed_s = time.perf_counter() - started
        if elapsed_s >= duration_s:
            return events / elapsed_s


def copy_between_processes(
    pool: Array, piece: int, take: Callable[[Array], object], duration_s: float
) -> float:
    """Return events per second of one process that copies events into shared memory and one that takes them.

    Args:
        pool: events ``(n, *shape)``, copied round and round; n is a multiple of ``piece``.
        piece: events that are handed over at once.
        take: what the second process does with ``(piece, *shape)``.
    """
    pieces = max(2, min(MAX_PIECES, SHARED_BYTES // pool[:piece].nbytes))
    slots = np.frombuffer(mmap.mmap(-1, pieces * pool[:piece].nbytes), pool.dtype)
    slots = slots.reshape(pieces, piece, *pool.shape[1:])
    free, filled = fork.Semaphore(pieces), fork.Semaphore(0)
    places = itertools.cycle(range(pieces))

    def receive() -> int:
        if not filled.acquire(timeout=WAIT_S):
            raise AmiError("the copying process does not copy")
        take(slots[next(places)])
        free.release()
        return piece

    with fork_off(lambda: _copy_on(pool, slots, free, filled)):
        # The first round through new memory are the kernel's page faults, which a ring has once.
        for _ in range(pieces):
            receive()
        return rate(receive, duration_s)


def _copy_on(pool: Array, slots: Array, free: Semaphore, filled: Semaphore) -> None:
    """Copy the pool round and round into slots that are free, until the other process is gone."""
    parent, (pieces, piece) = os.getppid(), slots.shape[:2]
    places = itertools.cycle(range(pieces))
    starts = itertools.cycle(range(0, len(pool) - piece + 1, piece))
    while os.getppid() == parent:
        # Every so often is enough to look: it costs more than a small copy.
        for _ in range(64):
            if not free.acquire(timeout=1.0):
                break
            at = next(starts)
            slots[next(places)] = pool[at : at + piece]
            filled.release()


def scaling(processes: int, duration_s: float) -> float:
    """Return how much more so many processes do than one, each with a numpy loop that fits its cache."""
    alone = _rate_together(1, duration_s)
    return _rate_together(processes, duration_s) / alone


def _rate_together(processes: int, duration_s: float) -> float:
    values = np.linspace(0.0, 1.0, 4096)
    rates = fork.SimpleQueue()

    def work() -> int:
        np.sin(values)
        return len(values)

    with ExitStack() as children:
        for _ in range(processes):
            children.enter_context(fork_off(lambda: rates.put(rate(work, duration_s))))
        return sum(float(rates.get()) for _ in range(processes))


class ScalarGraph:
    """The scalar graph of ``graphs.SCALAR``, written by hand with numpy over blocks."""

    def __init__(self) -> None:
        self.used_on = self.used_off = 0
        self.sum_on = 0.0
        self._signal = np.zeros(200, np.int64)
        self._balance = np.zeros(100, np.int64)
        self._scan = np.zeros((3, 20))
        self._moments = np.zeros(3)

    def add(self, events: Slots) -> int:
        """Reduce one block; return how many events it has."""
        monitor, laser, offset, energy = (events[n] for n in ("monitor", "laser", "offset", "energy"))
        ratio = energy / (1 + np.abs(offset))
        signal = ratio / (monitor + 1)
        balance = (monitor - offset) / (monitor + 1)
        bright = monitor > 0.1
        lit = (laser == 1) & bright
        on, off = ratio[lit], ratio[(laser == 0) & bright]
        self.used_on += len(on)
        self.sum_on += float(on.sum())
        self.used_off += len(off)
        mean = float(off.mean()) if len(off) else 0.0
        self._moments += (len(off), mean, float(np.square(off - mean).sum()))
        self._signal += _counts(signal, 200, 0.0, 10000.0)
        self._balance += _counts(balance, 100, -1.0, 2.0)
        keys = events["delay"][lit]
        self._scan[0] += np.bincount(keys, minlength=20)
        self._scan[1] += np.bincount(keys, on, 20)
        self._scan[2] += np.bincount(keys, on * on, 20)
        return events.count


def _counts(values: Array, bins: int, low: float, high: float) -> NDArray[np.int64]:
    places = ((values - low) * (bins / (high - low))).astype(np.int64)
    inside = places[(places >= 0) & (places < bins)]
    return np.bincount(inside, minlength=bins)
