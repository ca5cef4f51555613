"""`ami operations [NAME]`: what a definition may call, with an example each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ami.cli.completion import complete_operations
from ami.cli.options import Session, with_session
from ami.cli.screen import clean, table

if TYPE_CHECKING:
    from ami.graph.language.reference import Entry


@click.command()
@click.argument("name", required=False, shell_complete=complete_operations)
@with_session
def operations(session: Session, name: str | None) -> None:
    """List the operations that a graph may use; with NAME, say what that one does, by example."""
    from ami.graph.language.reference import find_operation, list_operations

    if name is not None:
        one = find_operation(name)
        session.answer(lambda: asdict(one), lambda: report(one))
        return
    entries = list_operations()
    session.answer(lambda: [asdict(one) for one in entries], lambda: listing(entries))


def listing(entries: list[Entry]) -> str:
    """Return the operations as text, of elementwise ones the names only."""
    rows = [(e.name, e.sort, e.example) for e in entries if e.sort != "elementwise"]
    simple = " ".join(e.name for e in entries if e.sort == "elementwise")
    return (
        f"{table(['operation', 'works', 'example'], rows)}\n\nelementwise, as numpy has them: {simple}\n"
        "`ami operations NAME` says what one does; docs/graphs.md has the language."
    )


def report(entry: Entry) -> str:
    """Return what there is to know of one operation as text."""
    told = "\n".join(clean(line) for line in entry.help.splitlines())
    return f"{clean(entry.usage)}    {entry.sort}\n\n{told}\n\nexample:  {clean(entry.example) or '-'}"
