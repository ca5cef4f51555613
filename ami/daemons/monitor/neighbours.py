"""Watch the node before this one in the ring of members, and call the operator's command when it is gone.

A node is gone when none of its processes kept its name, for as long as it may be silent and then
`monitor.gone_s` more; so a machine under load, whose heartbeats come late, is not. While the store does not
answer, nobody knows anything, and the time begins anew. Each node that is gone is one monitor's: that of the
next node behind it, by name, that lives; if that one goes, too, both are the next one's. Who calls the
command takes a lease first, which lasts `AGAIN_S`: nobody calls it again for that node meanwhile.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Collection, Sequence

from ami.config import Config
from ami.errors import StoreError
from ami.messages.heartbeat import Heartbeat
from ami.stores import Store, keys
from ami.stores.membership import Members

logger = logging.getLogger(__name__)

LOOK_S = 2.0
AGAIN_S = 600.0
MOST_S = 60.0  # of the command


def who_watches(gone: str, here: Collection[str]) -> str:
    """Return which of the nodes that live watches one that is gone; "": none lives."""
    return min(here, key=lambda host: (host < gone, host), default="")


class Neighbours:
    """What the monitor of a node does about others.

    Args:
        reducer: what belongs to the cluster's global reducer, where the members are.
        own: what belongs to the cluster's monitors.
    """

    def __init__(self, config: Config, reducer: Store, own: Store) -> None:
        self._host = config.node.host
        self._gone_s = config.monitor.gone_s
        self._command: Sequence[str] = config.monitor.gone_command
        self._reducer, self._own = reducer, own
        self._since: dict[str, float] = {}  # of each node that is gone
        self._called: set[str] = set()
        self._running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        self._look_at = 0.0

    @property
    def gone(self) -> list[str]:
        """The nodes that are gone, and not for this moment only."""
        now = time.monotonic()
        return sorted(host for host, since in list(self._since.items()) if now - since >= self._gone_s)

    def look(self) -> None:
        """See who is gone, and call the command for whom this node watches."""
        now = time.monotonic()
        self._reap(now)
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        try:
            members = Members.read(self._reducer)
        except StoreError:
            self._since.clear()
            return
        for host in members.gone - self._since.keys():
            self._note(host)
        self._since = {host: self._since.get(host, now) for host in members.gone}
        self._called &= members.gone
        for host in self.gone:
            if host not in self._called and who_watches(host, members.here) == self._host:
                self._call(host)

    def _note(self, host: str) -> None:
        """Write down how far its source was, while its last heartbeat is there: what it had not delivered."""
        try:
            beat = self._reducer.view(keys.prefix(host, "source", 0)).get(keys.HEARTBEAT)
            if isinstance(beat, Heartbeat) and "position" in beat.counters:
                self._own.put(keys.last(host), int(beat.counters["position"]))
        except StoreError as error:
            logger.debug("how far %s was is not known: %s", host, error)

    def _call(self, host: str) -> None:
        try:
            is_mine = not self._command or self._own.lease(f"gone:{host}", AGAIN_S).acquire()
        except StoreError as error:
            logger.warning("%s is gone; nothing is done about it yet: %s", host, error)
            return
        self._called.add(host)
        logger.error("%s is gone: it has not said for %.0f s that it lives", host, self._gone_s)
        if not self._command or not is_mine:
            return
        try:
            process = subprocess.Popen([*self._command, host], stdin=subprocess.DEVNULL)
        except OSError as error:
            logger.error("monitor.gone_command cannot be run: %s", error)
            return
        logger.warning("called %s %s", " ".join(self._command), host)
        self._running[host] = (process, time.monotonic() + MOST_S)

    def _reap(self, now: float) -> None:
        for host, (process, ends) in list(self._running.items()):
            if process.poll() is None and now < ends:
                continue
            if process.poll() is None:
                process.kill()
            logger.warning("monitor.gone_command for %s ended with %d", host, process.wait())
            del self._running[host]

    def close(self) -> None:
        """Leave commands that run to themselves."""
        self._running.clear()
