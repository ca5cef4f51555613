"""Machines on one machine: each a network namespace with an address, a host name and a cable to one switch.

Everything hangs on processes that hold the namespaces and read from a pipe of this process: when it is gone,
however it went, they end, and the kernel takes back namespaces, cables and switch. (Rejected: `ip netns add`,
whose names stay when one is aborted.) This process is one more machine on the switch, so that it can ask the
servers. Of /tmp, /dev/shm and process numbers there is only one, as on one machine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ami.errors import AmiError

NETWORKS = 256  # 198.18.N.0/24 of the range for tests between machines (RFC 2544)
OWN_ADDRESS = 254  # of this process
CALL_S = 100.0
END_S = 10.0
_TOOLS = ("ip", "tc", "unshare", "nsenter")
_HELD = "ip link set lo up && hostname {name} && echo held && exec cat"


class NoMachines(AmiError):
    """Machines cannot be made here; the text says why."""


def refuse_without_namespaces() -> None:
    """Say why this process may not make machines, if so.

    Raises:
        NoMachines
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise NoMachines(f"no {', '.join(missing)}: `apt-get install iproute2 util-linux`")
    if os.getuid():
        raise NoMachines(f"only root may make network namespaces, this is user {os.getuid()}")
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "true"], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        raise NoMachines(f"network namespaces are not allowed here: {tried.stderr.strip()}")


@dataclass
class Machine:
    """A machine on the switch. ``holder`` is the process that keeps its namespaces."""

    number: int
    name: str
    address: str
    holder: subprocess.Popen[str]
    switch: subprocess.Popen[str] = field(repr=False)

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that shall run on this machine."""
        return _enter(self.holder)

    def run(self, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine and return what it said; ``more`` is for ``subprocess.run``."""
        told = {"capture_output": True, "text": True, "timeout": CALL_S, **more}
        check = bool(told.pop("check", True))
        return subprocess.run([*self.enter, *words], check=check, **told)  # type: ignore[call-overload,no-any-return]  # keywords

    def cut(self) -> None:
        """Pull its cable: nobody hears of the other, and no connection is refused."""
        self._port("ip", "link", "set", self._cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        self._port("ip", "link", "set", self._cable, "up")

    def delay(self, ms: float) -> None:
        """Let what comes to this machine, and what it sends, be ``ms`` late.

        Raises:
            NoMachines: the kernel cannot.
        """
        self._late(_enter(self.switch), self._cable, ms)
        self._late(self.enter, "eth0", ms)

    def _late(self, enter: Sequence[str], cable: str, ms: float) -> None:
        words = [*enter, "tc", "qdisc", "replace", "dev", cable, "root", "netem", "delay", f"{ms:g}ms"]
        tried = subprocess.run(words, check=False, capture_output=True, text=True)
        if tried.returncode:
            raise NoMachines(f"this kernel delays no packets: {tried.stderr.strip()}")

    @property
    def _cable(self) -> str:
        return f"port{self.number}"

    def _port(self, *words: str) -> None:
        subprocess.run([*_enter(self.switch), *words], check=True)


@contextmanager
def machines(count: int, names: str = "node{}") -> Iterator[list[Machine]]:
    """Yield machines node1, node2, ... on one switch, and this process on it beside them.

    Their names are known to each other, in ``/etc/hosts``, and not to this process.

    Raises:
        NoMachines
    """
    refuse_without_namespaces()
    with ExitStack() as stack:
        network = stack.enter_context(_own_network())
        switch = stack.enter_context(_hold("switch"))
        _ip(_enter(switch), "link add switch type bridge", "link set switch up")
        found = []
        for number in range(1, count + 1):
            name = names.format(number)
            holder = stack.enter_context(_hold(name))
            _connect(switch, number, "eth0", str(holder.pid))
            address = f"198.18.{network}.{number}"
            _ip(_enter(holder), f"addr add {address}/24 dev eth0", "link set eth0 up")
            found.append(Machine(number, name, address, holder, switch))
        _introduce(found)
        outside = f"ami-net{network}"
        _connect(switch, OWN_ADDRESS, outside, str(os.getpid()))
        # The kernel removes it with the switch, but takes its time.
        stack.callback(subprocess.run, ["ip", "link", "del", outside], check=False, capture_output=True)
        _ip((), f"addr add 198.18.{network}.{OWN_ADDRESS}/24 dev {outside}", f"link set {outside} up")
        yield found


@contextmanager
def _own_network() -> Iterator[int]:
    """Yield the number of a network that nobody else has, and to which no way of this machine leads."""
    routes = json.loads(subprocess.run(["ip", "-json", "route"], check=True, capture_output=True).stdout)
    taken = {route["dst"] for route in routes}
    for step in range(NETWORKS):
        number = (os.getpid() + step) % NETWORKS
        if f"198.18.{number}.0/24" in taken:
            continue
        with socket.socket(socket.AF_UNIX) as claim:  # an abstract name goes with its process
            try:
                claim.bind(f"\0ami-machines-198.18.{number}")
            except OSError:
                continue
            yield number
            return
    raise NoMachines(f"each of {NETWORKS} networks is taken by somebody else")


@contextmanager
def _hold(name: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds new namespaces until it, and whoever entered, has ended."""
    command = ["unshare", "--net", "--uts", "--mount", "sh", "-c", _HELD.format(name=name)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "held\n":
            raise NoMachines(f"the namespaces of {name} cannot be made")
        yield holder
    finally:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.close()
        holder.stdout.close()
        holder.wait(END_S)


def _enter(holder: subprocess.Popen[str]) -> tuple[str, ...]:
    # --wdns: where the caller is; entering a mount namespace alone leads to "/".
    return (
        "nsenter", "--target", str(holder.pid), "--net", "--uts", "--mount", f"--wdns={os.getcwd()}", "--",
    )  # fmt: skip


def _connect(switch: subprocess.Popen[str], number: int, end: str, into: str) -> None:
    """Lay a cable from a port of the switch into the namespace of process ``into``."""
    port = f"port{number}"
    _ip(
        _enter(switch),
        f"link add {port} type veth peer name {end} netns {into}",
        f"link set {port} master switch",
        f"link set {port} up",
    )


def _ip(enter: Sequence[str], *lines: str) -> None:
    for line in lines:
        subprocess.run([*enter, "ip", *line.split()], check=True)


def _introduce(everyone: Sequence[Machine]) -> None:
    """Give each machine a file of all names, and an id of its own."""
    names = "".join(f"{one.address} {one.name}\n" for one in everyone)
    for one in everyone:
        for path, text in (
            ("/etc/hosts", f"127.0.0.1 localhost\n{names}"),
            ("/etc/machine-id", f"{os.getpid():016x}{one.number:016x}\n"),
        ):
            if Path(path).exists():
                # In memory, and the file is gone when its mount is.
                script = f"cat > /mnt/own && touch {path} && mount --bind /mnt/own {path} && rm /mnt/own"
                mount = f"mount -t tmpfs none /mnt && {script} && umount -l /mnt"
                one.run("sh", "-c", mount, input=text)
