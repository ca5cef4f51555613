"""Keep a worker's large states where they outlive it, span by span: in its arena.

What a worker has run of an entry is put into the arena before it is flushed, in one step with the slots that
it covers. So when the worker dies, what is in the arena is not run again for the large states, and
what is in a flush not for the small ones.

A state of which nothing but sums over the span are wanted stays in private memory while the span lasts, where
blocks are added in place, and the arena gets a copy each time. A state that has keys, or also goes
with the flush, begins anew with each entry, and is merged with what the arena has of it.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import replace

from ami.daemons.process.rate import Flows
from ami.errors import RingError, Undecodable
from ami.graph.execution.lanes import copied
from ami.graph.execution.partial import ErrorRecord, Partial, merge_errors
from ami.graph.execution.plan import WorkerPlan
from ami.graph.library.base import State
from ami.messages.flush import Covers
from ami.messages.large import NO_INTERVAL, WHOLE, Account, ArenaRecord, Row, SpanFacts
from ami.messages.message import expect
from ami.ring.arena import RECORD_BYTES, Arena, ArenaView, Place
from ami.ring.block import Stretch
from ami.ring.entries import Entry
from ami.ring.reader import RingReader
from ami.stores import codec
from ami.stores.codec import Chunks

logger = logging.getLogger(__name__)

Key = tuple[str, int]  # fingerprint, interval or NO_INTERVAL


def read_covered(ring: RingReader, worker: int) -> Sequence[Stretch]:
    """Return the slots that came last into the arena of a worker of this ring."""
    try:
        with ArenaView(ring.name, ring.ring_id, worker) as arena:
            return _read(arena).covered
    except FileNotFoundError:
        return ()


def _read(arena: ArenaView) -> ArenaRecord:
    raw = arena.read()
    try:
        return expect(ArenaRecord, codec.decode(raw)) if raw else ArenaRecord()
    except Undecodable as error:
        raise RingError(f"the record of arena {arena.name} cannot be read: {error}") from error


class Step:
    """What an entry's events gave, on its way into the arena: made once, however often there is no room."""

    def __init__(self, entry: Entry, runs: Sequence[Stretch], covers: Covers, part: Partial) -> None:
        self.entry = entry
        self.runs = list(runs)
        self.account = Account(covers=covers, seen=part.seen, set_aside=part.set_aside, used=part.used)
        self.part = part
        self.writes: dict[Row, Chunks] | None = None


class LargeStates:
    """The large states of a worker on one ring.

    Args:
        bytes: that they may take in shared memory.

    Attributes:
        flows: bytes that went into the arena, by fingerprint.
        written_bytes: the same of all together.
    """

    def __init__(self, ring: RingReader, bytes: int) -> None:
        self._ring = ring
        self._bytes = bytes
        self.flows = Flows()
        self.written_bytes = 0
        self._arena: Arena | None = None
        self._record = ArenaRecord()
        self._span = -1
        self._kept: dict[Key, State] = {}  # of that span

    @property
    def in_use(self) -> int:
        """Bytes of the states in the arena."""
        return sum(length for _, length in list(self._record.rows.values()))

    def begin(self, entry: Entry, plan: WorkerPlan, partial: Partial) -> None:
        """Put into an empty partial what a span has already of the states that are added to in place."""
        self._open()
        if entry.span != self._span:
            self._span, self._kept = entry.span, {}
        for fingerprint in partial.states.keys() & plan.lanes.large:
            if not _is_kept(plan, fingerprint):
                continue
            key = (fingerprint, _interval_of(plan, fingerprint, entry))
            if key not in self._kept and (row := (entry.span, *key, WHOLE)) in self._record.rows:
                self._kept[key] = copied(self._load(row))
            if key in self._kept:
                partial.states[fingerprint] = self._kept[key]

    def _open(self) -> Arena:
        if self._arena is None:
            ring = self._ring
            arena = Arena(ring.name, ring.ring_id, ring.worker, self._bytes)
            self._record = _read(arena)
            self._arena = arena
        return self._arena

    def _load(self, row: Row) -> State:
        return codec.decode(self._open().view(self._record.rows[row]))

    def store(self, plan: WorkerPlan, step: Step) -> bool:
        """Put a step into the arena; False: there is no room now, and nothing was changed."""
        arena, released = self._open(), self._ring.released
        record = self._record
        rows = {row: place for row, place in record.rows.items() if row[0] >= released}
        if step.writes is None:
            step.writes = self._encode(plan, step)
        arena.keep_only(rows.values())
        places = arena.take([chunks.nbytes for chunks in step.writes.values()])
        if places is None:
            return False
        for place, (row, chunks) in zip(places, step.writes.items(), strict=True):
            arena.write(place, chunks.buffers)
            self.written_bytes += chunks.nbytes
            self.flows.add(row[1], chunks.nbytes)
        new = self._added(record, step, released, rows | dict(zip(step.writes, places, strict=True)))
        raw = bytes(codec.encode(new))
        if len(raw) > RECORD_BYTES - 8:
            return False
        arena.select(raw)
        self._record = new
        return True

    def is_hopeless(self, span: int) -> bool:
        """Whether room cannot come: nothing is in the way but what this span has itself."""
        return all(row[0] == span for row in self._record.rows if row[0] >= self._ring.released)

    def give_up(self, plan: WorkerPlan, step: Step, partial: Partial) -> None:
        """Count the events of a step as failed for its large states, for which there is no memory."""
        text = f"there is no room for its state in the {self._bytes >> 20} MiB of worker.arena_bytes"
        for fingerprint, used in step.part.used.items():
            if used:
                record = ErrorRecord(used, text)
                merge_errors(partial.errors, dict.fromkeys(plan.names[fingerprint], record))
        step.account = replace(step.account, used={})
        step.writes = {}
        self._kept = {}

    def _encode(self, plan: WorkerPlan, step: Step) -> dict[Row, Chunks]:
        entry, part = step.entry, step.part
        writes: dict[Row, Chunks] = {}
        for fingerprint, state in part.states.items():
            if not part.used.get(fingerprint):
                continue
            key = (fingerprint, _interval_of(plan, fingerprint, entry))
            if _is_kept(plan, fingerprint):
                self._kept[key] = state
                writes[(entry.span, *key, WHOLE)] = codec.encode(state)
                continue
            reduction = plan.reductions[fingerprint]
            parts: dict[Hashable, State] = (
                dict(reduction.split(state)) if fingerprint in plan.by_key else {WHOLE: state}
            )
            for label, mine in parts.items():
                row = (entry.span, *key, label)
                # Into the private one: what lies in the arena is true until the next record.
                both = reduction.merge(mine, self._load(row)) if row in self._record.rows else mine
                writes[row] = codec.encode(both)
        return writes

    def _added(self, record: ArenaRecord, step: Step, released: int, rows: dict[Row, Place]) -> ArenaRecord:
        entry = step.entry
        where = (entry.span, entry.interval)
        accounts = {place: one for place, one in record.accounts.items() if place[0] >= released}
        accounts[where] = accounts.get(where, Account()).plus(step.account)
        spans = {span: facts for span, facts in record.spans.items() if span >= released}
        spans[entry.span] = SpanFacts(run=entry.run, graph_version=entry.graph_version)
        return ArenaRecord(spans=spans, rows=rows, accounts=accounts, covered=step.runs)

    def close(self) -> None:
        """Let go of the arena, which stays."""
        if self._arena is not None:
            self._arena.close()
            self._arena = None


def _is_kept(plan: WorkerPlan, fingerprint: str) -> bool:
    return fingerprint not in plan.lanes.small and fingerprint not in plan.by_key


def _interval_of(plan: WorkerPlan, fingerprint: str, entry: Entry) -> int:
    return entry.interval if fingerprint in plan.lanes.of_intervals else NO_INTERVAL
