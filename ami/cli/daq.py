"""`ami daq URI`, also `ami-daq`: deal the events of a source to the nodes that connect."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ami.cli.options import Session, as_uri, option, say, with_session
from ami.cli.screen import number, size
from ami.errors import SourceError

if TYPE_CHECKING:
    from ami.daq.player import Player
    from ami.daq.sender import Sender
    from ami.sources import Source

FIGURES_S = 1.0
DRAIN_S = 10.0
READY_S = 0.2


def _make_keys(context: click.Context, _option: click.Parameter, folder: Path | None) -> None:
    if folder is None:
        return
    from ami.sources.live.curve import make_keys

    sender, node = make_keys(folder)
    click.echo(f"{sender}: ami-daq --keys {sender} …\n{node}: daq://HOST:PORT?keys={node} on each node")
    context.exit()


LEASE = "Seconds until others get what a node has not brought home."
KEEP = "MiB of events that may be kept until they are safe."
BARRIER = "Seconds that the end of a run waits for its events. [default: until they are safe; of a stream 10]"
POLICY = "When nobody has room: wait, or lose events and count them. [default: that of the source]"
BOOK = "File of what was dealt, for who goes on. [default: daq-PORT.book in node.run_dir]"
MAKE = "Write keys for the sender and the nodes into this folder, and end."
FILE, FOLDER = click.Path(path_type=Path, dir_okay=False), click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("uri", metavar="FILE|URI", callback=as_uri)
@option("--bind", str, "HOST:PORT to listen at.", default="127.0.0.1:5577")
@option("--nodes", click.IntRange(1), "Begin when so many nodes are there.", default=1)
@option("--lease", click.FloatRange(0.5), LEASE, default=30.0)
@option("--keep", click.IntRange(1), KEEP, default=1024)
@option("--barrier", click.FloatRange(0), BARRIER)
@option("--policy", click.Choice(["wait", "drop"]), POLICY)
@option("--book", FILE, BOOK)
@option("--run", click.IntRange(1), "Number of the first run, at least.", default=1)
@option("--keys", FILE, "File of the sender's keys.")
@click.option("--plain", is_flag=True, help="Listen without keys at an address that others reach, too.")
@option("--make-keys", FOLDER, MAKE, is_eager=True, expose_value=False, callback=_make_keys)
@with_session
def daq(session: Session, uri: str, **how: Any) -> None:
    """Deal the events of a source to many nodes, each to one of them, whatever dies.

    The nodes have daq://HOST:PORT as their source. docs/daq.md says what holds.
    """
    from ami.daq.player import Player
    from ami.sources import open_source

    if uri.startswith("daq://"):
        raise SourceError(f"{uri!r}: what is dealt to a node is not dealt on")
    stopping = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stopping.set())
    with closing(open_source(uri)) as source:
        while not source.ready(READY_S):
            if stopping.is_set():
                return
        book, sender = _open(session, source, how)
        drop = (how["policy"] or source.policy or ("drop" if source.live else "wait")) == "drop"
        barrier_s = how["barrier"] if how["barrier"] is not None or not source.live else 10.0
        with closing(book), closing(sender):
            player = Player(
                source, sender, book, keep_bytes=how["keep"] << 20, barrier_s=barrier_s, drop=drop,
                first_run=how["run"],
            )  # fmt: skip
            _play(session, player, sender, stopping, how["nodes"])


def _open(session: Session, source: Source, how: Mapping[str, Any]) -> tuple[Any, Sender]:
    from ami.daq.book import FileBook, MemoryBook
    from ami.daq.dealer import Dealer
    from ami.daq.player import load_from
    from ami.daq.sender import Sender
    from ami.sources import intervals
    from ami.sources.live.curve import read_keys, require_keys

    config = session.config()
    address = how["bind"]
    host, _, port = address.rpartition(":")
    keys = None if how["keys"] is None else read_keys(how["keys"])
    require_keys(f"--bind {address}", host, keys, plain=how["plain"])
    told = {
        "interval_s": intervals.choose(source, config.source.interval_s) / 1e9,
        "interval_fixed": True,
        "speed": source.pace.speed,
    }
    dealer = Dealer(MemoryBook())
    load = None if source.live else lambda block: load_from(source, block)
    sender = Sender(address, source.schema, dealer, told=told, lease_s=how["lease"], keys=keys, load=load)
    # The book is opened when the address is one's own: no other sender writes into it then.
    book = FileBook(how["book"] or config.node.run_dir / f"daq-{port}.book", source.identity)
    book.open(dealer, event_bytes=source.schema.event_bytes, replays=not source.live)
    return book, sender


def _play(session: Session, player: Player, sender: Sender, stopping: threading.Event, nodes: int) -> None:
    tell = _teller(session, player)
    while len(sender.dealer.present) < nodes and not stopping.is_set():
        sender.step(0.1)
        tell(False)
    while not player.finished and not stopping.is_set():
        player.step()
        tell(False)
    end_s = time.monotonic() + DRAIN_S
    while stopping.is_set() and not player.drain() and time.monotonic() < end_s:
        tell(False)
    tell(True)


def _teller(session: Session, player: Player) -> Callable[[bool], None]:
    """Return what tells the figures about once a second, and at the end."""
    due_s, state = 0.0, ""

    def tell(final: bool) -> None:
        nonlocal due_s, state
        now_s = time.monotonic()
        if now_s < due_s and not final:
            return
        due_s = now_s + FIGURES_S
        figures = player.figures()
        if session.as_json:
            session.answer(lambda: figures, str)
            sys.stdout.flush()
        elif final or figures["state"] != state:
            state = figures["state"]
            say(_line(figures))

    return tell


def _line(figures: Mapping[str, Any]) -> str:
    here = [node["node"] for node in figures["nodes"] if node["here"]]
    return (
        f"{figures['state']}; run {figures['run']}, {number(figures['dealt'])} events dealt to "
        f"{', '.join(here) or 'nobody'}, {number(figures['safe'])} safe, "
        f"{number(figures['again'])} dealt again, {number(figures['lost'])} lost, "
        f"{size(figures['kept_bytes'])} kept"
    )


def main() -> int:
    """Run `ami daq` with the arguments of this process. Returns its exit code."""
    from ami.cli.group import main as ami

    sys.argv.insert(1, "daq")
    return ami()
