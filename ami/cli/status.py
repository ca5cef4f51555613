"""`ami status`: how every process of the cluster is, and whether every event is accounted for."""

from __future__ import annotations

import sys

import click

from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, with_session
from ami.cli.screen import clean, duration, number, rate, size, some, table
from ami.client import ClusterStatus, Identity, ProcessStatus, RingStatus
from ami.client.status import MemoryStatus


@click.command()
@with_session
def status(session: Session) -> None:
    """Say of every process whether it lives, how fast it is and what was lost.

    When a node falls behind, the results that cost it most are named, with their owners.
    Exit code 1 when something that should run does not.
    """
    with session.connect() as client:
        seen = client.status()
    session.answer(seen.to_plain, lambda: report(seen))
    if not seen.well:
        sys.exit(EXIT_REFUSED)


def report(seen: ClusterStatus) -> str:
    """Return a status as text."""
    rows = [_row(process) for process in seen.processes]
    headings = ["process", "", "beat", "up", "rate", "lag", "dropped", "set aside", "state"]
    lines = [table(headings, rows, right="llrrrrrrl"), ""]
    if seen.graph_version is None:
        lines.append("graph   none yet: `ami graph set FILE`")
    else:
        lines.append(f"graph   version {seen.graph_version}, hash {clean(seen.graph_hash)}")
    known = "unknown while no global reducer lives" if seen.identity is None else identity(seen.identity)
    lines.append(f"events  {known}")
    if seen.ring is not None:
        lines.append(f"ring    {_ring(seen.ring)}")
    if seen.memory is not None:
        lines.append(f"memory  {show_memory(seen.memory)}")
    lines += [f"! {clean(text)}" for text in (*seen.problems, *seen.warnings)]
    return "\n".join(lines)


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
        "alive" if process.alive else "DEAD",
        "" if process.age_s is None else duration(process.age_s),
        "" if process.up_s is None else duration(process.up_s),
        rate(process.rate_hz),
        process.lag,
        some(process.dropped),
        some(process.set_aside),
        process.state,
    ]


def _ring(ring: RingStatus) -> str:
    text = f"{number(ring.published)} published, {number(ring.dropped)} dropped, {show_fill(ring)}, "
    text += f"policy {clean(ring.policy)}, intervals of {duration(ring.interval_ns / 1e9)}"
    return text if ring.writer_alive else f"{text}; no source writes to it"
