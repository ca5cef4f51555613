"""`ami top`: what every process, operation and result costs, live in a terminal, once in a pipe."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

import click

from ami.cli.live import redraw, title
from ami.cli.options import Session, with_session
from ami.cli.screen import clean, counted, cut, number, rate, size, some, table
from ami.cli.status import show_fill, show_memory
from ami.client.load import NOBODY, Load, OperationLoad, ProcessLoad
from ami.client.meter import Meter

REDRAW_S = 1.0
OPERATIONS_SHOWN = 8  # lines, before there is room for results and owners
RESULTS_SHOWN = 4
WIDE = 110  # characters of a line, from which on there is room for bytes
TEXT = 60  # characters of an operation's text, where there is room
FIGURES = 64  # characters of what stands beside it: what it costs must be seen
TRAFFIC = {"shared": "shared", "local": "local store", "global": "global store", "disk": "disk"}
SORTS = ("share", "name", "owner")


@click.command()
@click.option("--once", is_flag=True, help="Measure for a second, show it once. [default in a pipe]")
@click.option("--sort", type=click.Choice(SORTS), default="share", show_default=True, help="Of operations.")
@with_session
def top(session: Session, once: bool, sort: str) -> None:
    """Show what every process, every operation and every result of the graph costs.

    In a terminal it is redrawn once a second until Ctrl-C. Of processes on other hosts the share of a
    core is what their heartbeat says, and memory is not known. Operations that call a user's function
    for one event after the other are marked `per event`.
    """
    # KeyboardInterrupt: how a person ends it.
    with session.connect() as client, suppress(KeyboardInterrupt):
        meter = client.meter()
        if once or session.as_json or not sys.stdout.isatty():
            meter.look()
            time.sleep(REDRAW_S)
            load = meter.look()
            session.answer(load.to_plain, lambda: "\n".join(report(load, sort)))
        else:
            _follow(meter, sort)


def report(load: Load, sort: str = "share") -> list[str]:
    """Return everything as lines of text."""
    tables = _processes(load), _operations(load, sort), _results(load), _owners(load)
    return [*_head(load), *(line for lines in tables for line in ("", *lines))]


def _follow(meter: Meter, sort: str) -> None:
    loads: deque[Load] = deque(maxlen=1)
    for _ in redraw(
        lambda: loads.append(meter.look()),
        lambda trouble, columns, rows: frame(loads[0] if loads else None, sort, trouble, columns, rows),
        REDRAW_S,
    ):
        pass


def frame(load: Load | None, sort: str, trouble: str, columns: int, rows: int) -> list[str]:
    """Return the lines for a terminal of this size; of what does not fit, the number is told."""
    lines = [title(f"ami top, by {sort}", trouble)]
    if load is None:
        return [cut(line, columns) for line in [*lines, "", "nothing yet"]]
    lines += [*_head(load), "", *_processes(load, wide=columns >= WIDE), ""]
    owners = ["", *_owners(load)]
    results = ["", *_results(load)][: RESULTS_SHOWN + 2]
    operations = _operations(load, sort, max(16, min(TEXT, columns - FIGURES)))
    room = rows - len(lines)
    lines += _fitting(operations, max(room - len(owners) - len(results), min(room, OPERATIONS_SHOWN)))
    for others in (results, owners):
        lines += _fitting(others, max(0, rows - len(lines)))
    return [cut(line, columns) for line in lines[:rows]]


def _fitting(lines: list[str], room: int) -> list[str]:
    if len(lines) <= room:
        return lines
    return [*lines[: max(0, room - 1)], f"… {len(lines) - room + 1} more"] if room > 0 else []


def _head(load: Load) -> list[str]:
    status = load.status
    graph = "none yet" if not status.graph_version else f"version {status.graph_version}"
    timed = "" if load.timed is None else f", {100 * load.timed:.2g} % of the events timed"
    lines = [f"graph   {graph}, {len(load.operations)} operations on the workers{timed}"]
    queues, ring = load.queues, status.ring
    waiting = {"batches": queues.inbox, "requests": queues.requests, "flushes": queues.flushes}
    told = ", ".join(counted(n, what) for what, n in waiting.items() if n is not None)
    lines.append(f"waiting {told}")
    if ring is not None:
        dropped = f"{number(ring.dropped)} dropped, policy {clean(ring.policy)}"
        lines.append(f"ring    {show_fill(ring)}, {dropped}")
    if status.memory is not None:
        lines.append(f"memory  {show_memory(status.memory)}")
    return lines + [f"! {clean(text)}" for text in (*status.problems, *status.warnings)]


def _processes(load: Load, *, wide: bool = True) -> list[str]:
    where = list(TRAFFIC) if wide else []
    headings = ["process", "events", "core", "resident", *(TRAFFIC[to] for to in where)]
    headings += ["queue", "lag", "dropped", "state"]
    rows = [_process(process, where) for process in load.processes]
    known = [p.share for p in load.processes if p.share is not None]
    memory = [p.resident_bytes for p in load.processes if p.resident_bytes is not None]
    moved = [_moved(sum(p.traffic.get(to, 0.0) for p in load.processes)) for to in where]
    rows.append(["together", "", _share(sum(known)), size(sum(memory)), *moved, "", "", "", ""])
    return table(headings, rows, right=f"lrrr{'r' * len(where)}lrrl").splitlines()


def _moved(bytes_s: float) -> str:
    """Return bytes a second; nothing for what is not worth a look."""
    return f"{size(bytes_s)}/s" if bytes_s >= 1024 else ""


def _process(process: ProcessLoad, where: Sequence[str]) -> list[object]:
    said = "~" if process.share_from == "busy" else ""
    return [
        process.name,
        rate(process.rate_hz),
        "" if process.share is None else f"{said}{_share(process.share)}",
        size(process.resident_bytes),
        *(_moved(process.traffic.get(to, 0.0)) for to in where),
        ", ".join(counted(count, what) for what, count in process.queue.items() if count),
        process.lag,
        some(process.dropped),
        process.state if process.alive else f"DEAD: {process.state}",
    ]


def _operations(load: Load, sort: str, text: int = TEXT) -> list[str]:
    headings = ["operation", "", "owners", "events", "µs/event", "core", "errors"]
    rows = [
        [
            clean(", ".join(operation.shown), text),
            f"{operation.kind}, per event" if operation.per_event else operation.kind,
            ", ".join(operation.owners) or NOBODY,
            rate(operation.events_hz),
            _microseconds(operation.us_per_event),
            _share(operation.share),
            some(operation.errors),
        ]
        for operation in sort_operations(load.operations, sort)
    ]
    if load.untold > 0.0005:
        rows.append(["(cheaper ones)", "", "", "", "", _share(load.untold), ""])
    if load.besides is not None:
        rows.append(["(besides operations)", "", "", "", "", _share(load.besides), ""])
    return table(headings, rows, right="lllrrrr").splitlines()


def sort_operations(operations: Sequence[OperationLoad], sort: str) -> list[OperationLoad]:
    """Return operations by ``sort``; equals by share, the largest first."""
    costly = sorted(operations, key=lambda operation: -operation.share)
    by = {"name": attrgetter("name"), "owner": attrgetter("owners")}.get(sort)
    return sorted(costly, key=by) if by else costly


def _results(load: Load) -> list[str]:
    headings = ["result", "owners", "core", "states", "values"]
    rows = [
        [
            result.name,
            ", ".join(result.owners) or NOBODY,
            _share(result.share),
            _moved(result.state_bytes_s),
            _moved(result.published_bytes_s),
        ]
        for result in load.results
    ]
    return table(headings, rows, right="llrrr").splitlines()


def _owners(load: Load) -> list[str]:
    headings = ["owner", "operations", "core", "errors"]
    rows = [[one.owner, one.operations, _share(one.share), some(one.errors)] for one in load.owners]
    return table(headings, rows, right="lrrr").splitlines()


def _microseconds(each: float) -> str:
    return f"{each:,.0f}" if each >= 999.5 else f"{each:.3g}"


def _share(share: float) -> str:
    """Return a share of a core in percent, with as many digits as say something."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
