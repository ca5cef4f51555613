"""`ami chaos`: kill processes of a private node under full load, and count every event."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from ami.cli.bar import Bar
from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, option, with_session
from ami.cli.outages import befall
from ami.cli.screen import clean, number, table
from ami.cluster.signals import stoppable
from ami.errors import AmiError
from ami.lab import mishaps
from ami.lab.chaos import run
from ami.lab.guests import GUESTS
from ami.lab.hutch_truth import HutchTruth
from ami.lab.pictures import PictureTruth
from ami.lab.strikes import Outcome, Toll, rows, schedule, targets
from ami.lab.truth import Truth
from ami.lab.witness import Notice
from ami.lab.witness import run as run_guests

WORKERS = 2
IMAGES_HZ = 120.0
ALL = f"[default: all: {', '.join(targets(WORKERS))}]"
MOST = "[default: as fast as possible]"


@click.command()
@option("--rounds", click.IntRange(1, 100_000), "How often each target is hit.", default=3, metavar="N")
@option("--target wanted", str, f"Only this one; may be given again. {ALL}", multiple=True, metavar="NAME")
@option("--seed", click.IntRange(0), "Of order and moments.", default=1, metavar="N")
@option("--rate rate_hz", click.FloatRange(1, 1e9), f"Events per second of the source. {MOST}", metavar="HZ")
@click.option(
    "--images",
    is_flag=True,
    help=f"Results of images beside those of numbers, at {IMAGES_HZ:g} events per second.",
)
@click.option("--hutch", is_flag=True, help="A whole hutch, 256 fields and 44 results, at its own pace.")
@click.option(
    "--guests",
    is_flag=True,
    help="Functions that do harm, and full disks, one after the other. --target: a part of what is done.",
)
@option("--nodes", click.IntRange(3, 9), "Several machines of one experiment (docs/chaos.md).", metavar="N")
@option(
    "--hold",
    click.FloatRange(0),
    "With --nodes: how long one is cut off, or stands still.",
    default=60.0,
    metavar="S",
)
@option(
    "--delay",
    click.FloatRange(0, 1000),
    "With --nodes: of what goes from one to another.",
    default=0.0,
    metavar="MS",
)
@with_session
def chaos(
    session: Session, rounds: int, wanted: tuple[str, ...], seed: int, rate_hz: float | None, images: bool,
    hutch: bool, guests: bool, nodes: int | None, hold: float, delay: float,
) -> None:  # fmt: skip
    """Kill processes of a node with -9 under full load; measure how long results stay away; count all events.

    The node is a private one, with a folder, a ring and a port of its own, and is gone afterwards.
    In each round each target is hit once: a process; `node`: supervisord with everything below it;
    `two`: two processes at once. Exit code 1 when an event is lost or counted twice, or a result is wrong.
    With --images or --hutch large results are held against the truth, too.
    With --nodes N machines (network namespaces, so only as root) suffer: processes, servers and nodes are
    killed, a machine is cut off, or stands still. --target: words of what is done, as docs/chaos.md lists it.
    With --guests people's functions and full disks do the harm, and what others notice of each is told
    (docs/guests.md).
    """
    if images and hutch:
        raise click.UsageError("--images and --hutch are two loads; choose one")
    if nodes is not None:
        if images or hutch or guests or rate_hz is not None:
            raise click.UsageError("--nodes has a load of its own: no --images, --hutch, --guests, --rate")
        befall(session, machines=nodes, rounds=rounds, wanted=wanted, seed=seed, hold_s=hold, delay_ms=delay)
        return
    if guests:
        receive(session, wanted)
        return
    plan = schedule(rounds, wanted, workers=WORKERS, seed=seed)
    bar = Bar(shown=sys.stderr.isatty())

    def show(done: int, total: int, what: str) -> None:
        bar.count(done, total, "kills", what)

    with bar, stoppable():
        if hutch:
            truth: Truth = HutchTruth()
        else:
            truth, rate_hz = (PictureTruth(), rate_hz or IMAGES_HZ) if images else (Truth(), rate_hz)
        outcomes = run(plan, truth, rate_hz=rate_hz, workers=WORKERS, progress=show)
    found = sorted(rows(outcomes), key=lambda row: targets(WORKERS).index(row.target))
    session.answer(lambda: [asdict(row) for row in found], lambda: report(found, outcomes))
    if not all(row.exact for row in found):
        for line in complaints(outcomes):
            click.echo(f"ami: {line}", err=True)
        sys.exit(EXIT_REFUSED)


def receive(session: Session, wanted: tuple[str, ...]) -> None:
    """Let guests do harm, and answer with what was noticed of each."""
    bar = Bar(shown=sys.stderr.isatty())

    def show(done: int, total: int, what: str) -> None:
        bar.draw(done, total, f"{done} of {total} guests: {what}")

    with bar, stoppable(), ExitStack() as walls:
        guests, below = GUESTS, Path("/tmp")
        try:
            befalls, below = walls.enter_context(mishaps.prepared())
            guests += befalls
        except AmiError as error:
            click.echo(f"ami: a node whose memory or disk is full is not tried: {error}", err=True)
        chosen = [one for one in guests if not wanted or any(words in one.deed for words in wanted)]
        if not chosen:
            raise click.UsageError(
                f"no guest does {' or '.join(wanted)}: {'; '.join(g.deed for g in guests)}"
            )
        noticed = run_guests(chosen, workers=WORKERS, progress=show, below=below)
    session.answer(lambda: [asdict(one) for one in noticed], lambda: report_guests(noticed))
    if not all(one.exact for one in noticed):
        sys.exit(EXIT_REFUSED)


def report_guests(noticed: list[Notice]) -> str:
    """Return what was noticed as a table of Markdown, as docs/guests.md has it."""
    lines = [
        "| done | told to who did it | others: oldest result (usual) | late for the last time after"
        " | set aside | exact | well after it went |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for one in noticed:
        late = f"{one.late:.1f} s" if one.late else "never late"
        cells = [
            *(clean(one.deed).replace("|", "\\|"), clean(one.told, 200).replace("|", "\\|")),
            *(f"{one.oldest:.2f} s ({one.usual_age:.2f})", late, number(one.set_aside)),
            *("yes" if one.exact else "NO", f"{one.well:.2f} s"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(found: list[Toll], outcomes: list[Outcome]) -> str:
    """Return the rows as text."""
    cells = [list(asdict(row).values()) for row in found]
    for row in cells:
        row[2:4] = (f"{recovery_s:.2f} s" for recovery_s in row[2:4])
    headings = ["killed", "rounds", "recovery, median", "longest", "lost", "twice", "wrong"]
    exact = all(row.exact for row in found)
    verdict = "every event was counted once" if exact else "NOT EXACT"
    return f"{table(headings, cells, right='lrrrrrr')}\n\n{len(outcomes)} kills, {verdict}"


def complaints(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield a line for each strike that cost something."""
    for count, outcome in enumerate(outcomes, start=1):
        found = outcome.deviation
        if found:
            yield (
                f"kill {count}, {' and '.join(outcome.strike.victims)}: {found.lost} events lost, "
                f"{found.twice} counted twice, wrong: {', '.join(found.wrong) or 'none'}"
            )
