"""Write the state of the large lane so that a successor finds it whole, and of it only what changed.

Each state, of each key where it has keys, is a value of its own under a new name. The checkpoint names them,
and replaces the last one in one step; what only that one named is removed after it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from ami.daemons.reduction.assembly import Assembly
from ami.errors import GraphError
from ami.graph.execution.bucket import ANY, Bucket, Place
from ami.graph.execution.windows import ALL_KEYS, Accumulator
from ami.graph.graph import Graph
from ami.graph.library.base import State, bytes_of
from ami.messages.checkpoint import Checkpoint
from ami.messages.large_checkpoint import LargeCheckpoint
from ami.messages.message import read, refuse_version
from ami.stores import Lease, Store, keys

# Of a state that has keys: from so many bytes a key on, each key is a part of its own.
SPLIT_BYTES = 4096

Part = tuple[str, str, Place, Hashable]  # fingerprint, "buckets" or "batch", bucket, key


class LargeCheckpoints:
    """The checkpoints of one leader.

    Attributes:
        values: names of the values that are the last one.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._number = 0
        self._names: dict[Part, str] = {}  # in the last checkpoint
        self._fresh: list[str] = []  # written since, and named by none yet
        self.values: tuple[str, ...] = ()

    def save(self, assembly: Assembly, halfway: tuple[str, ...]) -> None:
        """Write what changed, then the checkpoint, then remove what was replaced.

        Raises:
            Conflict: another global reducer holds the lease.
            StoreUnavailable: call again.
        """
        self._remove(self._fresh)
        checkpoint = assembly.to_checkpoint()
        windows: dict[str, Any] = checkpoint.accumulator["windows"]
        names: dict[Part, str] = {}
        for fingerprint, window in windows.items():
            window["buckets"] = {
                place: self._put(assembly, (fingerprint, "buckets", place), bucket, names)
                for place, bucket in window["buckets"].items()
            }
            if window["batch"] is not None:
                window["batch"] = self._put(assembly, (fingerprint, "batch", ANY), window["batch"], names)
        message = LargeCheckpoint(applied=checkpoint.applied, state=checkpoint, halfway=halfway)
        self._store.commit(self._lease, {keys.LARGE_CHECKPOINT: message})
        assembly.dirty.clear()
        kept = set(names.values())
        replaced = [name for name in self._names.values() if name not in kept]
        self._names, self._fresh = names, []
        self.values = (keys.LARGE_CHECKPOINT, *names.values())
        self._remove(replaced)

    def _put(
        self, assembly: Assembly, where: tuple[str, str, Place], bucket: Bucket, names: dict[Part, str]
    ) -> Bucket:
        """Store the parts of a bucket's state that changed; return the bucket with the parts' names."""
        if bucket.state is None:
            return bucket
        fingerprint, _, place = where
        states = assembly.split(fingerprint, bucket.state)
        by_key = len(states) > 0 and bytes_of(bucket.state) >= SPLIT_BYTES * len(states)
        if not by_key:
            states = {ALL_KEYS: bucket.state}
        stored: dict[Hashable, str] = {}
        for key, state in states.items():
            part = (*where, key)
            known = self._names.get(part)
            if known is None or assembly.is_dirty(fingerprint, place, key if by_key else None):
                known = self._store_part(state)
            names[part] = stored[key] = known
        return replace(bucket, state=stored)

    def _store_part(self, state: State) -> str:
        self._number += 1
        name = keys.large_part(self._lease.token, self._number)
        self._fresh.append(name)
        self._store.commit(self._lease, {name: state})
        return name

    def _remove(self, names: list[str]) -> None:
        if names:
            self._store.commit(self._lease, {}, remove=names)
            names.clear()

    def load(self, assembly: Assembly, here: str) -> tuple[str, ...] | None:
        """Let an assembly take up the last checkpoint; return its ``halfway``, None if there is none.

        Raises:
            ConfigError: it is of another version of ami.
        """
        found = read(self._store, keys.LARGE_CHECKPOINT, LargeCheckpoint)
        self._names = {}
        if found is not None:
            try:
                assembly.restore(self._filled(replace(found.state, applied=found.applied), here))
            except (GraphError, KeyError) as error:
                refuse_version(self._store, keys.LARGE_CHECKPOINT, error)
        used = set(self._names.values())
        # Taken up from a file, names may be of a lease of the same number.
        self._number = max((keys.number_of_part(name) for name in used), default=0)
        self.values = () if found is None else (keys.LARGE_CHECKPOINT, *used)
        self._remove([name for name in self._store if keys.is_large_part(name) and name not in used])
        if found is None:
            return None
        return found.halfway if found.applied else ()

    def _filled(self, checkpoint: Checkpoint, here: str) -> Checkpoint:
        accumulator = Accumulator(Graph.from_plain(checkpoint.accumulator["graph"]), here)

        def fill(where: tuple[str, str, Place], bucket: Bucket) -> Bucket:
            if bucket.state is None:
                return bucket
            states = {}
            for key, name in bucket.state.items():
                self._names[(*where, key)] = name
                states[key] = self._store[name]
            return replace(bucket, state=accumulator.join(where[0], states))

        for fingerprint, window in checkpoint.accumulator["windows"].items():
            window["buckets"] = {
                place: fill((fingerprint, "buckets", place), bucket)
                for place, bucket in window["buckets"].items()
            }
            if window["batch"] is not None:
                window["batch"] = fill((fingerprint, "batch", ANY), window["batch"])
        return checkpoint
