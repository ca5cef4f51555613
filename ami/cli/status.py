"""`ami status`: how every process of the cluster is, and whether every event is accounted for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import click

from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, with_session
from ami.cli.screen import clean, cut, duration, number, rate, size, some, table, terminal_width, wrap
from ami.client import ClusterStatus, Identity, ProcessStatus, RingStatus, connect
from ami.client.status import STOPPED as WAS_STOPPED
from ami.client.status import MemoryStatus
from ami.client.survey import survey_host
from ami.config import Config
from ami.errors import ConfigError, StoreUnavailable

PATIENCE_S = 2.0  # with a store that is just being restarted, where nobody said another
WIDE = 110  # columns of a terminal from which on there is room for more
RED, YELLOW, GREEN = "red", "yellow", "green"
STOPPED = "stopped"


@click.command()
@with_session
def status(session: Session) -> None:
    """Say of every process whether it lives, how fast it is and what was lost.

    When a node falls behind, the results that cost it most are named, with their owners.
    Exit code 1 when something that should run does not.
    """
    seen = look(session.config(), session.timeout_s or PATIENCE_S)
    on_terminal = sys.stdout.isatty()
    width = terminal_width() if on_terminal else None
    colour = on_terminal and not os.environ.get("NO_COLOR")
    session.answer(seen.to_plain, lambda: report(seen, width=width, colour=colour))
    if not seen.well:
        sys.exit(EXIT_REFUSED)


def look(config: Config, timeout_s: float = PATIENCE_S) -> ClusterStatus:
    """Return how the cluster is; of this host's node only, while the global store does not answer.

    Raises:
        StoreUnavailable: and no node is on this host.
    """
    try:
        with connect(config, timeout_s=timeout_s) as client:
            return client.status()
    except (StoreUnavailable, ConfigError) as error:
        here = survey_host(config, str(error.__cause__ or error))
        if here is None:
            raise
        return here


def report(seen: ClusterStatus, *, width: int | None = None, colour: bool = False) -> str:
    """Return a status as text; ``width``: columns of a terminal, into which it is made to fit."""

    def paint(text: str, hue: str) -> str:
        return click.style(text, fg=hue) if colour else text

    lines = _processes(seen.processes, width, paint)
    if seen.graph_version is None:
        facts = ["graph   none yet: `ami graph set FILE`"] if seen.identity or seen.ring else []
    else:
        facts = [f"graph   version {seen.graph_version}, hash {clean(seen.graph_hash)}"]
    known = "unknown while no global reducer lives" if seen.identity is None else identity(seen.identity)
    facts.append(f"events  {known}")
    if seen.ring is not None:
        facts.append(f"ring    {_ring(seen.ring)}")
    if seen.memory is not None:
        facts.append(f"memory  {show_memory(seen.memory)}")
    lines += ["", *(line for fact in facts for line in wrap(fact, width, " " * 8))]
    for hue, texts in ((RED, seen.problems), (YELLOW, seen.warnings)):
        for text in texts:
            lines += [paint(line, hue) for line in wrap(f"! {clean(text)}", width, "  ")]
    return "\n".join(lines)


def _processes(
    processes: Sequence[ProcessStatus], width: int | None, paint: Callable[[str, str], str]
) -> list[str]:
    """Return the lines of the table, without columns in which there is nothing."""
    headings = ["process", "", "beat", "up", "rate", "lag", "dropped", "set aside", "pid", "state"]
    rows = [_row(process) for process in processes]
    optional = {"lag", "dropped", "set aside"}
    kept = [
        place
        for place, heading in enumerate(headings)
        if (heading not in optional or any(row[place] for row in rows))
        and (heading != "pid" or (width or 0) >= WIDE)
    ]
    text = table(
        [headings[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        right="".join("llrrrrrrrl"[place] for place in kept),
    )
    first, *others = [line if width is None else cut(line, width) for line in text.splitlines()]
    for process, line in zip(processes, others, strict=True):
        word = _word(process)
        lines = line.partition(f"  {word}")
        hue = GREEN if process.alive else YELLOW if word == STOPPED else RED
        first += f"\n{lines[0]}  {paint(word, hue)}{lines[2]}" if lines[1] else f"\n{line}"
    return [first]


def identity(events: Identity) -> str:
    """Return the sum that must be exact, with its numbers."""
    parts = (events.published, events.reduced, events.dropped, events.set_aside)
    published, reduced, dropped, aside = (number(part) for part in parts)
    text = f"{published} published = {reduced} reduced + {dropped} dropped + {aside} set aside"
    return text if events.under_way == 0 else f"{text} + {number(events.under_way)} under way"


def show_fill(ring: RingStatus) -> str:
    """Return how full the ring is."""
    full = 100 * ring.held / ring.slot_count if ring.slot_count else 0.0
    return f"{number(ring.held)} of {number(ring.slot_count)} slots held ({full:.0f} %)"


def show_memory(memory: MemoryStatus) -> str:
    """Return what of the shared memory is whose."""
    parts = {"ring": memory.ring, "local store": memory.local_store, "global store": memory.global_store}
    told = ", ".join(f"{size(taken)} {whose}" for whose, taken in parts.items())
    return f"{told}; {size(memory.free)} of shared memory left"


def _row(process: ProcessStatus) -> list[object]:
    return [
        process.name,
        _word(process),
        "" if process.age_s is None else duration(process.age_s),
        "" if process.up_s is None else duration(process.up_s),
        rate(process.rate_hz),
        process.lag,
        some(process.dropped),
        some(process.set_aside),
        process.pid or "",
        process.state,
    ]


def _word(process: ProcessStatus) -> str:
    if process.alive:
        return "alive"
    return STOPPED if process.state.startswith(WAS_STOPPED) else "DEAD"


def _ring(ring: RingStatus) -> str:
    text = f"{number(ring.published)} published, {number(ring.dropped)} dropped, {show_fill(ring)}, "
    text += f"policy {clean(ring.policy)}, intervals of {duration(ring.interval_ns / 1e9)}"
    return text if ring.writer_alive else f"{text}; no source writes to it"
