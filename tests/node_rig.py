"""A node for a test, which is discarded at the end of it: how a node stops has tests of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ami.cluster.node import Node
from ami.lab.nodes import await_end


@contextmanager
def running(node: Node) -> Iterator[Node]:
    """Start it, and in the end kill it and remove what it leaves, whatever was done to it meanwhile."""
    try:
        with node:
            yield node
    finally:
        await_end(node.config.ring.name)
