"""Know of what was written that a copy has it, where a primary has copies that live.

A server answers before its copies have what it did; when it dies in between, they take its place without it.
So behind what somebody relies on (an edit that is answered, a batch whose flushes are let go of) comes
`WAIT`, on the same connection: it counts the copies that are as far as this connection's last command. What
one primary does arrives in order, so everything before is there, too.

A copy that is away must hold up nobody for long, and one that may take the primary's place must not be
passed over. Which one may is the cluster's to say, not the clock's: a primary goes on without a copy only
when it knows from the majority that the copy has failed, or that it has nothing yet (neither is in
`CLUSTER SLOTS`). One that was cut off itself hears of no majority. (Rejected: a copy that has not said for
3 s how far it is, as a primary that was cut off serves no longer than `cluster-node-timeout`, 2 s. When a
cable was out for 1 s, the old primary served again before it heard that its copy had been elected, and what
it had taken meanwhile was gone.) Before each write without a copy it is looked whether there is one again.
"""

from __future__ import annotations

import logging
import time

from ami.errors import StoreUnavailable
from ami.stores.held import Address
from ami.stores.link import NotDone, Reply, pack
from ami.stores.wire import Broken, Wire

logger = logging.getLogger(__name__)

# After which a copy that lost its primary does not take its place any more by itself: `cluster-node-timeout`,
# ten times that (`cluster-replica-validity-factor`), and `repl-ping-replica-period`.
STALE_S = 35.0
LAG_S = 3  # since a copy said how far it is, which it does each second
STEP_S = 0.5


class Copies:
    """The copies of one primary, as one link sees them.

    Args:
        address: of the primary, as the cluster has it.
        there: whether it has some, as the cluster says.
    """

    def __init__(self, address: Address, *, there: bool, patience_s: float) -> None:
        self._address = address
        self._what = f"the server at {address[0]}:{address[1]}"
        self._patience_s = patience_s
        self.there = there
        self._lacking_since: float | None = None

    def wait(self, wire: Wire) -> None:
        """Wait until a copy has what was written on this connection, or it is known that none may have it.

        Raises:
            StoreUnavailable: copies live, and none is so far; what was written may be lost.
            Broken: the server died, or is no primary any more.
        """
        if not self.there:
            if not self._ask(wire, 0.001) and not self._lives(wire):
                return
            self.there = True
        began = time.monotonic()
        while not self._ask(wire, STEP_S):
            now = time.monotonic()
            self._lacking_since = self._lacking_since or began
            if self._is_left_alone(wire, now - self._lacking_since):
                self.there, self._lacking_since = False, None
                logger.warning("%s has no copy that lives: what is written now would go with it", self._what)
                return
            if now - began >= self._patience_s:
                raise StoreUnavailable(
                    f"{self._what}: no copy has taken what was written within {now - began:.0f} s, so it is "
                    f"not certain that it stays"
                )
        self._lacking_since = None

    def _ask(self, wire: Wire, within_s: float) -> bool:
        return int(_say(wire, "WAIT", 1, max(1, int(within_s * 1000)))) > 0

    def _is_left_alone(self, wire: Wire, lacking_s: float) -> bool:
        state = _facts(_say(wire, "CLUSTER", "INFO")).get("cluster_state")
        if state != "ok" or self._lives(wire):
            return False
        return lacking_s >= STALE_S or not self._may_be_replaced(wire)

    def _may_be_replaced(self, wire: Wire) -> bool:
        """Whether the primary knows of a copy that has not failed, or has no slots any more."""
        mine = [nodes for _, _, *nodes in _say(wire, "CLUSTER", "SLOTS") if self._is_own(nodes[0])]
        return not mine or any(len(nodes) > 1 for nodes in mine)

    def _is_own(self, node: Reply) -> bool:
        host, port, *_ = node
        return (host or b"").decode() in ("", self._address[0]) and int(port) == self._address[1]

    def _lives(self, wire: Wire) -> bool:
        """Whether a copy lately said how far it is."""
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
