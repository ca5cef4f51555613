"""Connect to Redis: to the node's own, and to the server of the cluster that has a key.

Connections are redis-py's (``login.py``). Commands go over them held (``wire.py``), packed by us
(``link.pack``), parsed by hiredis; what is done when one breaks is in ``held.py``. (Rejected: redis-py's
``execute_command``, which costs 50 µs a call and whose packers join large values; its cluster client, which
does not know what may be sent twice, and needs 20 ms until it knows who has what.)
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from pathlib import Path

from ami.access import read_access
from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.errors import NotLetIn, StoreError
from ami.stores import roles
from ami.stores.copies import Copies
from ami.stores.exchange import Exchange
from ami.stores.held import Address, HeldLink, Waits
from ami.stores.link import NotDone, Reply
from ami.stores.login import Settings, find_slot, log_in, over_tcp, over_tls, over_unix
from ami.stores.wire import Broken, Traffic, Wire

SLOTS = 16_384
logger = logging.getLogger(__name__)
COPIES_LOOK_S = 10.0  # how often a process of a cluster of several machines asks who has copies
LOCAL_WAITS = Waits(answer_s=10.0)  # an unix socket does not lose packets: what takes longer hangs


def cluster_waits(config: GlobalStoreConfig) -> Waits:
    """Return the waits for a cluster: of ``config.timeout_s`` in all."""
    # A frozen master is noticed by an answer that does not come. Sooner, and a disk that is slow to sync
    # looks like one.
    return Waits(
        answer_s=min(2.0, config.timeout_s),
        connect_s=min(0.5, config.timeout_s),
        patience_s=config.timeout_s,
    )


class LocalLink(HeldLink):
    """The node's own Redis, behind a unix socket."""

    def __init__(self, config: LocalStoreConfig) -> None:
        super().__init__(f"the local store at {config.socket}", LOCAL_WAITS)
        self._path = str(config.socket)

    def _connect(self, address: Address) -> Wire:
        return connect_locally(self._path, self._waits, self._what, self.traffic)


class ClusterLink(HeldLink):
    """The Redis Cluster. Each key's node is asked directly; ``CLUSTER SLOTS`` says which that is.

    ``role``: as what to log in; "" is the administrator.
    """

    tagged = True

    def __init__(self, config: GlobalStoreConfig, role: str = "") -> None:
        self._config = config
        self._role = role
        self._nodes = [split_address(node) for node in config.start_nodes] or [(config.host, config.port)]
        listed = ", ".join(f"{host}:{port}" for host, port in self._nodes)
        super().__init__(f"the global store at {listed}", cluster_waits(config))
        self._owners: list[Address | None] = []  # of each slot; empty when it has to be asked for
        self._looking = threading.Lock()
        self._looked_at = 0.0
        self._copies: dict[Address, Copies] = {}  # of each primary, once one of the cluster had some

    def _connect(self, address: Address) -> Wire:
        return connect_to(address, self._config, self._waits, self._what, self.traffic, self._role)

    def _address(self, key: str) -> Address:
        slot = find_slot(key)
        owner = (self._owners or self._look())[slot]
        if owner is None:
            raise NotDone(f"no node of the cluster has slot {slot}")
        return owner

    def _addresses(self) -> list[Address]:
        found = sorted({owner for owner in self._owners or self._look() if owner is not None})
        if not found:  # a server that begins knows only of one that is gone
            raise NotDone("no node of the cluster has a slot")
        return found

    def _look(self) -> list[Address | None]:
        """Ask the cluster who has which slot; whoever answered is asked first the next time.

        One that is alone, though several are listed, has left them, and began anew: it is believed only when
        no other is in a cluster.
        """
        with self._looking:
            if self._owners:  # another thread asked
                return self._owners
            self._looked_at = time.monotonic()
            problem: Exception = NotDone("no node of the cluster has a slot")
            alone: tuple[Address, list[Reply]] | None = None
            for node in self._nodes:
                try:
                    (reply,) = self._once(node, Exchange([("CLUSTER", "SLOTS")], repeat=True))
                except NotLetIn:
                    raise
                except (NotDone, Broken, StoreError) as error:
                    problem = error
                    continue
                if reply and len(self._config.start_nodes) > 1 and _is_of_one(reply):
                    alone = alone or (node, reply)
                elif reply:
                    self._learn(node, reply)
                    return self._owners
            if alone is not None:
                self._learn(*alone)
                return self._owners
            raise NotDone(str(problem)) from problem

    def _learn(self, asked: Address, ranges: list[Reply]) -> None:
        owners: list[Address | None] = [None] * SLOTS
        found = [asked]
        copied: dict[Address, bool] = {}
        for first, last, *nodes in ranges:
            if not nodes[0][1]:
                continue  # one that gives its place to who begins alone: nobody is there
            # Who does not know its own address is where we have just found it.
            places = [((host or b"").decode() or asked[0], int(port)) for host, port, *_ in nodes]
            owners[first : last + 1] = [places[0]] * (last + 1 - first)
            found += places
            copied[places[0]] = len(places) > 1
        # Those of the settings may have died by the next time, and the others not.
        self._nodes = list(dict.fromkeys([*found, *self._nodes]))
        self._owners = owners
        if self._copies or any(copied.values()):
            for address, there in copied.items():
                new = Copies(address, there=there, patience_s=self._waits.patience_s)
                known = self._copies.setdefault(address, new)
                known.there = known.there or there

    @property
    def has_copies(self) -> bool:  # type: ignore[override]  # it may change
        return bool(self._copies)

    def _confirm(self, address: Address, wire: Wire) -> None:
        copies = self._copies.get(address)
        if copies is not None:
            copies.wait(wire)
        if self._config.start_nodes and time.monotonic() - self._looked_at > COPIES_LOOK_S:
            self._forget()  # somebody may have added a copy

    def _forget(self, knows: Address | None = None) -> None:
        with self._looking:
            if knows is not None:
                self._nodes = list(dict.fromkeys([knows, *self._nodes]))
            if knows is not None or time.monotonic() - self._looked_at > self._waits.refresh_s:
                self._owners = []


def _is_of_one(ranges: list[Reply]) -> bool:
    """Whether there is one server only in an answer to CLUSTER SLOTS."""
    return len({(host, port) for _, _, *nodes in ranges for host, port, *_ in nodes}) == 1


def connect_locally(path: str, waits: Waits, what: str, traffic: Traffic) -> Wire:
    """Connect to a node's own server; see :func:`connect_to`."""
    said = f"{what} asks for a password"
    hint = ", so it is not the one that ami starts; set local_store.socket to a path of its own"
    return log_in(over_unix(path), waits.answer_s, traffic, login=None, not_let_in=(said, hint))


def connect_to(
    address: Address, config: GlobalStoreConfig, waits: Waits, what: str, traffic: Traffic, role: str = ""
) -> Wire:
    """Connect to a server of the cluster and log in.

    Args:
        what: whom messages name.
        role: as what; "" is the administrator.

    Raises:
        NotDone: nobody is there, or there is no password yet.
        NotLetIn
    """
    logins = _logins(config, role)
    for number, (user, password, file) in enumerate(logins, start=1):
        said = f"{what} does not accept user {user!r} with the password in {file}"
        try:
            wire = log_in(
                _way_to(address, config, waits, role),
                waits.answer_s,
                traffic,
                login=(user, password),
                not_let_in=(said, HINT),
            )
        except NotLetIn:
            if number == len(logins):
                raise
        else:
            if number > 1:
                _say_once(address, role)
            return wire
    raise AssertionError("there is a login, always")


def _way_to(address: Address, config: GlobalStoreConfig, waits: Waits, role: str) -> Settings:
    """Return how to connect: encrypted, where the certificate is known that signed the servers'."""
    ca = read_access(Path(config.access_file)).ca if config.access_file and role == roles.CLIENT else ""
    if not (ca or config.tls_ca_file):
        return over_tcp(address, waits.connect_s)
    # A handshake computes: on a busy machine it takes longer than to connect.
    return over_tls(address, waits.answer_s, "" if ca else config.tls_ca_file, ca)


HINT = (
    "; copy the file from the node where the store runs, or set global_store.username and "
    "global_store.password_file"
)


def _logins(config: GlobalStoreConfig, role: str) -> list[tuple[str, str, Path]]:
    """Return users, passwords, and the files where these are from, in the order in which to try them."""
    if config.access_file and role == roles.CLIENT:
        access = read_access(Path(config.access_file))
        return [(access.user, access.password, Path(config.access_file))]
    secret, file = _read_password(config), config.password_file
    admin = (config.username, secret, file)
    # A server of an earlier version knows the administrator only.
    return [(role, roles.derive(secret, role), file), admin] if role else [admin]


@functools.cache
def _say_once(address: Address, role: str) -> None:
    logger.warning(
        "the server at %s:%d does not know the role %r: it was started by an earlier version of ami; this "
        "process is its administrator until both are started again",
        *address, role,
    )  # fmt: skip


def _read_password(config: GlobalStoreConfig) -> str:
    path = Path(config.password_file)
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        # The server writes it when it starts for the first time.
        raise NotDone(f"there is no password file {path} yet") from error
    except (OSError, ValueError) as error:
        raise NotLetIn(
            f"global_store.password_file: cannot read {path}: {error}; it is read by the "
            f"user that runs ami, who is user {os.getuid()} now"
        ) from error


def split_address(text: str) -> Address:
    """Return ``HOST:PORT`` as what it is."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port))
