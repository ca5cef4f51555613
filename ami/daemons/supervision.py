"""Talk to this node's supervisord: which processes it runs, and a signal to one of them."""

from __future__ import annotations

import http.client
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path

from supervisor.xmlrpc import SupervisorTransport

from ami.errors import AmiError

RUNNING = 20  # supervisor.states.ProcessStates.RUNNING


class SupervisorSilent(AmiError):
    """supervisord does not answer."""


@dataclass(frozen=True, slots=True)
class Program:
    """A process under supervisord. ``name`` is TYPE:N, as in the prefix of its keys."""

    name: str
    address: str  # supervisord's own name of it, GROUP:NAME
    pid: int
    running: bool


class Supervisor:
    """The supervisord behind a unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._proxy = xmlrpc.client.ServerProxy(
            "http://127.0.0.1", transport=SupervisorTransport(serverurl=f"unix://{socket}")
        )

    def processes(self) -> list[Program]:
        """Return the processes that it manages.

        Raises:
            SupervisorSilent: it does not answer.
        """
        try:
            rows = self._proxy.supervisor.getAllProcessInfo()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorSilent(f"supervisord does not answer at {self._socket}: {error}") from error
        assert isinstance(rows, list)
        return [_program(row) for row in rows]

    def kill(self, process: Program) -> None:
        """Have a process killed; supervisord starts it again.

        Raises:
            SupervisorSilent: supervisord does not answer, or does not know the process.
        """
        try:
            self._proxy.supervisor.signalProcess(process.address, "KILL")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorSilent(f"supervisord did not kill {process.address}: {error}") from error


def _program(row: object) -> Program:
    assert isinstance(row, dict)
    group, name = str(row["group"]), str(row["name"])
    number = name if name.isdigit() else "0"
    return Program(f"{group}:{number}", f"{group}:{name}", int(row["pid"]), row["state"] == RUNNING)
