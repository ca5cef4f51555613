"""Ask supervisord over its unix socket which processes there should be, and how they are.

supervisor's own client has no time-out on unix sockets, so a supervisord that hangs would hang who
asks it, and leaves its sockets to the garbage collector.
"""

from __future__ import annotations

import functools
import http.client
import logging
import math
import re
import socket
import xmlrpc.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ami.config import Config
from ami.processes import SERVERS

logger = logging.getLogger(__name__)

# What a call raises when supervisord is not there, shuts down, or refuses (xmlrpc.client.Fault).
NO_ANSWER = (OSError, http.client.HTTPException, xmlrpc.client.Error)
PATIENCE_S = 0.5
MANY = 3  # deaths within a minute: what kills that often comes again
STARTS_S = 10.0  # to import numpy and to find the stores, on a busy machine
WAITING = "waiting: "
KILLED = "a signal ended it: somebody's, the monitor's, or the kernel's for want of memory"
_TAIL_BYTES = 4096
# A line of ami's own logs; of a traceback each has it, with a bar.
_RECORD = re.compile(r"\S+Z (?P<level>[A-Z]+) +\S+ (\| )?(?P<text>.*)")


@dataclass(frozen=True, slots=True)
class Program:
    """A process under supervisord. ``state`` is its word; ``pid`` is 0 while the process does not run.

    ``address`` is what supervisord, logs and people call it: GROUP:N where there may be several.
    ``deaths``: within the last minute; ``reason``: what it says, if it is in trouble.
    """

    type: str
    number: int
    address: str
    state: str
    pid: int
    exit_code: int
    deaths: int = 0
    reason: str = ""
    up_s: float = math.inf

    @property
    def name(self) -> str:
        """Return TYPE:N, as in the prefix of its keys."""
        return f"{self.type}:{self.number}"

    @property
    def full_name(self) -> str:
        """Return GROUP:NAME, where one is of the other's name, too."""
        return self.address if ":" in self.address else f"{self.address}:{self.address}"

    @property
    def runs(self) -> bool:
        return self.state == "RUNNING"

    @property
    def is_done(self) -> bool:
        return self.state == "EXITED" and self.exit_code == 0

    @property
    def is_stopped(self) -> bool:
        """Whether somebody stopped it."""
        return self.state in ("STOPPED", "STOPPING")

    @property
    def should_run(self) -> bool:
        """Whether it was neither stopped by somebody, nor is done."""
        return not (self.is_stopped or self.is_done)

    @property
    def is_in_trouble(self) -> bool:
        """Whether it does not run although it should, dies again and again, or waits to become a server."""
        return self.deaths >= MANY or self.waits or (self.should_run and not self.runs)

    @property
    def is_starting(self) -> bool:
        """Whether this is a daemon that may not have come to its first heartbeat yet."""
        return self.runs and self.up_s < STARTS_S and self.type not in SERVERS and self.deaths < MANY

    @property
    def waits(self) -> bool:
        """Whether this is a launcher that cannot become the server that it is to be."""
        return self.runs and self.reason.startswith(WAITING)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the process of a row of supervisord's ``getAllProcessInfo``."""
        group, name = str(row["group"]), str(row["name"])
        return cls(
            type=group,
            number=int(name) if name.isdecimal() else 0,
            address=group if group == name else f"{group}:{name}",
            state=str(row["statename"]),
            pid=int(row["pid"]),
            exit_code=int(row["exitstatus"]),
            up_s=float(row.get("now", math.inf)) - float(row.get("start", 0)),
        )


class Supervisor:
    """supervisord's XML-RPC methods: ``Supervisor(path).getProcessInfo("worker:0")["pid"]``.

    Each call is a connection of its own, so threads may share this.
    http://supervisord.org/api.html lists the methods.
    """

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def programs(self) -> tuple[Program, ...]:
        """Return all processes, also those that do not run."""
        return tuple(map(Program.of, self.getAllProcessInfo()))

    def deaths(self) -> dict[str, tuple[int, bool]]:
        """Return by full name how often a program died, and whether by a signal; see ``extension.py``."""
        return {name: (int(count), bool(by)) for name, (count, by) in self._call("ami.deaths").items()}

    def last_words(self, full_name: str) -> str:
        """Return the last line in which a program says why it ended; "" when it says nothing."""
        try:
            return pick_reason(str(self.readProcessStdoutLog(full_name, -_TAIL_BYTES, 0)))
        except NO_ANSWER:
            return ""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return functools.partial(self._call, f"supervisor.{method}")

    def _call(self, method: str, *arguments: Any) -> Any:
        body = xmlrpc.client.dumps(arguments, method).encode()
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise xmlrpc.client.ProtocolError(str(self._path), response.status, response.reason, {})
        (value,), _ = xmlrpc.client.loads(answer)
        return value


def list_programs(socket_path: Path) -> tuple[Program, ...]:
    """Return what supervisord has on this host; nothing where none answers, as on a client's host.

    Heartbeats alone do not tell: a process that stays dead has none.
    """
    supervisor = Supervisor(socket_path, timeout_s=PATIENCE_S)
    try:
        found = supervisor.programs()
        deaths = supervisor.deaths()
    except NO_ANSWER as error:
        logger.debug("supervisord does not answer: %s", error)
        return ()
    explained = []
    for program in found:
        count, by_signal = deaths.get(program.full_name, (0, False))
        seen = replace(program, deaths=count)
        if seen.is_in_trouble:
            # What ended it last counts: of who was killed and then refuses to start, what it says.
            killed = by_signal and not (seen.state == "EXITED" and seen.exit_code >= 0)
            seen = replace(seen, reason=KILLED if killed else supervisor.last_words(seen.full_name))
        elif seen.type in SERVERS:
            words = supervisor.last_words(seen.full_name)
            seen = replace(seen, reason=words if words.startswith(WAITING) else "")
        explained.append(seen)
    return tuple(explained)


def nobody_is_here(config: Config) -> bool:
    """Say whether no node runs on this host, which is the only one of its cluster: then waiting is in vain.

    Where a supervisord lives, or where other hosts have servers, somebody may come up.
    """
    if config.global_store.start_nodes:
        return False
    return not (is_listening(config) or is_there(config.monitor.supervisor_socket))


def is_listening(config: Config) -> bool:
    """Say whether somebody is where the global store should be, or may be: no answer in time is no answer."""
    try:
        socket.create_connection((config.global_store.host, config.global_store.port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def is_there(socket_path: Path) -> bool:
    """Say whether a supervisord, or a server, has this socket; one that was killed left the file."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(socket_path))
        except OSError:
            return False
    return True


def pick_reason(log: str) -> str:
    """Return of the last lines of a log the one that says most: an error, without time and process.

    Of a traceback that is its last line; of a server's log, or a foreign program's, the last line.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        found = _RECORD.match(line)
        if found is None or found["level"] in ("ERROR", "CRITICAL"):
            return (found["text"] if found else line).removeprefix("ami: ")
    return lines[-1] if lines else ""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
