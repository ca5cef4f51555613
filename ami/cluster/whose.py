"""Tell this node's ring from that of another node, which has the same name by mistake.

What runs on a node finds its ring by name only. Workers that took events of another node's ring would bring
them into their own local store, where the other node's reducer never sees them. So the source writes into the
ring whose it is: the node with this local store. A ring in which nobody wrote that is anybody's.
"""

from __future__ import annotations

from typing import Final

from ami.config import Config
from ami.errors import RingBusy, RingGone
from ami.ring.leaked import find_leaked
from ami.ring.observer import RingObserver

_OF: Final = "\nof the node with "


def sign(config: Config, identity: str) -> str:
    """Return what a ring is to say of itself: its input, and whose it is."""
    return f"{identity}{_OF}{config.local_store.socket}"


def is_ours(config: Config, source_id: str) -> bool:
    """Return whether a ring that says this of itself is this node's."""
    return source_id.rpartition(_OF)[1:] in (("", source_id), (_OF, str(config.local_store.socket)))


def refuse_foreign(config: Config, *, unless_dead: bool = False) -> None:
    """Refuse the ring that has this node's name for it, if it is another node's.

    Args:
        unless_dead: but not when all of its processes are; then it is there to be replaced.

    Raises:
        RingBusy: names the other node.
        RingUnfit: it is no ring.
    """
    name = config.ring.name
    try:
        with RingObserver(name) as ring:
            source_id = ring.source_id
    except RingGone:
        return
    if is_ours(config, source_id) or (unless_dead and name in find_leaked(name)):
        return
    raise RingBusy(
        f"ring {name} is that of another node, with {source_id.rpartition(_OF)[2]}: "
        f"set another ring.name (AMI_RING_NAME) here, or stop that node"
    )
