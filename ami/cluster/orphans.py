"""Find, name and end what is left of a node whose supervisord was killed.

Such processes go on: nobody restarts them, and what is started beside them meets their ring and ports.
To kill them is harmless, because whatever happens to a process costs no event; a stop is gentle all the same,
so that the ring is empty in the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Final

from ami.cluster import memory, proc
from ami.cluster.servers import find_server
from ami.config import Config
from ami.errors import ConfigError
from ami.processes import BY_TYPE, PROCESSES

MARK: Final = "SUPERVISOR_SERVER_URL"
_SCHEME: Final = "unix://"
PATIENCE_S: Final = (
    15.0  # with one type of process that was asked to stop: the source may drain the ring for 10
)
_KILL_S: Final = 10.0
_LOOK_S: Final = 0.02


def find(config: Config) -> dict[int, str]:
    """Return the type (or command) of each process of this node but this one, by its number."""
    mine = os.path.realpath(config.monitor.supervisor_socket)
    found = {}
    # supervisord gives its address to its programs, and they to their children: who has it is the node's.
    for pid, url in proc.with_variable(MARK).items():
        if os.path.realpath(url.removeprefix(_SCHEME)) == mine:
            found[pid] = _type_of(proc.command(pid))
    return {**found, **_servers(config)}


def end(config: Config, *, gently: bool = False) -> tuple[str, ...]:
    """End every process of this node; return what each was. No supervisord of it may live.

    Args:
        gently: in the order in which supervisord stops them, with the time that it gives.
    """
    ended = dict(find(config))
    if gently:
        for process in sorted(PROCESSES, key=lambda process: -process.priority):
            _ask({pid for pid, kind in ended.items() if kind == process.type})
    deadline = time.monotonic() + _KILL_S
    while (left := find(config)) and time.monotonic() < deadline:
        for pid, kind in left.items():
            ended.setdefault(pid, kind)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_S)
    return tuple(f"{pid} {kind}" for pid, kind in sorted(ended.items()))


def _ask(pids: set[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while any(map(proc.is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _type_of(command: str) -> str:
    words = command.split()
    found = [after for word, after in pairwise(words) if word == "ami.daemons"]
    return found[0] if found and found[0] in BY_TYPE else Path(words[0]).name if words else "a process"


def _servers(config: Config) -> dict[int, str]:
    """Return this node's Redis servers: they write their title over their environment, mark and all."""
    places = {}
    for tier in memory.TIERS:
        program = config.local_store.server if tier == "local" else config.global_store.server
        folder = memory.folder_of(config.node, tier)
        places[os.path.realpath(memory.find(folder) or folder)] = (f"{tier}-redis", program)
    found = {}
    for pid, folder_of_it in proc.with_folder():
        if folder_of_it in places:
            kind, program = places[folder_of_it]
            with contextlib.suppress(OSError, ConfigError):
                # In that folder may also be somebody's shell.
                if Path(f"/proc/{pid}/exe").samefile(find_server(program)):
                    found[pid] = kind
    return found
