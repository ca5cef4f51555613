"""Whole nodes for tests: the real supervisord, real Redis servers, real processes, a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ami.client import Client, connect
from ami.node import Node

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
        """Whether every event of the input is in the results: the source has ended and all is accounted for."""
        identity = self.client.status().identity
        source = next((p for p in self.client.status().processes if ":source:" in p.process), None)
        if source is None or source.state != "finished" or identity is None:
            return False
        return bool(identity.exact and identity.expected == source.counters["position"])


StartNode = Callable[..., Experiment]


@pytest.fixture
def start_node(request: pytest.FixtureRequest) -> Iterator[StartNode]:
    """Return a function that starts a node: ``start_node(source_uri, workers=2, graph=yaml)``."""
    with ExitStack() as stack:

        def start(source: str, *, workers: int = 2, **settings: Any) -> Experiment:
            node = Node(source=source, workers=workers, settings=settings)
            stack.enter_context(node)
            client = stack.enter_context(connect(node.config, name="test", timeout_s=20.0))
            return Experiment(node, client)

        yield start
