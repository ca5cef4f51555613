"""Be the local reducer: merge the workers' partials of each entry, send one batch to the global store.

The ring says when an entry is complete, so nobody guesses by time-outs. Each batch has a number,
and the mark of what is in it is stored with it in one step; after a death the mark says where to
go on, and which flushes are in the last batch already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ami.cluster import whose
from ami.daemons.process.beside import Beside
from ami.daemons.process.control import GraphWatch
from ami.daemons.process.rate import Rate
from ami.daemons.process.stage import Rest, Setup
from ami.daemons.reduction.entries import EntryQueue, Ready, Sent
from ami.daemons.reduction.span_sender import SpanSender
from ami.errors import RingBusy, RingGone, RingUnfit, StoreUnavailable, Undecodable
from ami.graph.library.base import bytes_of
from ami.messages.batch import Batch, Mark
from ami.messages.flush import Flush
from ami.messages.message import expect, read
from ami.ring.observer import RingObserver
from ami.stores import BadRecord, Journal, Record, keys

logger = logging.getLogger(__name__)

# Batches that the global reducer has not checkpointed yet, and what they may have of the global store's
# memory. Beyond, the node waits: the workers hold their slots, the ring fills, and the policy decides.
BATCHES_AHEAD = 2000
BATCHES_SHARE = 0.125
WEIGH_S = 1.0


class LocalReducerStage:
    """The local reducer of one node."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._host = host = setup.config.node.host
        self._local = setup.stores.local("local-reducer", setup.number)
        self._global = setup.stores.cluster("global-reducer")
        self._inbox = self._global.journal(keys.inbox(host))
        self._graphs = GraphWatch(setup)
        self._queue = EntryQueue(setup.config.reducer, host, self._graphs.get)
        self._ring: RingObserver | None = None
        self._rests = Rest(setup.waits)
        self._waiting_for = "the ring"
        self._journals: dict[str, Journal] = {}
        self._after: dict[str, int] = {}
        self._look_at = 0.0
        self._room = True
        self._off: set[tuple[int, str, int]] = (
            set()
        )  # what was switched off: ring, fingerprint, graph version
        self._most_bytes = int(BATCHES_SHARE * setup.config.global_store.max_memory_bytes)
        self._ready: list[Ready] = []  # to be sent when all that was in the store by then has been taken in
        self._left: list[int] = []  # rings that are gone, of which there are arenas
        self._unsent: list[Sent] = []  # made, but not acknowledged yet; the same ones are sent again
        self._spans = SpanSender(setup, self._graphs.get)
        self._beside = Beside("large")
        self._replaced_at = 0.0
        self._is_fenced = False
        self._rate = Rate()
        self._batches = self._incomplete = self._events = 0
        self._unweighed, self._weigh_at = 0, 0.0

    @property
    def state(self) -> str:
        if self._ring is None:
            return f"waiting: for {self._waiting_for}"
        if not self._room:
            return "waiting: for the global reducer"
        if self._spans.waits:
            return "running; large states wait for the global reducer"
        return f"running; {self._beside.note}" if self._beside.note else "running"

    @property
    def counters(self) -> Mapping[str, float]:
        behind = 0 if self._ring is None else self._ring.cursor.entries_closed - self._queue.next_entry
        return {
            "batches": self._batches,
            "entries": self._queue.next_entry,
            "lag_intervals": max(0, behind),
            "incomplete": self._incomplete,
            "large_batches": self._spans.batches,
            "large_lag_s": 0.0 if self._ring is None else self._spans.lag_s(self._ring, time.time_ns()),
            "rate_hz": self._rate.per_s(self._events),
        }

    def costs(self) -> dict[str, Any]:
        """Return for the heartbeat what is under way beside the loop, and what states cost to send."""
        return {"piece": self._beside.piece, "states": self._spans.flows.per_s()}

    def start(self) -> None:
        """Go on where the mark in the global store says."""
        # Or it would take away parcels of the node whose ring it is: this one's inbox does not name them.
        with suppress(RingUnfit):
            whose.refuse_foreign(self._setup.config)
        # Those of earlier rings too: what they stored last may still be here.
        for number in self._local.set(keys.WORKERS):
            self._journal(keys.prefix(self._host, "worker", int(number)))
        self._global.set(keys.NODES).add(self._host)
        self._resume()
        self._graphs.start()

    def _resume(self) -> None:
        # Fenced before the mark is read: what a dead predecessor sent last is in it now, or never will be.
        last = self._inbox.fence()
        mark = read(self._global, keys.mark(self._host), Mark)
        self._queue.resume(mark, last)
        self._spans.start()
        if mark is not None:
            self._remove(mark.flushes)

    def _start_over(self) -> None:
        """Go on as a successor would: somebody has fenced this node, because it was away for long."""
        logger.warning("this node was fenced; going on with what the global store has of it")
        self._beside.finish()
        if self._ring is not None:
            self._ring.close()
        self._ring, self._ready, self._unsent, self._after = None, [], [], {}
        self._queue = EntryQueue(self._setup.config.reducer, self._host, self._graphs.get)
        self._resume()
        self._is_fenced = False

    def step(self) -> None:
        if self._is_fenced:
            self._start_over()
        waits, stopping = self._setup.waits, self._setup.stopping
        ring = self._ring or self._attach()
        if ring is None:
            stopping.wait(2 * waits.ring_s)
            return
        if not self._send_all(ring):
            return
        self._look_around(ring)
        self._send_spans(ring)
        if not self._room:
            stopping.wait(waits.ring_s)
            return
        # What is complete first, what is in the store after: so all flushes of a complete entry are seen.
        self._ready = self._ready or self._queue.look(ring, time.time_ns())
        if self._ready or not self._beside.is_idle:
            self._rests.note_work()
        if self._ready:
            if self._gather(ring, self._ready):
                ready, self._ready = self._ready, []
                self._unsent += [self._queue.batch(ring, entry) for entry in ready]
                self._send_all(ring)
        elif self._may_leave(ring):
            logger.info("the ring was replaced")
            self._ring = None
            ring.close()
        else:
            ring.wait(self._rests.wait_s)

    def _may_leave(self, ring: RingObserver) -> bool:
        """Whether the ring was replaced, and all of it is sent, or what is left of its spans can wait."""
        opened = ring.cursor.entries_opened
        if not ring.replaced or self._queue.next_entry < opened or not self._beside.is_idle:
            return False
        if self._spans.next_entry(ring.ring_id) >= opened:
            self._spans.forget(ring.name, ring.ring_id)
            return True
        # Nobody may complete them any more. They are sent from the arenas, when their workers let go of them.
        now = time.monotonic()
        self._replaced_at = self._replaced_at or now
        return now - self._replaced_at > self._setup.config.reducer.grace_s

    # the large lane

    def _send_spans(self, ring: RingObserver) -> None:
        """Let the thread beside send the next span, if there is one, and it has none."""
        if not self._beside.look() or self._spans.waits:
            return
        # Never before their small states: who fences this node reads off those how far it was.
        span = self._spans.find(ring, self._queue.next_entry)
        if span is not None:
            self._beside.begin(lambda: self._spans.send(ring, span))
        elif self._left:
            ring_id = self._left.pop()
            self._beside.begin(lambda: self._spans.send_left(ring, ring_id))

    def _attach(self) -> RingObserver | None:
        try:
            whose.refuse_foreign(self._setup.config)
            ring = RingObserver(self._setup.config.ring.name, reducer=True)
        except (RingGone, RingBusy, RingUnfit) as error:
            if self._waiting_for != str(error):
                logger.info("waiting for the ring: %s", error)
                self._waiting_for = str(error)
            return None
        if ring.ring_id <= self._queue.void:
            ring.mark_taken()
            ring.close()
            self._waiting_for = "another ring: others got the events of this one, while this node was away"
            return None
        gathered = False
        try:
            gathered = self._gather(ring)
        finally:
            if not gathered:
                ring.close()
        if not gathered:
            self._waiting_for = "what the local store holds"
            return None
        for batch, mark in self._queue.attach(ring):
            logger.warning("%d events of an earlier ring are sent now, as incomplete", batch.covers.events)
            self._unsent.append((batch, mark))
        self._ring, self._waiting_for, self._replaced_at = ring, "the ring", 0.0
        return ring

    # the local store

    def _look_around(self, ring: RingObserver) -> None:
        """Now and then see whether the global reducer keeps up, and whether more came of earlier rings."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + self._setup.waits.look_s
            ahead = self._inbox.pending()
            self._room = ahead < BATCHES_AHEAD and (not ahead or self._inbox.measure() < self._most_bytes)
            self._gather(ring)
            self._unsent += self._queue.orphans(ring)
            self._left = self._spans.find_left(ring)
            self._spans.look_around()
            self._switch_off(ring)

    def _switch_off(self, ring: RingObserver) -> None:
        """Let no worker make states any more of which the global reducer let go."""
        refused = self._global.get(keys.REFUSED) or {}
        new = {key: told for key, told in refused.items() if (ring.ring_id, key, told[0]) not in self._off}
        if not new:
            return
        graph = self._graphs.latest
        there = {graph.fingerprint(operation.name) for operation in graph.operations}
        for fingerprint, (version, why) in new.items():
            # Once: whoever edits it, or takes it out and puts it back, may try again.
            self._off.add((ring.ring_id, fingerprint, version))
            if fingerprint in there:
                logger.error("an operation is switched off: %s", why)
                ring.switch_off(fingerprint, version, why)

    def _journal(self, prefix: str) -> Journal:
        if prefix not in self._journals:
            self._journals[prefix] = self._local.view(prefix).journal(keys.FLUSHES)
        return self._journals[prefix]

    def _gather(self, ring: RingObserver, ready: Sequence[Ready] = ()) -> bool:
        """Take in the flushes that are in the local store, for a while; return whether that was all.

        Or all of the entries that are ``ready``, if there are some.
        """
        for number in ring.worker_numbers():
            self._journal(keys.prefix(self._host, "worker", number))
        end = time.monotonic() + self._setup.waits.step_s
        while self._journals and not (ready and self._queue.has_all(ring, ready)):
            try:
                found = self._local.read_journals(self._journals, self._after, timeout_s=0)
            except BadRecord as error:
                self._put_away(error)
                continue
            if not found:
                return True
            for worker, record in found:
                self._take(worker, record)
            if time.monotonic() >= end:
                return False
        return True

    def _take(self, worker: str, record: Record) -> None:
        try:
            flush = expect(Flush, record.value)
        except Undecodable as error:
            self._put_away(BadRecord(self._journals[worker].key, record.number, str(error)))
            return
        if flush.entry.ring <= self._queue.void:
            self._journals[worker].remove([record.number])
        else:
            self._queue.take(worker, record.number, flush)
        # Not before: its graph may have to be read, and the store may not answer. Then it is read again.
        self._after[worker] = record.number

    def _put_away(self, error: BadRecord) -> None:
        """Remove a flush that cannot be read: nobody ever can, and all others would wait behind it."""
        logger.error("the events of a flush are lost: %s", error)
        for worker, journal in self._journals.items():
            if journal.key == error.journal:
                journal.remove([error.number])
                self._after[worker] = error.number

    def _remove(self, flushes: Mapping[str, list[int]]) -> None:
        removals = [(self._journal(worker), numbers) for worker, numbers in flushes.items()]
        if removals:
            (first, numbers), *others = removals
            first.remove(numbers, others=others)

    # the global store

    def _send_all(self, ring: RingObserver) -> bool:
        """Send the batches that are made, for a while; return whether that was all."""
        end = time.monotonic() + self._setup.waits.step_s
        while self._unsent:
            batch, mark = self._unsent[0]
            if not self._inbox.append(mark.batch, batch, also={keys.mark(self._host): mark}):
                stored = read(self._global, keys.mark(self._host), Mark)
                if (
                    stored is None or stored.batch != mark.batch
                ):  # else this one arrived, and its answer did not
                    self._is_fenced = True
                    return False
            self._remove(mark.flushes)
            self._unsent.pop(0)
            self._batches += 1
            self._events += batch.covers.events
            self._weigh(batch)
            self._incomplete += not batch.complete
            if self._unsent and time.monotonic() >= end:
                return False  # a successor needs the entries of those that are not sent
        ring.forget_entries(min(self._queue.lowest, self._spans.next_entry(ring.ring_id)))
        return True

    def _weigh(self, batch: Batch) -> None:
        """Count what the states of a batch have in bytes: of one a second, for all since the last."""
        self._unweighed += 1
        now = time.monotonic()
        if batch.partial is None or now < self._weigh_at:
            return
        for fingerprint, state in batch.partial.states.items():
            self._spans.flows.add(fingerprint, self._unweighed * bytes_of(state))
        self._unweighed, self._weigh_at = 0, now + WEIGH_S

    def close(self) -> None:
        """Nothing to hand on: what is in no batch yet is in the local store, or in the workers' arenas."""
        self._beside.close()
        self._spans.close()
        if self._setup.name is not None:
            try:
                self._setup.name.leave()
            except StoreUnavailable as error:
                logger.warning("this node will be missed until it is back or removed: %s", error)
        if self._ring is not None:
            self._ring.close()
        self._graphs.close()
