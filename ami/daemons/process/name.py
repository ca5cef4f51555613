"""Make sure that no other node has this node's name, as long as a process of it lives.

Everything in the global store goes by the names of nodes: inboxes, marks, heartbeats. Two nodes of one name
would take each other's batches for their own, and kill each other's processes.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ami.config import NodeConfig
from ami.errors import ConfigError, StoreUnavailable
from ami.stores import Store, keys

logger = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
SLACK_S = 1.0


def identify(node: NodeConfig) -> str:
    """Return what tells this node from every other: machine, its last boot, and the node's folder."""
    machine = next((one for one in map(_read, MACHINE_IDS) if one), "unknown")
    return f"machine {machine} booted {_read(BOOT_ID) or 'unknown'} folder {node.run_dir}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class NodeName:
    """The name of this node in the cluster.

    Args:
        store: what belongs to the cluster's global reducer.

    Attributes:
        taken_by: the other node that has it, once that is certain; "" else.
    """

    def __init__(self, store: Store, node: NodeConfig) -> None:
        self._host = node.host
        self._claim = store.claim(keys.node(node.host), keys.NODE_LEASE_S, identify(node))
        self._waits_since = 0.0
        self.is_ours = False
        self.taken_by = ""

    def take(self) -> None:
        """Take the name.

        Raises:
            StoreUnavailable: another node had it a moment ago; call again.
            ConfigError: another node has it, and lives.
        """
        other = self._claim.take()
        if not other:
            self.is_ours, self._waits_since = True, 0.0
            return
        now = time.monotonic()
        self._waits_since = self._waits_since or now
        if now - self._waits_since > keys.NODE_LEASE_S + SLACK_S:
            raise ConfigError(self._refuse(other))
        raise StoreUnavailable(f"the name {self._host} was just another node's ({other})")

    def renew(self) -> None:
        """Keep the name, or take it if that was not possible before; see ``taken_by`` afterwards.

        Raises:
            StoreUnavailable
        """
        if not self.is_ours:
            try:
                self.take()
            except ConfigError as error:
                self.taken_by = str(error)
        elif other := self._claim.renew():
            self.taken_by = self._refuse(other)

    def leave(self) -> None:
        """Say that this node stopped in order, and is not missed."""
        self._claim.leave()

    def _refuse(self, other: str) -> str:
        return (
            f"two nodes have the name {self._host}: this one ({self._claim.owner}) and another that lives "
            f"({other}); set node.host (AMI_NODE_HOST) here to a name of its own"
        )
