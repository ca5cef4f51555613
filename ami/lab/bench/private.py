"""Run a private node for a measurement, and leave nothing of it behind, also when it is ended early."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ami.client import Client, connect
from ami.cluster.node import Node
from ami.errors import AmiError, GraphError, StoreUnavailable

CALL_S = 20.0
READY_S = 30.0
LOOK_S = 0.02


@contextmanager
def running(
    source: str, *, workers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Node, Client]]:
    """Start a node with a source and a client; stop it in the end."""
    node = Node(source=source, workers=workers, settings=settings)
    try:
        node.start()
        with connect(node.config, name="bench", timeout_s=CALL_S) as client:
            yield node, client
    finally:
        with undisturbed():
            node.stop()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal end what is done here: it is bounded, and a node half stopped would stay."""
    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in signums}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def wait_for(what: str, condition: Callable[[], object], within_s: float = READY_S) -> None:
    """Look until ``condition()`` is true.

    Raises:
        AmiError: it was not within ``within_s``; names ``what``.
    """
    end = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
            seen = ""
        except StoreUnavailable as error:
            seen = f" ({error})"
        if time.monotonic() > end:
            raise AmiError(f"waited {within_s:g} s in vain for {what}{seen}")
        time.sleep(LOOK_S)


def set_graph(node: Node, client: Client, text: str) -> None:
    """Put ``text`` in place of the graph, once the source said what its events are and every worker lives."""
    wait_for("the source's schema", lambda: client.schema() is not None)
    wait_for("all heartbeats", lambda: not client.status().problems)
    try:
        client.set(text)
    except GraphError as error:
        raise AmiError(f"the graph of this benchmark is refused: {error}") from error


def stop_source(node: Node, within_s: float = CALL_S) -> None:
    """Let the source end as an operator would: it waits until what is in the ring is reduced."""
    node.supervisor.stopProcess("source", False)
    wait_for("the source to stop", lambda: node.pid("source") == 0, within_s)
