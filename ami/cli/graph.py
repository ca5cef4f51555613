"""`ami graph …`: show the graph that runs, and edit it while events flow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ami.cli.options import Session, with_session
from ami.cli.screen import clean, table
from ami.client import Client, connect
from ami.errors import GraphError

MAX_TEXT_BYTES = 8 << 20


@click.group()
def graph() -> None:
    """Show the graph and edit it while events flow.

    An edit is checked before it is accepted and takes effect at an interval's border. Others'
    operations keep what they have accumulated.
    """


def _owner(function: Callable[..., None]) -> Callable[..., None]:
    text = "Act as this owner of operations. [default: USER@HOST]"
    return click.option("--as", "owner", metavar="NAME", help=text)(function)


def _expect(function: Callable[..., None]) -> Callable[..., None]:
    text = "Only if the graph still has this version."
    return click.option("--expect", "expected", type=click.IntRange(0), metavar="VERSION", help=text)(
        function
    )


def read_texts(arguments: tuple[str, ...]) -> list[str]:
    """Return the text of each: a definition ``NAME = EXPRESSION``, a file's, or of ``-``, standard input's.

    Raises:
        GraphError: a file cannot be read.
    """
    return [_read(argument) for argument in arguments]


def _read(argument: str) -> str:
    if argument == "-":
        return sys.stdin.read(MAX_TEXT_BYTES)
    if "=" in argument and not Path(argument).is_file():
        return argument
    try:
        with open(argument, encoding="utf-8") as file:
            return file.read(MAX_TEXT_BYTES)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise GraphError(
            f"{clean(argument)!r} is no definition (NAME = EXPRESSION), and no file that can be read: "
            f"{clean(getattr(error, 'strerror', None) or error)}"
        ) from error


def _edit(session: Session, owner: str | None, request: Callable[[Client], dict[str, Any]]) -> None:
    """Carry out one edit and say what came of it."""
    with connect(session.config(), name=owner, timeout_s=session.patience_s) as client:
        reply = request(client)
    session.answer(lambda: reply, lambda: _write_acceptance(reply))


def _write_acceptance(reply: dict[str, Any]) -> str:
    warnings = [f"! {clean(warning)}" for warning in reply.get("warnings") or ()]
    return "\n".join([f"graph version {reply.get('version')}, {clean(reply.get('hash'))}", *warnings])


@graph.command()
@click.argument("version", type=click.IntRange(0), required=False)
@click.option("--owners", is_flag=True, help="Also say who owns what.")
@with_session
def show(session: Session, version: int | None, owners: bool) -> None:
    """Print the graph that runs now, or VERSION, as the YAML that `set` takes."""
    from ami.graph.language.lower import lower
    from ami.graph.language.text import write

    with session.connect() as client:
        document = client.document(version)
    runs = lower(document)
    head = f"# version {runs.version}, {runs.hash}, {len(runs.operations)} operations"
    text = write(document, whole=owners)
    session.answer(lambda: {**runs.to_plain(), "text": text}, lambda: f"{head}\n{clean_lines(text)}")


@graph.command()
@click.argument("texts", nargs=-1, required=True, metavar="DEFINITION|FILE|-...")
@click.option("--replace", is_flag=True, help="Replace operations of the same names, if they are mine.")
@_owner
@_expect
@with_session
def add(
    session: Session, texts: tuple[str, ...], replace: bool, owner: str | None, expected: int | None
) -> None:
    """Add operations and results.

    \b
    ami graph add 'bright = mean_vs(sum(camera), key=delay)'
    ami graph add my.yaml
    """
    read = read_texts(texts)

    def request(client: Client) -> dict[str, Any]:
        change = client.replace if replace else client.add
        return change(*read, expected_version=expected)

    _edit(session, owner, request)


@graph.command(name="set")
@click.argument("texts", nargs=-1, required=True, metavar="FILE|-|DEFINITION...")
@_owner
@_expect
@with_session
def set_(session: Session, texts: tuple[str, ...], owner: str | None, expected: int | None) -> None:
    """Put this graph in place of the whole one, everybody's operations included."""
    read = read_texts(texts)
    _edit(session, owner, lambda client: client.set(*read, expected_version=expected))


@graph.command()
@click.argument("names", nargs=-1, required=True)
@_owner
@_expect
@with_session
def remove(session: Session, names: tuple[str, ...], owner: str | None, expected: int | None) -> None:
    """Remove operations NAME..."""
    _edit(session, owner, lambda client: client.remove(*names, expected_version=expected))


@graph.command(name="remove-mine")
@_owner
@with_session
def remove_mine(session: Session, owner: str | None) -> None:
    """Remove every operation that nobody but me wants."""
    _edit(session, owner, lambda client: client.remove_mine())


@graph.command()
@_owner
@with_session
def undo(session: Session, owner: str | None) -> None:
    """Go back to the graph before the last change."""
    _edit(session, owner, lambda client: client.undo())


@graph.command()
@click.argument("version", type=click.IntRange(0))
@_owner
@with_session
def rollback(session: Session, version: int, owner: str | None) -> None:
    """Go back to the graph of VERSION, as a new version."""
    _edit(session, owner, lambda client: client.rollback(version))


@graph.command()
@click.argument("names", nargs=-1)
@_owner
@with_session
def reset(session: Session, names: tuple[str, ...], owner: str | None) -> None:
    """Let the windows of results NAME... (all, without a name) begin anew."""
    _edit(session, owner, lambda client: client.reset(*names))


@graph.command()
@with_session
def history(session: Session) -> None:
    """List the versions: when, by whom, what."""
    with session.connect() as client:
        records = client.graph_history()
    session.answer(lambda: records, lambda: _listing(records))


def _listing(records: list[dict[str, Any]]) -> str:
    if not records:
        return "there was no graph yet; `ami graph set FILE` gives the first"
    columns = ("version", "client", "action", "summary", "hash")
    rows = [[_when(r.get("time_ns")), *(r.get(column, "") for column in columns)] for r in records]
    return table(["time", *columns], rows, right="lrllll")


def _when(time_ns: object) -> str:
    try:
        return datetime.fromtimestamp(int(str(time_ns)) / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return clean(time_ns)


@graph.command()
@click.argument("old", type=click.IntRange(0), required=False)
@click.argument("new", type=click.IntRange(0), required=False)
@with_session
def diff(session: Session, old: int | None, new: int | None) -> None:
    """Say what changed from version OLD (the one before) to NEW (the one that runs now)."""
    from ami.client.definitions import difference

    with session.connect() as client:
        after = client.document(new)
        before = client.document(max(after.version - 1, 0) if old is None else old)
    changes = difference(before, after)
    session.answer(changes.to_plain, lambda: clean_lines(changes.text) or "no difference")


def clean_lines(text: str) -> str:
    """Return ``text`` without control characters but line ends."""
    return "\n".join(clean(line, 10_000) for line in text.splitlines())
