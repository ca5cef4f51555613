"""Ask supervisord over its unix socket.

supervisor's own client has no time-out on unix sockets, so a supervisord that hangs would hang who
asks it, and leaves its sockets to the garbage collector.
"""

from __future__ import annotations

import functools
import http.client
import socket
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a call raises when supervisord is not there, shuts down, or refuses (xmlrpc.client.Fault).
NO_ANSWER = (OSError, http.client.HTTPException, xmlrpc.client.Error)


class Supervisor:
    """supervisord's XML-RPC methods: ``Supervisor(path).getProcessInfo("worker:0")["pid"]``.

    Each call is a connection of its own, so threads may share this.
    http://supervisord.org/api.html lists the methods.
    """

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

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


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
