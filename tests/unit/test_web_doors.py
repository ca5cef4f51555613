"""Who may not come in is told so, and reaches nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ami.errors import ConfigError
from ami.web import doors
from ami.web.doors import Allowance, Doors, Token
from tests.web_rig import Page, page, viewer


class Asked:
    """Stands for a client; says what reached it."""

    def __init__(self) -> None:
        self.edits: list[tuple[str, dict[str, Any]]] = []
        self.dry_run = False

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None: ...

    def catalogue(self) -> dict[str, Any]:
        return {}

    def results(self) -> dict[str, Any]:
        return {}

    def request(self, action: str, **fields: Any) -> dict[str, Any]:
        self.edits.append((action, fields))
        return {"version": 3}


@pytest.fixture(scope="module")
def one() -> Asked:
    return Asked()


@pytest.fixture
def asked(one: Asked) -> Asked:
    one.edits.clear()
    return one


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory, one: Asked) -> Iterator[Page]:
    with page(tmp_path_factory.mktemp("page"), one) as found:
        yield found


EDITS = [
    ("POST", "/api/graph", {"action": action, "name": "eve"})
    for action in ("add", "replace", "set", "remove", "undo", "rollback", "reset")
] + [("PUT", "/api/layouts/a", {}), ("DELETE", "/api/layouts/a", {})]  # type: ignore[list-item]


@pytest.mark.parametrize(("method", "path", "body"), EDITS)
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"Cookie": "x"}]
)
def test_nothing_is_changed_without_the_token(
    open_page: Page, asked: Asked, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    status, said, _ = open_page.ask(path, json.dumps(body).encode(), method, **headers)
    assert status == 401
    assert "token" in said["error"]
    assert not asked.edits


@pytest.mark.parametrize("action", ["set", "remove", "undo", "rollback", "reset"])
def test_what_takes_from_others_can_be_bound_to_the_version_that_was_looked_at(
    open_page: Page, asked: Asked, action: str
) -> None:
    body = json.dumps({"action": action, "name": "eve", "force": True, "expected_version": 7}).encode()
    assert open_page.ask("/api/graph", body, authorization=f"Bearer {open_page.token}")[0] == 200
    assert asked.edits == [(action, {"force": True, "expected_version": 7})]


def test_with_the_token_an_edit_is_the_clients_own_request(open_page: Page, asked: Asked) -> None:
    right = {"Authorization": f"Bearer {open_page.token}"}
    body = {"action": "remove", "name": "anna", "names": ["a"], "force": True, "dry_run": True}
    assert open_page.ask("/api/graph", json.dumps(body).encode(), **right)[:2] == (200, {"version": 3})
    assert asked.edits == [("remove", {"names": ["a"], "force": True})]
    assert asked.dry_run


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"\xff", b"[" * 100_000, b'{"action": "conquer"}',
     b'{"action": "add", "text": "a = count(x)"}', b'{"action": "add", "name": 3}',
     b'{"action": "undo", "name": "a", "text": "x"}'],
)  # fmt: skip
def test_what_is_no_edit_is_refused_with_what_is_wanted(open_page: Page, asked: Asked, body: bytes) -> None:
    status, said, _ = open_page.ask("/api/graph", body, "POST", Authorization=f"Bearer {open_page.token}")
    assert status == 400
    assert "wanted" in said["error"] or "it has" in said["error"]
    assert not asked.edits


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:80"]
)
def test_a_name_that_is_not_this_hosts_is_refused(open_page: Page, host: str) -> None:
    assert open_page.ask("/api/results", Host=host)[0] == 403
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)),
        viewer(open_page, additional_headers={"Host": host}),
    ):
        pass


@pytest.mark.parametrize("host", ["beamline", "beamline:7390", "LOCALHOST", "127.0.0.1", "[::1]:3"])
def test_its_names_are_taken_with_any_port(open_page: Page, host: str) -> None:
    assert open_page.ask("/api/results", Host=host)[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost.evil"]
)
def test_a_page_of_another_site_gets_nothing(open_page: Page, origin: str) -> None:
    assert open_page.ask("/api/results", Origin=origin)[0] == 403
    with pytest.raises(InvalidStatus), viewer(open_page, additional_headers={"Origin": origin}):
        pass
    own = {"Origin": f"http://{open_page.address}"}
    assert open_page.ask("/api/results", **own)[0] == 200


def test_every_answer_says_that_nothing_foreign_may_run_in_the_page(open_page: Page) -> None:
    for path in ("/", "/api/results", "/healthz", "/not-there", "/static/none"):
        _, _, headers = open_page.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert open_page.ask("/api/results", Host="evil")[2]["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/static/../stage.py", "/static/%2e%2e/stage.py", "/static/..%2fstage.py", "/../etc/passwd"]
)
def test_no_file_but_the_pages_own_is_served(open_page: Page, path: str) -> None:
    status, said, _ = open_page.ask(path)
    assert status == 404
    assert "class" not in str(said)


@pytest.mark.parametrize("header", [f"Content-Length: {doors.MOST_BYTES + 1}", "Transfer-Encoding: chunked"])
def test_what_is_too_large_is_refused_whatever_its_header_says(
    open_page: Page, asked: Asked, header: str
) -> None:
    lines = ["POST /api/graph HTTP/1.1", f"Host: {open_page.address}", header]
    head = "\r\n".join([*lines, f"Authorization: Bearer {open_page.token}", "", ""]).encode()
    body = json.dumps({"action": "add", "name": "a", "text": "x" * doors.MOST_BYTES}).encode()
    with socket.create_connection(("127.0.0.1", open_page.server.port)) as sent:
        sent.sendall(head)
        if "chunked" in header:
            with suppress(ConnectionError):  # it hangs up on who goes on
                sent.sendall(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        with suppress(ConnectionError):
            assert sent.recv(1000).startswith(b"HTTP/1.1 413")
    assert not asked.edits


def test_edits_come_at_a_bounded_rate(tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "EDITS_PER_S", 0.0)  # however long the asking takes
    with page(tmp_path, asked) as own:
        right = {"Authorization": f"Bearer {own.token}"}
        body = b'{"action": "undo", "name": "a"}'
        answers = [own.ask("/api/graph", body, **right)[0] for _ in range(int(doors.EDITS_AT_ONCE) + 3)]
    assert answers == [200] * int(doors.EDITS_AT_ONCE) + [429] * 3
    assert answers.count(200) == len(asked.edits)


def test_an_allowance_is_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(doors.time, "monotonic", lambda: now[0])
    allowance = Allowance(10, 5)
    assert [allowance.take() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] = 0.25
    assert [allowance.take() for _ in range(4)] == [True, True, False, False]


def far(path: str, method: str = "GET", **headers: str) -> int:
    """Return the status that somebody on another host is given."""
    answers: list[Any] = []

    async def inside(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run() -> None:
        async def send(message: Any) -> None:
            answers.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        sent = {"host": "beamline:7390", **headers}
        scope = {
            "type": "http", "method": method, "path": path, "client": ("10.1.2.3", 999), "state": {},
            "headers": [(name.encode(), text.encode()) for name, text in sent.items()],
        }  # fmt: skip
        await Doors(inside, token=TOKEN, hosts=("beamline",))(scope, receive, send)

    asyncio.run(run())
    return int(answers[0]["status"])


TOKEN: Token


def test_from_another_host_reading_needs_the_token_too(tmp_path: Path) -> None:
    global TOKEN  # noqa: PLW0603  # what `far` shows
    TOKEN = Token(tmp_path / "token")
    right = {"authorization": f"Bearer {TOKEN.read()}"}
    for path in ("/api/results", "/api/graph", "/api/status", "/metrics", "/openapi.json", "/api/layouts"):
        assert far(path) == 401
        assert far(path, **right) == 200
    for path in ("/", "/static/page.js", "/healthz", "/readyz"):
        assert far(path) == 200


def test_another_file_is_another_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = Token(path)
    first = token.read()
    assert path.stat().st_mode & 0o777 == 0o600
    assert token.is_right(first)
    path.unlink()
    second = token.read()
    assert token.is_right(second)
    assert not token.is_right(first)
    assert not token.is_right("")
    assert not token.is_right("\ud800")
    path.chmod(0o644)
    assert not token.is_right(second)
    with pytest.raises(ConfigError, match="chmod 600"):
        token.read()
    path.chmod(0o600)
    path.write_text("short\n")
    with pytest.raises(ConfigError, match="16 characters"):
        token.read()
