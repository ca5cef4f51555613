"""Three primaries with a copy each, on one machine: one is killed, and its copy takes its place."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from redis.crc import key_slot

from ami.cluster import servers, topology
from ami.config import GlobalStoreConfig
from ami.errors import StoreError
from ami.lab import clusters
from ami.stores.client import ClusterLink
from ami.stores.held import Address
from ami.stores.server import ServerLink
from tests.conftest import Server, answers, free_ports
from tests.waiting import wait_until

NODE_TIMEOUT_MS = 1000  # half of what a node has, for tests' sake
BEHIND_S = 0.4


@dataclass
class Replicated:
    """A cluster of six servers. ``config`` names all of them."""

    config: GlobalStoreConfig
    running: dict[int, Server]  # by port

    def ask(self, port: int) -> ServerLink:
        return ServerLink(self.config, ("127.0.0.1", port), loading_s=60)

    def view(self, port: int = 0) -> topology.Topology:
        """Return the cluster as a server sees it: the one of a port, or the first that answers."""
        for one in [port] if port else self.running:
            try:
                with self.ask(one) as link:
                    return topology.read(link.text("CLUSTER", "NODES"))
            except StoreError:
                continue
        raise AssertionError("no server answers")

    def primary_of(self, prefix: str) -> int:
        """Return the port of the primary that has the keys of a prefix."""
        slot = key_slot(prefix.encode())
        (found,) = [
            one
            for one in self.view().primaries
            if any(first <= slot <= last for first, last in one.slots) and not one.is_failed
        ]
        return found.port

    def copy_of(self, port: int) -> int:
        """Return the port of a primary's copy."""
        seen = self.view(port)
        (found,) = seen.replicas_of(seen.me)
        return found.port

    def signal(self, port: int, signum: int) -> None:
        process = self.running[port].process
        assert process is not None
        process.send_signal(signum)

    def leave_behind(self, port: int, copy: int) -> None:
        """Let nothing come any more from a primary to its copy, which stands still; and wait for a while.

        What was on its way already is in the kernel's hands, and arrives.
        """
        self.signal(copy, signal.SIGSTOP)
        with self.ask(port) as link:
            link.ask("CLIENT", "KILL", "TYPE", "replica")
        time.sleep(BEHIND_S)

    def fail_over(self, port: int, copy: int) -> None:
        """Kill a primary, and wait until its copy has its slots."""
        self.running[port].kill()
        self.signal(copy, signal.SIGCONT)
        wait_until(lambda: self.view(copy).me.is_primary, what=f"the copy of {port} to take its place")

    def revive(self, port: int) -> None:
        """Start a server that was killed, and wait until all is well: it is the copy of its copy."""
        self.running[port].start()
        wait_until(self.is_whole, what="six servers that agree")

    def is_whole(self) -> bool:
        try:
            views = [self.view(port) for port in self.running]
            for port in self.running:
                with self.ask(port) as link:
                    facts = link.facts("INFO", "replication")
                    link.ask("CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT_MS)
                    if link.facts("CLUSTER", "INFO").get("cluster_state") != "ok":
                        return False
                if facts["role"] == "slave" and facts.get("master_link_status") != "up":
                    return False
        except (StoreError, AssertionError):
            return False
        one = views[0].layout()
        healthy = not any(server.is_silent for view in views for server in view.servers)
        return healthy and all(view.layout() == one for view in views) and len(views[0].primaries) == 3


@contextmanager
def replicated(folder: Path) -> Iterator[Replicated]:
    ports = free_ports(6)
    addresses: list[Address] = [("127.0.0.1", port) for port in ports]
    config = GlobalStoreConfig(
        start_nodes=tuple(f"{host}:{port}" for host, port in addresses),
        password_file=folder / "replicated.secret",
        append_to="disk",
    )
    primaries = clusters.members(ports[:3])
    copies = [
        replace(one, id=secrets.token_hex(20), port=port)
        for one, port in zip(primaries, ports[3:], strict=True)
    ]
    servers.read_or_make_password(config.password_file)
    found = Replicated(config, {})
    with ExitStack() as stack:
        for own in (*primaries, *copies):
            place = folder / f"replicated-{own.port}"
            command = servers.prepare_global(replace(config, port=own.port), place)
            clusters.write_layout(primaries, own, place / "nodes.conf", copies=copies)
            found.running[own.port] = stack.enter_context(Server(command).running())
        with closing(ClusterLink(config)) as link:
            wait_until(lambda: answers(link), what="the cluster with copies")
        wait_until(found.is_whole, what="six servers that agree")
        yield found
