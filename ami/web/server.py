"""Run the web server in a thread beside a stage: one event loop, which all viewers share."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from ami.errors import AmiError

logger = logging.getLogger(__name__)

SEND_BYTES: Final = 256 << 10  # of a connection, in the kernel: what waits there is old when it comes
STOP_S: Final = 3


class CannotListen(AmiError):
    """Somebody else has the address, or there is no such one."""


class Server:
    """A web server on ``host`` and ``port`` (0: any that is free).

    Raises:
        CannotListen: call again later, or with another port.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        settings = uvicorn.Config(
            app,
            ws="websockets-sansio",  # it waits until a slow viewer has room, before each write
            ws_per_message_deflate=False,  # else each message is encoded for each viewer
            ws_max_size=1 << 19,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            limit_concurrency=None,
        )
        self._server = uvicorn.Server(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def call(self, what: Callable[[], None]) -> None:
        """Call something in the loop, soon."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        except (OSError, RuntimeError):
            logger.exception("the web server ended")
        finally:
            self._loop.close()

    def close(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * STOP_S)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"web.host: {host}: {error}") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # connections inherit it
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise CannotListen(
            f"cannot serve the page at {host}:{port}: {error.strerror or error}; free it, or set web.port"
        ) from error
    return found
