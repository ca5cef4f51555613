"""`ami chaos --nodes N`: let several machines of one experiment suffer, and count events and edits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from ami.cli.bar import Bar
from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session
from ami.cli.screen import table
from ami.cluster.signals import stoppable
from ami.lab import site
from ami.lab.outages import Account, Damage, plan, sum_up


def befall(
    session: Session, *, machines: int, rounds: int, wanted: Sequence[str], seed: int, hold_s: float,
    delay_ms: float,
) -> None:  # fmt: skip
    """Let machines suffer each target as often as there are rounds, and answer with what came of it."""
    outages = plan(rounds, wanted, seed=seed)
    bar = Bar(shown=sys.stderr.isatty())

    def show(done: int, total: int, what: str) -> None:
        bar.count(done, total, "outages", what)

    with bar, stoppable():
        damages = site.run(outages, machines=machines, hold_s=hold_s, delay_ms=delay_ms, progress=show)
    found = sum_up(damages)
    session.answer(lambda: [asdict(one) for one in found], lambda: report(found))
    if not all(one.exact for one in found):
        for line in complaints(damages):
            click.echo(f"ami: {line}", err=True)
        sys.exit(EXIT_REFUSED)


def report(found: Sequence[Account]) -> str:
    """Return the accounts as text."""
    cells = [
        [
            one.target,
            one.rounds,
            *(f"{time_s:.2f} s" for time_s in (one.results_s_median, one.results_s_max)),
            *(f"{time_s:.2f} s" for time_s in (one.whole_s_median, one.whole_s_max)),
            *(one.lost, one.twice, one.wrong, one.acknowledged, one.edits_lost),
        ]
        for one in found
    ]
    headings = [
        *("struck", "rounds", "results, median", "longest", "complete, median", "longest"),
        *("lost", "twice", "wrong", "edits", "lost"),
    ]
    exact = all(one.exact for one in found)
    verdict = "every event was counted once, and no acknowledged edit was lost" if exact else "NOT EXACT"
    count = sum(one.rounds for one in found)
    return f"{table(headings, cells, right='lrrrrrrrrrr')}\n\n{count} outages, {verdict}"


def complaints(damages: Sequence[Damage]) -> Iterator[str]:
    """Yield a line for each outage that cost something."""
    for count, damage in enumerate(damages, start=1):
        found = damage.deviation
        if found or damage.edits_lost or damage.faults:
            yield (
                f"outage {count}, {damage.outage.target} ({', '.join(damage.victims)}): {found.lost} events "
                f"lost, {found.twice} counted twice, wrong: {', '.join(found.wrong) or 'none'}; "
                f"{damage.edits_lost} edits lost{''.join(f'; {fault}' for fault in damage.faults)}"
            )
