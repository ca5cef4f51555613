"""Several nodes of one cluster, each on a machine of its own: see ``machines.py``.

What is on each is what ``conf/supervisord.conf`` starts, with a folder, a ring, a local Redis and a member of
the cluster of its own. A folder that was left by who was killed is found by its lock, which nobody holds any
more.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ami.client import Client, connect
from ami.cluster import memory, orphans, proc
from ami.cluster.signals import ignore_signals
from ami.cluster.supervised import PROJECT, Leftovers, Supervised
from ami.config import load
from ami.errors import AmiError, RingError
from ami.lab import clusters
from ami.lab.machines import CALL_S, Machine, machines
from ami.ring import find_leaked, reclaim

PORT, COPY_PORT = 7379, 7380
HEAD = "ami-nodes-"
_LOCK = "lock"
_SETTINGS = "settings.json"


class MachineNode(Supervised):
    """The node of a machine; ``start``, ``stop``, ``kill`` and ``kill_all`` as of any other.

    Args:
        folder: of all nodes.
        settings: more ``AMI_*`` variables.
    """

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        settings: Mapping[str, str],
        *,
        workers: int,
        programs: Collection[str] | None,
    ) -> None:
        run_dir = folder / machine.name
        run_dir.mkdir()
        (run_dir / "ami.toml").touch()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")}
        environment |= {
            "AMI_CONFIG": str(run_dir / "ami.toml"),
            "AMI_NODE_RUN_DIR": str(run_dir),
            "AMI_NODE_HOST": machine.name,
            "AMI_RING_NAME": f"/{folder.name}-{machine.name}",
            "AMI_RING_BYTES": str(64 << 20),
            "AMI_EXPORT_URIS": "prometheus://127.0.0.1:0",
            "AMI_WEB_HOST": "",
            "AMI_WEB_PORT": "0",
            **settings,
        }
        super().__init__(environment, workers=workers, programs=programs, enter=machine.enter)
        own = {name: text for name, text in self.environment.items() if name.startswith("AMI_")}
        (run_dir / _SETTINGS).write_text(json.dumps(own))
        self.machine = machine

    def ami(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line on this machine, as its operator would."""
        check = more.pop("check", True)
        command = (str(PROJECT / "bin" / "ami"), *words)
        done = self.machine.run(*command, env=self.environment, check=False, **more)
        if check and done.returncode:
            raise AmiError(f"ami {' '.join(words)} on {self.machine.name}: {done.returncode}: {done.stderr}")
        return done

    def processes(self) -> dict[int, str]:
        """Return the type (or command) of each process of the node, supervisord's too, by number."""
        return orphans.find(self.config) | {self.supervisor_pid: "supervisord"}

    def freeze(self) -> None:
        """Let all of its processes stand still; others cannot tell it from a machine that hangs."""
        for pid in sorted(self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def end(self) -> None:
        """Kill it, whoever started it, and remove what it leaves: the machine is as if it was never there."""
        with suppress(OSError, ValueError):
            os.kill(int((self.run_dir / "supervisord.pid").read_text()), signal.SIGKILL)
        self.kill_all()
        self.stop(keep=False)
        await_end(self.config.ring.name)

    def thaw(self) -> None:
        """Let them go on, as if no time had passed."""
        for pid in sorted(self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Nodes:
    """Some machines with a node each. Items are nodes, in the order of their machines."""

    def __init__(self, nodes: list[MachineNode]) -> None:
        self._nodes = nodes

    def __getitem__(self, number: int) -> MachineNode:
        return self._nodes[number]

    def __iter__(self) -> Iterator[MachineNode]:
        return iter(self._nodes)

    def start(self) -> Nodes:
        """Start all of them, at once."""
        # Not by threads: supervisord ends with the thread that started it.
        for node in self._nodes:
            node.launch()
        for node in self._nodes:
            node.wait_until_running()
        return self

    def stop(self) -> list[Leftovers]:
        """Stop all of them as operators do, at once."""
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            return list(pool.map(lambda node: node.stop(), self._nodes))

    def end(self) -> None:
        """Kill all of them, whatever was done to them before, and remove what they leave."""
        with ignore_signals():  # or the others would be left
            for node in self._nodes:
                node.end()

    def client(self, number: int = 0, **more: Any) -> Client:
        """Return a client of the cluster with the settings of a node, on this process' machine."""
        return connect(self._nodes[number].config, **{"name": "lab", "timeout_s": CALL_S, **more})


@contextmanager
def nodes(
    count: int = 3,
    *,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    each: Mapping[int, Mapping[str, str]] | None = None,
    programs: Collection[str] | None = None,
    joined: bool = True,
    copies: bool = False,
) -> Iterator[Nodes]:
    """Yield nodes that are not started yet; in the end stop them, and remove all that is theirs.

    Args:
        settings: ``AMI_*`` variables of all nodes.
        each: those of single nodes, by number from 0.
        programs: those to start; None is all.
        joined: their servers are one cluster from the start, have one secret and share the slots; if not,
            each node is as after its installation: alone.
        copies: each of those servers has a copy, on the next machine.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(_own_folder())
        places = stack.enter_context(machines(count))
        common = dict(settings or {})
        if joined:
            common["AMI_GLOBAL_STORE_START_NODES"] = ",".join(f"{place.address}:{PORT}" for place in places)
            common |= {"AMI_GLOBAL_STORE_REPLICA_PORT": str(COPY_PORT)} if copies else {}
            addresses = {n: {"AMI_GLOBAL_STORE_HOST": place.address} for n, place in enumerate(places)}
        else:
            addresses = {}  # a variable would go before what `ami cluster` writes into the file
        made = [
            MachineNode(
                place,
                folder,
                common | addresses.get(number, {}) | dict((each or {}).get(number, {})),
                workers=workers,
                programs=programs,
            )
            for number, place in enumerate(places)
        ]
        if joined:
            _join(made, folder.name, copies=copies)
        everyone = Nodes(made)
        stack.callback(everyone.end)
        yield everyone


def _join(everyone: list[MachineNode], secret: str, *, copies: bool) -> None:
    """Write what makes their servers one cluster as soon as they run."""
    addresses = [node.machine.address for node in everyone]
    members = clusters.members([PORT] * len(everyone), addresses)
    shifted = [*addresses[1:], addresses[0]]
    seconds = clusters.members([COPY_PORT] * len(everyone), shifted) if copies else []
    for number, (own, node) in enumerate(zip(members, everyone, strict=True)):
        password = node.config.global_store.password_file
        password.touch(mode=0o600)
        password.write_text(secret)
        # The copy that is on this machine is that of the one before it.
        for tier, server in (("global", own), *([("replica", seconds[number - 1])] if copies else [])):
            place = memory.folder_of(node.config.node, tier)
            place.mkdir(mode=0o700)
            clusters.write_layout(members, server, place / "nodes.conf", copies=seconds)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Yield a folder, in /tmp because paths of sockets are short; remove those of who was killed."""
    for left in Path("/tmp").glob(f"{HEAD}*"):
        _sweep(left)
    folder = Path(tempfile.mkdtemp(prefix=f"{HEAD}{os.getpid()}-", dir="/tmp"))
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """End and remove what was left in ``folder``, if who made it was killed."""
    with suppress(FileNotFoundError), (folder / _LOCK).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for path in folder.glob(f"*/{_SETTINGS}"):
            config = load(environ=_settings(path))
            for pid, command in proc.with_variable("AMI_NODE_RUN_DIR").items():
                if command == str(config.node.run_dir):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            orphans.end(config)
            for tier in memory.TIERS:
                memory.discard(memory.folder_of(config.node, tier))
            for name in find_leaked(config.ring.name):
                with suppress(RingError):
                    reclaim(name)
        shutil.rmtree(folder, ignore_errors=True)


def _settings(path: Path) -> dict[str, str]:
    settings: dict[str, str] = json.loads(path.read_text())
    return settings


def await_end(ring: str) -> None:
    """Wait until nothing is left of the ring of a node that was killed.

    Raises:
        AmiError: something is.
    """
    # The kernel drops the locks of who was killed a moment later, and only then is the ring nobody's.
    deadline = time.monotonic() + CALL_S
    while _is_left(ring):
        if time.monotonic() > deadline:
            raise AmiError(f"waited {CALL_S:g} s in vain for the end of {ring} in /dev/shm")
        time.sleep(0.01)


def _is_left(ring: str) -> bool:
    for name in find_leaked(ring):
        with suppress(RingError):
            reclaim(name)
    return Path(f"/dev/shm{ring}").exists()
