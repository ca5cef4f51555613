"""`ami node`: a whole node in the foreground, and what to type next. `make run` calls it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from ami.cli.graph import read_document
from ami.cli.options import Session, as_uri, option, with_session
from ami.cli.results import listing
from ami.cli.screen import clean, now
from ami.cli.status import look
from ami.client import Client, connect
from ami.client.first_graph import first_look, ready_graph
from ami.client.page import find_page
from ami.cluster.node import run_foreground
from ami.cluster.supervisor import NO_ANSWER, Supervisor, is_listening, is_there
from ami.config import Config
from ami.errors import AmiError
from ami.event import Schema
from ami.processes import SERVERS
from ami.sources import find_opener, open_source

SOURCE_WAIT_S = 60.0  # without a sign of it; a busy machine only takes long
SOURCE_STOP_S = 30.0  # it lets the workers finish what is in the ring
FIRST_RESULTS_WAIT_S = 15.0
PAGE_WAIT_S = 5.0
LOOK_S = 0.2
LAST = "[default: the one that ran last, else one that was made for the source]"


@click.command()
@option(
    "--source",
    str,
    "Where events come from. [default: source.uri of the settings]",
    metavar="FILE|URI",
    callback=as_uri,
)
@option(
    "--graph graph_file", click.Path(path_type=Path, exists=True, dir_okay=False), f"Graph to run. {LAST}"
)
@with_session
@click.pass_context
def node(context: click.Context, session: Session, source: str | None, graph_file: Path | None) -> None:
    """Run a whole node in the foreground: servers, source, workers, reducers. Ctrl-C stops it."""
    if graph_file is not None:
        read_document(str(graph_file))  # before anything is started
    if source is not None:
        find_opener(source)
    began_ns = time.time_ns()

    def on_ready(config: Config, graph: Path | None) -> None:
        wait_for_servers(config)
        # Under a name of its own, so that `ami graph remove-mine` of a person spares it.
        patience_s = session.timeout_s or SOURCE_WAIT_S
        with connect(config, name=f"node@{config.node.host}", timeout_s=patience_s) as client:
            schema = wait_for_source(client, began_ns)
            before = client.graph_version()[0]
            what = put_graph(client, graph, schema)
            if before and client.graph_version()[0] != before and has_end(config.source.uri):
                # It began with the graph that ran last. (Without any it has waited for its first.)
                restart_source(config)
            click.echo(introduction(client, what, session.config_file))
            click.echo(first_results(client))

    context.exit(run_foreground(session.config_file, source, graph_file, on_ready, Troubles().look))


class Troubles:
    """Tells on the screen what `ami status` would, each trouble once, and when there is none any more."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def look(self, config: Config) -> None:
        """Look how the node is, and tell what is new."""
        try:
            seen = look(config)
        except AmiError:
            return  # the node is being stopped, or its end is told by who runs it
        for line in self.tell([*seen.problems, *seen.warnings]):
            click.echo(clean(line))

    def tell(self, troubles: Sequence[str]) -> list[str]:
        """Return the lines to print; a trouble whose numbers change is still the same."""
        known = {re.sub(r"[0-9.]+", "#", text): text for text in troubles}
        lines = [f"{now()} ! {text}" for key, text in known.items() if key not in self._told]
        if self._told and not known:
            lines.append(f"{now()}   well again")
        self._told = set(known)
        return lines


def wait_for_servers(config: Config) -> None:
    """Wait until both stores are there; say what they wait for, as often as that changes."""
    supervisor = Supervisor(config.monitor.supervisor_socket)
    told: set[str] = set()
    while not (is_there(config.local_store.socket) and is_listening(config)):
        for server in SERVERS if is_there(config.monitor.supervisor_socket) else ():
            words = f"{server} is {supervisor.last_words(f'{server}:{server}')}"
            if "is waiting: " in words and words not in told:
                click.echo(clean(words))
                told.add(words)
        time.sleep(LOOK_S)


def wait_for_source(client: Client, began_ns: int, within_s: float | None = None) -> Schema:
    """Return the schema of the source that was started with this node.

    Control may still hold the schema of the last one; it counts once the new source's heartbeat says
    that it is past its start. One that beats is waited for, however long it takes, or ``within_s`` once it
    waits itself: a stream may begin at any time, a busy machine takes its own.

    Raises:
        AmiError: the source cannot open its input, or says nothing.
    """
    end = time.monotonic() + SOURCE_WAIT_S
    said = told = "nothing yet"
    while time.monotonic() < end:
        for process in client.status().processes:
            fresh = process.up_s is not None and process.up_s * 1e9 < time.time_ns() - began_ns + 1e9
            if process.type != "source" or not fresh:
                continue
            said = process.state
            if said.startswith("failed"):
                raise AmiError(f"the source {said}")
            schema = client.schema()
            begun = (
                said.startswith(("running", "finished"))
                or said.endswith("a graph")
                or "no events for" in said
            )
            if schema is not None and begun:
                return schema
            if said != told and said.startswith("waiting"):
                click.echo(clean(said))
                told = said
                end = time.monotonic() + (within_s or SOURCE_WAIT_S)
            if within_s is None:
                end = time.monotonic() + SOURCE_WAIT_S
        time.sleep(LOOK_S)
    raise AmiError(f"the source did not begin in time; it says: {clean(said)}")


def put_graph(client: Client, path: Path | None, schema: Schema) -> str:
    """See that a graph runs that suits the source; return in words which one.

    Raises:
        GraphError: the graph of ``path`` was refused.
    """
    if path is not None:
        client.set(path.read_text(encoding="utf-8"), force=True)
        return str(path)
    missing: list[str] = []
    before = client.graph_version()[0]
    if before:
        running = client.graph()
        missing = sorted(name for name in running.fields if name not in schema)
        if running.results and not missing:
            return "the one that ran last"
    uri = client.config.source.uri
    ready = ready_graph(uri)
    client.set(first_look(schema) if ready is None else ready.read_text(encoding="utf-8"), force=True)
    what = f"a first look at every field of {uri}" if ready is None else str(ready)
    if missing:
        what += f"; the last one asked for {missing[0]}, which this source has not"
        what += f" (`ami graph rollback {before}`)"
    return what


def has_end(uri: str) -> bool:
    """Return whether the source is a recording, of which no event should go by before its graph runs.

    Raises:
        SourceError
    """
    with closing(open_source(uri)) as source:
        return source.length is not None


def restart_source(config: Config) -> None:
    """Let the source begin anew, from its first event on.

    Raises:
        AmiError: supervisord does not do it.
    """
    supervisor = Supervisor(config.monitor.supervisor_socket, timeout_s=SOURCE_STOP_S)
    try:
        supervisor.stopProcess("source")
        supervisor.startProcess("source")
    except NO_ANSWER as error:
        raise AmiError(f"supervisord could not start the source again: {error}") from error


def introduction(client: Client, what: str, config_file: Path | None) -> str:
    """Return what runs and what to type next."""
    config = client.config
    version = client.graph_version()[0]
    names = sorted(client.graph().results)
    example = "difference" if "difference" in names else names[0] if names else "NAME"
    ami = "bin/ami" if config_file is None else f"AMI_CONFIG={config_file} bin/ami"
    commands = {
        "watch": "all results, live",
        f"get {shlex.quote(example)}": "one result, with how much of the events is in it",
        f"graph add 'n = count({_some_field(client)})'": "another result, while events flow",
        "status": "what runs, how fast, and what was lost",
    }
    width = max(len(command) for command in commands)
    return "\n".join(
        [
            "",
            f"source  {clean(config.source.uri)}",
            f"graph   version {version}, {len(names)} results: {clean(what)}",
            f"store   {config.global_store.host}:{config.global_store.port}",
            *_page(client),
            "",
            "In another terminal:",
            *(f"  {ami} {command:<{width}}   {text}" for command, text in commands.items()),
            "Ctrl-C here stops everything.",
            "",
        ]
    )


def _page(client: Client) -> list[str]:
    """Return a line that says where the page is, none where there is none."""
    if not client.config.web.host:
        return []
    end = time.monotonic() + PAGE_WAIT_S
    while True:
        try:
            return [f"page    {find_page(client.config, client.status())}"]
        except AmiError as error:
            if time.monotonic() > end:
                return [f"page    {clean(error)}"]
        time.sleep(LOOK_S)


def _some_field(client: Client) -> str:
    schema = client.schema()
    names = [field.name for field in schema.fields if not field.shape] if schema else []
    return names[0] if names else "FIELD"


def first_results(client: Client) -> str:
    """Return the first results as a table, as soon as there are some of the graph that runs now."""
    end = time.monotonic() + FIRST_RESULTS_WAIT_S
    version = client.graph_version()[0]
    updates = client.updates()
    while time.monotonic() < end:
        updates.take(LOOK_S)
        found = {name: r for name, r in client.results().items() if r.graph_version >= version}
        if any(result.value is not None for result in found.values()):
            return listing(found)
    return "no results yet; `bin/ami status` says what runs"
