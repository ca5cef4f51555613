"""`ami web`: where the page is."""

from __future__ import annotations

import click

from ami.cli.options import Session, with_session
from ami.client.page import find_page


@click.command()
@with_session
def web(session: Session) -> None:
    """Print the link to this node's page, with which one may edit; who has it may do so.

    Without the part behind # one may look, on this machine.
    """
    with session.connect() as client:
        link = find_page(client.config, client.status())
    address, _, token = link.partition("/#token=")
    session.answer(lambda: {"address": address, "token": token or None}, lambda: link)
