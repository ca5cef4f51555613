"""Whole nodes for tests: the real supervisord, real Redis servers, real processes, a folder of their own.

Starting a node takes seconds, mostly Redis Cluster's own, so most tests share one, and each plays its
own source on it: a new run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ami.client import Client, connect
from ami.cluster.node import Node
from ami.cluster.supervisor import Supervisor
from ami.messages.message import read
from ami.messages.run_book import RunBook
from ami.result import Result
from ami.sources import open_source
from ami.stores import keys, open_global
from tests.node_rig import RUNNING, describe, running
from tests.waiting import PATIENCE_S, wait_until

# On a machine that stands still for a second, no event is to blame and no process hangs. A ring that is not
# drained in time stays, and the next source of its input continues it; supervisord waits for 15 s.
PATIENT = {
    "AMI_WORKER_TRIAL_S": "2",
    "AMI_WORKER_HANG_S": "3",
    "AMI_MONITOR_HANG_S": "10",
    "AMI_SOURCE_DRAIN_S": "14",
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
RECORDINGS = Path(os.environ.get("RECORDINGS", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, and a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def recordings() -> Path:
    """The folder of real recordings, which users of the project do not have."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS} (set RECORDINGS to their folder)")
    return RECORDINGS


class Experiment:
    """A running node with a client. ``run`` is the last run of earlier sources on this node."""

    def __init__(self, node: Node, client: Client, run: int = 0) -> None:
        self.node = node
        self.client = client
        self._run = run

    def finished(self) -> bool:
        """Whether every event of the input is accounted for, and the source says that there are no more."""
        status = self.client.status()
        source = next((p for p in status.processes if p.type == "source"), None)
        if source is None or source.state != "finished" or status.identity is None:
            return False
        position = (source.counters or {}).get("position")
        return status.identity.under_way == 0 and status.identity.published == position

    def _input_ended(self) -> bool:
        return any(p.type == "source" and p.state == "finished" for p in self.client.status().processes)

    def kill_workers(self, times: int, *, every: int) -> None:
        """Kill a worker -9, the two in turn, each time a new process, after ``every`` more events.

        A busy machine may be at the end of the input before.
        """
        killed = {0}
        for number in range(times):
            goal, name = self._published() + every, f"worker:{number % 2}"

            def is_time(goal: int = goal) -> bool:
                return self._published() >= goal or self._input_ended()

            wait_until(is_time, what="more events")
            wait_until(lambda n=name: self.node.pid(n) not in killed, what=f"a new {name}")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            killed.add(self.node.kill(name))

    def _published(self) -> int:
        ring = self.client.status().ring
        return 0 if ring is None else ring.published

    def run_to_the_end(self) -> dict[str, Result]:
        """Wait until the input has ended and everything is reduced; return the results."""
        wait_until(self.finished, what="the end of the input")
        wait_until(self._all_published, what="the last events in every result")
        return self.client.results()

    def _all_published(self) -> bool:
        # A large result may be published less often than every interval; its envelope says what is in it.
        results = self.client.results().values()
        return len({result.interval for result in results}) == 1 and all(r.run > self._run for r in results)


StartNode = Callable[..., Experiment]
Play = Callable[[str, str], Experiment]


def visit(page: Any, address: str) -> None:
    """Open an address in a browser, with all modules of what is there.

    Chromium gives up what it loads when networks come and go, as tests of several machines make them.
    """
    given_up: list[str] = []
    page.on("requestfailed", lambda request: given_up.append(request.failure or ""))
    page.goto(address)
    while any("ERR_NETWORK_CHANGED" in why for why in given_up):
        given_up.clear()
        page.reload()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """When a test fails, show how the nodes are that run."""
    report = yield
    if report.failed and call.when != "teardown":
        for node in RUNNING:
            report.sections.append((f"node in {node.run_dir}", describe(node)))
    return report


@pytest.fixture
def start_node() -> Iterator[StartNode]:
    """Return a function that starts a node: ``start_node(uri, graph, workers=2, AMI_...=...)``.

    A source that has an end waits for its first graph.
    """
    with ExitStack() as stack:

        def start(source: str, graph: str = "", *, workers: int = 2, **settings: str) -> Experiment:
            node = stack.enter_context(
                running(Node(source=source, workers=workers, settings=PATIENT | settings))
            )
            client = stack.enter_context(connect(node.config, name="test", timeout_s=PATIENCE_S))
            if graph:
                wait_until(client.schema, what="a source that has told its fields")
                client.set(graph)
            return Experiment(node, client)

        yield start


@pytest.fixture(scope="session")
def _shared_node() -> Iterator[Node]:
    with running(Node(workers=2, settings=PATIENT)) as node:
        node.supervisor.stopProcess("source")
        yield node


@pytest.fixture
def play(_shared_node: Node) -> Iterator[Play]:
    """Return a function that plays a source on the shared node: ``play(uri, graph)``, a run of its own."""
    node, played = _shared_node, list[str]()
    with connect(node.config, name="test", timeout_s=PATIENCE_S) as client:
        source = open_global(node.config.global_store, keys.prefix(node.config.node.cluster, "source", 0))

        def last_run() -> int:
            book = read(source, keys.RUN_BOOK, RunBook)
            return 0 if book is None else book.last

        def play_source(uri: str, graph: str) -> Experiment:
            opened = open_source(uri)
            run = last_run()
            # What the source will say of itself: so the graph is there before the first event.
            source[keys.SCHEMA] = opened.schema.to_json()
            opened.close()
            client.set(graph, force=True)
            Path(node.environment["AMI_CONFIG"]).write_text(f"[source]\nuri = '{uri}'\n")
            node.supervisor.startProcess("source")
            played.append(uri)
            experiment = Experiment(node, client, run)
            wait_until(lambda: last_run() > run, what="the new run")
            return experiment

        yield play_source
        # It lets the workers finish what is in the ring, for up to source.drain_s.
        if played:
            Supervisor(node.config.monitor.supervisor_socket, timeout_s=PATIENCE_S).stopProcess("source")
        source.close()
