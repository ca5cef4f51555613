"""Speak to viewers over a WebSocket: what they show, what is new of it, and how much they have drawn."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from ami.web.board import Board
from ami.web.chunks import join
from ami.web.pictures import Showing

UNDER_WAY: Final = 2  # messages that a viewer has not drawn yet
MOST_SHOWN: Final = 1000
MOST_VIEWERS: Final = 500
MOST_CHARACTERS: Final = 1 << 17
# A viewer that has drawn nothing for so long is gone, or its tab sleeps: it connects again.
PATIENCE_S: Final = 60.0
TOKEN_S: Final = 10.0

POLICY: Final = 1008  # close codes of RFC 6455
TRY_LATER: Final = 1013


class Refused(Exception):
    """A viewer says what cannot be understood, or may not look."""


class Viewers:
    """All who look. Used by the loop alone."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._viewers: set[Viewer] = set()
        self._news: dict[str, str] = {}  # the newest text of each kind
        self._refused = 0

    @property
    def count(self) -> int:
        return len(self._viewers)

    @property
    def figures(self) -> dict[str, float]:
        """For ``/metrics``."""
        return {
            "viewers": len(self._viewers), "viewers_refused_total": self._refused,
            "sent_bytes_total": Viewer.sent_bytes, "messages_total": Viewer.messages,
        }  # fmt: skip

    def tell(self, kind: str, content: Any) -> None:
        """Tell all viewers, and who comes later, of what is no result: the catalogue, say."""
        text = json.dumps({kind: content}, allow_nan=False)
        if self._news.get(kind) != text:
            self._news[kind] = text
            self.wake()

    def wake(self) -> None:
        """Let each look for what is new."""
        for viewer in self._viewers:
            viewer.wake()

    async def serve(self, socket: WebSocket, may_look: Callable[[str], bool], *, open_to_all: bool) -> None:
        """Serve one viewer until it goes.

        Args:
            may_look: whether a token is the right one.
            open_to_all: whether it needs none.
        """
        await socket.accept()
        if len(self._viewers) >= MOST_VIEWERS:
            self._refused += 1
            await _hang_up(socket, TRY_LATER, f"{MOST_VIEWERS} viewers look already; try again later")
            return
        viewer = Viewer(socket, self._board, self._news)
        try:
            if not open_to_all:
                await _ask_token(socket, may_look)
            self._viewers.add(viewer)
            await viewer.run(lambda: self._board.want(one.shown for one in self._viewers))
        except Refused as refusal:
            self._refused += 1
            await _hang_up(socket, POLICY, str(refusal))
        except (WebSocketDisconnect, TimeoutError, RuntimeError, OSError):
            with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
                await socket.close(TRY_LATER)
        finally:
            self._viewers.discard(viewer)
            self._board.want(one.shown for one in self._viewers)


class Viewer:
    """One of them: ``shown`` is what it shows."""

    sent_bytes = messages = 0  # to all together

    def __init__(self, socket: WebSocket, board: Board, news: Mapping[str, str]) -> None:
        self._socket = socket
        self._board = board
        self._news = news
        self._told: dict[str, str] = {}
        self.shown: dict[str, Showing] = {}
        self._seen: dict[str, int] = {}
        self._sent = self._drawn = 0
        self._new = asyncio.Event()
        self._new.set()

    def wake(self) -> None:
        self._new.set()

    async def run(self, shows: Callable[[], None]) -> None:
        """Listen and tell until one of both ends; ``shows`` is called when it shows something else."""
        tasks = {asyncio.create_task(self._listen(shows)), asyncio.create_task(self._tell())}
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        # Of all of them: what two say at once is heard once.
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _listen(self, shows: Callable[[], None]) -> None:
        while True:
            said = read_message(await _receive(self._socket))
            if "show" in said:
                before, self.shown = self.shown, read_shown(said["show"])
                # What is shown otherwise, or again, is new to this viewer.
                same = {name for name, showing in self.shown.items() if before.get(name) == showing}
                self._seen = {name: number for name, number in self._seen.items() if name in same}
                shows()
            if "ack" in said:
                if not isinstance(said["ack"], int) or not self._drawn <= said["ack"] <= self._sent:
                    raise Refused(f"ack {said['ack']!r}: {self._sent} messages were sent")
                self._drawn = said["ack"]
            self.wake()

    async def _tell(self) -> None:
        while True:
            async with asyncio.timeout(PATIENCE_S if self._sent > self._drawn else None):
                await self._new.wait()
            self._new.clear()
            for kind, text in tuple(self._news.items()):
                if self._told.get(kind) != text:
                    self._told[kind] = text
                    await self._send(text)
            if self._sent - self._drawn >= UNDER_WAY:
                continue
            found = self._board.read(self.shown, self._seen)
            if found:
                self._seen |= {name: chunk.number for name, chunk in found.items()}
                self._sent += 1
                Viewer.messages += 1
                await self._send(join(self._sent, [chunk.data for chunk in found.values()]))

    async def _send(self, message: str | bytes) -> None:
        Viewer.sent_bytes += len(message)
        async with asyncio.timeout(PATIENCE_S):
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)


def read_message(text: str) -> dict[str, Any]:
    """Return what a viewer says.

    Raises:
        Refused: it is no JSON object, or too long.
    """
    try:
        said = json.loads(text) if len(text) <= MOST_CHARACTERS else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Refused(f"a JSON object of at most {MOST_CHARACTERS} characters is wanted, got {text[:60]!r}")
    return said


def read_shown(wanted: Any) -> dict[str, Showing]:
    """Return what is to be shown, by name.

    Raises:
        Refused: it is not understood, or too much.
    """
    if not isinstance(wanted, dict) or len(wanted) > MOST_SHOWN:
        raise Refused(f"show: an object of at most {MOST_SHOWN} names is wanted")
    try:
        return {name: Showing(**how) for name, how in wanted.items()}
    except (TypeError, ValueError) as error:
        raise Refused(f"show: {error}") from None


async def _receive(socket: WebSocket) -> str:
    """Return the next text of a viewer; "" for bytes, which nobody understands."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", TRY_LATER))
    return message.get("text") or ""


async def _ask_token(socket: WebSocket, may_look: Callable[[str], bool]) -> None:
    async with asyncio.timeout(TOKEN_S):
        said = read_message(await _receive(socket))
    if not may_look(str(said.get("token", ""))):
        raise Refused("a token is wanted first; the link that `ami web` prints has it")


async def _hang_up(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
        await socket.send_text(json.dumps({"error": reason}))
        await socket.close(code)
