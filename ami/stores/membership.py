"""Know the nodes of the cluster: which are in it, and which of them live."""

from __future__ import annotations

from dataclasses import dataclass

from ami.stores import keys
from ami.stores.claim import LEFT
from ami.stores.store import Store


@dataclass(frozen=True)
class Members:
    """The nodes by name: ``here`` are those that live, ``gone`` those that were not taken leave of.

    ``left`` stopped in order: nobody misses them.
    """

    here: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()

    @property
    def expected(self) -> frozenset[str]:
        """Of which nodes there should be something in the results."""
        return self.here | self.gone

    @classmethod
    def read(cls, store: Store) -> Members:
        """Ask for them where they say that they live."""
        nodes = sorted(str(node) for node in store.get(keys.NODES) or ())
        if not nodes:
            return cls()
        held = dict(zip(nodes, store.get_raw(map(keys.node, nodes)), strict=True))
        left = {node for node, owner in held.items() if owner is not None and bytes(owner) == LEFT.encode()}
        gone = {node for node, owner in held.items() if owner is None}
        return cls(frozenset(held.keys() - left - gone), frozenset(gone), frozenset(left))


def forget(reducer: Store, source: Store, host: str) -> bool:
    """Let nobody miss a node any more that does not come back; return whether it was a member.

    Args:
        reducer, source: what belongs to the cluster's global reducer, and to its source.
    """
    if host not in reducer.set(keys.NODES):
        return False
    reducer.set(keys.NODES).discard(host)
    reducer.delete_many([keys.node(host)])
    source.delete_many([keys.input(host)])
    return True
