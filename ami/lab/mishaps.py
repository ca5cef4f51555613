"""What befalls a node from outside: no memory, no disk, another node on its ring, a supervisord that is gone.

Memory and disk are the small ones of :mod:`ami.lab.walls`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ami.client import connect
from ami.cluster.node import Node
from ami.errors import AmiError
from ami.lab import arena, walls
from ami.lab.arena import Arena, NotYet
from ami.lab.witness import Guest


def _tell(words: str, place: Arena) -> str:
    return "; ".join(line for line in place.client.status().problems if words in line) or "nothing"


def fill_up(what: str, folder: Path, words: str) -> Guest:
    """Return who leaves not one byte free where a folder is; status has these words of it."""
    return Guest(
        f"{what} is full",
        lambda _place: walls.fill(folder),
        lambda _place: walls.filler(folder).unlink(),
        tell=lambda place: _tell(words, place),
    )


class _Foreigner:
    """Another node, with a folder and stores of its own, that was given the same ring."""

    def __init__(self, below: Path) -> None:
        self._below = below
        self._node: Node | None = None
        self._told = ""

    def come(self, place: Arena) -> None:
        ring = {"AMI_RING_NAME": place.node.config.ring.name}
        self._node = Node(source="sim://pump-probe?rate=100", workers=1, settings=ring, below=self._below)
        self._node.start()
        with connect(self._node.config, name="operator", timeout_s=arena.CALL_S) as client:

            def look() -> str:
                try:
                    status = client.status()
                except AmiError as error:  # it is only just starting
                    raise NotYet(str(error)) from error
                lines = (*status.problems, *status.warnings)
                found = next((line for line in lines if ring["AMI_RING_NAME"] in line), "")
                if not found:
                    raise NotYet("; ".join(lines))
                return found

            try:
                self._told = place.wait_for("a refusal of the ring", look)
            except AmiError:
                self.go(place)
                raise

    def go(self, _place: Arena) -> None:
        if self._node is not None:
            self._node.stop()

    def tell(self, _place: Arena) -> str:
        return f"the other node: {self._told}"


def _restart(place: Arena) -> None:
    """Kill supervisord, which leaves its programs behind, and start it again."""
    os.kill(place.node.supervisor_pid, signal.SIGKILL)
    place.wait_for("the end of supervisord", lambda: not place.node.is_alive())
    place.node.start()


def _stay_away(_place: Arena) -> None:
    """It is over."""


def _tell_of_orphans(place: Arena) -> str:
    lines = place.node.logs("supervisord").splitlines()
    return next((line for line in reversed(lines) if "left" in line), "nothing")


@contextmanager
def prepared() -> Iterator[tuple[tuple[Guest, ...], Path]]:
    """Put up walls; yield the mishaps within them, and where a node is to have its folder.

    Raises:
        AmiError: this process may not put them up.
    """
    with walls.put_up() as folder:
        foreigner = _Foreigner(folder)
        yield (
            (
                fill_up("/dev/shm", walls.SHM, "/dev/shm"),
                fill_up("the disk of the node's folder", folder, "disk"),
                Guest("another node on its ring", foreigner.come, foreigner.go, tell=foreigner.tell),
                Guest(
                    "supervisord is killed, and started again", _restart, _stay_away, tell=_tell_of_orphans
                ),
            ),
            folder,
        )
