"""Be the large lane of the global reducer: apply spans, publish what they give, and leave a checkpoint.

It is stepped in a thread beside the small lane, a bounded piece at a time. What it publishes takes a fixed
share of the time at most, and the newest wins.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ami.config import Config
from ami.daemons.reduction.assembly import Assembly
from ami.daemons.reduction.by_key import ByKey
from ami.daemons.reduction.large_checkpoint import LargeCheckpoints
from ami.daemons.reduction.part_store import PartStore
from ami.daemons.reduction.people import PeopleApart
from ami.daemons.reduction.publisher import TABLE_BYTES, Publisher, count_bytes
from ami.daemons.reduction.watermark import Watermark
from ami.errors import RingError, Undecodable
from ami.graph.execution.lanes import STATE_SHARE
from ami.graph.execution.partial import ErrorRecord, merge_errors
from ami.graph.graph import Graph
from ami.messages.large import LargeBatch, Parcel
from ami.messages.large_checkpoint import Published
from ami.messages.message import expect, read
from ami.ring import parcels
from ami.stores import BadRecord, Bell, Journal, Lease, Record, Store, codec, keys
from ami.stores.clock import StoreClock
from ami.stores.codec import Buffer
from ami.stores.membership import Members
from ami.stores.wire import Traffic

logger = logging.getLogger(__name__)

# What may be in the inboxes beyond the checkpoint before the next one is written: as soon as it may, at once.
FEW_UNCHECKED_BYTES = 96 << 20
UNCHECKED_BYTES = 128 << 20
# What part of the time publishing may take. Spans bound it already: the next one ends when this one is sent.
PUBLISH_SHARE = 0.5
# A large state is written less often, so that checkpoints take a tenth of the time at the most.
CHECKPOINT_SHARE = 0.1
# A node's spans end when those before are sent: so much later than its small states, s.
LARGE_GRACE_S = 2.0
# Intervals of which large states are kept for a node that is behind.
MOST_BEHIND = 40
READ_S = 0.1  # until a step leaves what came to the next one
LOOK_S = 0.2  # from one look at what changes without a record to the next
# Of a scan's states: from here on its keys are published one by one.
BY_KEY_BYTES = 32 << 20


class LargeLane:
    """The large lane of one leader.

    Args:
        graph: returns a version of the graph.
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
        shared: counts what is read of shared memory.
        clock: the store's.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        lease: Lease,
        graph: Callable[[int], Graph],
        here: str,
        shared: Traffic,
        clock: StoreClock,
    ) -> None:
        self._host = config.node.host
        self._shared = shared
        self._config = config.reducer
        self._most_bytes = int(STATE_SHARE * config.global_store.max_memory_bytes)
        self._store = store
        self._lease = lease
        self._here = here
        self.people = PeopleApart(config.worker, store, lease, keys.LARGE)
        grace_s = config.reducer.grace_s + LARGE_GRACE_S
        self._assembly = Assembly(
            graph, here, large=True, people=self.people, grace_s=grace_s, time_ns=clock.time_ns
        )
        self._assembly.watermark.most_behind = MOST_BEHIND
        self._parts = PartStore(config, store, lease, shared)
        self._checkpoints = LargeCheckpoints(store, lease, self._parts)
        self.publisher = Publisher(store, lease, lane=keys.LARGE, history=config.reducer.history)
        self._by_key = ByKey(self.publisher)
        self._inboxes: dict[str, Journal] = {}
        self._parcels: dict[str, list[tuple[int, str]]] = {}  # of each node: those that were looked at
        self._halfway: set[str] = set()
        self._refused: dict[str, tuple[int, str]] | None = None  # as the nodes were told
        self.is_loaded = False
        self._is_stuck = False  # a record's parcel cannot be read, and its node has to send it yet
        self._unpublished = self._changed = False
        self._unchecked_bytes = 0
        self._checkpoint_at = self._may_at = self._publish_at = self._every_s = self._look_at = 0.0
        self.batches = 0

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values in the store that are the last checkpoint."""
        return self._checkpoints.values

    @property
    def was_used(self) -> bool:
        """Whether there were ever large results, as far as that is known."""
        return not self.is_loaded or bool(self._assembly.graph.version)

    def _load(self) -> None:
        """Go on after the last leader's checkpoint."""
        self.people.load()
        halfway = self._checkpoints.load(self._assembly, self._here)
        self._take_over_pieces(is_resumed=halfway is not None)
        self._halfway = set(halfway or ())
        # The last leader may have died before the results were out, or the inboxes trimmed.
        self._unpublished = self._changed = halfway is not None
        self.is_loaded = True

    def _take_over_pieces(self, *, is_resumed: bool) -> None:
        """Use again what is published of the states that were taken up; of a scan of images that is most."""
        there, shown = self.publisher.take_over(dict(self._assembly.graph.large))
        known = read(self._store, keys.LARGE_PUBLISHED, Published) if is_resumed else None
        self._by_key.resume(known or Published(pieces={}), shown, there)
        self.publisher.keep_pieces(there, self._by_key.names)

    @property
    def bell(self) -> Bell | None:
        """What tells of records that can be read now; None: nothing does. While no step is under way."""
        applied = self._assembly.applied
        if self._is_stuck or not self.is_loaded:
            return None
        return Bell({inbox: applied.get(node, 0) for node, inbox in self._inboxes.items()})

    def is_due(self, graph: Graph) -> bool:
        """Whether a step has something to do, though nothing came. While none is under way.

        Args:
            graph: the newest one of the small lane.
        """
        now = time.monotonic()
        return (
            not self.is_loaded
            or now >= self._look_at
            or graph.version > self._assembly.graph.version
            or (self._unpublished and not self._halfway and now >= self._publish_at)
        )

    def list_failing(self) -> list[str]:
        """See :meth:`ami.daemons.reduction.assembly.Assembly.list_failing`."""
        return self._assembly.list_failing()

    def step(
        self, graph: Graph, nodes: Sequence[str], members: Members, units: Mapping[str, str],
        errors: Mapping[str, ErrorRecord], small: Watermark,
    ) -> None:  # fmt: skip
        """Apply what came, for a while; publish and checkpoint if it is time.

        The first step takes up the last leader's checkpoint, which may take longer than a lease lasts: so
        it is done here, and the leader renews the lease meanwhile.

        Args:
            graph: the newest one of the small lane.
            nodes: all that have an inbox.
            errors: of operations, as the small lane was told.
            small: how far the nodes came in the small lane, a copy.

        Raises:
            Conflict: another global reducer holds the lease.
            StoreUnavailable: call again.
        """
        if not self.is_loaded:
            self._load()
            return
        self._look_at = time.monotonic() + LOOK_S
        if graph.version > self._assembly.graph.version:
            self._assembly.set_graph(graph)
            self.publisher.keep_pieces_of(dict(graph.large))
            self._unpublished = self._changed = True
        self._assembly.set_units(dict(units))
        for node in nodes:
            if node not in self._inboxes:
                self._inboxes[node] = self._store.journal(keys.large_inbox(node))
        self._parts.look_around(nodes)
        self._read()
        self._assembly.end_runs(small)
        self._unpublished = self._assembly.look(members) or self._unpublished
        self._tell_refused()
        self._publish(members, errors)
        self._checkpoint()

    def _read(self) -> None:
        end = time.monotonic() + READ_S
        while self._read_once() and time.monotonic() < end:
            pass

    def _read_once(self) -> bool:
        """Take in a batch of each node; return whether there may be more."""
        applied = self._assembly.applied
        self._is_stuck = False
        try:
            records = self._store.read_journals(self._inboxes, applied, timeout_s=0, limit=1)
        except BadRecord as error:
            self._pass_over(error)
            return True
        for node, record in records:
            self._apply(node, record)
        self._is_stuck = any(applied.get(node, 0) < record.number for node, record in records)
        return bool(records) and not self._is_stuck

    def _apply(self, node: str, record: Record) -> None:
        raw = None
        try:
            value = record.value
            if isinstance(value, Parcel):
                if (raw := self._look(node, record.number, value)) is None:
                    return
                value = codec.decode(raw)
            batch = expect(LargeBatch, value)
        except Undecodable as error:
            self._pass_over(BadRecord(self._inboxes[node].key, record.number, str(error)))
            return
        self._unchecked_bytes += sum(part.partial.measure() for part in batch.intervals)
        self._assembly.apply_span(node, record.number, batch)
        self._assembly.bound(self._most_bytes, "a quarter of global_store.max_memory_bytes")
        if raw is not None:
            parcels.put_aside(raw)
        (self._halfway.discard if batch.last else self._halfway.add)(node)
        self.batches += 1
        self._unpublished = self._changed = True

    def _tell_refused(self) -> None:
        """Let the nodes know of which states this let go, so that they make them no more."""
        known, version = self._refused or {}, self._assembly.graph.version
        refused = {key: known.get(key, (version, why)) for key, why in self._assembly.refused.items()}
        if refused != self._refused:
            self._store.commit(self._lease, {keys.REFUSED: refused})
            self._refused = refused

    def _look(self, node: str, number: int, parcel: Parcel) -> memoryview | None:
        """Return what is in a record's parcel; None: its node has to send it yet.

        Raises:
            Undecodable: it is lost.
        """
        try:
            raw = parcels.look(parcel.name)
        except (FileNotFoundError, RingError) as error:
            # Unpacked since the record was read, it is in the record when that is read again.
            unpacked = [not isinstance(one.value, Parcel) for one in self._inboxes[node].records([number])]
            if not any(unpacked) and (node == self._host or isinstance(error, RingError)):
                raise Undecodable(f"its parcel cannot be had: {error}") from error
            return None
        self._shared.received += len(raw)
        self._parcels.setdefault(node, []).append((number, parcel.name))
        return raw

    def _pass_over(self, error: BadRecord) -> None:
        """Count a batch that cannot be read as applied: nobody ever can, and all others would wait."""
        logger.error("the events of a large batch are lost: %s", error)
        for node, inbox in self._inboxes.items():
            if inbox.key == error.journal:
                self._assembly.applied[node] = error.number
        self._changed = True

    def _publish(self, members: Members, errors: Mapping[str, ErrorRecord]) -> None:
        began = time.monotonic()
        self._unpublished = self.people.collect() or self._unpublished
        if not self._unpublished or self._halfway or began < self._publish_at:
            return
        known = dict(errors)
        merge_errors(known, self._assembly.errors)
        small, by_key = [], self._assembly.list_by_key(BY_KEY_BYTES)
        without = {one.fingerprint for one in by_key.values()}
        for result in self._assembly.results(members, known, without):
            result = replace(result, every_s=self._every_s)
            if (one := by_key.get(result.name)) is not None:
                unpublished = self._assembly.unpublished
                changed = {key for key in one.states if (one.fingerprint, one.place, key) in unpublished}
                of = (one.fingerprint, one.place)
                self._by_key.publish(result, of, one.states, one.value_of, changed)
            elif count_bytes(result.value) <= TABLE_BYTES:
                small.append(result)
            else:
                # One by one: the server stands still for all others while it takes one in.
                self.publisher.store({result.name: result})
        self.publisher.store({}, small)
        self._by_key.keep_only(by_key)
        self._assembly.unpublished.clear()
        self._unpublished = False
        self.people.save()
        self._every_s = (time.monotonic() - began) / PUBLISH_SHARE
        self._publish_at = began + self._every_s

    def _checkpoint(self, *, final: bool = False) -> None:
        began = time.monotonic()
        many = self._unchecked_bytes > UNCHECKED_BYTES
        due = began >= (self._may_at if self._unchecked_bytes > FEW_UNCHECKED_BYTES else self._checkpoint_at)
        if not self._changed or not (many or due or final):
            return
        published = self._by_key.describe(self._assembly.unpublished)
        self._checkpoints.save(self._assembly, tuple(sorted(self._halfway)), published)
        for node, number in self._assembly.applied.items():
            if node in self._inboxes:
                self._inboxes[node].trim(number, self._lease)
                self._throw_away(node, number)
        self._changed, self._unchecked_bytes = False, 0
        now = time.monotonic()
        self._may_at = now + (now - began) / CHECKPOINT_SHARE
        self._checkpoint_at = max(self._may_at, now + self._config.large_checkpoint_s)

    def _throw_away(self, node: str, upto: int) -> None:
        """Remove the parcels of records that are gone."""
        known = self._parcels.get(node, [])
        parcels.remove(name for number, name in known if number <= upto)
        self._parcels[node] = [one for one in known if one[0] > upto]

    def read_raw(self, names: Sequence[str]) -> list[Buffer | None]:
        """See :meth:`ami.daemons.reduction.large_checkpoint.LargeCheckpoints.read_raw`."""
        return self._checkpoints.read_raw(names)

    def close(self) -> None:
        """Leave a last checkpoint.

        Raises:
            Conflict: another global reducer holds the lease.
        """
        self._checkpoint(final=True)

    def bring_home(self) -> None:
        """Let the checkpoint outlive the machine, if the store does: see :meth:`close`."""
        self._parts.bring()
