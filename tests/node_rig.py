"""A node for a test, which is discarded at the end of it: how a node stops has tests of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ami.cluster.node import Node
from ami.cluster.supervised import PROJECT, Supervised
from ami.lab.nodes import MachineNode, await_end

RUNNING: list[Supervised] = []  # of which one is told when a test fails
LAST_BYTES = 3000  # of each log


def describe(node: Supervised) -> str:
    """Return what a node says of itself, and the ends of its logs."""
    told = []
    for words in (["status"], ["results"]):
        with suppress(subprocess.TimeoutExpired):
            said = (
                node.ami(*words, check=False, timeout=60)
                if isinstance(node, MachineNode)
                else _ask(node, words)
            )
            told.append(said.stdout + said.stderr)
    for log in sorted((node.run_dir / "log").glob("*.log")):
        told.append(f"--- {log.name}\n{log.read_text(errors='replace')[-LAST_BYTES:]}")
    return "\n".join(told)


def _ask(node: Supervised, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command, environ = [PROJECT / "bin" / "ami", *words], os.environ | node.environment
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(node: Node) -> Iterator[Node]:
    """Start it, and in the end kill it and remove what it leaves, whatever was done to it meanwhile."""
    try:
        with node:
            RUNNING.append(node)
            yield node
    finally:
        RUNNING[:] = [one for one in RUNNING if one is not node]
        await_end(node.config.ring.name)
