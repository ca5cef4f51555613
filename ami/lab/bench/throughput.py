"""Measure how many events a second go through a whole node, from the source to the published result.

A run counts only if nothing was dropped or set aside and, after the source was stopped, every event that
it published is in the results, exactly: published = reduced + dropped + set aside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ami.client import Client
from ami.errors import AmiError
from ami.lab.bench import busy, private
from ami.lab.bench.busy import Busy
from ami.result import Result
from ami.ring.cursor import Cursor
from ami.ring.observer import RingObserver

# The source has an end because one without does not wait for its first graph; it is never reached.
ENDLESS = 10**12
LOOK_S = 0.25
FIRST_S = 30.0
SETTLE_S = 30.0

Check = Callable[[int, Mapping[str, Result]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Load:
    """What to run: ``uri`` without its end, ``watch`` a result of the run in which all events are counted.

    ``check`` gets the number of events and the last results, and returns what is wrong with them.
    ``paced``: events come at their rate, and not as fast as they can.
    """

    uri: str
    graph: str
    watch: str
    event_rate: float
    workers: int = 1
    ring_bytes: int = 256 << 20
    paced: bool = False
    check: Check = lambda _events, _results: ()

    @property
    def source(self) -> str:
        mark = "&" if "?" in self.uri else "?"
        # An event rate near the real one makes intervals about as long as they are in an experiment.
        rate = f"rate={self.event_rate:.0f}" if self.paced else f"rate=max&event_rate={self.event_rate:.0f}"
        return f"{self.uri}{mark}{rate}&interval=50ms&policy=wait&stop={ENDLESS}"


@dataclass(frozen=True, slots=True)
class Through:
    """What went through: events/s in each part of the measured time; ``failures`` if it does not count."""

    rates: tuple[float, ...]
    duration_s: float
    events: int
    busy: Busy
    failures: tuple[str, ...]


def through(load: Load, *, warm_s: float, lasting_s: float, parts: int = 5) -> Through:
    """Run a node at full speed for ``warm_s`` and ``lasting_s``, stop its source, and settle accounts."""
    settings = {"AMI_RING_BYTES": str(load.ring_bytes)}
    with private.running(load.source, workers=load.workers, settings=settings) as (node, client):
        private.set_graph(node, client, load.graph)
        private.wait_for("the first result", lambda: _expected(client, load.watch)[1], FIRST_S)
        with RingObserver(node.config.ring.name) as ring:
            processes = busy.pids(node)
            time.sleep(warm_s)
            before = busy.usage(processes)
            seen = _samples(client, load.watch, lasting_s)
            shares = busy.between(before, busy.usage(processes))
            restarted = [name for name, pid in busy.pids(node).items() if processes.get(name) != pid]
            private.stop_source(node)
            failures = settled(client, load, ring.cursor)
    if restarted:
        failures.append(f"died meanwhile: {', '.join(restarted)}")
    return Through(
        _rates(seen, parts), seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1], shares, tuple(failures)
    )


def _expected(client: Client, name: str) -> tuple[float, int]:
    """Return when a result was published, in s, and how many events it knows of; 0 before the first."""
    try:
        result = client.get(name)
    except AmiError:
        return 0.0, 0
    return result.published_ns / 1e9, result.events.expected


def _samples(client: Client, name: str, lasting_s: float) -> list[tuple[float, int]]:
    found = [_expected(client, name)]
    while found[-1][0] - found[0][0] < lasting_s:
        time.sleep(LOOK_S)
        now = _expected(client, name)
        if now[1] > found[-1][1]:
            found.append(now)
        elif time.time() - found[-1][0] > FIRST_S:
            raise AmiError(f"no result for {FIRST_S:g} s; {'; '.join(client.status().problems)}")
    return found


def _rates(seen: Sequence[tuple[float, int]], parts: int) -> tuple[float, ...]:
    """Return events per second in each of ``parts`` equal parts of the time."""
    start, end = seen[0][0], seen[-1][0]
    rates, last = [], seen[0]
    for number in range(1, parts + 1):
        border = start + (end - start) * number / parts
        here = min(seen, key=lambda sample: abs(sample[0] - border))
        if here[0] > last[0]:
            rates.append((here[1] - last[1]) / (here[0] - last[0]))
            last = here
    return tuple(rates)


def settled(client: Client, load: Load, cursor: Cursor) -> list[str]:
    """Wait until every published event is in the results, exactly; return what is wrong after a time."""
    end = time.monotonic() + SETTLE_S
    while True:
        wrong = _wrong(client, load, cursor)
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(LOOK_S)


def _wrong(client: Client, load: Load, cursor: Cursor) -> list[str]:
    events, results, identity = cursor.published, client.results(), client.status().identity
    wrong = []
    if cursor.dropped or cursor.position != events:
        wrong.append(
            f"{cursor.position} events left the input, {events} were published, {cursor.dropped} dropped"
        )
    if identity is None or identity.published != events or identity.under_way or identity.dropped:
        wrong.append(f"{events} events published, but the global reducer's totals are {identity}")
    for name, result in results.items():
        counted = result.events
        if (counted.expected, counted.dropped, counted.set_aside) != (events, 0, 0) or result.error:
            said = result.error or ""
            wrong.append(f"{name}: {events} events published, its envelope says {counted} {said}")
    return [*wrong, *load.check(events, results)]
