"""`ami scale`: what the global tier takes for so many nodes, with every sum checked."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, option, say, with_session
from ami.cli.screen import number, table
from ami.cluster.signals import stoppable
from ami.lab.fleet import Load
from ami.lab.scale import Outcome, measure

USUAL = Load()
COUNT = click.IntRange(1, 1000)


@click.command()
@option("--nodes", COUNT, "Made-up nodes; may be given several times.", multiple=True, metavar="N")
@option("--results", click.IntRange(1, 10_000), "Of each, all small.", default=USUAL.results, metavar="N")
@option("--rate", click.FloatRange(0.1, 100), "Intervals a second.", default=USUAL.rate_hz, metavar="HZ")
@option(
    "--events", click.IntRange(1, 100_000), "Of a node in an interval.", default=USUAL.events, metavar="N"
)
@option("--image", click.IntRange(0, 2048), "A mean image of so many pixels a side.", default=0, metavar="N")
@option("--seconds", click.FloatRange(1, 3600), "How long.", default=USUAL.seconds, metavar="S")
@with_session
def scale(session: Session, nodes: tuple[int, ...], results: int, rate: float, events: int, image: int,
          seconds: float) -> None:  # fmt: skip
    """Measure the global tier under made-up nodes.

    Real servers and a real global reducer, private and gone afterwards; what nodes would send is sent by
    processes that do nothing else. Exit code 1 when a result is not exactly what it must be, or when this
    machine, and not the tier, was the limit. docs/scaling.md has figures.
    """
    load = Load(results=results, rate_hz=rate, events=events, image=image, seconds=seconds)
    with stoppable():
        found = [measure(replace(load, nodes=count), say) for count in nodes or (USUAL.nodes,)]
    session.answer(lambda: [one.to_plain() for one in found], lambda: report(found))
    if any(one.wrong or one.problems for one in found):
        sys.exit(EXIT_REFUSED)


def report(found: list[Outcome]) -> str:
    """Return the outcomes as text, one a line."""
    headings = ["nodes", "reducer", "server", "in", "out", "reducer", "server", "age p50", "p99", "image", ""]
    rows = [
        [
            one.load.nodes,
            f"{one.reducer:.2f} core",
            f"{one.server:.2f} core",
            f"{one.in_mb_s:.1f} MB/s",
            f"{one.out_mb_s:.1f} MB/s",
            f"{one.reducer_mb:.0f} MB",
            f"{one.server_mb:.0f} MB",
            f"{one.age_p50_ms:.0f} ms",
            f"{one.age_p99_ms:.0f} ms",
            f"{one.picture_age_ms:.0f} ms" if one.load.image else "",
            "exact" if not one.wrong else f"{number(len(one.wrong))} results are WRONG: {one.wrong[0]}",
        ]
        for one in found
    ]
    problems = [f"{one.load.nodes} nodes: {problem}" for one in found for problem in one.problems]
    return "\n".join([table(headings, rows, right="rrrrrrrrrrl"), *problems])
