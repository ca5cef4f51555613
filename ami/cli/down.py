"""`ami down`: stop the node of this host, and what a supervisord that was killed left of one."""

from __future__ import annotations

import click

from ami.cli.cluster import machine
from ami.cli.options import Session, say, with_session
from ami.cluster import background
from ami.errors import AmiError

HAND_OVER_S = 10.0


@click.command()
@click.option(
    "--hand-over/--no-hand-over",
    default=True,
    help="In a cluster, let copies take the place of this machine's servers first. [default: hand-over]",
)
@with_session
def down(session: Session, hand_over: bool) -> None:
    """Stop the node of this host, or what is left of one. Graphs and what was accumulated stay."""
    config = session.config()
    if hand_over and config.global_store.start_nodes and background.supervisor_pid(config):
        try:
            machine(session, HAND_OVER_S).hand_over()
        except AmiError as error:
            say(f"not handed over, the copies take over by themselves: {error}")
    ran = background.stop(config, say)
    session.answer(lambda: {"stopped": ran}, lambda: "stopped" if ran else "no node runs here")
