"""Be a worker: claim blocks of events, run the graph on them, store the partials, then commit.

The order is the promise: a slot is committed only after the flush that contains its event is acknowledged by
the local store, and its large states, if it has any, are in the arena. So a worker may be killed at any
instruction; what is not there is run again. Meanwhile the next blocks are run: see
:mod:`ami.daemons.worker.storing`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ami.cluster import whose
from ami.daemons.process.control import GraphWatch
from ami.daemons.process.rate import Rate
from ami.daemons.process.stage import Rest, Setup
from ami.daemons.process.watch import Watch, limit_memory
from ami.daemons.worker.blocksize import BlockSize
from ami.daemons.worker.claims import Claims
from ami.daemons.worker.costs import Costs
from ami.daemons.worker.flush import Held
from ami.daemons.worker.kinds import Kinds
from ami.daemons.worker.large import LargeStates
from ami.daemons.worker.plans import Plans, read_fields
from ami.daemons.worker.storing import Storing
from ami.daemons.worker.trial import Fatal, try_apart
from ami.errors import RingBusy, RingGone, RingUnfit
from ami.graph.execution.frame import reason_of
from ami.graph.execution.guest import NOBODY, TooLong
from ami.graph.execution.partial import ErrorRecord, merge_errors
from ami.graph.execution.plan import WorkerPlan
from ami.ring.block import Block
from ami.ring.offences import DEATH, HANG
from ami.ring.reader import RingReader
from ami.stores import keys

logger = logging.getLogger(__name__)

# Of the local store's memory, that flushes may have which nobody has read.
FLUSHES_SHARE = 0.25
# Of one flush, that states which grow with what comes may have; the store refuses 512 MiB.
FLUSH_BYTES = 64 << 20
# Of a worker's memory, that large states which grow may have before they are in the arena.
GROWN_SHARE = 0.25


class WorkerStage:
    """One worker of the node. Attaches to the ring when there is one, and again when it was replaced."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._config = config = setup.config
        journal = setup.stores.local("worker", setup.number).journal(keys.FLUSHES)
        self._storing = Storing(journal, int(FLUSHES_SHARE * config.local_store.max_memory_bytes))
        self._graphs = GraphWatch(setup)
        self._rests = Rest(setup.waits)
        self._waiting_for = "the ring"
        self._claims: Claims | None = None  # of the ring that it is attached to
        self._plans: Plans | None = None
        self._plan: WorkerPlan | None = None  # that ran last
        self._held: Held | None = None
        self._large: LargeStates | None = None
        self._needs_room = False
        self._tried = range(0)  # the innocent events of the last trial
        self._errors: dict[str, ErrorRecord] = {}  # to be told with the next flush
        self._last_flush = self._flushes = 0
        self._sharers = 1
        self._block = BlockSize(config.worker)
        self._guest = NOBODY  # who stands beside people's code
        self._events = self._blocks = self._set_aside = 0
        self._busy_s = 0.0
        self._rate, self._busy = Rate(), Rate()
        self._costs = Costs()

    @property
    def state(self) -> str:
        if self._claims is None:
            return f"waiting: for {self._waiting_for}"
        if self._needs_room:
            return "waiting: for the local reducer to take large states; worker.arena_bytes are full"
        if self._storing.waits:
            return "waiting: for the local reducer to take flushes"
        return "running"

    @property
    def counters(self) -> Mapping[str, float]:
        return {
            "events": self._events,
            "blocks": self._blocks,
            "flushes": self._flushes,
            "set_aside": self._set_aside,
            "rate_hz": self._rate.per_s(self._events),
            "busy": self._busy.per_s(self._busy_s),
            "block_events": self._block.events,
        }

    def costs(self) -> dict[str, Any]:
        """Return for the heartbeat what each operation costs, and each large state to hand on."""
        states = {} if self._large is None else {"states": self._large.flows.per_s()}
        return self._costs.tell(self._rate.per_s(self._events)) | states

    # the loop's turns

    def start(self) -> None:
        if self._setup.alone and self._guest is NOBODY:
            limit_memory(self._config.worker.memory_bytes)
            hang_s = self._config.worker.hang_s
            self._guest = Watch(hang_s, self._setup.gets_on, self._touch, self._count_grave, self._list_files)
        self._graphs.start()

    def step(self) -> None:
        claims = self._claims or self._attach()
        if claims is None:
            self._setup.stopping.wait(2 * self._setup.waits.ring_s)
            return
        ring = claims.ring
        self._storing.look()
        if self._needs_room and not self._store_large(ring):
            self._setup.stopping.wait(self._setup.waits.ring_s / 5)
            return
        block = claims.first(self._block.events, self._sharers if self._block.is_dear else 1)
        if block is None:
            self._rest(claims)
            return
        self._rests.note_work()
        assert self._plans is not None
        assert self._large is not None
        with self._setup.patience.up_to():  # a new version may be of thousands of operations
            plan = self._plans.get(block.entry.graph_version)
        if plan is not self._plan:
            self._plan, self._block = plan, BlockSize(self._config.worker)  # who knows what it costs
        if not self._make_way(ring, block, plan):
            return
        if self._held is None:
            with self._setup.patience.up_to():  # it takes up what a predecessor left, hundreds of MB maybe
                self._held = Held(block, plan, self._large)
        if block.attempts or (ring.suspects and block.sequence not in self._tried):
            self._try(claims, plan, block, self._held)
        else:
            self._run(claims, plan, block, self._held)
        if self._held_too_much(ring):
            self._store_large(ring)

    def _make_way(self, ring: RingReader, block: Block, plan: WorkerPlan) -> bool:
        """Hand on what a block cannot be added to; False: there is no room for it now."""
        if self._held is not None and not self._held.takes(block, plan):
            self._hand_on(ring)
        assert self._large is not None
        if self._large.is_due or not self._large.takes(block.entry, plan):
            return self._store_large(ring)
        return True

    def _rest(self, claims: Claims) -> None:
        """Nothing to run: hand on what is finished or stands in the source's way, else wait."""
        # While there is something to claim, a source that waits for space waits for computing,
        # and a flush for each block would only make that slower.
        assert self._large is not None
        ring, held, waiting = claims.ring, self._held, self._large.waiting
        if (held or waiting) and (ring.space_wanted or self._large.is_due or ring.replaced):
            self._store_large(ring)
            return
        if held is not None and ring.entry(held.entry.index).closed:
            self._hand_on(ring)
            return
        if self._storing.is_idle:
            if ring.replaced:
                logger.info("the ring was replaced")
                self._detach()
                return
            claims.adopt()
        if claims.is_empty:
            ring.wait(self._rests.wait_s, holding=bool(held or waiting))

    # the ring

    def _attach(self) -> Claims | None:
        try:
            whose.refuse_foreign(self._config)
            ring = RingReader(self._config.ring.name, self._setup.number)
        except (RingGone, RingBusy, RingUnfit) as error:
            if self._waiting_for != str(error):
                logger.info("waiting for the ring: %s", error)
                self._waiting_for = str(error)
            return None
        try:
            claims = Claims(ring, self._setup)
        except BaseException:
            # This process has the place of its number only once: with it, the next try were refused.
            ring.close()
            raise
        self._claims, self._waiting_for = claims, "the ring"
        self._last_flush, self._sharers = claims.last_flush, ring.worker_count
        here = f"on worker:{self._setup.number} of {self._config.node.host}"
        source = self._setup.stores.cluster("source")
        most = self._config.worker
        kinds = Kinds(most.hang_s, self._guest)
        self._plans = Plans(self._graphs, ring, here, lambda: read_fields(source), kinds)
        self._large = LargeStates(ring, most.arena_bytes, int(GROWN_SHARE * most.memory_bytes))
        return claims

    def _detach(self) -> None:
        assert self._claims is not None
        claims, self._claims = self._claims, None
        if self._large is not None:
            self._large.close()
        claims.ring.close()

    # computing

    def _run(self, claims: Claims, plan: WorkerPlan, block: Block, held: Held) -> None:
        ring, started = claims.ring, time.monotonic()
        first, count = block.sequence, block.count
        ring.leave_breadcrumb(first, count, 0)
        timing = self._costs.timing(plan, count)
        plan.run(
            block.slots,
            first,
            held.partial,
            lambda number: ring.leave_breadcrumb(first, count, number),
            timing,
            interval=block.entry.interval,
            guest=self._guest,
        )
        ring.leave_breadcrumb(0, 0, 0)
        held.add(block)
        claims.put_first()
        elapsed_s = time.monotonic() - started
        self._block.learn(count, elapsed_s)
        self._events += count
        self._blocks += 1
        self._busy_s += elapsed_s

    def _try(self, claims: Claims, plan: WorkerPlan, block: Block, held: Held) -> None:
        """Try a block in which a worker died, or may; its innocent events are run next, a fatal one never."""
        last = block.sequence + block.count - 1
        if block.attempts:
            logger.warning(
                "a worker died while it ran events %d to %d; trying them apart", block.sequence, last
            )
        most = self._config.worker
        verdict = try_apart(
            claims.ring, plan, block, timeout_s=most.trial_s, load_s=2 * most.hang_s, guest=self._guest
        )
        claims.ring.leave_breadcrumb(0, 0, 0)
        known = verdict.innocent + (verdict.fatal is not None)
        left: list[Block] = []
        if verdict.innocent:
            self._block.learn_one_by_one(verdict.innocent, verdict.elapsed_s)
            self._tried = range(block.sequence, block.sequence + verdict.innocent)
            left.append(replace(block.part(0, verdict.innocent), attempts=0))
        if known < block.count:
            left.append(block.part(known, block.count))
        if verdict.fatal is not None:
            event = block.part(verdict.innocent, known)
            held.partial.set_event_aside(verdict.fatal.operation, verdict.fatal.text, event.sequence)
            held.add(event)
            self._set_aside += 1
            logger.error("set aside: %s", verdict.fatal.text)
            self._count_offence(plan, verdict.fatal, suspect=True)
        elif block.attempts > 1 and plan.is_peoples(block.died_in):
            # Tried apart it was innocent, and then somebody died of it again, at the same place.
            name = plan.operations[block.died_in - 1]
            self._count_offence(
                plan, Fatal(name, f"ended {block.attempts} workers, and does not where it is tried")
            )
        claims.put_first(*left)

    # what people's code does

    def _list_files(self) -> list[int]:
        return [] if self._claims is None else [self._claims.ring.fd]

    def _touch(self) -> None:
        assert self._claims is not None
        self._claims.ring.touch_breadcrumb()

    def _count_grave(self, names: Sequence[str], error: BaseException) -> bool:
        assert self._held is not None
        weight = HANG if isinstance(error, TooLong) else DEATH
        return self._count_offence(self._held.plan, Fatal(names[0], reason_of(error), weight))

    def _count_offence(self, plan: WorkerPlan, fatal: Fatal, *, suspect: bool = False) -> bool:
        """Count what an operation did; return whether that was too much: the next plan is without it."""
        assert self._claims is not None
        fingerprint = plan.fingerprints.get(fatal.operation)
        if fingerprint is None:
            return False
        is_off = self._claims.ring.count_offence(
            fingerprint, plan.graph_version, fatal.weight, fatal.text, suspect=suspect
        )
        if is_off:
            logger.error("operation %r is switched off: %s", fatal.operation, fatal.text)
        return is_off

    # handing on

    def _held_too_much(self, ring: RingReader) -> bool:
        # All workers together leave the source half of the ring, also under the policy `drop`, where
        # nobody asks for space. Less often is better: a copy of an image's sum takes milliseconds.
        if self._held is None or self._large is None:
            return False
        events = self._held.events + self._large.waiting
        return 2 * self._sharers * events > ring.depth_of(self._held.entry)

    def _hand_on(self, ring: RingReader) -> None:
        """Let what was run since the last time be flushed; its slots are freed after that, or stay for the
        large states."""
        held = self._held
        if held is None or not held.events:
            self._held = None
            return
        self._storing.finish()
        self._held = None
        self._setup.shared.received += held.events * ring.event_bytes_of(held.entry)
        step = held.split()
        for fingerprint, why in held.partial.bound(held.plan.growing, FLUSH_BYTES).items():
            self._count_offence(held.plan, Fatal(held.plan.names[fingerprint][0], why, DEATH))
        if held.is_large:
            assert self._large is not None
            self._large.add(held.plan, step)
        if not held.flushed:
            merge_errors(held.partial.errors, self._errors)
            self._errors = {}
            self._costs.count_errors(held.partial.errors)
            self._sharers = ring.worker_count
            self._last_flush += 1
            self._flushes += 1
            self._storing.begin(*held.to_flush(ring.ring_id, self._last_flush), ring, stay=held.is_large)
        elif not held.is_large:
            ring.commit(held.runs)

    def _store_large(self, ring: RingReader) -> bool:
        """Hand on what was run, put its large states where they outlive this worker, and free their slots.

        Returns False when there is no room now; then it is to be called again, and nothing to be run.
        """
        # All of it: what is added to in place has the newest events, whether or not they were handed on.
        self._hand_on(ring)
        large = self._large
        if large is None or not large.waiting:
            return True
        # Flushed first: who follows goes by that.
        self._storing.finish()
        with self._setup.patience.up_to():  # a copy of all of them, into memory that is allocated first
            runs = large.store()
            while runs is None and large.is_hopeless:
                plan = large.plan
                grown, errors = large.give_up()
                merge_errors(self._errors, errors)
                runs = large.store()
                if plan is None or not grown:
                    break
                # It weighs more than in a flush: everybody may have waited for room.
                self._count_offence(plan, Fatal(plan.names[grown][0], large.no_room, HANG))
        self._needs_room = runs is None
        if runs is None:
            return False
        ring.commit(runs)
        shared = self._setup.shared
        shared.sent, large.written_bytes = shared.sent + large.written_bytes, 0
        return True

    def close(self) -> None:
        """Store and commit what was run; what was not is left to the others, or to the next start."""
        try:
            if self._claims is not None:
                self._store_large(self._claims.ring)
                self._storing.finish()
        finally:
            self._storing.close()
            if self._claims is not None:
                self._detach()
            self._graphs.close()
