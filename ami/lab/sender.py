"""Run `ami-daq` beside the machines of a lab: it deals them events, is killed, and goes on."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

from ami.cluster.supervised import PROJECT
from ami.errors import AmiError
from ami.lab.machines import OWN_ADDRESS, Machine

PORT = 5577
LEASE_S = 5.0
STOP_S = 60.0


class Sender:
    """The sender of a source's events.

    Args:
        uri: of the source.
        nodes: how many it waits for at first.
    """

    def __init__(self, uri: str, nodes: int) -> None:
        self._uri, self._nodes = uri, nodes
        self._folder = tempfile.TemporaryDirectory(prefix="ami-sender-", dir="/tmp")
        self._figures = Path(self._folder.name, "figures")
        self._address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def listen_beside(self, machine: Machine) -> None:
        """Listen where this machine finds this process."""
        self._address = f"{machine.address.rpartition('.')[0]}.{OWN_ADDRESS}:{PORT}"

    @property
    def address_for_nodes(self) -> str:
        """What a node has as its source."""
        return f"daq://{self._address}?plain=yes"

    def start(self) -> None:
        """Start it, or its successor."""
        command = [
            str(PROJECT / "bin" / "ami-daq"), self._uri, "--bind", self._address, "--plain", "--json",
            "--nodes", str(self._nodes), "--lease", str(LEASE_S),
            "--book", str(Path(self._folder.name, "book")),
        ]  # fmt: skip
        with self._figures.open("ab") as file:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self._nodes = 1  # a successor does not wait

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Kill it, and start its successor."""
        self.kill()
        self.start()

    def stop(self) -> int:
        """Let it read nothing more, and bring home what it dealt; return how many events that was.

        Raises:
            AmiError: it does not end.
        """
        assert self._process is not None
        self._process.terminate()
        deadline = time.monotonic() + STOP_S
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise AmiError(f"ami-daq does not end within {STOP_S:g} s")
            time.sleep(0.02)
        lines = [line for line in self._figures.read_text().splitlines() if line.startswith("{")]
        figures = json.loads(lines[-1])
        if figures["lost"] or figures["safe"] != figures["dealt"]:
            raise AmiError(f"of {figures['dealt']} events {figures['safe']} are safe, {figures['lost']} lost")
        return int(figures["position"])
