"""Measure how many events a second go through a whole node, from the source to the published result.

A run counts only if nothing was dropped or set aside and, after the source was stopped, every event that
it published is in the results, exactly: published = reduced + dropped + set aside.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ami.errors import AmiError
from ami.lab import arena
from ami.lab.arena import Arena, NotYet
from ami.lab.figures import Bench, Measured
from ami.lab.machine import Busy
from ami.result import Result
from ami.ring.cursor import Cursor

# The source has an end because one without does not wait for its first graph; it is never reached.
ENDLESS = 10**12
# The rule asks for so long; a quick look is shorter and says so.
LASTING_S = 20.0
QUICK_S = 4.0
LOOK_S = 0.25
SILENT_S = 30.0
SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What to run: ``uri`` without its end, ``watch`` a result of the run in which all events are counted.

    ``check`` gets the number of events and the last results, and returns what is wrong with them.
    ``paced``: events come at their rate, and not as fast as they can.
    """

    uri: str
    graph: str
    watch: str
    event_rate: float
    workers: int = 1
    ring_bytes: int = 64 << 20
    paced: bool = False
    check: Callable[[int, Mapping[str, Result]], Sequence[str]] = lambda _events, _results: ()

    @property
    def source(self) -> str:
        mark = "&" if "?" in self.uri else "?"
        # An event rate near the real one makes intervals about as long as they are in an experiment.
        rate = f"rate={self.event_rate:.0f}" if self.paced else f"rate=max&event_rate={self.event_rate:.0f}"
        return f"{self.uri}{mark}{rate}&interval=50ms&policy=wait&stop={ENDLESS}"


def through(
    load: Workload,
    bench: Bench,
    *,
    usual_s: float = LASTING_S,
    quick_s: float = QUICK_S,
    parts: int = 5,
    look: Callable[[Arena], object] = lambda _arena: None,
) -> Measured:
    """Return events/s of a node in each part of the time, with a ``look`` after each; settle accounts."""
    lasting_s = bench.choose(usual_s, quick_s)
    bench.say(f"a node with {load.workers} worker{'s' * (load.workers > 1)} for {lasting_s:g} s")
    settings = {"AMI_RING_BYTES": str(load.ring_bytes)}
    with (
        arena.running(
            load.source, load.graph, first=load.watch, workers=load.workers, settings=settings
        ) as place,
        place.ring() as ring,
    ):
        time.sleep(bench.choose(2.0, 1.0))
        processes = place.pids()
        with Busy(processes) as busy:
            seen = [_read_expected(place, load.watch)]
            for number in range(1, parts + 1):
                seen.append(_next(place, load.watch, seen[0][0] + lasting_s * number / parts))
                look(place)
        now = place.pids()
        failures = [f"{name} died meanwhile" for name, pid in processes.items() if now.get(name) != pid]
        place.stop_source()
        failures += _settle(place, load, lambda: ring.cursor)
    duration_s, events = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
    notes = [f"{events} events in {duration_s:.1f} s measured"]
    if bench.quick:
        notes.append(f"quick: {quick_s:g} s instead of the {usual_s:g} s of the rule")
    return Measured(
        samples=[(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(seen)],
        value=events / duration_s,
        limited_by=busy.what_limits(),
        busy=busy.to_plain(),
        failures=tuple(failures),
        notes=tuple(notes),
    )


def _read_expected(place: Arena, name: str) -> tuple[float, int]:
    """Return when a result was published, in s, and how many events it knows of."""
    result = place.client.get(name)
    return result.published_ns / 1e9, result.events.expected


def _next(place: Arena, name: str, border_s: float) -> tuple[float, int]:
    """Return the same of the first result that was published after ``border_s``."""
    while (found := _read_expected(place, name))[0] < border_s:
        if time.time() - found[0] > SILENT_S:
            raise AmiError(f"no result for {SILENT_S:g} s; {'; '.join(place.client.status().problems)}")
        time.sleep(LOOK_S)
    return found


def _settle(place: Arena, load: Workload, cursor: Callable[[], Cursor]) -> list[str]:
    """Wait until every published event is in the results, exactly; return what is wrong after a time."""

    def is_right() -> bool:
        if wrong := _wrong(place, load, cursor()):
            raise NotYet("; ".join(wrong))
        return True

    try:
        place.wait_for("each event in the results", is_right, SETTLE_S, look_s=LOOK_S)
    except AmiError as error:
        return [str(error)]
    return []


def _wrong(place: Arena, load: Workload, cursor: Cursor) -> list[str]:
    events, results, identity = cursor.published, place.client.results(), place.client.status().identity
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
