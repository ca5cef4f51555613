"""Stop the nodes of a cluster together, in one order over all machines.

First what makes events and works on them, so that all that was taken is in the global store; then who merges,
answers and exports; servers last, when nobody writes any more. Node by node instead, the servers of the first
would be missed by the others while they drain. Who stops them writes the phase into the store, and the
monitor of each node does its part; the last part is `ami down`, which outlives supervisord and brings to the
disk what is in memory.

A request is one for who was there when it was made. It is made again and again while somebody is waited for,
so that one restarted meanwhile hears it; a node that is started afterwards does not obey what it finds.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ami.cluster.supervisor import Program, Supervisor
from ami.config import Config
from ami.errors import AmiError, StoreError
from ami.stores import Store, keys
from ami.stores.server import ServerLink

Say = Callable[[str], None]

# What is stopped phase by phase, in each step after step, all types of a step at once; servers come last.
PHASES = (
    (("source",), ("worker",), ("local-reducer",)),
    (("export", "web", "global-reducer", "graph-manager"),),
)
SERVERS = len(PHASES)
AMI = Path(__file__).resolve().parents[2] / "bin" / "ami"
LIVE_STATES = ("STARTING", "RUNNING", "BACKOFF", "STOPPING")
ASKED_S = 30.0  # how long a request stays in the store
LOOK_S = 0.1
SAY_S = 5.0
BEAT_S = 5.0  # a process whose heartbeat is older does not run, or hangs, and is not waited for


class Halting:
    """What one node does of it: its monitor's part.

    Args:
        store: what belongs to the cluster's graph manager.
    """

    def __init__(self, config: Config, store: Store, supervisor: Supervisor) -> None:
        self._config, self._store, self._supervisor = config, store, supervisor
        self._began_ns = 0
        self._down: subprocess.Popen[bytes] | None = None
        self.is_asked = False  # and not too long ago

    def step(self, programs: Sequence[Program]) -> None:
        """Stop what is to be stopped next, if that was asked for.

        Raises:
            StoreError, and what ``NO_ANSWER`` names
        """
        if not self._began_ns:
            self._began_ns = self._store.time_ns()
        asked: Any = self._store.get(keys.STOP)
        self.is_asked = isinstance(asked, dict) and asked["asked_ns"] > self._began_ns
        if not self.is_asked:
            return
        for kinds in (kinds for phase in PHASES[: asked["phase"] + 1] for kinds in phase):
            left = [one for one in programs if one.type in kinds and one.state in LIVE_STATES]
            for one in left:
                if not one.is_stopped:
                    self._supervisor.stopProcess(one.address, False)
            if left:
                return
        if asked["phase"] >= SERVERS and self._down is None:
            path = self._config.node.run_dir / "log" / "down.log"
            with path.open("ab") as log:
                # In a session of its own, and no program of the node: those it ends.
                own = {name: text for name, text in os.environ.items() if not name.startswith("SUPERVISOR_")}
                self._down = subprocess.Popen(
                    [AMI, "down", "--no-hand-over"],
                    env=own,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )


def stop_all(store: Store, servers: Sequence[ServerLink], say: Say, patience_s: float) -> None:
    """Stop every node that has these servers; return when none of them answers any more.

    Args:
        store: what belongs to the cluster's graph manager, for the administrator.
        patience_s: how long each phase may take.

    Raises:
        AmiError: names who is still there. What was stopped stays so; it may be called again.
    """
    for phase, steps in enumerate(PHASES):
        kinds = [kind for step in steps for kind in step]
        say(f"stopping: {', '.join(kinds)}")
        _wait(lambda phase=phase, kinds=kinds: _ask(store, phase) or _beating(store, kinds), say, patience_s)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    say("stopping: monitors and servers")
    _wait(lambda: _answering(store, servers), say, patience_s)


def _ask(store: Store, phase: int) -> list[str]:
    """Ask for a phase; return who cannot be asked."""
    store.put(keys.STOP, {"asked_ns": store.time_ns(), "phase": phase}, expire_s=ASKED_S)
    return []


def _beating(store: Store, kinds: Iterable[str]) -> list[str]:
    """Return the processes of some types that live."""
    found = []
    for facts in store.scan(f"*:{keys.HEARTBEAT}"):
        age_s = keys.HEARTBEAT_EXPIRE_S - (facts.ttl_s or 0.0)
        if facts.prefix.split(":")[1] in kinds and age_s < BEAT_S:
            found.append(facts.prefix)
    return sorted(found)


def _answering(store: Store, servers: Sequence[ServerLink]) -> list[str]:
    left = [str(server) for server in servers if server.answers()]
    if len(left) == len(servers):  # or the one that has the key may be down already
        with suppress(StoreError):
            _ask(store, SERVERS)
    return left


def _wait(left: Callable[[], list[str]], say: Say, patience_s: float) -> None:
    ends, said_at = time.monotonic() + patience_s, time.monotonic()
    while who := left():
        if time.monotonic() > ends:
            raise AmiError(f"still there after {patience_s:g} s: {', '.join(who)}; call this again")
        if time.monotonic() - said_at > SAY_S:
            said_at = time.monotonic()
            say(f"waiting for {', '.join(who)}")
        time.sleep(LOOK_S)
