"""Let several clients edit one graph at once, and write down what each asked for, was told and saw."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from ami.client import Client
from ami.errors import AmiError, GraphError
from ami.graph.language.document import Document
from ami.lab.histories import ACCEPTED, REFUSED, UNKNOWN, Edit, Look

PAUSE_S = 0.02
# Of all clients: several ask for the same name with a text of their own, and one of them gets it.
CONTESTED = 0.2
REMOVED = 0.3
LOOKS = 0.2


class Editors:
    """Clients in threads, from ``with`` to its end.

    Args:
        connect: returns a client of a name; it is asked again when the store cannot be reached.
        field: of the events, that edits count.
        seed: of what they ask for.
        most: definitions that each has at once.
        pause_s: between two of its requests.
    """

    def __init__(
        self,
        connect: Callable[[str], Client],
        *,
        count: int = 5,
        field: str,
        seed: int = 1,
        most: int = 1000,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._connect = connect
        self._field = field
        self._most, self._pause_s = most, pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.edits: list[Edit] = []
        self.looks: list[Look] = []
        self._contests = 0
        self._threads = [
            threading.Thread(
                target=self._edit_on, args=(f"editor{number}", random.Random(seed * count + number))
            )
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each end what it does."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> int:
        """How many edits were so far."""
        with self._lock:
            return sum(1 for edit in self.edits if edit.answer == ACCEPTED)

    def _edit_on(self, name: str, chance: random.Random) -> None:
        number, mine = 0, list[str]()
        client: Client | None = None
        while not self._stop.is_set():
            try:
                client = client or self._connect(name)
            except AmiError:
                self._stop.wait(self._pause_s)
                continue
            number += 1
            draw = chance.random()
            if draw < LOOKS:
                with suppress(AmiError):
                    self.look(client)
            elif mine and (draw < LOOKS + REMOVED or len(mine) >= self._most):
                self._ask(client, mine.pop(), None)
            elif draw < LOOKS + REMOVED + CONTESTED:
                self._contests += 1  # approximately: all the better if two take the same
                self._ask(client, f"contest{self._contests // 3 % self._most}", self._make_text(name, number))
            else:
                wanted = f"{name}_{number}"
                if self._ask(client, wanted, self._make_text(name, number)) == ACCEPTED:
                    mine.append(wanted)
            self._stop.wait(self._pause_s)
        if client is not None:
            client.close()

    def _make_text(self, name: str, number: int) -> str:
        # No two of it are equal, so that one sees whose it is.
        return f"count({self._field} where {self._field} > {name.removeprefix('editor')}.{number:06d}5)"

    def _ask(self, client: Client, name: str, text: str | None) -> str:
        began, version = time.monotonic(), 0
        try:
            told = client.remove(name) if text is None else client.add(f"{name} = {text}")
            answer, version = ACCEPTED, int(told["version"])
        except GraphError:
            answer = REFUSED
        except AmiError:
            answer = UNKNOWN
        ended = time.monotonic()
        with self._lock:
            self.edits.append(
                Edit(
                    client=client.name, name=name, text=text, began=began, ended=ended, answer=answer,
                    version=version,
                )
            )  # fmt: skip
        return answer

    def look(self, client: Client) -> Look:
        """Look at the graph, and write it down.

        Raises:
            AmiError: that is not possible now.
        """
        began = time.monotonic()
        document = client.document()
        look = Look(
            began=began, ended=time.monotonic(), version=document.version, definitions=_read(document)
        )
        with self._lock:
            self.looks.append(look)
        return look


def _read(document: Document) -> dict[str, str]:
    return {name: definition.text for name, definition in document.definitions.items()}
