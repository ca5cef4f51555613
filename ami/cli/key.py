"""`ami key KEY`: what is behind one key."""

from __future__ import annotations

import json

import click

from ami.cli.keys import ttl
from ami.cli.options import Session, to_json, with_session
from ami.cli.screen import clean, size
from ami.client import KeyView
from ami.client.summary import summary


@click.command()
@click.argument("key")
@with_session
def key(session: Session, key: str) -> None:
    """Show KEY, as `ami keys` lists it (OWNER:NAME): type, size, owner, and its value or a summary of it."""
    with session.connect() as client:
        found = client.key(key)
    session.answer(lambda: [view.to_plain() for view in found], lambda: "\n\n".join(map(card, found)))


def card(view: KeyView) -> str:
    """Return a key as text."""
    body = [f"cannot be decoded: {view.problem}"] if view.problem else []
    if view.has_value:
        facts = json.loads(to_json(summary(view.value)))
        body = json.dumps(facts, indent=2, ensure_ascii=False).splitlines()
    return "\n".join(
        [
            f"key    {clean(view.key)}",
            f"tier   {view.tier}",
            f"owner  {clean(view.prefix)}",
            f"type   {view.type}, {size(view.size_bytes)}, lives {ttl(view)}",
            *(clean(line) for line in body),
        ]
    )
