"""`ami access`: give another account or host access to the global store, list who has it, take it away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from ami.access import Access, write_access
from ami.cli.cluster import machine
from ami.cli.group import Group
from ami.cli.options import Session, option, say, with_session
from ami.cli.screen import table
from ami.cluster.accounts import Accounts
from ami.stores import roles
from ami.stores.opened import Stores
from ami.stores.server import ServerLink


@click.group(cls=Group)
def access() -> None:
    """Give another account or host access to the global store, list who has it, take it away.

    A reader sees graphs, results and how the nodes are. A client may edit the graph, too, under its own name
    and no other. Neither can write a result, nor run anything in a server. docs/security.md says more.
    """


@contextmanager
def opened(session: Session) -> Iterator[tuple[Accounts, list[ServerLink]]]:
    """Yield the accounts, and connections to all servers of the cluster."""
    forming = machine(session).forming()
    with closing(Stores(session.config())) as stores:
        try:
            servers = [forming.link(server.address) for server in forming.known().servers]
            yield Accounts(stores.cluster("graph-manager")), servers
        finally:
            forming.close()


def tell_silent(problems: list[str]) -> None:
    for problem in problems:
        say(f"not told yet, its node's monitor will: {problem}")


@access.command()
@click.argument("name")
@option("--role", click.Choice(roles.FOR_ACCOUNTS), "What it may do.", required=True)
@option(
    "--file",
    click.Path(path_type=Path, dir_okay=False),
    "Where to write. [default: access/NAME beside the secret]",
)
@with_session
def add(session: Session, name: str, role: str, file: Path | None) -> None:
    """Give NAME access, and write the file with which it gets in.

    Hand it over by a way that nobody else reads. Its owner puts it to ~/.config/ami/access, or names it by
    --access or AMI_ACCESS.
    """
    config = session.config()
    path = file or config.global_store.password_file.parent / "access" / name
    if path.exists():
        raise click.UsageError(f"there is a file {path} already; remove it, or say --file")
    ca_file = config.global_store.tls_ca_file
    ca = Path(ca_file).read_text(encoding="utf-8") if ca_file else ""
    with opened(session) as (accounts, servers):
        user, password, problems = accounts.add(name, role, servers)
        nodes = tuple(dict.fromkeys(f"{host}:{port}" for host, port in (one.address for one in servers)))
        write_access(
            path, Access(cluster=config.node.cluster, user=user, password=password, nodes=nodes, ca=ca)
        )
    tell_silent(problems)
    session.answer(
        lambda: {"user": user, "file": str(path), "nodes": list(nodes)},
        lambda: f"{name} is a {role} now; what lets it in is in {path}",
    )


@access.command("list")
@with_session
def list_accounts(session: Session) -> None:
    """List who was given access."""
    with opened(session) as (accounts, servers):
        users = [user.partition(":") for user in sorted(accounts.read(servers))]
    rows = [(name, role) for role, _, name in users]
    session.answer(
        lambda: [{"name": name, "role": role} for name, role in rows],
        lambda: table(("name", "role"), rows) if rows else "nobody but who has the secret",
    )


@access.command()
@click.argument("name")
@with_session
def remove(session: Session, name: str) -> None:
    """Take NAME's access away: what it has open is closed, too. What it added to the graph stays."""
    with opened(session) as (accounts, servers):
        problems = accounts.remove(name, servers)
    tell_silent(problems)
    session.answer(lambda: {"removed": name}, lambda: f"{name} has no access any more")
