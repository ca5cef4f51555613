"""`ami down`: stop the node of this host, and what a supervisord that was killed left of one."""

from __future__ import annotations

import click

from ami.cli.options import Session, say, with_session
from ami.cluster import background


@click.command()
@with_session
def down(session: Session) -> None:
    """Stop the node of this host, or what is left of one. Graphs and what was accumulated stay."""
    ran = background.stop(session.config(), say)
    session.answer(lambda: {"stopped": ran}, lambda: "stopped" if ran else "no node runs here")
