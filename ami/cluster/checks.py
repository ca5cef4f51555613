"""Find what is in the way between two machines, before anything is changed: what was seen, and what to do."""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ami.cluster.forming import Forming, reachable, resolve
from ami.cluster.moving import Say
from ami.cluster.servers import find_server
from ami.cluster.topology import Topology
from ami.config import Config
from ami.errors import AmiError
from ami.messages.heartbeat import Heartbeat
from ami.stores import keys
from ami.stores.held import Address
from ami.stores.opened import Stores
from ami.stores.server import ServerLink

SKEW_S: Final = 0.5


def check_seed(config: Config, place: Address, say: Say) -> Topology:
    """Return the cluster of a seed, once nothing is in the way to it.

    Raises:
        AmiError: something is: the secret, the ports, the versions.
    """
    secret = config.global_store.password_file
    if not secret.exists():
        raise AmiError(
            f"there is no secret in {secret}: copy the file from a machine of the cluster, of mode 600: "
            f"`install -m 700 -d {secret.parent} && scp {place[0]}:{secret} {secret}`"
        )
    if secret.stat().st_mode & 0o077:
        raise AmiError(f"others can read the secret in {secret}: `chmod 600 {secret}`")
    for port, problem in reachable(place).items():
        what = "the bus of its server" if port != place[1] else "its server"
        raise AmiError(f"{place[0]} port {port}, {what}, cannot be reached: {problem}; open both ports")
    forming = Forming(config.global_store, [place], say)
    try:
        seen = forming.known()
        link = forming.link(place)
        theirs, ours = version_of(link), program_version(find_server(config.global_store.server))
        if theirs.split(".")[0] != ours.split(".")[0]:
            raise AmiError(
                f"the server there is version {theirs}, the one here {ours or 'unknown'}, and one may not "
                f"read the other's copies: install the same (global_store.server)"
            )
        skew_s = clock_skew_s(link)
        if abs(skew_s) > SKEW_S:
            say(f"the clock of {link} is {skew_s:+.1f} s beside this machine's: does chrony run on both?")
        return seen
    finally:
        forming.close()


def own_address(config: Config, seed: Address) -> str:
    """Return the address that this machine has for a seed."""
    host = resolve(config.global_store.host, 0)[0]
    told = ipaddress.ip_address(host)
    if not (told.is_loopback or told.is_unspecified):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(seed)  # sends nothing
        return str(probe.getsockname()[0])


def refuse_name(config: Config, seed: Address, path: Path) -> None:
    """Refuse to be a second machine of a name: their keys would be the same.

    Raises:
        AmiError: one lives.
    """
    there = replace(config.global_store, start_nodes=(f"{seed[0]}:{seed[1]}",))
    stores = Stores(replace(config, global_store=there))
    name = config.node.host
    try:
        if isinstance(stores.host("monitor").get(keys.HEARTBEAT), Heartbeat):
            raise AmiError(
                f"another machine of the cluster is called {name!r}, and its processes live: set "
                f"node.host in {path} to a name that only this one has"
            )
    finally:
        stores.close()


def refuse_silent(config: Config, addresses: Sequence[Address], seeds: Sequence[str]) -> None:
    """Refuse to begin while servers do not run.

    Raises:
        AmiError: says which, and what it needs.
    """
    for address in addresses:
        with ServerLink(config.global_store, address) as link:
            if not link.answers():
                raise AmiError(
                    f"nobody answers at {link}: start the node there, with global_store.host = "
                    f"{address[0]!r}, global_store.start_nodes = {list(seeds)} and the same secret; or "
                    f"leave it out, and call `ami cluster join` there"
                )


def is_here(host: str) -> bool:
    """Say whether an address is one of this machine."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def program_version(program: str) -> str:
    """Return what a server's program says of its version; "" when it says none."""
    said = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=20)
    found = re.search(r"v=([0-9.]+)", said.stdout)
    return found[1] if found else ""


def version_of(link: ServerLink) -> str:
    """Return the version of a server that runs.

    Raises:
        StoreError
    """
    facts = link.facts("INFO", "server")
    return facts.get("valkey_version") or facts.get("redis_version", "")


def clock_skew_s(link: ServerLink) -> float:
    """Return how far a server's clock is before this machine's, as exactly as half a round trip.

    Raises:
        StoreError
    """
    link.answers()  # to connect takes longer than to ask
    before = time.time()
    seconds, micros = link.ask("TIME")
    return int(seconds) + int(micros) / 1e6 - (before + time.time()) / 2
