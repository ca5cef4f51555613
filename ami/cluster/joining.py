"""Make this machine part of a cluster, and take it out again: its settings, its servers.

What goes wrong between machines is found before anything is changed (``checks.py``). The secret comes with
the operator, in a file: it is asked for, and never fetched.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ami.cluster import background, checks, memory, settings_file, topology
from ami.cluster.forming import Forming, resolve
from ami.cluster.moving import Say
from ami.cluster.servers import BUS, is_taken, read_or_make_password
from ami.cluster.succession import Succession
from ami.cluster.supervisor import NO_ANSWER, Supervisor
from ami.cluster.topology import Server, Topology
from ami.config import PROJECT_FILE, find_file, load
from ami.errors import AmiError, StoreError
from ami.stores.held import Address
from ami.stores.server import ServerLink

REPLICA: Final = 1  # added to the port of a node's server, for its replica
_AWAY: Final = "alone-"


class Machine:
    """This machine, and what is done on it.

    Args:
        path: the file of its settings; None is the usual one.
        say: is told what is done and what is waited for.
        patience_s: how long each wait may take.
    """

    def __init__(self, path: Path | None, say: Say, patience_s: float) -> None:
        self.path = find_file(path) or PROJECT_FILE
        self.config = load(self.path if self.path.exists() else None)
        self._say = say
        self._patience_s = patience_s

    @property
    def address(self) -> Address:
        """Where its server is, by number."""
        return resolve(self.config.global_store.host, self.config.global_store.port)

    @property
    def replica(self) -> Address | None:
        port = self.config.global_store.replica_port
        return (self.address[0], port) if port else None

    def forming(self, seeds: Sequence[Address] = ()) -> Forming:
        """Return what speaks to the cluster of these servers, or of the settings'."""
        port = self.config.global_store.port
        asked = [resolve(node, port) for node in self.config.global_store.start_nodes]
        found = seeds or dict.fromkeys([*asked, self.address])
        return Forming(self.config.global_store, found, self._say, self._patience_s)

    # --- in

    def create(self, hosts: Sequence[str], *, start: bool) -> Topology:
        """Make a cluster of the servers of some hosts, this one perhaps among them.

        Raises:
            AmiError: says which is missing, and what it needs.
        """
        addresses = [resolve(host, self.config.global_store.port) for host in hosts]
        seeds = [f"{host}:{port}" for host, port in addresses]
        mine = next((address for address in addresses if checks.is_here(address[0])), None)
        if mine is not None:
            read_or_make_password(self.config.global_store.password_file)
            self._take_address(mine, seeds, start=start)
        others = [address for address in addresses if address != mine or not start]
        checks.refuse_silent(self.config, others, seeds)
        forming = self.forming(addresses)
        try:
            for address in addresses:
                self._wait_for(forming, address)
            return forming.create(addresses)
        finally:
            forming.close()

    def join(self, seed: str, *, address: str = "", slots: bool = True, start: bool) -> Topology:
        """Join the cluster of which ``seed`` is a server.

        Raises:
            AmiError: says what is in the way.
        """
        place = resolve(seed, self.config.global_store.port)
        seen = checks.check_seed(self.config, place, self._say)
        host = address or checks.own_address(self.config, place)
        mine = (resolve(host, 0)[0], self.config.global_store.port)
        if not checks.is_here(mine[0]) or ipaddress.ip_address(mine[0]).is_loopback:
            raise AmiError(
                f"{mine[0]} is no address of this machine that others can reach: name one with --address"
            )
        is_member = seen.at(mine) is not None or self.was_in(seen)
        if not is_member:
            checks.refuse_name(self.config, place, self.path)
            self._refuse_alone(mine)
        others = [f"{server}" for server in seen.servers if server.address != mine]
        self._take_address(mine, [f"{mine[0]}:{mine[1]}", *others], start=start)
        forming = self.forming([place])
        try:
            self._wait_for(forming, mine)
            return forming.join(mine, slots=slots)
        finally:
            forming.close()

    def add_replica(self, of: str = "", *, port: int = 0) -> Server:
        """Run a second server here, as the copy of another machine's; return that one.

        Raises:
            AmiError: no other machine has one, or no node runs here.
        """
        own = self.config.global_store
        changed = settings_file.change(
            self.path, {"global_store": {"replica_port": port or own.replica_port or own.port + REPLICA}}
        )
        self._tell(changed)
        self.config = load(self.path)
        assert self.replica is not None
        if changed or not ServerLink(self.config.global_store, self.replica).answers():
            self._start_replica()
        forming = self.forming()
        try:
            self._wait_for(forming, self.replica)
            primary = resolve(of, own.port) if of else None
            return forming.replicate(self.replica, primary)
        finally:
            forming.close()

    def _start_replica(self) -> None:
        supervisor = Supervisor(self.config.monitor.supervisor_socket)
        name = "replica-redis"
        try:
            if name in (program.type for program in supervisor.programs()):
                supervisor.stopProcess(name)
                supervisor.startProcess(name, False)
            else:
                supervisor.addProcessGroup(name)  # which the settings had no use for at its start
        except NO_ANSWER as error:
            raise AmiError(
                f"no supervisord starts the replica ({error}): start the node (`ami up`), and call this again"
            ) from error

    # --- out

    def hand_over(self) -> None:
        """Let copies on other machines take the place of this one's primaries, so that nobody misses them.

        Raises:
            AmiError, StoreError: it was not done in time.
        """
        forming = self.forming()
        try:
            for server in forming.known().on(self.address[0]):
                if server.is_primary and server.slots:
                    forming.hand_over(server)
        finally:
            forming.close()

    def leave(self, *, stop: bool) -> list[str]:
        """Hand over this machine's slots, leave the cluster, and be alone from the next start on.

        Raises:
            AmiError: nobody else can take them.
        """
        forming = self.forming()
        try:
            seen = forming.known()
            mine = [server for server in seen.servers if server.host == self.address[0]]
            if not any(s.is_primary for s in seen.servers if s not in mine and not s.is_silent):
                raise AmiError("no other machine has a primary server: the last one stops with `ami down`")
            forming.balance(without=[server.id for server in mine if server.is_primary])
            elsewhere = self.forming([s.address for s in seen.servers if s not in mine and not s.is_silent])
            elsewhere.forget(server.id for server in mine)
            for server in mine:
                self._say(f"resetting {server}")
                forming.link(server.address).ask("CLUSTER", "RESET", "HARD")
            elsewhere.close()
        finally:
            forming.close()
        self._tell(settings_file.change(self.path, {"global_store": {"start_nodes": [], "replica_port": 0}}))
        if stop:
            background.stop(self.config, self._say)
            self._put_aside("replica")
            self._put_aside("global")
        return [str(server) for server in mine]

    def remove(self, host: str, *, lose: bool) -> list[str]:
        """Let the cluster forget the servers of a machine that does not come back; return which.

        Args:
            lose: slots of which there is no copy are dealt anew, empty.

        Raises:
            AmiError: it answers, or has slots of which there is no copy (yet).
        """
        port = self.config.global_store.port
        address = resolve(host, port)[0]
        forming = self.forming([a for a in self.forming()._seeds if a[0] != address])
        try:
            seen = forming.known()
            gone = seen.on(address)
            lively = [server for server in gone if forming.link(server.address).answers()]
            if lively:
                raise AmiError(f"{lively[0]} answers: `ami cluster leave` there hands its slots over first")
            succession = Succession(forming, address, self._say)
            try:
                forming.wait(f"copies of the slots of {address}", succession.find_left)
            except AmiError as error:
                if not lose:
                    raise AmiError(f"{error}; --lose deals them anew, empty") from error
            lost = [stretch for server in forming.known().on(address) for stretch in server.slots]
            forming.forget(server.id for server in gone)
            if lost:
                heir = next(s for s in forming.known().primaries if not s.is_silent)
                for first, last in lost:
                    self._say(f"slots {first}-{last} begin anew, empty, at {heir}")
                    forming.link(heir.address).ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            forming.agree()
            forming.balance()
            return [str(server) for server in gone]
        finally:
            forming.close()

    # --- how it is done

    def was_in(self, seen: Topology) -> bool:
        """Whether this node's server was one of these when it stopped, maybe at another address."""
        nodes = memory.folder_of(self.config.node, "global") / "nodes.conf"
        try:
            own = topology.read("\n".join(nodes.read_text().splitlines()[:-1])).own
        except OSError:
            return False
        server = next((one for one in seen.servers if one.id == own), None)
        if server is None:
            return False
        with suppress(StoreError), ServerLink(self.config.global_store, server.address) as link:
            # One that runs is another machine's, of whose folder this one is a copy.
            return link.text("CLUSTER", "MYID") != own
        return True

    def _refuse_alone(self, mine: Address) -> None:
        """Put aside what this node's server has as a cluster of its own.

        Raises:
            AmiError: it runs.
        """
        if background.supervisor_pid(self.config):
            link = ServerLink(self.config.global_store, mine)
            with suppress(StoreError):
                if not topology.read(link.text("CLUSTER", "NODES")).slot_count:
                    return  # it waits for this
            raise AmiError(
                "a node runs here, with a cluster of its own, whose graph and results would be left: stop it "
                "first (`ami down`); what it has is put aside, and can be had again"
            )
        nodes = memory.folder_of(self.config.node, "global") / "nodes.conf"
        with suppress(OSError):
            seen = topology.read("\n".join(nodes.read_text().splitlines()[:-1]))
            if seen.slot_count or not seen.is_alone:
                self._put_aside("global")

    def _put_aside(self, tier: str) -> None:
        folder = memory.folder_of(self.config.node, tier)
        if folder.exists():
            memory.to_disk(folder)
            aside = folder.with_name(f"{folder.name}.{_AWAY}{time.strftime('%Y%m%dT%H%M%S')}")
            folder.rename(aside)
            self._say(f"what the server had is in {aside} now")

    def _take_address(self, mine: Address, seeds: Sequence[str], *, start: bool) -> None:
        """Write what lets this node's server be found, and start the node if it does not run."""
        own = self.config.global_store
        values: dict[str, settings_file.Setting] = {
            "host": mine[0],
            "port": mine[1],
            "start_nodes": list(seeds),
        }
        if own.port == mine[1]:
            del values["port"]
        runs = background.supervisor_pid(self.config)
        moves = self.address != mine
        if runs and moves:
            raise AmiError(
                f"the node here runs, and listens at {self.address[0]}:{self.address[1]}, where others do "
                f"not find it: stop it (`ami down`), and call this again"
            )
        if not runs:
            for port in (mine[1], mine[1] + BUS):
                if is_taken(mine[0], port):
                    raise AmiError(
                        f"port {port} of {mine[0]} is taken: stop who has it, or set global_store.port"
                    )
        self._tell(settings_file.change(self.path, {"global_store": values}))
        self.config = load(self.path)
        if not runs and start:
            background.start(self.path, self._say)
            self._say(f"started the node; logs are in {self.config.node.run_dir}/log")
        elif not runs:
            self._say("now start the node here: `systemctl start ami-node` or `ami up`")

    def _wait_for(self, forming: Forming, address: Address) -> None:
        """Wait for a server here or there to be up."""

        def silence() -> str:
            link = forming.link(address)
            if not link.answers():
                return f"nobody answers at {address[0]}:{address[1]}"
            link.ask("PING")
            return ""

        forming.wait(f"the server at {address[0]}:{address[1]}", silence)

    def _tell(self, changed: Sequence[str]) -> None:
        for setting in changed:
            self._say(f"{self.path}: {setting}")
