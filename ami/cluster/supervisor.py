"""Ask supervisord over its unix socket which processes there should be, and how they are.

supervisor's own client has no time-out on unix sockets, so a supervisord that hangs would hang who
asks it, and leaves its sockets to the garbage collector.
"""

from __future__ import annotations

import functools
import http.client
import logging
import socket
import xmlrpc.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

logger = logging.getLogger(__name__)

# What a call raises when supervisord is not there, shuts down, or refuses (xmlrpc.client.Fault).
NO_ANSWER = (OSError, http.client.HTTPException, xmlrpc.client.Error)
PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Program:
    """A process under supervisord. ``state`` is its word; ``pid`` is 0 while the process does not run.

    ``address`` is what supervisord, logs and people call it: GROUP:N where there may be several.
    """

    type: str
    number: int
    address: str
    state: str
    pid: int
    exit_code: int

    @property
    def name(self) -> str:
        """Return TYPE:N, as in the prefix of its keys."""
        return f"{self.type}:{self.number}"

    @property
    def runs(self) -> bool:
        return self.state == "RUNNING"

    @property
    def is_done(self) -> bool:
        return self.state == "EXITED" and self.exit_code == 0

    @property
    def should_run(self) -> bool:
        """Whether it was neither stopped by somebody, nor is done."""
        return self.state not in ("STOPPED", "STOPPING") and not self.is_done

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

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return functools.partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        body = xmlrpc.client.dumps(arguments, f"supervisor.{method}").encode()
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


def list_expected(socket_path: Path) -> tuple[Program, ...]:
    """Return what should run on this host; nothing where no supervisord answers, as on a client's host.

    Heartbeats alone do not tell: a process that stays dead has none.
    """
    try:
        found = Supervisor(socket_path, timeout_s=PATIENCE_S).programs()
    except NO_ANSWER as error:
        logger.debug("supervisord does not answer: %s", error)
        return ()
    return tuple(program for program in found if program.should_run)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
