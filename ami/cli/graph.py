"""`ami graph …`: show the graph that runs, and edit it while events flow."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ami.cli.completion import complete_definition, complete_results, complete_values
from ami.cli.group import Group
from ami.cli.options import Session, option, with_session
from ami.cli.screen import clean, clock, cut, table, terminal_width
from ami.client import Client, connect
from ami.errors import GraphError
from ami.graph.language.changes import list_names

if TYPE_CHECKING:
    from ami.graph.language.document import Document

MAX_TEXT_BYTES = 8 << 20


@click.group(cls=Group)
def graph() -> None:
    """Show the graph and edit it while events flow.

    An edit is checked before it is accepted and takes effect at an interval's border. Others'
    operations keep what they have accumulated.
    """


def _edit(
    *, name: str | None = None, expects: bool = False
) -> Callable[[Callable[..., dict[str, Any]]], None]:
    """Make a command of a function that asks a client for an edit and returns the answer.

    ``expects``: it can be told the version that the graph still must have.
    """

    def decorate(request: Callable[..., dict[str, Any]]) -> None:
        def command(session: Session, owner: str | None, dry_run: bool, **given: Any) -> None:
            with connect(session.config(), name=owner, timeout_s=session.patience_s) as client:
                client.dry_run = dry_run
                reply = request(client, **given)
            session.answer(lambda: reply, lambda: _write_acceptance(reply, dry_run=dry_run))

        functools.update_wrapper(command, request)  # its help, its arguments and options
        asked = _DRY_RUN(_OWNER(_EXPECT(command) if expects else command))
        graph.command(name=name or request.__name__)(with_session(asked))

    return decorate


_OWNER = option("--as owner", str, "Act under this name. [default: USER@HOST]", metavar="NAME")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Check it and say what would change; change nothing.")
_FORCE = click.option("--force", is_flag=True, help="Even if others lose something by it.")
_EXPECT = option(
    "--expect expected_version", click.IntRange(0), "Only if the graph still has it.", metavar="VERSION"
)


def _read(argument: str) -> str:
    """Return the text of a definition, of a file, or of ``-``, standard input."""
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


def read_document(path: str) -> Document:
    """Return what stands in a graph's file, or of standard input when ``path`` is ``-``.

    Raises:
        GraphError: with the file's name, and why.
    """
    from ami.graph.language.lower import lower
    from ami.graph.language.text import parse

    if "://" in path or path.endswith((".h5", ".hdf5", ".nxs", ".cxi")):
        raise GraphError(f"{clean(path)!r} is a source; the graph stands before it, GRAPH.yaml {clean(path)}")
    text = _read(path)
    try:
        document = parse(text)
        lower(document)  # refuses a cycle
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    return document


# What happened to names, and how a person is told.
_SAID = {
    "published": "publishes",
    "values": "only a value, for others to use:",
    "hidden": "only a value by now:",
    "removed": "removed",
    "changed": "changed",
    "reset": "begins anew:",
    "shared": "of other owners or spelling:",
}


def _write_acceptance(reply: dict[str, Any], *, dry_run: bool) -> str:
    changes = reply.get("changes") or {}
    lines = [f"graph version {reply.get('version')}, {clean(reply.get('hash'))}"]
    if dry_run:
        lines = [f"graph version {reply.get('version')} stays; without --dry-run this would be done"]
    if back := changes.get("takes_back"):
        lines.append(f"takes back version {back['version']}, {back['action']}: {clean(back['summary'])}")
    lines += [f"{said} {clean(list_names(changes[what]))}" for what, said in _SAID.items() if what in changes]
    lost = changes.get("lost") or {}
    lines += [
        f"! {clean(owner)} lost, or begins anew with: {clean(list_names(names))}"
        for owner, names in lost.items()
    ]
    lines += [f"! {clean(warning)}" for warning in reply.get("warnings") or ()]
    return "\n".join(lines if changes else [f"{lines[0]}: nothing changed", *lines[1:]])


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


@_edit(expects=True)
@click.argument(
    "texts",
    nargs=-1,
    required=True,
    metavar="DEFINITION|FILE|-...",
    type=_read,
    shell_complete=complete_definition,
)
@click.option("--replace", is_flag=True, help="Replace definitions of the same names, if they are mine.")
def add(client: Client, texts: tuple[str, ...], replace: bool, **expected: int | None) -> dict[str, Any]:
    """Add definitions: results, and values for others to use.

    \b
    ami graph add 'bright = mean_vs(sum(camera), key=delay)'
    ami graph add my.yaml
    """
    change = client.replace if replace else client.add
    return change(*texts, **expected)


@_edit(name="set", expects=True)
@click.argument("texts", nargs=-1, required=True, metavar="FILE|-|DEFINITION...", type=_read)
@_FORCE
def set_(client: Client, texts: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Put this graph in place of the whole one."""
    return client.set(*texts, **options)


@_edit(expects=True)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_values)
@_FORCE
def remove(client: Client, names: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Remove definitions by their names."""
    return client.remove(*names, **options)


@_edit(name="remove-mine")
def remove_mine(client: Client) -> dict[str, Any]:
    """Remove every definition that nobody but me wants."""
    return client.remove_mine()


@_edit()
@click.argument("version", type=click.IntRange(1), required=False)
@_FORCE
def undo(client: Client, version: int | None, force: bool) -> dict[str, Any]:
    """Take back my last change, then the one before; or my change VERSION.

    What others did since stays. VERSION may be an undo, which is then taken back itself.
    """
    return client.undo(version, force=force)


@_edit()
@click.argument("version", type=click.IntRange(0))
@_FORCE
def rollback(client: Client, version: int, force: bool) -> dict[str, Any]:
    """Go back to the graph of VERSION, everybody's, as a new version."""
    return client.rollback(version, force=force)


@_edit()
@click.argument("names", nargs=-1, shell_complete=complete_results)
@_FORCE
def reset(client: Client, names: tuple[str, ...], force: bool) -> dict[str, Any]:
    """Let the windows of results begin anew: of those that are named, else of all."""
    return client.reset(*names, force=force)


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
    columns = ("version", "client", "action", "hash", "summary")
    rows = [[clock(r.get("time_ns")), *(r.get(column, "") for column in columns)] for r in records]
    text = table(["time", *columns], rows, right="lrllll")
    return "\n".join(cut(line, max(terminal_width(), 80)) for line in text.splitlines())


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
