"""Edit the graph while processes die, and note when the edit is answered."""

from __future__ import annotations

import threading
import time

from ami.client import Client
from ami.errors import AmiError
from ami.lab.chaos.truth import SCRATCH

GIVE_UP_S = 30.0
PAUSE_S = 0.05


class Edit(threading.Thread):
    """One edit that nobody else's result depends on, asked for again until it is answered.

    ``answered_ns`` is wall-clock time; ``problem`` says why the last try failed.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(name="edit", daemon=True)
        self._client = client
        self.answered = threading.Event()
        self.answered_ns = 0
        self.tries = 0
        self.problem = "it was not asked for"

    def run(self) -> None:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            self.tries += 1
            try:
                self._client.reset(SCRATCH)
            except AmiError as error:
                self.problem = str(error)
                time.sleep(PAUSE_S)
            else:
                self.answered_ns = time.time_ns()
                self.answered.set()
                return
