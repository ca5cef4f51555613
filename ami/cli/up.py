"""`ami up`: start a node in the background, with a first graph where there never was one."""

from __future__ import annotations

import time

import click

from ami.cli.node import SOURCE_WAIT_S, put_graph, wait_for_source
from ami.cli.options import Session, say, with_session
from ami.client import connect
from ami.cluster import background
from ami.config import Config
from ami.errors import AmiError

FIRST_GRAPH_S = 20.0  # how long a first graph is waited for: a stream may begin tomorrow


@click.command()
@with_session
def up(session: Session) -> None:
    """Start a node in the background; `ami down` stops it.

    Where no graph was ever given, a first one is put that suits the source (node.first_graph = "off": none).
    """
    pid = background.supervisor_pid(session.config())
    if pid:
        session.answer(
            lambda: {"started": False, "supervisord": pid},
            lambda: f"a node runs already, under supervisord {pid}; `ami status` says how it is",
        )
        return
    config = background.start(session.config_file, say)
    graph = first_graph(config) if config.node.first_graph == "on" else "none but the one that ran last"
    lines = [
        f"started; logs are in {config.node.run_dir}/log",
        f"graph   {graph}",
        "`ami status` says how it is, `make down` or `ami down` stops it",
    ]
    session.answer(lambda: {"started": True, "graph": graph}, lambda: "\n".join(lines))


def first_graph(config: Config) -> str:
    """Put a graph that suits the source if there never was one; return in words which one runs."""
    began_ns = time.time_ns()
    try:
        with connect(config, name=f"node@{config.node.host}", timeout_s=SOURCE_WAIT_S) as client:
            if client.graph_version()[0]:
                return "the one that ran last"
            return put_graph(client, None, wait_for_source(client, began_ns, within_s=FIRST_GRAPH_S))
    except AmiError as error:
        return f"none yet: {error}; `ami graph set FILE` gives one"
