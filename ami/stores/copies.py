"""Know of what was written that a copy has it, where a primary has copies that live.

A server answers before its copies have what it did; when it dies in between, they take its place without it.
So behind what somebody relies on (an edit that is answered, a batch whose flushes are let go of) comes
`WAIT`, on the same connection: it counts the copies that are as far as this connection's last command. What
one primary does arrives in order, so everything before is there, too.

A copy that is away must hold up nobody for long, and one that is only late must not be passed over. After
``GONE_S``, which is longer than a primary that was cut off goes on (`cluster-node-timeout`), one that still
serves is with the majority; if it has no copy then that has lately said how far it is, its writes go on
without, and this is said once. From then on it is looked each second whether there is one again.
"""

from __future__ import annotations

import logging
import time

from ami.errors import StoreUnavailable
from ami.stores.link import NotDone, Reply, pack
from ami.stores.wire import Broken, Wire

logger = logging.getLogger(__name__)

GONE_S = 3.0
LAG_S = 3  # since a copy said how far it is, which it does each second
STEP_S = 0.5
LOOK_S = 1.0


class Copies:
    """The copies of one primary, as one link sees them.

    Args:
        what: the primary, for messages.
        there: whether it has some, as the cluster says.
    """

    def __init__(self, what: str, *, there: bool, patience_s: float) -> None:
        self._what = what
        self._patience_s = patience_s
        self.there = there
        self._look_at = 0.0

    def wait(self, wire: Wire) -> None:
        """Wait until a copy has what was written on this connection, or it is known that none lives.

        Raises:
            StoreUnavailable: copies live, and none is so far; what was written may be lost.
            Broken: the server died, or is no primary any more.
        """
        began = time.monotonic()
        if not self.there:
            if self._ask(wire, 0.001):
                self.there = True
                return
            if began < self._look_at or not self._lives(wire):
                return
            self.there = True
        while not self._ask(wire, STEP_S):
            lasted_s = time.monotonic() - began
            if lasted_s >= GONE_S and self._is_left_alone(wire):
                self.there = False
                logger.warning("%s has no copy that lives: what is written now would go with it", self._what)
                return
            if lasted_s >= max(self._patience_s, GONE_S):
                raise StoreUnavailable(
                    f"{self._what}: no copy has taken what was written within {lasted_s:.0f} s, so it is not "
                    f"certain that it stays"
                )

    def _ask(self, wire: Wire, within_s: float) -> bool:
        return int(_say(wire, "WAIT", 1, max(1, int(within_s * 1000)))) > 0

    def _is_left_alone(self, wire: Wire) -> bool:
        state = _facts(_say(wire, "CLUSTER", "INFO")).get("cluster_state")
        return state == "ok" and not self._lives(wire)

    def _lives(self, wire: Wire) -> bool:
        """Whether a copy lately said how far it is."""
        self._look_at = time.monotonic() + LOOK_S
        facts = _facts(_say(wire, "INFO", "replication"))
        copies = [
            dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
            for name, text in facts.items()
            if name.startswith("slave") and name[5:].isdecimal()
        ]
        return any(one.get("state") == "online" and int(one.get("lag", LAG_S + 1)) <= LAG_S for one in copies)


def _say(wire: Wire, *command: str | int) -> Reply:
    (reply,) = wire.converse(pack([command]), 1)
    if isinstance(reply, NotDone) or (isinstance(reply, Exception) and _is_no_primary(str(reply))):
        raise Broken(f"it is no primary any more: {reply}", stale=False)
    if isinstance(reply, Exception):
        raise reply
    return reply


def _is_no_primary(text: str) -> bool:
    return "UNBLOCKED" in text or "WAIT cannot be used" in text


def _facts(reply: Reply) -> dict[str, str]:
    lines = [line.partition(":") for line in bytes(reply).decode(errors="replace").splitlines()]
    return {name: value for name, colon, value in lines if colon}
