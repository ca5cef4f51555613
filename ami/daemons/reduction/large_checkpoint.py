"""Write the state of the large lane so that a successor finds it whole, and of it only what changed.

Each state, of each key where it has keys, is a part of its own under a new name (``part_store.py``). The
checkpoint names them, and replaces the last one in one step; what only that one named is removed after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ami.daemons.reduction.assembly import Assembly
from ami.daemons.reduction.part_store import PartStore
from ami.errors import GraphError
from ami.graph.execution.bucket import ANY, Bucket, Place
from ami.graph.execution.windows import ALL_KEYS, Accumulator
from ami.graph.graph import Graph
from ami.graph.library.base import State, bytes_of
from ami.messages.checkpoint import Checkpoint
from ami.messages.large_checkpoint import LargeCheckpoint, Published
from ami.messages.message import expect, read, refuse_version
from ami.stores import Lease, Store, codec, keys
from ami.stores.codec import Buffer

logger = logging.getLogger(__name__)

# Of a state that has keys: from so many bytes a key on, each key is a part of its own.
SPLIT_BYTES = 4096

Where = tuple[str, str, Place]  # fingerprint, "buckets" or "batch", bucket
Part = tuple[str, str, Place, Hashable]  # the same, and the key


class LargeCheckpoints:
    """The checkpoints of one leader.

    Attributes:
        values: names of the values that are the last one, parts among them.
    """

    def __init__(self, store: Store, lease: Lease, parts: PartStore) -> None:
        self._store = store
        self._lease = lease
        self.parts = parts
        self._names: dict[Part, str] = {}  # in the last checkpoint
        self._fresh: list[str] = []  # written since, and named by none yet
        self._doubted: list[str] = []  # named by one that is perhaps the last
        self._is_sure = True  # whether the last one that was written is there
        self.values: tuple[str, ...] = ()

    def save(self, assembly: Assembly, halfway: tuple[str, ...], published: Published) -> None:
        """Write what changed, then the checkpoint, then remove what was replaced.

        Args:
            halfway: nodes of which a part of a span is in it, and the last one is not.
            published: the pieces of results that are of just these states.

        Raises:
            Conflict: another global reducer holds the lease.
            StoreUnavailable: call again.
        """
        self._settle()
        checkpoint = assembly.to_checkpoint()
        names: dict[Part, str] = {}
        _each_bucket(checkpoint.accumulator, lambda where, bucket: self._put(assembly, where, bucket, names))
        message = LargeCheckpoint(applied=checkpoint.applied, state=checkpoint, halfway=halfway)
        self._is_sure = False
        self._store.commit(self._lease, {keys.LARGE_CHECKPOINT: message, keys.LARGE_PUBLISHED: published})
        self._is_sure = True
        assembly.dirty.clear()
        kept = set(names.values())
        replaced = [name for name in (*self._names.values(), *self._doubted) if name not in kept]
        self._names, self._fresh, self._doubted = names, [], []
        self.values = (keys.LARGE_CHECKPOINT, *names.values())
        self.parts.remove(replaced)

    def _settle(self) -> None:
        """Remove what was written for a checkpoint that failed, unless it is there after all."""
        named: set[str] = set()
        if not self._is_sure and self._fresh:
            found = read(self._store, keys.LARGE_CHECKPOINT, LargeCheckpoint)
            named = set() if found is None else set(list_parts(found))
        self._doubted += [name for name in self._fresh if name in named]
        self.parts.remove([name for name in self._fresh if name not in named])
        self._fresh, self._is_sure = [], True

    def _put(self, assembly: Assembly, where: Where, bucket: Bucket, names: dict[Part, str]) -> Bucket:
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
        name = self.parts.name()
        self._fresh.append(name)
        self.parts.put(name, state)
        return name

    def read_raw(self, names: Sequence[str]) -> list[Buffer | None]:
        """Return values encoded, ``values`` of one moment among them; None where one is another by now."""
        found = self.parts.read_raw(names)
        parts = {name for name in names if keys.is_large_part(name)}
        for name, raw in zip(names, found, strict=True):
            if name == keys.LARGE_CHECKPOINT and raw is not None:
                checkpoint = expect(LargeCheckpoint, codec.decode(raw))
                return found if set(list_parts(checkpoint)) == parts else [None] * len(names)
        return found

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
        self.values = () if found is None else (keys.LARGE_CHECKPOINT, *used)
        self.parts.keep_only(used)
        if found is None:
            return None
        return found.halfway if found.applied else ()

    def _filled(self, checkpoint: Checkpoint, here: str) -> Checkpoint:
        accumulator = Accumulator(Graph.from_plain(checkpoint.accumulator["graph"]), here)

        def fill(where: Where, bucket: Bucket) -> Bucket | None:
            if bucket.state is None:
                return bucket
            try:
                states = {key: self.parts.get(name) for key, name in bucket.state.items()}
            except KeyError as error:
                # Shared memory was emptied, and the store was not: its machine was off. Events that are in
                # no state must not be counted, so it begins anew.
                logger.error("a window begins anew, a part of its state is gone: %s", error)
                return None
            self._names |= {(*where, key): name for key, name in bucket.state.items()}
            return replace(bucket, state=accumulator.join(where[0], states))

        _each_bucket(checkpoint.accumulator, fill)
        return checkpoint


def _each_bucket(accumulator: dict[str, Any], change: Callable[[Where, Bucket], Bucket | None]) -> None:
    """Put what ``change`` makes of each bucket in its place; None: nothing."""
    for fingerprint, window in accumulator["windows"].items():
        made = {
            place: change((fingerprint, "buckets", place), bucket)
            for place, bucket in window["buckets"].items()
        }
        window["buckets"] = {place: bucket for place, bucket in made.items() if bucket is not None}
        if window["batch"] is not None:
            window["batch"] = change((fingerprint, "batch", ANY), window["batch"])


def list_parts(checkpoint: LargeCheckpoint) -> Iterator[str]:
    """Yield the names of a checkpoint's parts."""
    for window in checkpoint.state.accumulator["windows"].values():
        for bucket in (*window["buckets"].values(), window["batch"]):
            if bucket is not None and bucket.state is not None:
                yield from bucket.state.values()
