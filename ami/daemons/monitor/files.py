"""Have a server write its file anew, when there is room for it again after there was none.

What a server could append in part only, it cuts off again. Valkey 9.1 cuts at a wrong place if it has
written its file anew before: what follows lies behind a gap, and the next start refuses the file. What it
has in memory is whole, so the file is made from that. (Rejected: to repair the file at the next start. The
server's own repair cuts all that was accepted since.)
"""

from __future__ import annotations

import logging
from enum import Enum

from ami.stores.link import Refused
from ami.stores.server import OneServer

logger = logging.getLogger(__name__)


class _State(Enum):
    OWED = "it could not append"
    ASKED = "it writes its file anew"


class Files:
    """What is known of the files of this node's servers."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def look(self, name: str, server: OneServer) -> bool:
        """Look at a server, and ask it for a new file if that is due; return whether all is well with it.

        Raises:
            StoreError: it does not answer.
        """
        facts = server.facts("INFO", "persistence")
        if facts.get("aof_last_write_status", "ok") != "ok":
            self._states[name] = _State.OWED
        elif name in self._states and facts.get("aof_rewrite_in_progress") == "0":
            is_done = facts.get("aof_last_bgrewrite_status") == "ok"
            if self._states[name] is _State.ASKED and is_done:
                del self._states[name]
                logger.info("%s has written its file anew", name)
            else:
                self._ask(name, server)
        return name not in self._states

    def _ask(self, name: str, server: OneServer) -> None:
        try:
            server.ask("BGREWRITEAOF")
        except Refused as error:  # another child of it is at work
            logger.debug("%s does not write its file anew yet: %s", name, error)
        else:
            self._states[name] = _State.ASKED
