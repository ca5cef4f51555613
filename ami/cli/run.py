"""`ami run GRAPH.yaml FILE|SOURCE-URI`: a graph over a source, offline, in this process."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from ami.cli.bar import Bar
from ami.cli.graph import read_document
from ami.cli.options import Session, as_uri, with_session
from ami.cli.results import one_line_of
from ami.cli.screen import counted, number, rate, table
from ami.graph.language.lower import lower
from ami.offline import OfflineResults
from ami.offline import run as run_offline
from ami.sources import open_source


@click.command()
@click.argument("graph", metavar="GRAPH.yaml")
@click.argument("source", metavar="FILE|SOURCE-URI", callback=as_uri)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N events.")
@with_session
def run(session: Session, graph: str, source: str, limit: int | None) -> None:
    """Run a graph over a source offline, in this process, as fast as possible.

    GRAPH.yaml is a file, or - for standard input. The results are those of the end of the source.
    """
    wanted = lower(read_document(graph))
    bar = Bar(shown=sys.stderr.isatty())

    def show(done: int, total: int | None) -> None:
        share, whole = (done / total, f" of {number(total)}") if total else (0.0, "")
        bar.draw(done, total, f"{100 * share:3.0f} %  {number(done)}{whole} events")

    with closing(open_source(source)) as opened, bar:
        found = run_offline(wanted, opened, limit=limit, progress=show)
    session.answer(lambda: found.results, lambda: report(found))


def report(found: OfflineResults) -> str:
    """Return the results of a run as text."""
    rows = [
        [name, result.window, number(result.events.used), number(result.events.expected), one_line_of(result)]
        for name, result in found.results.items()
    ]
    speed = rate(found.events / found.duration_s) if found.duration_s else ""
    text = table(["result", "window", "used", "of", "value"], rows, right="llrrl")
    amounts = {"events": found.events, "intervals": found.intervals, "runs": found.runs}
    counts = ", ".join(counted(amount, things) for things, amount in amounts.items())
    return f"{text}\n\n{counts} in {found.duration_s:.2f} s, {speed}"
