"""Viewers get the newest of what they show, never more than two messages ahead of what they have drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from ami.result import Result
from ami.web import live
from ami.web.board import Board
from ami.web.pictures import Showing
from tests.waiting import wait_until
from tests.web_rig import Page, page, read, viewer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture
def open_page(served: Page) -> Page:
    """The page without viewers."""
    wait_until(lambda: not served.viewers.count, what="the end of the viewers of before")
    return served


def show(on: Page, socket: ClientConnection, *names: str, **how: Any) -> None:
    """Let a viewer show these, and wait until the daemon knows."""

    def count() -> int:
        return sum(set(names) == one.shown.keys() for one in on.viewers._viewers)

    before = count()
    socket.send(json.dumps({"show": dict.fromkeys(names, how)}))
    wait_until(lambda: count() > before, what="what is shown")


def results(**values: Any) -> dict[str, Result]:
    return {name: Result(name=name, value=value) for name, value in values.items()}


def values(message: str | bytes) -> dict[str, Any]:
    assert isinstance(message, bytes)
    return {name: head["parts"][0]["value"] for name, head in read(message)[1].items()}


def nothing_comes(socket: ClientConnection) -> bool:
    with pytest.raises(TimeoutError):
        socket.recv(timeout=0.15)
    return True


def hangs_up(socket: ClientConnection) -> bool:
    with suppress(ConnectionClosed):
        while "error" in str(socket.recv()):
            pass
        return False
    return True


def test_a_viewer_gets_what_it_shows_and_nothing_else(open_page: Page) -> None:
    with viewer(open_page) as socket:
        show(open_page, socket, "a")
        open_page.board.put(results(a=1, b=2), 0)
        assert values(socket.recv()) == {"a": 1}
        open_page.board.put(results(b=3), 0)
        assert nothing_comes(socket)


def test_who_draws_slowly_has_two_messages_under_way_and_then_the_newest_of_each_name(
    open_page: Page,
) -> None:
    with viewer(open_page) as slow, viewer(open_page) as quick:
        for socket in (slow, quick):
            show(open_page, socket, "a", "rare")
        rare = {"rare": "once"}
        for number in range(1, 8):
            open_page.board.put(results(a=number, **rare), 0)
            message = quick.recv()
            assert values(message) == {"a": number, **rare}
            quick.send(json.dumps({"ack": read(message)[0]}))  # type: ignore[arg-type]
            if number <= live.UNDER_WAY:
                assert values(slow.recv()) == {"a": number, **rare}
            rare = {"rare": "twice"} if number == 4 else {}
        assert nothing_comes(slow)
        slow.send(json.dumps({"ack": 2}))
        # What came once, five messages ago, it gets all the same.
        assert values(slow.recv()) == {"a": 7, "rare": "twice"}
        assert nothing_comes(slow)


def test_what_is_shown_otherwise_is_sent_as_it_is_wanted_now_and_only_then_made(open_page: Page) -> None:
    with viewer(open_page) as socket:
        show(open_page, socket, "image", size=256)
        open_page.board.put(results(image=np.eye(600)), 0)
        (found,) = read(socket.recv())[1].values()  # type: ignore[arg-type]
        assert found["parts"][0]["shape"] == [200, 200]
        socket.send(json.dumps({"show": {"image": {"size": 1024, "pool": "max"}}}))
        wanted = frozenset([Showing(1024, "max")])
        wait_until(lambda: open_page.board.wanted["image"] == wanted, what="another size")
        open_page.board.put({}, 0)
        (found,) = read(socket.recv())[1].values()  # type: ignore[arg-type]
        assert found["parts"][0]["shape"] == [600, 600]


def test_what_is_no_result_is_told_when_it_changes_and_to_who_comes_later(tmp_path: Path) -> None:
    def tell(kind: str, content: Any) -> None:
        own.server.call(lambda: own.viewers.tell(kind, content))

    with page(tmp_path) as own, viewer(own) as first:
        tell("graph", 3)
        assert json.loads(first.recv()) == {"graph": 3}
        tell("graph", 3)
        assert nothing_comes(first)
        with viewer(own) as later:
            assert json.loads(later.recv()) == {"graph": 3}
            tell("graph", 4)
            assert json.loads(later.recv()) == json.loads(first.recv()) == {"graph": 4}


@pytest.mark.parametrize(
    "said",
    [
        "", "no json", "[]", "7", '"text"', "[" * 100_000, "x" * (live.MOST_CHARACTERS + 1), '{"show": []}',
        '{"show": {"a": {"size": 7}}}', '{"show": {"a": {"other": 1}}}', '{"show": {"a": 3}}',
        '{"show": {"a": {"size": [1]}}}', '{"ack": 1}', '{"ack": -1}', '{"ack": "x"}', '{"ack": 1e999}',
        json.dumps({"show": {f"r{n}": {} for n in range(live.MOST_SHOWN + 1)}}),
    ],
    ids=lambda said: said[:30],
)  # fmt: skip
def test_who_is_not_understood_is_told_why_and_nobody_else_notices(open_page: Page, said: str) -> None:
    with viewer(open_page) as other, viewer(open_page) as wrong:
        show(open_page, other, "a")
        wrong.send(said)
        assert json.loads(wrong.recv())["error"]
        with pytest.raises(ConnectionClosed):
            wrong.recv()
        open_page.board.put(results(a=1), 0)
        assert values(other.recv()) == {"a": 1}


def test_bytes_and_what_is_enormous_end_that_viewer_alone(open_page: Page) -> None:
    for said in (b"\x00\xff", "x" * (1 << 20)):
        with viewer(open_page) as wrong:
            wrong.send(said)
            assert hangs_up(wrong)
    wait_until(lambda: not open_page.viewers.count, what="their end")
    with viewer(open_page) as socket:
        show(open_page, socket, "a")
        open_page.board.put(results(a=1), 0)
        assert values(socket.recv()) == {"a": 1}


def test_what_nobody_shows_any_more_is_not_wanted(open_page: Page) -> None:
    with viewer(open_page) as socket:
        show(open_page, socket, "a", "b")
        with viewer(open_page) as second:
            show(open_page, second, "c")
            assert set(open_page.board.wanted) == {"a", "b", "c"}
        wait_until(lambda: set(open_page.board.wanted) == {"a", "b"}, what="the second one's end")
    wait_until(lambda: not open_page.board.wanted, what="the first one's end")


def test_each_way_to_show_a_result_is_made_once_for_all_who_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Showing] = []

    def encode(_result: Result, showing: Showing, _now_ns: int) -> bytes:
        made.append(showing)
        return b""

    monkeypatch.setattr("ami.web.board.encode_result", encode)
    board = Board(lambda: None)
    one, two = Showing(256), Showing(512)
    board.want([{"a": one}, {"a": one}, {"a": two}])
    board.put(results(a=1, other=2), 0)
    assert sorted(made, key=lambda showing: showing.size) == [one, two]
    board.put({}, 0)
    assert len(made) == 2
