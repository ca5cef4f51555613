"""Do harm to one of several machines, and say whom it struck and how it is put right."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ami.cluster import topology
from ami.cluster.forming import Forming
from ami.cluster.topology import Server, Topology
from ami.errors import AmiError, StoreError
from ami.lab import outages
from ami.lab.arena import NotYet
from ami.lab.nodes import COPY_PORT, PORT, MachineNode, Nodes
from ami.lab.outages import Outage
from ami.lab.sender import Sender
from ami.stores import Store, keys
from ami.stores.client import SLOTS
from ami.stores.login import find_slot

LEADS = {"global-reducer": "global-reducer", "graph-manager": "graph-manager"}
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Harm:
    """What is about to be done to whom.

    Args:
        victims: as MACHINE:PROCESS.
        strike: does it.
        mend: puts it right, where it does not come right by itself.
        holds: it is put right only after a time.
    """

    victims: tuple[str, ...]
    strike: Callable[[], object]
    mend: Callable[[], object] | None = None
    holds: bool = False


class Servers:
    """The servers of all machines, and which of them are whose copies."""

    def __init__(self, everyone: Nodes) -> None:
        self._everyone = everyone
        config = everyone[0].config.global_store
        addresses = [(node.machine.address, PORT) for node in everyone]
        self._forming = Forming(config, addresses, lambda _text: None, PATIENCE_S)

    def close(self) -> None:
        self._forming.close()

    def look(self) -> Topology:
        """Return who has what. Raises StoreError."""
        return self._forming.known()

    def primary_of(self, prefix: str) -> Server:
        """Return the server that has the keys of a prefix."""
        slot = find_slot(keys.full(prefix, keys.LEASE, tagged=True))
        return next(one for one in self.look().primaries if any(a <= slot <= b for a, b in one.slots))

    def victim(self, server: Server) -> tuple[MachineNode, str]:
        """Return the node of a server, and its program."""
        node = next(node for node in self._everyone if node.machine.address == server.host)
        return node, {PORT: "global-redis", COPY_PORT: "replica-redis"}[server.port]

    def put_right(self) -> None:
        """Give each machine one primary, each with a copy that is as far as it is.

        Raises:
            AmiError
        """
        self._forming.wait("servers that agree", self._find_problem)
        if topology.crowded(self.look()):
            self._forming.spread()
            self._forming.wait("a primary on each machine", self._find_problem)

    def _find_problem(self) -> str:
        problem = self._forming.disagreement(set())
        if problem:
            return problem
        seen = self.look()
        if seen.slot_count != SLOTS or any(server.is_silent for server in seen.servers):
            return "a server is silent"
        for server in seen.servers:
            if not server.is_primary:
                facts = self._forming.link(server.address).facts("INFO", "replication")
                if facts.get("master_link_status") != "up":
                    return f"the copy {server} is not as far as its primary"
        return ""


class Harms:
    """What can be done to machines.

    Args:
        managers, reducer: what belongs to the cluster's graph manager, and to its global reducer.
        sender: deals them their events, if anybody does.
    """

    def __init__(
        self, everyone: Nodes, servers: Servers, managers: Store, reducer: Store,
        sender: Sender | None,
    ) -> None:  # fmt: skip
        self._everyone = everyone
        self._servers = servers
        self._managers, self._reducer = managers, reducer
        self._sender = sender

    def prepare(self, outage: Outage) -> Harm:
        """Return what is to be done; nobody is harmed yet, and supervisord is asked nothing afterwards.

        Raises:
            StoreError, NotYet: it is not known now whom; ask again.
        """
        chance = random.Random(outage.draw)
        target = outage.target
        if target == outages.SENDER:
            assert self._sender is not None
            return Harm(("ami-daq",), self._sender.restart)
        if target in (outages.PRIMARY, outages.BOTH):
            primary = self._servers.primary_of(self._reducer.prefix)
            copies = self._servers.look().replicas_of(primary)
            struck = [primary, *copies] if target == outages.BOTH else [primary]
            return _kill([self._servers.victim(server) for server in struck])
        if target in (outages.CUT, outages.FROZEN):
            node = self._leader(self._managers)
            strike, mend = (
                (node.machine.cut, node.machine.plug) if target == outages.CUT else (node.freeze, node.thaw)
            )
            return Harm((node.machine.name,), strike, mend, holds=True)
        node = chance.choice(list(self._everyone))
        if target == outages.NODE:
            return Harm((node.machine.name,), node.kill_all, lambda: _start(node))
        if target in LEADS:
            node = self._leader(self._managers if target == "graph-manager" else self._reducer)
        return _kill([(node, "worker:0" if target == "worker" else target)])

    def _leader(self, store: Store) -> MachineNode:
        """Return the node whose process has the lease among these values."""
        (held,) = store.get_raw([keys.LEASE])
        host = "" if held is None else bytes(held).decode().split()[1].partition(":")[0]
        node = next((node for node in self._everyone if node.machine.name == host), None)
        if node is None:
            raise NotYet("nobody leads")
        return node


def _start(node: MachineNode) -> None:
    node.launch()
    node.wait_until_running()


def _kill(victims: list[tuple[MachineNode, str]]) -> Harm:
    pids = [node.pid(program) for node, program in victims]
    if 0 in pids:
        raise NotYet(f"{' and '.join(program for _, program in victims)}: one does not run")

    def strike() -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return Harm(tuple(f"{node.machine.name}:{program}" for node, program in victims), strike)


@contextmanager
def servers_of(everyone: Nodes) -> Iterator[Servers]:
    """Yield the servers of these nodes."""
    found = Servers(everyone)
    try:
        yield found
    finally:
        with suppress(StoreError, AmiError):
            found.close()
