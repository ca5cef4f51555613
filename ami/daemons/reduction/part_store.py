"""Keep the parts of a large checkpoint: in shared memory, while the store is of this machine alone.

A part has a name, and never changes; where it lies is no part of the name, so it may be brought into the
store while the checkpoint that names it stays. What lies in shared memory costs the server nothing,
and who takes the checkpoint up looks at it where it lies: of a scan of images nothing is read before it is
changed. (Rejected: the server alone. It holds a second copy of each state, appends a third one to its file,
and gives them back at the pace of a socket, when everybody waits for them.)
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Collection, Iterable, Sequence

from ami.config import Config
from ami.daemons.reduction.alone import is_alone
from ami.errors import RingError
from ami.graph.library.base import State
from ami.ring import parcels
from ami.ring.parcels import PART, Parcels
from ami.stores import Lease, Store, codec, keys
from ami.stores.codec import Buffer
from ami.stores.wire import Traffic

logger = logging.getLogger(__name__)

PARCEL_BYTES = 64 << 10  # a smaller part costs the server less than a file costs here


class PartStore:
    """The parts that one leader writes and reads.

    Args:
        shared: counts what goes through shared memory.
    """

    def __init__(self, config: Config, store: Store, lease: Lease, shared: Traffic) -> None:
        self._config = config
        self._store = store
        self._lease = lease
        self._shared = shared
        # Another node may have a ring of this name by mistake, and its leader a lease of the same token.
        mine = f"{config.node.cluster} {config.node.host} {config.node.run_dir}"
        self._mine = f"{zlib.crc32(mine.encode()):08x}"
        self._alone = False
        self._number = 0
        self._here: set[str] = set()  # names of what lies in shared memory

    def look_around(self, nodes: Collection[str]) -> None:
        """Say who is in the cluster: what another machine may have to read is brought into the store.

        Raises:
            Conflict: another global reducer holds the lease.
            StoreUnavailable: call again.
        """
        self._alone = is_alone(self._config, nodes)
        if not self._alone:
            self.bring()

    def bring(self) -> None:
        """Bring what lies in shared memory into the store; see :meth:`look_around`."""
        self._alone = False
        for name in sorted(self._here):
            self._store.commit(self._lease, {name: self.get(name)})
            self._here.discard(name)
            parcels.remove([self._parcel(name)])

    def name(self) -> str:
        """Return a name that no part had."""
        self._number += 1
        return keys.large_part(self._lease.token, self._number)

    def put(self, name: str, state: State) -> None:
        """Keep a state under a new name; see :meth:`look_around`."""
        if not (self._alone and self._leave(name, state)):
            self._store.commit(self._lease, {name: state})

    def _leave(self, name: str, state: State) -> bool:
        chunks = codec.encode(state)
        if len(chunks) < PARCEL_BYTES:
            return False
        self._here.add(name)
        token, number = keys.numbers_of_part(name)
        try:
            self._parcels(token).leave(number, chunks.buffers)
        except OSError as error:
            logger.warning("a state goes into the store, shared memory refuses it: %s", error)
            self._here.discard(name)
            return False
        self._shared.sent += len(chunks)
        return True

    def get(self, name: str) -> State:
        """Return a state, which may not be written to.

        Raises:
            KeyError: it is nowhere.
            Undecodable: another version of ami wrote it.
        """
        raw = self._look(name)
        return self._store[name] if raw is None else codec.decode(raw)

    def read_raw(self, names: Sequence[str]) -> list[Buffer | None]:
        """Return values encoded, these parts or others of the store; None where there is none any more."""
        found: dict[str, Buffer | None] = {name: self._look(name) for name in names}
        others = [name for name, raw in found.items() if raw is None]
        found |= zip(others, self._store.get_raw(others) if others else (), strict=True)
        return [found[name] for name in names]

    def _look(self, name: str) -> memoryview | None:
        if not keys.is_large_part(name):
            return None
        try:
            raw = parcels.look(self._parcel(name), whole=False)
        except (FileNotFoundError, RingError):
            return None
        self._shared.received += len(raw)
        return raw

    def _parcel(self, name: str) -> str:
        token, number = keys.numbers_of_part(name)
        return self._parcels(token).name(number)

    def _parcels(self, token: int) -> Parcels:
        return Parcels(self._config.ring.name, PART, f"{self._mine}{token:08x}")

    def remove(self, names: Iterable[str]) -> None:
        """Let go of parts; see :meth:`look_around`."""
        gone = list(names)
        stored = [name for name in gone if name not in self._here]
        if stored:
            self._store.commit(self._lease, {}, remove=stored)
        parcels.remove(self._parcel(name) for name in gone)
        self._here.difference_update(gone)

    def keep_only(self, names: Collection[str]) -> None:
        """Take over what an earlier leader left: these parts, and no others; see :meth:`look_around`."""
        kept = {self._parcel(name): name for name in names}
        found = [one for one in self._parcels(0).find() if one.rpartition("-")[2].startswith(self._mine)]
        self._here = {kept[one] for one in found if one in kept}
        parcels.remove(one for one in found if one not in kept)
        left = [name for name in self._store if keys.is_large_part(name) and name not in kept.values()]
        self.remove(left)
        # Taken up from a file, names may be of a lease of the same number.
        self._number = max((keys.numbers_of_part(name)[1] for name in names), default=0)
