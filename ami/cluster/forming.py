"""Form a cluster of servers, let it grow and shrink: thin senders of Redis' own commands.

Membership is Redis' alone; nothing of it is kept here. Each call looks what there is, sends what is missing
for what is wanted, and waits until all servers agree. So it may be called again, after a failure or for fun,
and from any machine that has the secret. (Rejected: a state of our own of who belongs to the cluster, which
would have to be true. An agent on each machine that is told what to do: a door more, for what ten commands
do.)
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ami.cluster import topology
from ami.cluster.moving import Mover, Say
from ami.cluster.servers import BUS
from ami.cluster.topology import SLOTS, Server, Topology
from ami.config import GlobalStoreConfig
from ami.errors import AmiError, StoreError, StoreUnavailable
from ami.stores.client import split_address
from ami.stores.held import Address
from ami.stores.link import Refused
from ami.stores.server import ServerLink

ANSWER_S: Final = 10.0  # a server that forks a child for slots, on a busy machine
LOOK_S: Final = 0.2
SAY_S: Final = 5.0  # between two words about what is waited for
FAIL_OVER_S: Final = 6.0  # a server gives up after 5 s to take its primary's place
PASSES: Final = ("LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")  # what a server says only for a while
AGAIN: Final = "call this again, what was done stays done"


def resolve(text: str, port: int) -> Address:
    """Return the address of ``HOST`` or ``HOST:PORT``: servers are introduced by numbers.

    Raises:
        AmiError: it has none.
    """
    host, number = split_address(text) if text.count(":") == 1 else (text.strip("[]"), port)
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]), number
    except OSError as error:
        raise AmiError(
            f"{host!r} has no address: {error.strerror}; give the number, or put the name into /etc/hosts"
        ) from error


class Forming:
    """What is done to a cluster.

    Args:
        seeds: servers of it that are asked first.
        say: is told what is done and what is waited for.
        patience_s: how long each wait may take.
    """

    def __init__(
        self, config: GlobalStoreConfig, seeds: Iterable[Address], say: Say, patience_s: float = 60.0
    ) -> None:
        self._config = config
        self._seeds = list(seeds)
        self._say = say
        self._patience_s = patience_s
        self._links: dict[Address, ServerLink] = {}

    def close(self) -> None:
        """Let go of every connection."""
        for link in self._links.values():
            link.close()

    def link(self, address: Address) -> ServerLink:
        """Return a connection to the server there."""
        patience = {"answer_s": ANSWER_S, "loading_s": self._patience_s}
        return self._links.setdefault(address, ServerLink(self._config, address, **patience))

    def look(self, address: Address) -> Topology:
        """Return the cluster as the server there sees it.

        Raises:
            StoreError
        """
        seen = topology.read(self.link(address).text("CLUSTER", "NODES"))
        # A server that nobody was told of yet does not know its own address.
        me = seen.me
        if me.host:
            return seen
        named = [server if server.id != me.id else _place(server, address) for server in seen.servers]
        return Topology(seen.own, tuple(named))

    def known(self) -> Topology:
        """Return the cluster as the first seed sees it that answers and is in one.

        One that has all slots alone counts when no other is in a cluster: it may have left theirs.

        Raises:
            StoreUnavailable: none does.
        """
        problems, alone = [], None
        for address in self._seeds:
            try:
                seen = self.look(address)
            except StoreError as error:
                problems.append(str(error))
                continue
            if len(seen.servers) > 1:
                return seen
            if seen.slot_count:
                alone = alone or seen
            else:
                problems.append(f"{address[0]}:{address[1]} is in no cluster yet")
        if alone is not None:
            return alone
        raise StoreUnavailable(f"no cluster: {'; '.join(problems)}")

    def views(self, seen: Topology) -> dict[str, Topology]:
        """Return how each server that answers sees the cluster, by its id."""
        found = {}
        for server in seen.servers:
            with suppress(StoreError):
                found[server.id] = self.look(server.address)
        return found

    def create(self, addresses: Sequence[Address]) -> Topology:
        """Make one cluster of these servers; return it. One that has slots and values keeps them.

        Raises:
            AmiError: two of them have slots of different clusters.
            StoreError: one does not answer.
        """
        seen = {address: self.look(address) for address in addresses}
        base = self._choose_base(seen)
        if base is None:
            self._deal_slots([seen[address] for address in addresses])
            base = addresses[0]
        for address in addresses:
            self._meet(base, address)
        self._seeds = [base, *self._seeds]
        self.agree(needed={self.look(address).own for address in addresses})
        self.balance()
        return self.known()

    def _choose_base(self, seen: dict[Address, Topology]) -> Address | None:
        """Return the server that has slots already, or is of the cluster that has."""
        with_slots = {address: view for address, view in seen.items() if view.slot_count}
        clusters: list[tuple[set[str], Address]] = []
        for address, view in with_slots.items():
            ids = {server.id for server in view.servers}
            if not any(ids & other for other, _ in clusters):
                clusters.append((ids, address))
        if len(clusters) > 1:
            named = ", ".join(f"{host}:{port}" for _, (host, port) in clusters)
            raise AmiError(
                f"{named} are of {len(clusters)} clusters, which have slots each; one can be the beginning. "
                f"On the other machines: `ami cluster join HOST`, which puts aside what they had"
            )
        return clusters[0][1] if clusters else None

    def _deal_slots(self, views: Sequence[Topology]) -> None:
        for number, (view, (first, last)) in enumerate(
            zip(views, topology.share_out(len(views)), strict=True), start=1
        ):
            link = self.link(view.me.address)
            self._say(f"slots {first}-{last} to {link}")
            link.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            # Each its own, before they meet: else they have to find out who gives way.
            with suppress(Refused):
                link.ask("CLUSTER", "SET-CONFIG-EPOCH", number)

    def _meet(self, base: Address, address: Address) -> None:
        """Introduce a server to the cluster of another."""
        if base == address:
            return
        mine = {server.id for server in self.look(base).servers if not server.is_strange}
        if self.look(address).own in mine:
            return
        self._say(f"introducing {address[0]}:{address[1]} to {base[0]}:{base[1]}")
        self.link(base).ask("CLUSTER", "MEET", *address)

    def join(self, address: Address, *, slots: bool = True) -> Topology:
        """Take a server without slots into the cluster, with an equal share of them; return the cluster.

        Raises:
            AmiError: it has slots of another cluster.
        """
        seen, own = self.known(), self.look(address)
        if own.slot_count and own.own not in {server.id for server in seen.servers}:
            raise AmiError(f"the server at {address[0]}:{address[1]} has {own.slot_count} slots of its own")
        base = next(s.address for s in seen.servers if s.address != address and not s.is_silent)
        self._meet(base, address)
        self.agree(needed={own.own})
        if slots:
            self.balance()
        return self.known()

    def replicate(self, address: Address, primary: Address | None) -> Server:
        """Make a server without slots a replica, of the primary that suits or of the one asked for; return
        that.

        Raises:
            AmiError: there is none on another host.
        """
        self.join(address, slots=False)
        seen = self.known()
        me = next(server for server in seen.servers if server.address == address)
        if primary is not None:
            chosen = seen.at(primary)
            if chosen is None or not chosen.is_primary:
                raise AmiError(f"no primary of the cluster is at {primary[0]}:{primary[1]}")
        else:
            chosen = seen[me.primary] if me.primary else topology.choose_primary(seen, address[0])
        if chosen is None:
            raise AmiError(
                "no other host has a primary with slots, and a replica beside its primary goes with it: let "
                "another machine join first, or name a primary with --of"
            )
        if me.primary != chosen.id:
            if me.slots:
                raise AmiError(f"{me} has {me.slot_count} slots, so it cannot be a replica")
            self._say(f"making {me} a replica of {chosen}")
            self.wait("a server that knows the primary", lambda: self._try_replicate(address, chosen))
        self.wait("the copy of its values", lambda: self._link_problem(address))
        return chosen

    def _try_replicate(self, address: Address, primary: Server) -> str:
        try:
            self.link(address).ask("CLUSTER", "REPLICATE", primary.id)
        except Refused as error:
            return str(error)
        return ""

    def _link_problem(self, address: Address) -> str:
        facts = self.link(address).facts("INFO", "replication")
        status = facts.get("master_link_status", "no link yet")
        return "" if status == "up" else f"the link of {address[0]}:{address[1]} is {status}"

    def balance(self, without: Iterable[str] = ()) -> None:
        """Share the slots out equally among the primaries, but those ``without``."""
        seen, leaving = self.known(), set(without)
        mover = Mover(self._config, lambda server: self.link(server.address), seen.primaries, self._say)
        for move in topology.balance(seen, leaving):
            mover.move(move, seen[move.source], seen[move.target])
        self.agree()

    def spread(self) -> None:
        """Give primaries back to other machines, where one has several and others have their copies.

        Raises:
            AmiError: a machine that could have one is silent.
        """
        # A machine that just came back is not heard of by all, and passed over it would stay without a place.
        self.agree()
        for _, crowd in topology.crowded(self.known()).items():
            for server in crowd[1:]:
                self.wait(f"a place for {server}", lambda server=server: self._silent_place(server))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                if copies := self._idle_copies(self.known(), server):
                    self.hand_over(server, copies)

    def _silent_place(self, server: Server) -> str:
        """Say that nobody can take a primary's place now, but somebody who is silent may soon."""
        seen = self.known()
        silent = [one for one in _on_idle_hosts(seen) if one.is_silent]
        if not silent or self._idle_copies(seen, server):
            return ""
        return f"{silent[0]} is silent (if it is gone for good: `ami cluster remove {silent[0].host}`)"

    @staticmethod
    def _idle_copies(seen: Topology, server: Server) -> list[Server]:
        """Return copies of a primary that answer and are on machines without one."""
        return [one for one in _on_idle_hosts(seen) if one.primary == server.id and not one.is_silent]

    def hand_over(self, server: Server, copies: Sequence[Server] = ()) -> None:
        """Let one of its copies take a primary's place: of these, or any on another machine that answers."""
        known = copies or self.known().replicas_of(server)
        copy = next((one for one in known if one.host != server.host and not one.is_silent), None)
        if copy is not None:
            self._say(f"letting {copy} take the place of {server}")
            self._fail_over(server, copy)

    def _fail_over(self, server: Server, copy: Server) -> None:
        asked = -math.inf

        def problem() -> str:
            nonlocal asked
            still = self._still_primary(server.id)
            # A copy whose link is not up (yet) refuses; and what it began it gives up after a while.
            if still and time.monotonic() - asked > FAIL_OVER_S:
                try:
                    self.link(copy.address).ask("CLUSTER", "FAILOVER")
                except Refused as error:
                    return str(error)
                asked = time.monotonic()
            return still

        self.wait("the fail-over", problem)

    def _still_primary(self, server_id: str) -> str:
        server = self.known()[server_id]
        return f"{server} has its slots still" if server.is_primary else ""

    def agree(self, needed: set[str] | None = None) -> None:
        """Wait until all servers that answer see the same cluster, whole and with all slots.

        Args:
            needed: ids of servers that must be in it.
        """
        self.wait("all servers to agree", lambda: self.disagreement(needed or set()))

    def disagreement(self, needed: set[str]) -> str:
        """Say in what the servers do not agree, or what the cluster lacks; "" when all is well."""
        seen = self.known()
        views = self.views(seen)
        for server_id in needed:
            if server_id not in views:
                return f"the server {server_id[:8]} is not known yet"
        if seen.slot_count != SLOTS:
            return f"{seen.slot_count} of {SLOTS} slots are dealt"
        for server in seen.servers:
            if server.is_strange or (server.id not in views and not server.is_failed):
                return f"{server} has not answered"
        for view in views.values():
            strange = [server for server in view.servers if server.is_strange]
            if strange or view.layout() != seen.layout():
                return f"{view.me} sees another cluster than {seen.me}"
            if unheard := [server for server in view.servers if server.is_silent and server.id in views]:
                return f"{view.me} does not hear {unheard[0]} yet"
            if (state := self.link(view.me.address).facts("CLUSTER", "INFO").get("cluster_state")) != "ok":
                return f"{view.me} says cluster_state:{state}"
        return ""

    def forget(self, server_ids: Iterable[str]) -> None:
        """Let every server that answers forget these."""
        ids = set(server_ids)
        seen = self.known()
        for server in seen.servers:
            if server.id in ids:
                continue
            for server_id in ids:
                try:
                    self.link(server.address).ask("CLUSTER", "FORGET", server_id)
                except Refused as error:
                    if "Unknown node" not in str(error):
                        raise
                except StoreUnavailable as error:
                    self._say(f"{server} was not told, and may tell of it again: {error}")

    def wait(self, what: str, problem: Callable[[], str]) -> None:
        """Wait until ``problem()`` is "".

        Raises:
            AmiError: says what was seen last, when patience is over.
        """
        ends, said_at = time.monotonic() + self._patience_s, time.monotonic()
        while True:
            try:
                seen = problem()
            except StoreUnavailable as error:
                seen = str(error)
            except Refused as error:
                if error.code not in PASSES:
                    raise
                seen = str(error)
            if not seen:
                return
            now = time.monotonic()
            if now > ends:
                raise AmiError(f"waited {self._patience_s:g} s in vain for {what}: {seen}; {AGAIN}")
            if now - said_at > SAY_S:
                self._say(f"waiting for {what}: {seen}")
                said_at = now
            time.sleep(LOOK_S)


def _on_idle_hosts(seen: Topology) -> list[Server]:
    """Return the servers on machines that have no primary with slots."""
    busy = {one.host for one in seen.primaries if one.slots}
    return [one for one in seen.servers if one.host not in busy]


def reachable(address: Address, within_s: float = 2.0) -> dict[int, str]:
    """Return what is wrong with the way to a server, by port: its own and the bus of the cluster."""
    problems = {}
    for port in (address[1], address[1] + BUS):
        try:
            socket.create_connection((address[0], port), within_s).close()
        except OSError as error:
            problems[port] = error.strerror or str(error)
    return problems


def _place(server: Server, address: Address) -> Server:
    return replace(server, host=address[0], port=address[1])
