"""Measure whole nodes at full speed: scalars, images, more workers, more results."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ami.event import Array, Slots
from ami.lab.bench import bare, graphs
from ami.lab.bench.busy import what_limits
from ami.lab.bench.figure import Measured
from ami.lab.bench.machine import cores
from ami.lab.bench.measure import Bench
from ami.lab.bench.rows import RESULTS, WORKERS
from ami.lab.bench.throughput import Load, Through, through
from ami.result import Result
from ami.sources import open_source, take

# The rule asks for so long; a quick look is shorter and says so.
LASTING_S = 20.0
QUICK_S = 4.0
WARM_S = 2.0
LIMIT_S = 2.0
SCALARS = "sim://scalars"
POOL_EVENTS = 65536  # of sim://scalars: event i has the values of event i % 65536
BLOCK_EVENTS = 8192
FLOAT_TOLERANCE = 1e-9


def scalar_graph(bench: Bench) -> dict[str, Measured]:
    """Measure the headline, beside the same graph by hand in numpy in one process that moves no event."""
    events = events_of(SCALARS, POOL_EVENTS)
    before = _by_hand(events, bench)
    load = Load(
        SCALARS,
        graphs.SCALAR,
        "mean_on",
        1e7,
        ring_bytes=64 << 20,
        check=lambda n, found: wrong_counts(events, n, found),
    )
    found = _through(load, bench)
    limit = statistics.median((before, _by_hand(events, bench)))
    said = "the same graph by hand with numpy in one process, blocks of 8192, no hand-over"
    return {"scalar_graph": _measured(found, limit, said, bench)}


def region_mean(bench: Bench) -> dict[str, Measured]:
    """Measure the mean of a region, beside two bare processes that copy the images and sum the region."""
    with _folder() as folder:
        uri = graphs.images(folder, 1024, 1024)
        images = events_of(f"{uri}?rate=1000", 8)["camera"]

        def copied() -> float:
            return bare.copied_between_processes(
                images, 1, lambda some: some[:, 256:768, 256:768].sum(), bench.seconds(LIMIT_S, 1.0)
            )

        limits = [copied()]
        found = _through(Load(uri, graphs.REGION, "level", 1000), bench)
        limits.append(copied())
    said = "two bare processes that copy the same images through shared memory and sum the region with numpy"
    return {"region_mean": _measured(found, statistics.median(limits), said, bench)}


def mean_image(bench: Bench) -> dict[str, Measured]:
    """Measure the running mean of images, beside a bare loop that adds the same images up."""
    with _folder() as folder:
        uri = graphs.images(folder, 512, 512)
        images = events_of(f"{uri}?rate=1000", 32)["camera"]
        limits = [_added(images, bench)]
        found = _through(Load(uri, graphs.IMAGE, "mean_camera", 4500), bench)
        limits.append(_added(images, bench))
        handed_over = _added_elsewhere(images, bench)
    said = "a bare numpy loop that adds the same images to one float64 sum in one process"
    measured = _measured(found, statistics.median(limits), said, bench)
    # What is between the loop and this is the price of a second process, whoever writes it.
    note = (
        f"two bare processes, one copies the images into shared memory, one adds: {handed_over:.0f} events/s"
    )
    return {"mean_image": replace(measured, notes=(*measured.notes, note))}


def worker_scaling(bench: Bench) -> dict[str, Measured]:
    """Measure a CPU-bound graph with one and two workers, and a bare loop in one and two processes."""
    found = _with_workers(Load(SCALARS, graphs.heavy(), "wave_0", 1e6, ring_bytes=64 << 20), bench)
    limit = bare.scaling(2, bench.seconds(LIMIT_S, 1.0))
    said = "a bare numpy loop in two processes / in one"
    return {"worker_scaling": _scaled(found, limit, said, bench)} | {
        f"workers_{n}": _measured(run, None, "", bench) for n, run in found.items()
    }


def worker_scaling_spare(bench: Bench) -> dict[str, Measured]:
    """Measure a graph that waits, with one and two workers: what ami alone lets two workers gain."""
    load = Load(SCALARS, graphs.WAITING, "level", 2e6, ring_bytes=64 << 20)
    found = _with_workers(load, bench, lasting_s=6.0)
    return {"worker_scaling_spare": _scaled(found, 2.0, "twice as many do twice as much", bench)}


def _with_workers(load: Load, bench: Bench, *, lasting_s: float = LASTING_S) -> dict[int, Through]:
    return {n: _through(replace(load, workers=n), bench, lasting_s=lasting_s) for n in WORKERS}


def _scaled(found: Mapping[int, Through], limit: float, limit_is: str, bench: Bench) -> Measured:
    alone = statistics.median(found[1].rates)
    spare = cores() - 2
    return Measured(
        samples=[rate / alone for rate in found[2].rates],
        limit=limit,
        limit_is=limit_is,
        limited_by=what_limits(found[2].busy),
        busy=found[2].busy.to_plain(),
        failures=tuple(failure for run in found.values() for failure in run.failures),
        notes=(
            f"{cores()} cores: {'none' if spare <= 0 else spare} to spare for source, reducers and servers",
            *_note(bench),
        ),
    )


def results(bench: Bench) -> dict[str, Measured]:
    """Measure graphs of few and many results."""
    return {
        f"results_{n}": _measured(
            _through(Load(SCALARS, graphs.means(n), "level", 1e7, ring_bytes=64 << 20), bench, lasting_s=6.0),
            None,
            "",
            bench,
        )
        for n in RESULTS
    }


def wrong_counts(pool: Slots, events: int, found: Mapping[str, Result]) -> Sequence[str]:
    """Hold the results of the scalar graph over ``events`` events against the input itself.

    The input is the pool again and again, so how many events each filter passes is known exactly.
    """
    bright = pool["monitor"] > 0.1
    ratio = pool["energy"] / (1 + np.abs(pool["offset"]))
    lit = bright & (pool["laser"] == 1)
    dark = bright & (pool["laser"] == 0)
    rounds, rest = divmod(events, pool.count)

    def total(values: Array) -> float:
        return float(rounds * values.sum().item() + values[:rest].sum().item())

    wanted = {"mean_on": total(lit), "on_vs_delay": total(lit), "off_moments": total(dark)}
    wanted |= {"signals": events, "balances": events}
    failures = []
    for name, used in wanted.items():
        if name not in found or found[name].events.used != used:
            seen = found[name].events.used if name in found else "no such result"
            failures.append(f"{name}: {used} events are to be used, used: {seen}")
    mean = total(np.where(lit, ratio, 0.0)) / max(1, total(lit))
    if not failures and abs(float(found["mean_on"].value) - mean) > FLOAT_TOLERANCE * mean:
        failures.append(f"mean_on is {found['mean_on'].value}, the input's is {mean}")
    return failures


def _through(load: Load, bench: Bench, *, lasting_s: float = LASTING_S) -> Through:
    seconds = bench.seconds(lasting_s, QUICK_S)
    bench.say(f"a node with {load.workers} worker{'s' * (load.workers > 1)} for {seconds:g} s")
    return through(load, warm_s=bench.seconds(WARM_S, 1.0), lasting_s=seconds)


def _measured(found: Through, limit: float | None, limit_is: str, bench: Bench) -> Measured:
    notes = (
        f"{found.events} events in {found.duration_s:.1f} s measured",
        *_note(bench),
    )
    return Measured(
        samples=found.rates,
        value=found.events / found.duration_s,
        limit=limit,
        limit_is=limit_is,
        limited_by=what_limits(found.busy),
        busy=found.busy.to_plain(),
        failures=found.failures,
        notes=notes,
    )


def _note(bench: Bench) -> tuple[str, ...]:
    return (f"quick: {QUICK_S:g} s instead of the {LASTING_S:g} s of the rule",) if bench.quick else ()


def events_of(uri: str, count: int) -> Slots:
    """Return the first events of a source, in memory of their own."""
    source = open_source(uri)
    try:
        return take(source, 0, count)
    finally:
        source.close()


def _by_hand(events: Slots, bench: Bench) -> float:
    graph = bare.ScalarGraph()
    blocks = [events.part(at, at + BLOCK_EVENTS) for at in range(0, events.count, BLOCK_EVENTS)]

    def once() -> int:
        for block in blocks:
            graph.add(block)
        return events.count

    return bare.rate(once, bench.seconds(LIMIT_S, 0.5))


def _added(images: Array, bench: Bench) -> float:
    total = np.zeros(images.shape[1:], np.float64)

    def once() -> int:
        for image in images:
            np.add(total, image, out=total)
        return len(images)

    return bare.rate(once, bench.seconds(LIMIT_S, 0.5))


def _added_elsewhere(images: Array, bench: Bench) -> float:
    total = np.zeros(images.shape[1:], np.float64)

    def add(some: Array) -> None:
        np.add(total, some[0], out=total)

    return bare.copied_between_processes(images, 1, add, bench.seconds(LIMIT_S, 0.5))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ami-bench-") as folder:
        yield Path(folder)
