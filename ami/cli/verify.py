"""`ami verify GRAPH.yaml FILE`: does a node give what one process gives?"""

from __future__ import annotations

import sys

import click

from ami.cli.bar import Bar
from ami.cli.graph import read_document
from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, as_uri, option, say, with_session
from ami.cli.screen import number, table
from ami.cluster.signals import stoppable
from ami.lab.verify import Comparison
from ami.lab.verify import verify as verify_graph

TIMEOUT_S = 600.0


@click.command()
@click.argument("graph", metavar="GRAPH.yaml")
@click.argument("recording", metavar="FILE|SOURCE-URI", callback=as_uri)
@option("--nodes", click.IntRange(1, 16), "Nodes, each with a share of the events.", default=1, metavar="N")
@click.option("--daq", "deal", is_flag=True, help="Let a sender (`ami-daq`) deal the events to the nodes.")
@option("--workers", click.IntRange(1, 250), "Of each private node.", default=2, metavar="N")
@with_session
def verify(session: Session, graph: str, recording: str, nodes: int, deal: bool, workers: int) -> None:
    """Run a recording through a private node and in one process; compare every result.

    Integers and counts must be equal, floats up to the order of merging (1e-12). Exit code 1 when
    they are not. The node has a folder, a ring and a port of its own, and is gone afterwards. Several nodes
    run beside each other on this machine, as one experiment on one cluster.
    """
    bar = Bar(shown=sys.stderr.isatty())

    def show(done: int, total: int | None) -> None:
        share = min(1.0, done / total) if total else 0.0
        bar.draw(done, total, f"{100 * share:3.0f} %  {number(done)} events")

    def tell(text: str) -> None:
        bar.clear()
        say(text)

    with stoppable(), bar:
        found = verify_graph(
            read_document(graph),
            recording,
            nodes=nodes,
            deal=deal,
            workers=workers,
            timeout_s=TIMEOUT_S if session.timeout_s is None else session.timeout_s,
            say=tell,
            progress=show,
        )
    session.answer(lambda: [one.to_plain() for one in found], lambda: report(found))
    if any(one.difference for one in found):
        sys.exit(EXIT_REFUSED)


def report(found: list[Comparison]) -> str:
    """Return the comparison as text."""
    rows = [
        [
            one.name,
            "DIFFERS" if one.difference else "equal" if one.deviation == 0 else "equal to merge order",
            "-" if one.node is None else number(one.node.events.used),
            "-" if one.offline is None else number(one.offline.events.used),
            f"{one.deviation:.1e}" if one.deviation else "0",
            one.difference,
        ]
        for one in found
    ]
    different = sum(bool(one.difference) for one in found)
    verdict = (
        f"{different} of {len(found)} results differ" if different else f"all {len(found)} results agree"
    )
    headings = ["result", "", "used, node", "used, alone", "deviation", ""]
    return f"{table(headings, rows, right='llrrrl')}\n\n{verdict}"
