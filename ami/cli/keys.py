"""`ami keys [PATTERN]`: every key of both stores, and who owns it."""

from __future__ import annotations

import click

from ami.cli.options import Session, with_session
from ami.cli.screen import duration, size, table
from ami.client import KeyView


@click.command()
@click.argument("pattern", default="*")
@with_session
def keys(session: Session, pattern: str) -> None:
    """List the keys that match PATTERN (*, ?, [abc]): type, size, time to live, owner."""
    with session.connect() as client:
        found = sorted(client.keys(pattern), key=lambda view: (view.tier, view.prefix, view.key))
    session.answer(lambda: [view.to_plain() for view in found], lambda: listing(found, pattern))


def listing(found: list[KeyView], pattern: str = "*") -> str:
    """Return a table of keys."""
    if not found:
        return f"no key matches {pattern!r}"
    rows = [[v.tier, v.prefix, v.name, v.type, size(v.size_bytes), ttl(v)] for v in found]
    text = table(["tier", "owner", "key", "type", "size", "ttl"], rows, right="llllrr")
    return f"{text}\n{len(found)} keys, {size(sum(view.size_bytes for view in found))}"


def ttl(view: KeyView) -> str:
    """Return how long a key still lives."""
    return "for ever" if view.ttl_s is None else duration(view.ttl_s)
