"""The page's web server without a cluster, and viewers that speak as docs/page-protocol.md says."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from starlette.applications import Starlette
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

from ami.client import Client
from ami.errors import AmiError
from ami.web.api import Api
from ami.web.app import Parts, make_app
from ami.web.board import Board
from ami.web.doors import Token
from ami.web.live import Viewers
from ami.web.server import Server


@dataclass
class Page:
    """A server, with what is behind it."""

    server: Server
    board: Board
    viewers: Viewers
    token: str
    app: Starlette

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def ask(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return status, what was said, and headers."""
        wanted = urllib.request.Request(f"http://{self.address}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(wanted, timeout=100) as answer:
                said, status, told = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            said, status, told = error.read(), error.code, error.headers
        try:
            found = json.loads(said)
        except ValueError:
            found = {"text": said.decode(errors="replace")}
        return status, found, {name.lower(): text for name, text in told.items()}


def answering(api: Any, folder: Path) -> Iterator[Page]:
    """Yield a page whose endpoints ask ``api``."""
    token = Token(folder / "web-token")
    secret = token.read()
    servers: list[Server] = []
    board = Board(lambda: servers[0].call(viewers.wake))
    viewers = Viewers(board)
    app = make_app(
        Parts(api=api, viewers=viewers, token=token, hosts=("beamline",), ready=lambda: "", figures=dict)
    )
    servers.append(Server(app, "127.0.0.1", 0))
    servers[0].start()
    try:
        yield Page(servers[0], board, viewers, secret, app)
    finally:
        servers[0].close()


class NoLayouts:
    """As where nobody kept one."""

    def list_names(self) -> list[str]:
        return []

    def read(self, name: str) -> Any:
        raise AmiError(f"there is no layout {name!r}")

    def keep(self, name: str, _layout: Any) -> None:
        self.read(name)

    def remove(self, name: str) -> None:
        self.read(name)


@contextmanager
def page(folder: Path, client: Any = None) -> Iterator[Page]:
    """Serve a page over ``client``, None: one that nothing may be asked of."""
    yield from answering(Api(cast(Client, client), lambda _name: client, cast(Any, NoLayouts())), folder)


@contextmanager
def viewer(page: Page, **more: Any) -> Iterator[ClientConnection]:
    with connect_socket(f"ws://{page.address}/live", max_size=None, **more) as socket:
        yield socket


def read(message: bytes) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the number of a message, and what it has by name; arrays are numpy's."""
    number, count = struct.unpack_from("<II", message)
    at, found = 8, {}
    for _ in range(count):
        head_bytes, body_bytes = struct.unpack_from("<II", message, at)
        head = json.loads(message[at + 8 : at + 8 + head_bytes])
        at += 8 + head_bytes + -head_bytes % 8
        body = message[at : at + body_bytes]
        at += body_bytes + -body_bytes % 8
        for one in (*head["parts"], *head["axes"]):
            if "dtype" in one:
                assert one["at"] % 8 == 0
                flat = np.frombuffer(body[one["at"] : one["at"] + one["bytes"]], f"<{one['dtype']}")
                one["array"] = flat.reshape(one["shape"])
        found[head["name"]] = head
    assert at == len(message)
    return number, found
