"""Keep a private node under load and look at it: what bench, chaos and verify have in common.

Nothing of the node is left behind, also when a signal or a time-out ends it early.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ami.client import Client, connect
from ami.cluster import memory
from ami.cluster.node import Node, free_port
from ami.cluster.supervised import PROJECT
from ami.cluster.supervisor import NO_ANSWER, Supervisor
from ami.errors import AmiError, RingError, StoreError
from ami.lab import clusters
from ami.ring.observer import RingObserver
from ami.sources import open_source
from ami.stores import keys
from ami.stores.opened import Stores

T = TypeVar("T")

CALL_S = 30.0  # for one call to a node that may just be starting
READY_S = 120.0  # a machine with a load of 25 takes more than half a minute to start a node
LOOK_S = 0.02


class NotYet(AmiError):
    """What is waited for is not there yet; the text says what is there instead."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A private node and a client of it; perhaps ``others`` of the same experiment beside it."""

    node: Node
    client: Client
    others: tuple[Node, ...] = ()

    def wait_for(
        self, what: str, look: Callable[[], T], within_s: float = READY_S, *, look_s: float = LOOK_S
    ) -> T:
        """See :func:`wait_for`."""
        return wait_for(what, look, within_s, look_s=look_s, states=lambda: list_states(self.node.supervisor))

    def set_graph(self, text: str) -> None:
        """Put ``text`` in place of the graph, once the source said what its events are and everybody lives.

        Raises:
            AmiError: the source failed, or the graph is refused.
        """
        self.wait_for("a node that is well", self._is_well)
        self.client.set(text)

    def _is_well(self) -> bool:
        problems = self.client.status().problems
        for problem in problems:
            if ":source:" in problem and " failed" in problem:
                raise AmiError(f"the node's source does not begin: {problem}")
        if problems:
            raise NotYet("; ".join(problems))
        return self.client.schema() is not None

    def ring(self) -> RingObserver:
        """Return a view of the ring, which is there once there are results. Close it."""
        return RingObserver(self.node.config.ring.name)

    def count_done(self) -> int:
        """Return how many events the workers of all nodes are through with."""
        done = 0
        for node in (self.node, *self.others):
            with suppress(RingError), RingObserver(node.config.ring.name) as ring:
                owned = sum(worker.owned for worker in ring.workers().values())
                done += ring.claimed - owned
        return done

    def stop_source(self, within_s: float = READY_S) -> None:
        """Let the source end as an operator would: it waits until what is in the ring is reduced."""
        self.node.supervisor.stopProcess("source", False)
        self.wait_for("the end of the source", lambda: self.node.pid("source") == 0, within_s)

    def pids(self) -> dict[str, int]:
        """Return the numbers of all processes by name, supervisord's included."""
        running = {program.address: program.pid for program in self.node.supervisor.programs() if program.pid}
        return {"supervisord": self.node.supervisor_pid, **running}


def wait_for(
    what: str, look: Callable[[], T], within_s: float, *, look_s: float = LOOK_S, states: Callable[[], str]
) -> T:
    """Look until there is something, and return it. supervisord, which each question wakes, is not asked.

    Args:
        states: says in the end who does not run.

    Raises:
        AmiError: there was nothing within ``within_s``; says what was seen instead.
    """
    end = time.monotonic() + within_s
    while True:
        seen = ""
        try:
            if found := look():
                return found
        except (StoreError, NotYet) as error:
            seen = f": {error}"
        if time.monotonic() > end:
            raise AmiError(f"waited {within_s:g} s in vain for {what}{seen}; {states()}")
        time.sleep(look_s)


def list_states(supervisor: Supervisor) -> str:
    """Say which programs do not run."""
    try:
        programs = supervisor.programs()
    except NO_ANSWER as error:
        return f"supervisord does not answer: {error}"
    return ", ".join(f"{p.address} {p.state}" for p in programs if not p.runs) or "all programs run"


@contextmanager
def running(
    source: str,
    graph: str,
    *,
    name: str = "bench",
    first: str = "",
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    below: Path = Path("/tmp"),
) -> Iterator[Arena]:
    """Start a node with a source and a graph; stop it in the end.

    Args:
        name: of the client.
        first: the result to wait for before anything is done; "": none.
        settings: more ``AMI_*`` variables.
        below: where its folder is made.
    """
    with (
        Node(source=source, workers=workers, settings=settings, below=below) as node,
        connect(node.config, name=name, timeout_s=CALL_S) as client,
    ):
        arena = Arena(node, client)
        arena.set_graph(graph)
        if first:
            arena.wait_for("the first result", lambda: first in client.results())
        yield arena


@contextmanager
def running_many(
    sources: Sequence[str], graph: str, *, name: str = "bench", workers: int = 1,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Arena]:  # fmt: skip
    """Start nodes of one experiment beside each other, each with a source, and a graph; stop them in the end.

    Without a graph, the caller sets it. They are whole nodes, whose servers are one cluster, on ports of this
    machine: nothing of what they do with each other knows how far apart they are. (Rejected: a network
    namespace each. It would need root, and shows no more but what a cut cable does.)
    """
    ports: list[int] = []
    while len(ports) < len(sources):
        ports += {free_port()} - set(ports)
    common = {
        "AMI_GLOBAL_STORE_START_NODES": ",".join(f"127.0.0.1:{port}" for port in ports), **(settings or {})
    }  # fmt: skip
    with _beside_each_other(sources, ports, common, name=name, workers=workers) as arena:
        if graph:
            arena.set_graph(graph)
        yield arena


@contextmanager
def running_dealt(
    uri: str, graph: str, nodes: int, *, name: str = "bench", workers: int = 1,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Arena]:  # fmt: skip
    """Do so with nodes to which a sender, a process of its own, deals the events of a source.

    Raises:
        AmiError: the graph is refused, or the sender ends before all is safe.
    """
    port = free_port()
    with (
        running_many(
            [f"daq://127.0.0.1:{port}"] * nodes, "", name=name, workers=workers, settings=settings
        ) as arena,
        closing(open_source(uri)) as source,
        closing(Stores(arena.node.config)) as stores,
    ):
        # What the sender will say of its fields: so the graph is there before the first event.
        stores.cluster("source").put(keys.SCHEMA, source.schema.to_json())
        arena.wait_for("a graph manager", lambda: arena.client.set(graph))
        command = [
            str(PROJECT / "bin" / "ami-daq"), uri, "--bind", f"127.0.0.1:{port}", "--nodes", str(nodes),
            "--book", str(arena.node.run_dir / "book"), "--json",
        ]  # fmt: skip
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield arena
        finally:
            sender.terminate()
            sender.communicate()


@contextmanager
def _beside_each_other(
    sources: Sequence[str], ports: Sequence[int], common: Mapping[str, str], *, name: str, workers: int
) -> Iterator[Arena]:
    """Start nodes whose servers, at these ports, are one cluster; stop them in the end."""
    with ExitStack() as stack:
        nodes = []
        for number, (source, port) in enumerate(zip(sources, ports, strict=True), start=1):
            own = {"AMI_NODE_HOST": f"{name}{number}", "AMI_GLOBAL_STORE_PORT": str(port)}
            nodes.append(Node(source=source, workers=workers, settings={**common, **own}))
            stack.callback(nodes[-1].discard)
        _join(nodes, ports)
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_until_running()
        client = stack.enter_context(connect(nodes[0].config, name=name, timeout_s=CALL_S))
        yield Arena(nodes[0], client, tuple(nodes[1:]))


def _join(nodes: Sequence[Node], ports: Sequence[int]) -> None:
    """Write what makes their servers one cluster as soon as they run, and the secret of all of them."""
    everyone, secret = clusters.members(ports), secrets.token_hex(16)
    for own, node in zip(everyone, nodes, strict=True):
        path = node.config.global_store.password_file
        path.touch(mode=0o600)
        path.write_text(secret)
        place = memory.folder_of(node.config.node, "global")
        place.mkdir(mode=0o700)
        clusters.write_layout(everyone, own, place / "nodes.conf")
