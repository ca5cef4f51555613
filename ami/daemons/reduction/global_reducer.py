"""Be the global reducer: merge the nodes' batches, keep the windows, publish the results.

Batches are numbered per node. The checkpoint holds the state and, in the same value, the number of the
last batch of each node that is in it; a successor loads it and applies the later batches again. What is
published is a function of that state, so publishing again does no harm.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from ami.daemons.process.beside import Beside
from ami.daemons.process.control import GraphWatch
from ami.daemons.process.leadership import Leadership
from ami.daemons.process.rate import Rate
from ami.daemons.process.stage import Setup
from ami.daemons.reduction.assembly import Assembly
from ami.daemons.reduction.large_lane import LargeLane
from ami.daemons.reduction.people import PeopleApart
from ami.daemons.reduction.publisher import Publisher
from ami.daemons.reduction.windows_file import WindowsFile
from ami.errors import Conflict, GraphError, SourceError, StoreError, Undecodable
from ami.event import Schema
from ami.messages.batch import Batch
from ami.messages.checkpoint import Checkpoint
from ami.messages.message import expect, read, refuse_version
from ami.stores import BadRecord, Bell, Journal, Record, keys
from ami.stores.clock import StoreClock
from ami.stores.membership import Members

logger = logging.getLogger(__name__)

LEASE_S = 3.0
# Batches that wait at once before some intervals' results are passed over, and counted as conflated.
BEHIND = 10
# Of all windows of the small lane. Their checkpoint is one value, and a store refuses 512 MiB; their results
# are computed each interval, or as often as there is time.
WINDOWS_BYTES = 128 << 20
MEASURE_S = 1.0
# After so long results are published that wait for other nodes' parts of the interval, s.
WAIT_S = 0.1
COLLECT_AFTER = 50_000  # new objects


class GlobalReducerStage:
    """The global reducer of the cluster, or its stand-by: whoever has the lease acts."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        # One state for the cluster, whatever number the process has: a stand-by goes on with it.
        self._store = setup.stores.cluster("global-reducer")
        self._graphs = GraphWatch(setup)
        place = keys.prefix(setup.config.node.host, "global-reducer", setup.number)
        lease = self._store.lease(keys.LEASE, LEASE_S, place=place)
        self._leadership = Leadership(lease, LEASE_S, self._load, keeps=True)
        self._clock = StoreClock(self._store)
        self._file = WindowsFile(setup, self._store)
        self._publisher = Publisher(self._store, lease, history=setup.config.reducer.history)
        self._here = f"on global-reducer:{setup.number} of {setup.config.node.host}"
        self._people = PeopleApart(setup.config.worker, self._store, lease, keys.SMALL)
        self._assembly = self._new_assembly()
        self._inboxes: dict[str, Journal] = {}
        self._members = Members()
        self._source = setup.stores.cluster("source")
        self._large: LargeLane | None = None  # of this leader
        self._beside = Beside("large")
        self._bell: Bell | None = None  # that was waited for
        self._schema = ""
        self._units: dict[str, str] = {}
        self._nodes_at = self._checkpoint_at = self._measure_at = 0.0
        self._dirty = False
        self._unpublished = False
        self._publish_at = 0.0
        # By node, the last batch that the leader before may have published. Until all of them are in the
        # state, nothing is published: results would go back or, without its checkpoint, be gone for a while.
        self._before: dict[str, int] = {}
        self._found: dict[str, int] = {}  # the same, for as long as this one leads
        # Names to remove and the catalogue to write; None when both are done.
        self._names: tuple[set[str], dict[str, Any]] | None = None
        self._batches = 0
        self._rate = Rate()

    @property
    def state(self) -> str:
        if not self._leadership.held:
            return "waiting: another global reducer has the lease"
        if self._file.problem:
            return f"running, but {self._file.problem}"
        return f"running; {self._beside.note}" if self._beside.note else "running"

    @property
    def counters(self) -> Mapping[str, float]:
        totals = self._assembly.totals
        return {
            "batches": self._batches,
            "run": self._assembly.run,
            "intervals": self._assembly.intervals,
            "results": self._publisher.published + (self._large.publisher.published if self._large else 0),
            "large_batches": self._large.batches if self._large else 0,
            "conflated": self._publisher.conflated,
            "expected": totals.expected,
            "reduced": totals.reduced,
            "dropped": totals.dropped,
            "set_aside": totals.set_aside,
            "rate_hz": self._rate.per_s(totals.reduced),
        }

    def costs(self) -> dict[str, Any]:
        """Return for the heartbeat what is under way beside the loop, and what results cost to publish."""
        flows = self._publisher.flows.per_s()
        return {
            "piece": self._beside.piece,
            "failing": self._assembly.list_failing() + (self._large.list_failing() if self._large else []),
            "results": flows | (self._large.publisher.flows.per_s() if self._large is not None else {}),
        }

    def start(self) -> None:
        # A thousand results are ten thousand objects an interval, with no cycle among them; Python looks
        # through all of them, old and new, every 700, which took a quarter of this process's time.
        gc.set_threshold(COLLECT_AFTER)
        self._graphs.start()

    def step(self) -> None:
        if not self._leadership.hold():
            self._setup.stopping.wait(self._setup.waits.store_s)
            return
        try:
            self._work()
        except Conflict as error:
            self._leadership.lose(error)

    def _new_assembly(self) -> Assembly:
        grace_s = self._setup.config.reducer.grace_s
        return Assembly(
            self._graphs.get, self._here, people=self._people, grace_s=grace_s, time_ns=self._clock.time_ns
        )

    def _load(self) -> None:
        self._people.load()
        self._assembly = self._new_assembly()
        # Whose lease ran out has been silent for about the grace time, and its machine, too: a restart of the
        # process alone would have taken the lease. What is in that node's inbox it sent before.
        before = self._leadership.lease.before.partition(":")[0]
        self._assembly.watermark.silent = {before} - {self._setup.config.node.host}
        checkpoint = read(self._store, keys.CHECKPOINT, Checkpoint)
        checkpoint = checkpoint or self._file.take_up(self._leadership.lease, self._assembly.restore)
        if checkpoint is not None:
            try:
                self._assembly.restore(checkpoint)
            except GraphError as error:
                refuse_version(self._store, keys.CHECKPOINT, error)
            # Whoever wrote it may have died, or lost the store, before the results were out.
            self._unpublished = True
        self._finish_large()
        if self._large is not None:
            self._large.people.close()
        lease, config = self._leadership.lease, self._setup.config
        self._large = LargeLane(
            config, self._store, lease, self._graphs.get, self._here, self._setup.shared, self._clock
        )
        self._inboxes, self._before, self._found = {}, {}, {}
        self._schema = ""
        self._nodes_at = 0.0
        self._find_nodes()
        for node, inbox in self._inboxes.items():
            self._before[node] = self._found[node] = max(inbox.numbers(), default=0)
        # The last leader may have died before it let go of the batches that are in this state.
        self._dirty = True
        logger.info("leading; applied so far: %s", self._assembly.applied or "nothing")

    def _work(self) -> None:
        waits = self._setup.waits
        self._find_nodes()
        self._forget_names()
        self._step_large()
        if not self._inboxes:
            self._setup.stopping.wait(waits.store_s)
            return
        wait_s = min(0.05, waits.store_s) if self._publisher.overdue() else waits.store_s
        try:
            records = self._read(wait_s)
        except BadRecord as error:
            self._pass_over(error)
            return
        for place, (node, record) in enumerate(records, start=1):
            due = self._apply(node, record)
            self._dirty = self._unpublished = True
            # Far behind, only the newest is published: it contains the others.
            near = len(records) - place < BEHIND or place % BEHIND == 0
            if due and near and not self._follows(records):
                self._publish()
            else:
                self._publisher.conflated += due
        if self._is_due() and not self._follows(records):
            self._publish()
        if self._publisher.overdue():
            self._publisher.publish_waiting()
        self._checkpoint()
        self._copy_windows()

    def _read(self, wait_s: float) -> list[tuple[str, Record]]:
        """Return the next batches; wait for the first, or for one of the large lane."""
        # Only if the thread beside could begin at once: until it has read what the bell tells of, it rings.
        lane = self._large if self._beside.look() else None
        self._bell = None if lane is None else lane.bell
        return self._store.read_journals(self._inboxes, self._assembly.applied, wait_s, bell=self._bell)

    def _is_due(self) -> bool:
        """Whether there is something to publish that no batch made due: of nodes that wait for others."""
        moved = self._assembly.look(self._members)
        if self._people.collect() or moved:
            return True
        return self._unpublished and time.monotonic() >= self._publish_at

    def _follows(self, records: Sequence[object]) -> bool:
        """Whether this leader has not come yet to where the one before it was."""
        applied = self._assembly.applied
        if not records or all(applied.get(node, 0) >= last for node, last in self._before.items()):
            self._before = {}
        return bool(self._before)

    def _apply(self, node: str, record: Record) -> bool:
        """Take a batch in; return whether results are to be published with it, and not with a later one.

        Each node sends one for an interval: published is when the last one came. What is of an earlier one,
        of a node that makes up for lost time, comes with the next that is due, or in a moment.
        """
        try:
            batch = expect(Batch, record.value)
        except Undecodable as error:
            self._pass_over(BadRecord(self._inboxes[node].key, record.number, str(error)))
            return False
        if batch.entry.run > self._assembly.run:
            # Before its first event, a source that began anew told its fields, and that it is there: a short
            # run is over in a look, and who is not known yet is not waited for.
            self._find_nodes(anew=True)
        if batch.entry.graph_version > self._assembly.graph.version:
            with self._setup.patience.up_to():  # it may be of thousands of operations
                self._assembly.set_graph(self._graphs.get(batch.entry.graph_version))
        if record.number > self._found.get(node, 0):
            self._assembly.watermark.silent.discard(node)
        self._assembly.apply(node, record.number, batch)
        self._batches += 1
        moved = self._assembly.look(self._members)
        place = (batch.entry.run, batch.entry.interval)
        return moved or bool(batch.transition) or place == self._assembly.watermark.place

    def _pass_over(self, error: BadRecord) -> None:
        """Count a batch that cannot be read as applied: nobody ever can, and all others would wait."""
        logger.error("the events of a batch are lost: %s", error)
        for node, inbox in self._inboxes.items():
            if inbox.key == error.journal:
                self._assembly.applied[node] = error.number
        self._dirty = True

    def _publish(self) -> None:
        changed = self._assembly.changed_names()
        if changed is not None:
            gone, catalogue = changed
            earlier = self._names[0] if self._names is not None else set()
            self._names = ((earlier | gone) - catalogue.keys(), catalogue)
        self._forget_names()
        self._publish_at = 0.0  # at once again, if it fails
        self._publisher.publish(self._assembly.rows(self._members))
        self._unpublished = False
        self._publish_at = time.monotonic() + WAIT_S
        self._people.save()

    def _forget_names(self) -> None:
        """Remove results that the graph has not any more, if there are some."""
        # The thread beside may be about to publish results of the graph before, but not while it takes up
        # the last leader's state.
        loads = self._large is not None and not self._large.is_loaded
        if self._names is not None and (loads or self._beside.is_idle):
            self._publisher.forget(*self._names)
            self._names = None

    def _step_large(self) -> None:
        """Let the thread beside do a piece of the large lane's work, if it has none."""
        graph, lane = self._assembly.graph, self._large
        if lane is None or not self._beside.look():
            return
        rings = self._bell is not None and self._bell.rings
        if rings or (lane.is_due(graph) and (graph.large or lane.was_used)):
            errors, units, members = dict(self._assembly.errors), self._units, self._members
            small = deepcopy(self._assembly.watermark)
            nodes = list(self._inboxes)
            self._beside.begin(lambda: lane.step(graph, nodes, members, units, errors, small))

    def _copy_windows(self, *, final: bool = False) -> None:
        """Let the windows outlive the machine, if it is time."""
        # While it is not known which values the large lane has, the last copy, which has them, stays.
        if self._large is not None and self._large.is_loaded:
            self._file.copy([keys.CHECKPOINT, *self._large.values], self._large.read_raw, final=final)

    def _finish_large(self) -> None:
        """Wait for the thread beside; what it could not do is done again by who leads next."""
        try:
            self._beside.finish()
        except StoreError as error:
            logger.warning("%s", error)

    def _find_nodes(self, *, anew: bool = False) -> None:
        now = time.monotonic()
        if anew or now >= self._nodes_at:
            self._members = Members.read(self._store)
            for node in sorted(self._members.expected | self._members.left):
                self._inboxes.setdefault(node, self._store.journal(keys.inbox(node)))
            self._read_units()
            self._nodes_at = now + self._setup.waits.look_s

    def _read_units(self) -> None:
        text = self._source.get(keys.SCHEMA)
        if not isinstance(text, str) or text == self._schema:
            return
        self._schema = text
        try:
            schema = Schema.from_json(text)
        except SourceError as error:
            logger.warning("results have no units: %s", error)
            return
        self._units = {field.name: field.unit for field in schema.fields}
        self._assembly.set_units(self._units)

    def _checkpoint(self, *, final: bool = False) -> None:
        """Write the state, then let go of the batches that are in it."""
        now = time.monotonic()
        if not self._dirty or (now < self._checkpoint_at and not final):
            return
        self._bound(now)
        self._store.commit(self._leadership.lease, {keys.CHECKPOINT: self._assembly.to_checkpoint()})
        self._file.note()
        for node, number in self._assembly.applied.items():
            if node in self._inboxes:
                self._inboxes[node].trim(number, self._leadership.lease)
        self._dirty = False
        # A large state is written less often, so that checkpoints take a tenth of the time at the most.
        self._checkpoint_at = time.monotonic() + max(
            self._setup.config.reducer.checkpoint_s, 10 * (time.monotonic() - now)
        )

    def _bound(self, now: float) -> None:
        """See to it, now and then, that all windows fit into one value: they grow with the keys that come."""
        if now >= self._measure_at:
            self._assembly.bound(WINDOWS_BYTES, "as a checkpoint is one value of the store")
            self._measure_at = now + max(MEASURE_S, 100 * (time.monotonic() - now))

    def close(self) -> None:
        try:
            self._finish_large()
            if self._leadership.held:
                self._checkpoint(final=True)
                if self._large is not None:
                    self._large.close()
                if self._large is not None:
                    # First: the next start goes on with it, and the disk may take longer than there is time.
                    self._large.bring_home()
                self._copy_windows(final=True)
                self._leadership.release()
        except Conflict as error:
            logger.warning("%s", error)
        finally:
            self._beside.close()
            for people in (self._people, *([self._large.people] if self._large is not None else [])):
                people.close()
            self._graphs.close()
