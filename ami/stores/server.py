"""Ask one server of the cluster by its address, whatever it says of the others.

For who looks after servers, and not after keys: nothing is sent elsewhere, nothing is tried again, and what a
server says instead of an answer (CLUSTERDOWN, LOADING) shows that it lives.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Self

from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.errors import NotLetIn, StoreUnavailable
from ami.stores.client import connect_locally, connect_to
from ami.stores.held import Address, Waits
from ami.stores.link import NotDone, Part, Refused, Reply, pack
from ami.stores.wire import Broken, Traffic, Wire


class OneServer(ABC):
    """A connection to one server; made at the first question, and anew after it broke.

    Args:
        answer_s: how long an answer may take.
    """

    def __init__(self, *, answer_s: float) -> None:
        self._waits = Waits(answer_s=answer_s, connect_s=min(1.0, answer_s))
        self._wire: Wire | None = None

    @abstractmethod
    def __str__(self) -> str:
        """Return where it is."""

    @abstractmethod
    def _connect(self, what: str) -> Wire:
        """Return a new connection."""

    def ask(self, *command: Part) -> Reply:
        """Return what the server says to a command.

        Raises:
            StoreUnavailable: nobody is there, or the answer does not come.
            NotLetIn: it does not accept the password.
            Refused: it refuses the command, or cannot carry it out now (CLUSTERDOWN, LOADING, MOVED).
        """
        reply = self._say(command)
        if isinstance(reply, NotDone):
            raise Refused(str(reply).partition(" ")[0], str(reply))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def text(self, *command: Part) -> str:
        """Return an answer that is text; see :meth:`ask`."""
        return bytes(self.ask(*command)).decode(errors="replace")

    def facts(self, *command: Part) -> dict[str, str]:
        """Return an answer of lines ``name:value``, as of INFO; see :meth:`ask`."""
        lines = [line.partition(":") for line in self.text(*command).splitlines()]
        return {name: value for name, colon, value in lines if colon}

    def answers(self) -> bool:
        """Say whether it answers anything at all: what it refuses, it refuses alive."""
        try:
            self._say(("PING",))
        except NotLetIn:
            return True
        except StoreUnavailable:
            return False
        return True

    def _say(self, command: tuple[Part, ...]) -> Reply:
        what = f"the server at {self}"
        try:
            if self._wire is None:
                self._wire = self._connect(what)
            return self._wire.converse(pack([command]), 1)[0]
        except NotDone as error:
            raise StoreUnavailable(f"{what} cannot be reached: {error}") from error
        except Broken as error:
            self.close()
            raise StoreUnavailable(f"{what} does not answer: {error}") from error

    def close(self) -> None:
        """Let go of the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


LOADING_LOOK_S = 0.1


class ServerLink(OneServer):
    """A connection to a server of the cluster.

    Args:
        config: who we are, for the server.
        loading_s: how long a question waits for a server that loads its data, as a new copy does.
    """

    def __init__(
        self, config: GlobalStoreConfig, address: Address, *, answer_s: float = 2.0, loading_s: float = 0.0
    ) -> None:
        super().__init__(answer_s=answer_s)
        self.address = address
        self._config = config
        self._loading_s = loading_s

    def ask(self, *command: Part) -> Reply:
        """See :meth:`OneServer.ask`."""
        ends = time.monotonic() + self._loading_s
        while True:
            try:
                return super().ask(*command)
            except Refused as error:
                if error.code != "LOADING" or time.monotonic() > ends:
                    raise
            time.sleep(LOADING_LOOK_S)

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def _connect(self, what: str) -> Wire:
        return connect_to(self.address, self._config, self._waits, what, Traffic())


class LocalServerLink(OneServer):
    """A connection to the node's own server, behind its socket."""

    def __init__(self, config: LocalStoreConfig, *, answer_s: float = 2.0) -> None:
        super().__init__(answer_s=answer_s)
        self._path = str(config.socket)

    def __str__(self) -> str:
        return self._path

    def _connect(self, what: str) -> Wire:
        return connect_locally(self._path, self._waits, what, Traffic())
