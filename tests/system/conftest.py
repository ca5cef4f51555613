"""Whole nodes for tests: the real supervisord, real Redis servers, real processes, a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ami.client import Client, connect
from ami.node import Node
from ami.result import Result
from tests.waiting import wait_until

RECORDINGS = Path(os.environ.get("RECORDINGS", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def recordings() -> Path:
    """The folder of real recordings, which users of the project do not have."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS} (set RECORDINGS to their folder)")
    return RECORDINGS


class Experiment:
    """A running node with a client."""

    def __init__(self, node: Node, client: Client) -> None:
        self.node = node
        self.client = client

    def finished(self) -> bool:
        """Whether every event of the input is accounted for, and the source says that there are no more."""
        status = self.client.status()
        source = next((p for p in status.processes if p.type == "source"), None)
        if source is None or source.state != "finished" or status.identity is None:
            return False
        position = (source.counters or {}).get("position")
        return status.identity.under_way == 0 and status.identity.published == position

    def kill_workers(self, times: int) -> None:
        """Kill a worker -9, the two in turn, each time after some more events went through."""
        for number in range(times):
            seen = self._published()
            wait_until(lambda at=seen: self._published() > at, within_s=30, what="more events")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            name = f"worker:{number % 2}"
            wait_until(lambda n=name: self.node.pid(n), within_s=30, what=f"{name} again")  # type: ignore[misc]  # as above
            self.node.kill(name)

    def _published(self) -> int:
        ring = self.client.status().ring
        return 0 if ring is None else ring.published

    def run_to_the_end(self, *, within_s: float = 60.0) -> dict[str, Result]:
        """Wait until the input has ended and everything is reduced; return the results."""
        wait_until(self.finished, within_s=within_s, what="the end of the input in the results")
        return self.client.results()


StartNode = Callable[..., Experiment]


@pytest.fixture
def start_node(request: pytest.FixtureRequest) -> Iterator[StartNode]:
    """Return a function that starts a node: ``start_node(uri, graph, workers=2, AMI_...=...)``.

    A source that has an end waits for its first graph.
    """
    with ExitStack() as stack:

        def start(source: str, graph: str = "", *, workers: int = 2, **settings: str) -> Experiment:
            node = Node(source=source, workers=workers, settings=settings)
            stack.enter_context(node)
            client = stack.enter_context(connect(node.config, name="test", timeout_s=20.0))
            if graph:
                client.set(graph)
            return Experiment(node, client)

        yield start
