"""Let copies take the place of a machine that does not come back, also those that by themselves would not."""

from __future__ import annotations

import time

from ami.cluster.forming import FAIL_OVER_S, Forming
from ami.cluster.moving import Say
from ami.cluster.topology import Server
from ami.stores.link import Refused


class Succession:
    """The succession of the servers of one machine.

    Copies succeed by themselves, but not where too few primaries are left to vote, and not when they began
    anew since they heard of theirs: they do not know how old their values are, and would wait for it for
    ever. Who says that it is gone for good says that there are none that are newer.
    """

    def __init__(self, forming: Forming, host: str, say: Say, patience_s: float = FAIL_OVER_S) -> None:
        self._forming = forming
        self._host = host
        self._say = say
        self._patience_s = patience_s
        self._asked: dict[str, tuple[int, float]] = {}  # by primary: how often its copies were, and when

    def find_left(self) -> str:
        """Say which slots nobody else has yet, "" when there are none; call it until there are none.

        Raises:
            StoreError: call again.
        """
        left = 0
        for server in self._forming.known().on(self._host):
            if server.slots:
                left += server.slot_count
                self._ask_copies(server)
        return f"{left} slots are nobody else's" if left else ""

    def _ask_copies(self, server: Server) -> None:
        copies = [one for one in self._forming.known().replicas_of(server) if not one.is_silent]
        now, known = time.monotonic(), {one.address: self._offset(one) for one in copies}
        count, asked = self._asked.get(server.id, (0, now))
        if count == 0:
            self._asked[server.id] = (1, now)  # from now on it has time to do so by itself
        elif known and now - asked > self._patience_s:
            newest = max(known, key=known.__getitem__)
            how = "FORCE" if count == 1 else "TAKEOVER"  # with the others' votes, and without
            self._say(f"letting {newest[0]}:{newest[1]} take the place of {server}: {how}")
            self._asked[server.id] = (count + 1, now)
            try:
                self._forming.link(newest).ask("CLUSTER", "FAILOVER", how)
            except Refused as error:
                self._say(f"{newest[0]}:{newest[1]}: {error}")

    def _offset(self, copy: Server) -> int:
        return int(self._forming.link(copy.address).facts("INFO", "replication").get("slave_repl_offset", 0))
