"""supervisord tells systemd how the node is, as a service of it would be asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.cluster.node import Node
from tests.waiting import PATIENCE_S, wait_until


@pytest.fixture(params=["a path", "a name"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Where systemd listens, as it says it, and its ear. "@" begins the name of a socket that is no file."""
    place = f"@{tmp_path}" if request.param == "a name" else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind("\0" + place[1:] if place[0] == "@" else place)
        line.settimeout(PATIENCE_S)
        yield place, line


def test_systemd_hears_when_a_node_runs_that_it_goes_on_and_when_it_stops(
    systemd: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, line = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    node = Node(programs=["local-redis"])
    try:
        node.start()
        assert [line.recv(100), line.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
        # A program of the node cannot speak for it.
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{node.pid('local-redis')}/environ").read_bytes()
    finally:
        node.stop()
    wait_until(lambda: line.recv(100) == b"STOPPING=1", what="word of the stop")
