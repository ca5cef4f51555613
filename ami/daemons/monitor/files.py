"""Have a server write its file anew, if more is in it than the server knows: it could not append at a time.

What a server could append in part only, it cuts off again. Valkey 9.1 cuts at a wrong place if it has
written its file anew before: the part stays, and the next start refuses the file. What it has in memory is
whole, so the file is made from that. That it could not append it says for as long as it lasts, which may be
a moment; so the files are looked at, too. (Rejected: to repair the file at the next start. The server's own
repair cuts all that was accepted since.)
"""

from __future__ import annotations

import logging
from pathlib import Path

from ami.stores.link import Refused
from ami.stores.server import OneServer

logger = logging.getLogger(__name__)


class Files:
    """What is known of the files of this node's servers."""

    def __init__(self) -> None:
        self._manifests: dict[str, Path] = {}
        self._owed: dict[str, bool] = {}  # by server: whether it was asked

    def look(self, name: str, server: OneServer) -> bool:
        """Look at a server, and ask it for a new file if that is due; return whether its file is whole.

        Raises:
            StoreError: it does not answer.
        """
        there = self._measure(name, server)  # before the server says how much it should be: it only grows
        facts = server.facts("INFO", "persistence")
        if "aof_current_size" not in facts or facts.get("aof_rewrite_in_progress") != "0":
            return name not in self._owed
        fails = facts.get("aof_last_write_status") != "ok"
        if fails:
            self._owed[name] = False
        # Until it has written its file anew it cuts at the right place, and counts not all that is there.
        elif int(facts["aof_base_size"]) and there > int(facts["aof_current_size"]):
            self._owed.setdefault(name, False)
            self._ask(name, server)
        elif self._owed.pop(name, False):
            logger.info("%s has written its file anew", name)
        return name not in self._owed

    def _ask(self, name: str, server: OneServer) -> None:
        try:
            server.ask("BGREWRITEAOF")
        except Refused as error:  # another child of it is at work
            logger.debug("%s does not write its file anew yet: %s", name, error)
        else:
            logger.warning("%s could append in part only at a time: it writes its file anew", name)
            self._owed[name] = True

    def _measure(self, name: str, server: OneServer) -> int:
        """Return how many bytes are in the files from which the server would start."""
        manifest = self._manifests.get(name)
        if manifest is None:
            asked = ("dir", "appenddirname", "appendfilename")
            told = [bytes(server.ask("CONFIG", "GET", one)[1]).decode() for one in asked]
            manifest = self._manifests[name] = Path(told[0], told[1], f"{told[2]}.manifest")
        try:
            rows = [line.split() for line in manifest.read_text().splitlines()]
            # file NAME seq N type b(ase), i(ncremental) or h(istory)
            return sum((manifest.parent / row[1]).stat().st_size for row in rows if row[5] in ("b", "i"))
        except (OSError, IndexError):
            return 0  # it replaces them just now, or has none
