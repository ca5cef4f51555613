"""Be the page's daemon: read what viewers show, as a client does, and put it on the board for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from ami.client.client import Client
from ami.client.updates import Updates
from ami.daemons.process.stage import Setup
from ami.errors import StoreError
from ami.web.api import Api
from ami.web.app import Parts, make_app
from ami.web.board import NOTHING, Board, Wanted
from ami.web.doors import Token, own_names
from ami.web.layouts import Layouts
from ami.web.live import Viewers
from ami.web.server import CannotListen, Server

logger = logging.getLogger(__name__)

TICK_S: Final = 0.1  # results reach a page ten times a second, at most
LOOK_S: Final = 1.0  # between two looks at the catalogue and the graph's version
WAIT_S: Final = 0.5
AGAIN_S: Final = 5.0  # until an address that somebody has is tried again


class WebStage:
    """Serves the page. Only the loop of the server speaks to viewers; only the stage reads results."""

    def __init__(self, setup: Setup) -> None:
        self._config = setup.config
        self._stopping = setup.stopping
        self._store = setup.stores.cluster("web")
        self._layouts = Layouts(self._store)
        self._ahead_ns = 0  # the store's clock against this host's
        self._token = Token(setup.config.web.token_file)
        self._board = Board(self._wake)
        self._viewers = Viewers(self._board)
        self._client: Client | None = None
        self._updates: Updates | None = None
        self._reads: Wanted = NOTHING
        self._server: Server | None = None
        self._failed, self._trouble = "", "starting"
        self._again_at = self._look_at = 0.0
        self._ticks = 0

    @property
    def state(self) -> str:
        if self._failed:
            return f"failed: {self._failed}"
        if self._server is None:
            return "starting"
        return f"running: http://{_bracketed(self._config.web.host)}:{self._server.port}"

    @property
    def counters(self) -> Mapping[str, float]:
        board = self._board
        return {
            **self._viewers.figures, "ticks_total": self._ticks, "encodings_total": board.encoded,
            "encoded_bytes_total": board.encoded_bytes, "encoded_age_seconds_total": board.encoded_age_s,
        }  # fmt: skip

    def start(self) -> None:
        """Begin to listen to the cluster.

        Raises:
            StoreUnavailable: call again.
            ConfigError: the token's file.
        """
        self._token.read()
        self._client = Client(self._config)

    def step(self) -> None:
        if self._server is None or not self._server.is_alive:
            self._open()
            return
        began = time.monotonic()
        try:
            self._look()
            self._read()
            self._ticks += 1
            self._trouble = ""
        except StoreError as error:
            self._trouble = str(error)
            raise
        self._stopping.wait(max(0.0, began + TICK_S - time.monotonic()))

    def _open(self) -> None:
        if time.monotonic() < self._again_at:
            self._stopping.wait(WAIT_S)
            return
        if self._server is not None:  # it died, and its socket would keep the address
            self._server.close()
            self._server = None
        web = self._config.web
        assert self._client is not None
        app = make_app(
            Parts(
                api=Api(self._client, self._connect, self._layouts),
                viewers=self._viewers,
                token=self._token,
                hosts=own_names(web.host, web.names),
                ready=lambda: self._trouble,
                figures=lambda: self.counters,
            )
        )
        try:
            self._server = Server(app, web.host, web.port)
        except CannotListen as error:
            if str(error) != self._failed:
                logger.error("%s", error)
            self._failed, self._again_at = str(error), time.monotonic() + AGAIN_S
            return
        self._server.start()
        self._failed = ""
        logger.info("the page is at http://%s:%d", web.host, self._server.port)

    def _connect(self, name: str) -> Client:
        return Client(self._config, name=name)

    def _wake(self) -> None:
        if self._server is not None:
            self._server.call(self._viewers.wake)

    def _look(self) -> None:
        """Tell what is published, and which version runs, if that is not as before."""
        if time.monotonic() < self._look_at or not self._viewers.count:
            return
        assert self._client is not None
        assert self._server is not None
        self._look_at = time.monotonic() + LOOK_S
        catalogue, (version, _) = self._client.catalogue(), self._client.graph_version()
        self._ahead_ns = self._store.time_ns() - time.time_ns()
        told = {name: dict(facts) for name, facts in catalogue.items()}
        self._server.call(lambda: self._viewers.tell("catalogue", told))
        self._server.call(lambda: self._viewers.tell("graph", version))

    def _read(self) -> None:
        """Read what somebody shows, and put it on the board."""
        assert self._client is not None
        wanted = self._board.wanted
        if not wanted:
            self._updates, self._reads = None, NOTHING
            self._board.asked.wait(WAIT_S)
            self._board.asked.clear()
            return
        if self._updates is None or wanted.keys() != self._reads.keys():
            self._updates = self._client.updates(wanted.keys())
        new = wanted != self._reads
        self._reads = wanted
        results = self._updates.take(0.0 if new else WAIT_S)
        if results or new:
            self._board.put(results, time.time_ns() + self._ahead_ns)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._client is not None:
            self._client.close()


def _bracketed(host: str) -> str:
    """Return a host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
