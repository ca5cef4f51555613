"""`ami cluster`: form a cluster of several machines, let it grow and shrink, see how it is."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Any

import click

from ami.cli.group import EXIT_REFUSED, Group
from ami.cli.options import Session, option, say, with_session
from ami.cli.screen import table
from ami.cluster import background, halting
from ami.cluster.forming import Forming
from ami.cluster.joining import Machine
from ami.cluster.topology import SLOTS, Topology, crowded
from ami.daemons.process.fencing import give_up
from ami.errors import AmiError, StoreError
from ami.stores import keys
from ami.stores.membership import Members, forget
from ami.stores.opened import Stores

TAKEN_S = 10.0  # until the global reducer has taken in what is given up
PATIENCE_S = 60.0  # a cluster takes seconds to agree, slots with images longer to move


@click.group(cls=Group)
def cluster() -> None:
    """Form a cluster of several machines, let it grow and shrink, see how it is.

    Each command may be called again: what is done stays done. docs/nodes.md shows the way from one to three.
    """


def machine(session: Session, patience_s: float = PATIENCE_S) -> Machine:
    return Machine(session.config_file, say, session.timeout_s or patience_s)


START = click.option(
    "--start/--no-start", default=True, help="Start this machine's node, if it does not run. [default: start]"
)


@cluster.command()
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@START
@with_session
def create(session: Session, hosts: tuple[str, ...], start: bool) -> None:
    """Make one cluster of the servers of these hosts, this one among them.

    Other hosts must run already, with the same secret; or they join later. A node that was alone keeps its
    graph and results.
    """
    seen = machine(session).create(hosts, start=start)
    session.answer(lambda: as_plain(seen), lambda: as_text(seen))


@cluster.command()
@click.argument("seed")
@option("--address", str, "This machine's address for the others, if it has several.", default="")
@click.option("--slots/--no-slots", default=True, help="Take an equal share of the slots. [default: slots]")
@START
@with_session
def join(session: Session, seed: str, address: str, slots: bool, start: bool) -> None:
    """Join this machine to the cluster of SEED, any machine of it.

    The secret must be here: copy the file from SEED. What this node had alone is put aside.
    """
    seen = machine(session).join(seed, address=address, slots=slots, start=start)
    session.answer(lambda: as_plain(seen), lambda: as_text(seen))


@cluster.command("add-replica")
@option(
    "--of primary", str, "The host whose server is copied. [default: another with the fewest]", default=""
)
@option("--port", int, "Port of the copy. [default: global_store.port + 1]", default=0)
@with_session
def add_replica(session: Session, primary: str, port: int) -> None:
    """Keep on this machine a copy of another machine's server, which takes its place when it dies."""
    chosen = machine(session).add_replica(primary, port=port)
    session.answer(lambda: {"primary": str(chosen)}, lambda: f"a copy of {chosen} is kept here")


@cluster.command()
@click.option("--stop/--no-stop", default=True, help="Stop the node afterwards. [default: stop]")
@with_session
def leave(session: Session, stop: bool) -> None:
    """Hand over the slots of this machine and leave the cluster; the node is alone from its next start on."""
    left = machine(session).leave(stop=stop)
    session.answer(lambda: {"left": left}, lambda: f"{', '.join(left)} left the cluster")


@cluster.command()
@click.argument("host")
@click.option(
    "--lose", is_flag=True, help="Deal slots that only HOST had anew, empty: what was in them is lost."
)
@with_session
def remove(session: Session, host: str, lose: bool) -> None:
    """Forget the servers of HOST, a machine that does not come back, and let nobody miss its node.

    With --lose also what it has not delivered is given up, and counted as dropped.
    """
    gone = machine(session).remove(host, lose=lose)
    with closing(Stores(session.config())) as stores:
        if lose:
            gone.append(give_up_events(stores, host))
        if forget(stores.cluster("global-reducer"), stores.cluster("source"), host):
            gone.append(f"node {host}")
    session.answer(lambda: {"removed": gone}, lambda: f"forgotten: {', '.join(gone) or 'nobody'}")


def give_up_events(stores: Stores, host: str) -> str:
    """Count what a node had read and not delivered as dropped; return what was done, in words.

    Raises:
        AmiError: it lives.
    """
    reducer, monitor = stores.cluster("global-reducer"), stores.cluster("monitor")
    if host in Members.read(reducer).here:
        raise AmiError(f"{host} lives: what it has is not lost")
    position = monitor.get(keys.last(host))
    lost = give_up(reducer, host, position if isinstance(position, int) else 0)
    inbox, end = reducer.journal(keys.inbox(host)), time.monotonic() + TAKEN_S
    while lost and inbox.pending() and time.monotonic() < end:
        time.sleep(0.1)  # until the global reducer has it: of who is no member it reads nothing
    monitor.delete_many([keys.last(host)])
    if position is None:
        return f"what {host} had not delivered, of which nobody knows how much"
    return f"{lost} events that {host} had not delivered"


@cluster.command()
@with_session
def balance(session: Session) -> None:
    """Share the slots out equally, and the primaries over the machines, after fail-overs."""
    forming = machine(session).forming()
    try:
        forming.spread()
        forming.balance()
        seen = forming.known()
    finally:
        forming.close()
    session.answer(lambda: as_plain(seen), lambda: as_text(seen))


@cluster.command()
@with_session
def stop(session: Session) -> None:
    """Stop the nodes of all machines: drained, in order, servers last. `ami up` on each starts them again."""
    config = session.config()
    forming = machine(session).forming()
    with closing(Stores(config)) as stores:
        try:
            servers = [forming.link(server.address) for server in forming.known().servers]
            halting.stop_all(stores.cluster("graph-manager"), servers, say, session.timeout_s or PATIENCE_S)
        finally:
            forming.close()
    background.stop(config, say)  # this machine's waits for nobody any more
    addresses = [str(server) for server in servers]
    session.answer(lambda: {"stopped": addresses}, lambda: f"stopped: {', '.join(addresses)}")


@cluster.command()
@with_session
def status(session: Session) -> None:
    """Show the servers: who is where, has which slots, copies whom. Exit code 1 when slots are missing."""
    forming = machine(session).forming()
    try:
        seen = forming.known()
        session.answer(lambda: as_plain(seen), lambda: as_text(seen))
    finally:
        forming.close()
    if seen.slot_count != SLOTS:
        sys.exit(EXIT_REFUSED)


@cluster.command()
@with_session
def check(session: Session) -> None:
    """Ask every server whether it sees the same cluster, whole. Exit code 1 when one does not."""
    found = problems(machine(session).forming())
    session.answer(
        lambda: {"problems": found}, lambda: "\n".join(found) or "all servers agree, all slots are dealt"
    )
    if found:
        sys.exit(EXIT_REFUSED)


def problems(forming: Forming) -> list[str]:
    """Return what is wrong with a cluster."""
    try:
        seen = forming.known()
        found = [f"{server} does not answer" for server in seen.servers if server.is_silent]
        difference = forming.disagreement(set())
        return [*found, difference] if difference else found
    except StoreError as error:
        return [str(error)]
    finally:
        forming.close()


def as_plain(seen: Topology) -> dict[str, Any]:
    """Return a cluster for programs."""
    servers = [
        {
            "id": server.id,
            "address": str(server),
            "role": "primary" if server.is_primary else "replica",
            "of": str(seen[server.primary]) if server.primary else None,
            "slots": server.slot_count,
            "stretches": [list(stretch) for stretch in server.slots],
            "answers": not server.is_silent,
        }
        for server in seen.servers
    ]
    return {"slots": seen.slot_count, "servers": servers, "hosts_with_two_primaries": list(crowded(seen))}


def as_text(seen: Topology) -> str:
    """Return a cluster for people."""
    rows = [
        (
            row["address"],
            row["role"] if row["of"] is None else f"replica of {row['of']}",
            str(row["slots"]) if row["role"] == "primary" else "",
            "answers" if row["answers"] else "SILENT",
        )
        for row in as_plain(seen)["servers"]
    ]
    lines = [table(("server", "role", "slots", ""), rows)]
    lines += [
        f"{host} has {len(servers)} primaries: both go with it" for host, servers in crowded(seen).items()
    ]
    primaries = [server for server in seen.primaries if server.slots]
    if len({server.host for server in primaries}) == 2:  # machines
        lines.append(
            "two machines have no majority: when one dies, the other may not take over; a third helps"
        )
    lines.append(f"{seen.slot_count} of {SLOTS} slots are dealt")
    return "\n".join(lines)
