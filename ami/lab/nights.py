"""Measure what a node takes on ordinary nights: large images, many fields, many results, little disk.

A night is a source that keeps its own pace, and a graph. What is measured is what somebody on shift sees of
it (how late a small result is, how old an image) and what the machine gives for it (cores, memory, disk).
"""

from __future__ import annotations

import json
import queue
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from ami.client import connect
from ami.cluster import proc
from ami.config import Config
from ami.errors import AmiError
from ami.lab import arena, bare
from ami.lab.arena import Arena
from ami.lab.figures import Bench, Measured, Row, percentile
from ami.lab.latency import find_clock, latencies_ms
from ami.lab.machine import Busy
from ami.result import Result

# A ring as large as the machine gives. And the source makes its images for many seconds before the first one
# comes; it does not hang.
SETTINGS = {"AMI_RING_BYTES": "0", "AMI_MONITOR_HANG_S": "60"}
FIRST_S = 120.0
LAST_S = 60.0  # for the last answer
LATE_MS = 1000.0  # the most that a small result may ever be late
UNITS = {"cores": "cores", "late": "ms", "age": "s", "memory": "MB", "disk": "MB/s"}
SAID = {
    "cores": "CPU of all processes",
    "late": "event is due → small result with it is in a subscribed client's hands, p99",
    "age": "age of a large result in a client's hands just before the next one comes, p99",
    "memory": "memory (PSS) of all processes",
    "disk": "written to disks by all processes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A source, a graph, what is watched of it, and what it may take.

    Args:
        detectors: of the simulated source; or its whole address.
        small, large: results that a client watches; "": none.
        settle_s, lasting_s: until what has to grow has grown, and how long it is measured then.
        may: goals, of some of :data:`UNITS`.
        when: see :class:`ami.lab.figures.Row`.
    """

    name: str
    said: str
    rate_hz: float
    detectors: Mapping[str, object] | str
    graph: str
    small: str = "level"
    large: str = ""
    settle_s: float = 15.0
    lasting_s: float = 30.0
    may: Mapping[str, float]
    when: str = "full"

    def rows(self) -> list[Row]:
        """Return the figures that it gives."""
        measure = partial(measure_night, self)
        return [
            Row(measure, f"{self.name}_{kind}", UNITS[kind], less=True, goal=goal, when=self.when,
                what=f"{self.said}, {self.rate_hz:g} Hz: {SAID[kind]}")
            for kind, goal in self.may.items()
        ]  # fmt: skip


@dataclass(slots=True)
class Looks:
    """What a client saw of a night's results."""

    arrivals: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # wall and event time, ns
    failures: dict[str, None] = field(default_factory=dict)

    def add(self, results: Mapping[str, Result]) -> None:
        """Note what came, and what is wrong with it."""
        now_ns = time.time_ns()
        for name, result in results.items():
            self.arrivals.setdefault(name, []).append((now_ns, result.time_ns[1]))
            if result.error:
                self.failures[f"{name}: {result.error}"] = None
            if result.events.dropped:
                self.failures["events were dropped"] = None
            if not result.complete:
                self.failures[f"{name} was incomplete at times"] = None

    def take_in(self, other: Looks) -> None:
        """Add what another client saw of other results."""
        self.arrivals |= other.arrivals
        self.failures |= other.failures

    def ages_s(self, name: str, clock_ns: int) -> list[float]:
        """Return how old a result was each time just before the next one came."""
        pairs = pairwise(self.arrivals.get(name, ()))
        found = [(after - clock_ns - last) / 1e9 for (_, last), (after, _) in pairs]
        if not found:
            raise AmiError(f"too few results {name!r} came to say anything")
        return found


def measure_night(night: Night, bench: Bench) -> Mapping[str, Measured]:
    """Measure a night for a while, after what has to grow has grown."""
    with tempfile.TemporaryDirectory(prefix="ami-bench-") as folder:
        source = _describe(night, Path(folder))
        with arena.running(source, night.graph, workers=2, settings=SETTINGS) as place:
            watched = [name for name in (night.small, night.large) if name]
            place.wait_for("the first results", lambda: set(watched) <= set(place.client.results()), FIRST_S)
            time.sleep(bench.choose(night.settle_s, 5.0))
            return _watch(night, place, bench.choose(night.lasting_s, 10.0))


def _describe(night: Night, folder: Path) -> str:
    if isinstance(night.detectors, str):
        return night.detectors
    path = folder / "detectors.json"
    path.write_text(json.dumps({"interval": 1 / night.rate_hz, "config": night.detectors}))
    return f"sim://{path}?policy=wait"


def _watch(night: Night, place: Arena, lasting_s: float) -> dict[str, Measured]:
    processes, config = place.pids(), place.node.config
    written, since, since_ns = _written(processes), time.monotonic(), time.time_ns()
    outcome = bare.fork.Queue()
    # A client of its own, as people are: who puts a large result together sees a small one later.
    with bare.fork_off(lambda: outcome.put(_look(config, night.large, lasting_s))), Busy(processes) as busy:
        looks = _look(config, night.small, lasting_s)
        try:
            looks.take_in(outcome.get(timeout=LAST_S))
        except queue.Empty as error:
            raise AmiError(f"nothing was heard of {night.large!r}") from error
    disk = (_written(processes) - written) / (time.monotonic() - since) / 1e6
    memory = {name: proc.proportional_bytes(pid) / 1e6 for name, pid in processes.items()}
    with closing(place.ring()) as ring:
        clock_ns = find_clock(ring, since_ns)
    late = latencies_ms(looks.arrivals.get(night.small, ()), clock_ns, round(1e9 / night.rate_hz))
    if max(late) > LATE_MS:
        looks.failures[f"{night.small} was late by {max(late):.0f} ms"] = None
    failures = (*looks.failures, *_what_died(place, processes))
    common = Measured(busy=busy.to_plain(), failures=failures)
    cpu = f"busiest: {max(busy.shares, key=busy.shares.__getitem__)}; others {busy.others:.2f} cores"
    largest = f"largest: {max(memory, key=memory.__getitem__)}, {max(memory.values()):.0f} MB"
    found = {
        "cores": replace(common, samples=[busy.sum], limited_by=cpu),
        "memory": replace(common, samples=[sum(memory.values())], limited_by=largest),
        "disk": replace(common, samples=[disk]),
        "late": replace(common, samples=[percentile(late, 0.99)], notes=_spread(late, "ms")),
    }
    if "age" in night.may:
        ages = looks.ages_s(night.large, clock_ns)
        found["age"] = replace(common, samples=[percentile(ages, 0.99)], notes=_spread(ages, "s"))
    return {f"{night.name}_{kind}": found[kind] for kind in night.may}


def _look(config: Config, name: str, lasting_s: float) -> Looks:
    looks = Looks()
    if not name:
        return looks
    end = time.monotonic() + lasting_s
    with connect(config, name="bench", timeout_s=LAST_S) as client:
        updates = client.updates([name])
        updates.take(0)
        while time.monotonic() < end:
            looks.add(updates.take(1.0))
    return looks


def _spread(values: Sequence[float], unit: str) -> tuple[str]:
    return (f"p50 {percentile(values, 0.5):.3g} {unit}, largest {max(values):.3g} {unit}",)


def _what_died(place: Arena, before: Mapping[str, int]) -> list[str]:
    now = place.pids()
    return [f"{name} did not live all the time" for name, pid in before.items() if now.get(name) != pid]


def _written(processes: Mapping[str, int]) -> int:
    return sum(map(proc.written_bytes, processes.values()))
