"""Measure whole nodes at full speed: scalars, images, more workers; and memory over a long time."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ami.cluster import proc
from ami.event import Array, Slots
from ami.lab import bare, graphs
from ami.lab.arena import Arena
from ami.lab.figures import Bench, Measured
from ami.lab.graphs import POOL_EVENTS, SCALARS, first_events
from ami.lab.machine import cores
from ami.lab.throughput import Workload, through
from ami.result import Result

BLOCK_EVENTS = 8192
FLOAT_TOLERANCE = 1e-9
IMAGE_RING_BYTES = 256 << 20

MEMORY_RATE_HZ = 3e6
MEMORY_LOOKS = 20
GROWTH = 1.1  # of the last quarter's memory against the first one's


def scalar_graph(bench: Bench) -> Mapping[str, Measured]:
    """Measure the headline, beside the same graph by hand in numpy in one process that moves no event."""
    events = first_events(SCALARS, POOL_EVENTS)
    hand = bare.ScalarGraph()
    blocks = [events.part(at, at + BLOCK_EVENTS) for at in range(0, events.count, BLOCK_EVENTS)]
    return _beside(
        "scalar_graph",
        Workload(SCALARS, graphs.SCALAR, "mean_on", 1e7, check=partial(wrong_counts, events)),
        lambda: bare.rate(lambda: sum(map(hand.add, blocks)), bench.choose(2.0, 0.5)),
        "the same graph by hand with numpy in one process, blocks of 8192, no hand-over",
        bench,
    )


def region_mean(bench: Bench) -> Mapping[str, Measured]:
    """Measure the mean of a region, beside two bare processes that copy the images and sum the region."""

    def copy(images: Array) -> float:
        lasting_s = bench.choose(2.0, 1.0)
        return bare.copy_between_processes(images, 1, lambda some: some[:, 256:768, 256:768].sum(), lasting_s)

    limit_is = "two bare processes that copy the same images through shared memory and sum the region"
    return _of_images("region_mean", 1024, graphs.REGION, "level", 1000, copy, limit_is, bench)


def mean_image(bench: Bench) -> Mapping[str, Measured]:
    """Measure the running mean of images, beside a bare loop that adds the same images up."""
    total = np.zeros((512, 512))

    def add(images: Array) -> int:
        for image in images:
            np.add(total, image, out=total)
        return len(images)

    def add_all(images: Array) -> float:
        return bare.rate(lambda: add(images), bench.choose(2.0, 0.5))

    limit_is = "a bare numpy loop that adds the same images to one float64 sum in one process"
    return _of_images("mean_image", 512, graphs.IMAGE, "mean_camera", 4500, add_all, limit_is, bench)


def unused_camera(bench: Bench) -> Mapping[str, Measured]:
    """Measure the mean of one number beside a camera that nobody asks for, and the same without it."""
    with tempfile.TemporaryDirectory(prefix="ami-bench-") as folder:
        alone, beside = (
            Workload(graphs.meter(folder, camera=camera), graphs.LEVEL, "level", 1e7)
            for camera in (False, True)
        )
        before, found, after = (through(load, bench) for load in (alone, beside, alone))
    limit_is = "the same node and graph without the camera, just before and just after"
    limit = statistics.median([*before.samples, *after.samples])
    failures = (*before.failures, *found.failures, *after.failures)
    return {"unused_camera": replace(found, limit=limit, limit_is=limit_is, failures=failures)}


def workers(bench: Bench) -> Mapping[str, Measured]:
    """Measure a CPU-bound graph with one and two workers, and a bare loop in one and two processes."""
    load = Workload(SCALARS, graphs.HEAVY, "wave_0", 1e6)
    one, two = (through(replace(load, workers=n), bench) for n in (1, 2))
    alone, spare = statistics.median(one.samples), max(0, cores() - 2) or "none"
    scaled = replace(
        two,
        samples=[rate / alone for rate in two.samples],
        value=None,
        limit=bare.scaling(2, bench.choose(2.0, 1.0)),
        limit_is="a bare numpy loop in two processes / in one",
        failures=(*one.failures, *two.failures),
        notes=(
            f"{alone:.4g} events/s of one worker",
            f"{cores()} cores: {spare} to spare for source, reducers and servers",
            *two.notes[1:],
        ),
    )
    return {"worker_scaling": scaled}


def loaded_memory(bench: Bench) -> Mapping[str, Measured]:
    """Measure the memory of all processes while 3,000,000 events/s go through, each of them accounted for."""
    check = partial(wrong_counts, first_events(SCALARS, POOL_EVENTS))
    load = Workload(SCALARS, graphs.SCALAR, "mean_on", MEMORY_RATE_HZ, workers=2, paced=True, check=check)
    sizes: list[float] = []

    def look(place: Arena) -> None:
        sizes.append(sum(map(proc.proportional_bytes, place.pids().values())) / 1e6)

    found = through(load, bench, usual_s=600.0, quick_s=30.0, parts=MEMORY_LOOKS, look=look)
    quarter = MEMORY_LOOKS // 4
    first, last = statistics.median(sizes[:quarter]), statistics.median(sizes[-quarter:])
    quarters = f"{first:.0f} MB in the first quarter of the time, {last:.0f} MB in the last"
    grew = (f"it grew: {quarters}",) if last > GROWTH * first else ()
    measured = replace(found, samples=sizes, value=max(sizes), limited_by=quarters)
    return {"loaded_memory": replace(measured, failures=(*found.failures, *grew))}


def wrong_counts(pool: Slots, events: int, found: Mapping[str, Result]) -> Sequence[str]:
    """Hold the results of the scalar graph over ``events`` events against the input itself.

    The input is the pool again and again, so how many events each filter passes is known exactly.
    """
    rounds, rest = divmod(events, pool.count)
    whole, part = bare.ScalarGraph(), bare.ScalarGraph()
    whole.add(pool)
    part.add(pool.part(0, rest))
    on, off = rounds * whole.used_on + part.used_on, rounds * whole.used_off + part.used_off
    wanted = {"mean_on": on, "on_vs_delay": on, "off_moments": off, "signals": events, "balances": events}
    failures = []
    for name, used in wanted.items():
        seen = found[name].events.used if name in found else "no such result"
        if seen != used:
            failures.append(f"{name}: {used} events are to be used, used: {seen}")
    mean = (rounds * whole.sum_on + part.sum_on) / max(1, on)
    if not failures and abs(float(found["mean_on"].value) - mean) > FLOAT_TOLERANCE * mean:
        failures.append(f"mean_on is {found['mean_on'].value}, the input's is {mean}")
    return failures


def _beside(
    name: str, load: Workload, limit: Callable[[], float], limit_is: str, bench: Bench
) -> dict[str, Measured]:
    """Measure a node at full speed, and the limit just before and just after."""
    before = limit()
    measured = through(load, bench)
    return {name: replace(measured, limit=statistics.median((before, limit())), limit_is=limit_is)}


def _of_images(
    name: str,
    side: int,
    graph: str,
    watch: str,
    event_rate: float,
    limit: Callable[[Array], float],
    limit_is: str,
    bench: Bench,
) -> dict[str, Measured]:
    """Measure a node with square float32 images, beside what ``limit`` does with some of them."""
    with tempfile.TemporaryDirectory(prefix="ami-bench-") as folder:
        uri = graphs.images(folder, side, side)
        images = first_events(f"{uri}?rate=1000", (8 << 20) // side**2)["camera"]
        load = Workload(uri, graph, watch, event_rate, ring_bytes=IMAGE_RING_BYTES)
        return _beside(name, load, lambda: limit(images), limit_is, bench)
