"""A node for a test, which is discarded at the end of it: how a node stops has tests of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ami.cluster.node import Node
from ami.errors import RingError
from ami.ring import find_leaked, reclaim
from tests.waiting import wait_until


@contextmanager
def running(node: Node) -> Iterator[Node]:
    """Start it, and in the end kill it and remove what it leaves, whatever was done to it meanwhile."""
    try:
        with node:
            yield node
    finally:
        await_end(node.config.ring.name)


def await_end(ring: str) -> None:
    """Wait until nothing is left of the ring of a node that was killed."""
    # The kernel drops the locks of who was killed a moment later, and only then is the ring nobody's.
    wait_until(lambda: not _is_left(ring), what=f"the end of {ring} in /dev/shm")


def _is_left(ring: str) -> bool:
    for name in find_leaked(ring):
        with suppress(RingError):
            reclaim(name)
    return Path(f"/dev/shm{ring}").exists()
