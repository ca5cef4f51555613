"""See to who may come in: names of this host, other sites' pages, tokens, sizes and rates."""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import secrets
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ami.errors import ConfigError

MOST_BYTES: Final = 1 << 20  # of what is sent to us
EDITS_PER_S, EDITS_AT_ONCE = 20.0, 60.0
# What says nothing of the experiment: the page itself, and whether it is up.
OPEN: Final = ("/", "/static/", "/healthz", "/readyz")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


_HEADERS: Final = [(name.encode(), text.encode()) for name, text in HEADERS.items()]


class Token:
    """The secret of who edits, in a file that its owner alone may read; another file is another secret."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Return the token; make one if there is no file.

        Raises:
            ConfigError: it cannot be read or made, or others can read it.
        """
        try:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._make()
            if self._path.stat().st_mode & 0o077:
                raise ConfigError(f"others can read {self._path}, the token of the page: `chmod 600` it")
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._path}: no token of the page: {error}") from error
        if len(token) < 16:
            raise ConfigError(
                f"{self._path}: a token has 16 characters or more; remove the file for a new one"
            )
        return token

    def _make(self) -> None:
        with suppress(FileExistsError):
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")

    def is_right(self, token: str) -> bool:
        """Return whether this is the token that the file has now."""
        try:
            return hmac.compare_digest(token.encode("utf-8", "replace"), self.read().encode())
        except ConfigError:
            return False


class Doors:
    """The outermost part of the application: what does not pass here reaches nothing else.

    Args:
        hosts: names, besides addresses of loopback, under which this host may be spoken to.
        refused: counts who is refused, by status.
    """

    def __init__(
        self, inside: ASGIApp, *, token: Token, hosts: tuple[str, ...], refused: Counter[int] | None = None
    ) -> None:
        self._inside = inside
        self._token = token
        self._hosts = {*(host.lower() for host in hosts), "localhost", "127.0.0.1", "::1"}
        self._allowance = Allowance(EDITS_PER_S, EDITS_AT_ONCE)
        self._refused = Counter() if refused is None else refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._inside(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            self._refused[refusal[0]] += 1
        if refusal is None:
            scope["state"]["near"] = is_near(scope)
            await self._inside(scope, _limited(receive, scope), _with_headers(send, scope))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1][:120]})
        else:
            await _answer(_with_headers(send, scope), *refusal)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # A page of another site may have let its name point here.
        if _name(host) not in self._hosts:
            return 403, f"this host is not called {_name(host)[:80]!r}; web.names has what else it is called"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "a page of another site may not ask for this"
        path, changes = scope["path"], scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        if int(headers.get("content-length") or 0) > MOST_BYTES:
            return 413, f"at most {MOST_BYTES} bytes are taken"
        if scope["type"] == "websocket" or ((path in OPEN or path.startswith("/static/")) and not changes):
            return None  # a viewer shows its token in its first message
        if changes or not is_near(scope):
            kind, _, token = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not self._token.is_right(token):
                return 401, "a token is wanted: open the link that `ami web` prints"
        if changes and not self._allowance.take():
            return 429, f"more than {EDITS_PER_S:g} edits a second; try again in a moment"
        return None


class Allowance:
    """So many a second, and some more at once."""

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s, self._most = per_s, most
        self._left, self._at = most, time.monotonic()

    def take(self) -> bool:
        """Return whether one more may be."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def is_near(scope: Scope) -> bool:
    """Return whether who asks is on this machine."""
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def own_names(host: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what this host may be called: its names, the address that it listens at, and the settings'."""
    return (socket.gethostname(), socket.getfqdn(), host, *names)


def _name(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _limited(receive: Receive, scope: Scope) -> Receive:
    """Return ``receive`` that hands on no more than :data:`MOST_BYTES`, whatever a header said."""
    if scope["type"] != "http":
        return receive
    left = MOST_BYTES

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return limited


def _with_headers(send: Send, scope: Scope) -> Send:
    if scope["type"] != "http":
        return send

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return with_headers


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
