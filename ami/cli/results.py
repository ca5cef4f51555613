"""`ami results`: what is published, one line each."""

from __future__ import annotations

import click

from ami.cli.options import Session, with_session
from ami.cli.picture import one_line
from ami.cli.screen import cut, duration, number, table, terminal_width
from ami.result import Result


@click.command()
@with_session
def results(session: Session) -> None:
    """List the results that are published: window, age, events used, value."""
    with session.connect() as client:
        found = client.results()
    session.answer(lambda: found, lambda: listing(found))


def listing(found: dict[str, Result]) -> str:
    """Return a table of results."""
    if not found:
        return "nothing is published yet; `ami graph show` has the graph, `ami status` says what runs"
    rows = [
        [name, r.window, duration(r.age_s()), number(r.events.used), flags(r) or "whole", one_line_of(r, 24)]
        for name, r in found.items()
    ]
    text = table(["result", "window", "age", "used", "", "value"], rows, right="llrrll")
    return "\n".join(cut(line, max(terminal_width(), 80)) for line in text.splitlines())


def one_line_of(result: Result, columns: int = 32) -> str:
    """Return the value of a result in one line, and what went wrong on the way to it."""
    value = [] if result.value is None and result.error else [one_line(result.value, columns, result.label)]
    return "; ".join([*value, *(f"error: {reason}" for reason in reasons(result))])


def reasons(result: Result) -> list[str]:
    """Return why a result has no value, or not of all events: a line each, without the way to it."""
    lines = (result.error or "").splitlines()
    # Of each operation the first line says it all; what follows is Python's.
    return [lines[0], *(line for line in lines[1:] if line.startswith("operation '"))] if lines else []


def flags(result: Result) -> str:
    """Return what somebody who looks at this result must know; nothing when all is well."""
    words = []
    if not result.complete:
        words.append("partial")
    if result.missing_nodes:
        late = dict(result.late)
        names = [f"{n} ({duration(late[n])} late)" if n in late else n for n in result.missing_nodes]
        words.append(f"without {', '.join(names)}")
    if result.events.dropped:
        words.append(f"{number(result.events.dropped)} dropped")
    if result.events.set_aside:
        words.append(f"{number(result.events.set_aside)} set aside")
    return ", ".join(words)
