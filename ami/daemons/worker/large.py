"""Keep a worker's large states where they outlive it, span by span: in its arena.

Flushes go each interval; what the events of a span gave for the large states is put into the arena when the
span ends, in one step with the slots that it covers, and only then those slots are committed. Who follows a
dead worker runs again, for the large states alone, what is in a flush and not in the arena.

A state of which nothing but sums over the span are wanted stays in private memory while the span lasts, where
blocks are added in place, and the arena gets a copy. A state that has keys, or also goes with the flush,
begins anew with each entry, and is merged with what came before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Sequence
from dataclasses import replace

from ami.daemons.process.rate import Flows
from ami.errors import RingError, Undecodable
from ami.graph.execution.lanes import copied
from ami.graph.execution.partial import ErrorRecord, Partial, merge_errors
from ami.graph.execution.plan import WorkerPlan
from ami.graph.library.base import State, bytes_of
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
# So much is run again at the most, and waits in the ring, when a span lasts long.
LONGEST_S = 0.5
# Of a worker's time, for the copies that are made because it has been long. Of 600 MB they took all
# of it on a busy machine, and small results waited.
COPY_SHARE = 0.2
# For so long all others wait for room, where states are in the way that grow with what comes.
ROOM_S = 3.0


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
    """What an entry's events gave for the large states."""

    def __init__(self, entry: Entry, runs: Sequence[Stretch], covers: Covers, part: Partial) -> None:
        self.entry = entry
        self.runs = list(runs)
        self.account = Account(covers=covers, seen=part.seen, set_aside=part.set_aside, used=part.used)
        self.part = part


class Waiting:
    """Steps of one span that are not in the arena yet."""

    def __init__(self, span: int, plan: WorkerPlan, facts: SpanFacts, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self.span = span
        self.plan = plan
        self.facts = facts
        self.since = time.monotonic()
        self.runs: list[Stretch] = []
        self.events = 0
        self.accounts: dict[tuple[int, int], Account] = {}
        self.states: dict[Key, State] = {}
        self.writes: dict[Row, Chunks] | None = None  # made once, however often there is no room
        self.grown_bytes = 0  # of the states that grow with what comes
        self.refused_at: float | None = None  # when there was first no room

    def add(self, step: Step) -> None:
        """Add what an entry gave; its states are no longer the caller's."""
        self.runs += step.runs
        self.events += sum(count for _, count in step.runs)
        where = (self.span, step.entry.interval)
        self.accounts[where] = self.accounts.get(where, Account()).plus(step.account)
        for fingerprint, state in step.part.states.items():
            if not step.part.used.get(fingerprint):
                continue
            key = (fingerprint, _interval_of(self.plan, fingerprint, step.entry, self.interval_ns))
            if key in self.states and not _is_kept(self.plan, fingerprint):
                state = self.plan.reductions[fingerprint].merge(self.states[key], state)
            self.states[key] = state
        self.grown_bytes = sum(
            bytes_of(self.states[key]) for key in self.states if key[0] in self.plan.growing
        )


class LargeStates:
    """The large states of a worker on one ring.

    Args:
        bytes: that they may take in shared memory.
        waiting_bytes: that states which grow with what comes may have before they are stored.

    Attributes:
        flows: bytes that went into the arena, by fingerprint.
        written_bytes: the same of all together.
        no_room: what is told of states that there is no room for.
    """

    def __init__(self, ring: RingReader, bytes: int, waiting_bytes: int = 1 << 30) -> None:
        self._ring = ring
        self._bytes = bytes
        self.no_room = f"there is no room for its state in the {bytes >> 20} MiB of worker.arena_bytes"
        self._waiting_bytes = waiting_bytes
        self.flows = Flows()
        self.written_bytes = 0
        self._arena: Arena | None = None
        self._record = ArenaRecord()
        self._longest_s = LONGEST_S
        self._span = -1
        self._kept: dict[Key, State] = {}  # of that span
        self._waiting: Waiting | None = None

    @property
    def in_use(self) -> int:
        """Bytes of the states in the arena."""
        return sum(length for _, length in list(self._record.rows.values()))

    @property
    def waiting(self) -> int:
        """Events that were run and are not in the arena."""
        return 0 if self._waiting is None else self._waiting.events

    @property
    def plan(self) -> WorkerPlan | None:
        """By which what waits was run."""
        return None if self._waiting is None else self._waiting.plan

    @property
    def is_due(self) -> bool:
        """Whether what waits is to be stored: its span has ended, it has waited long, or has grown much."""
        waiting = self._waiting
        return waiting is not None and (
            self._ring.spans_closed > waiting.span
            or waiting.grown_bytes > self._waiting_bytes
            or time.monotonic() - waiting.since > self._longest_s
        )

    def takes(self, entry: Entry, plan: WorkerPlan) -> bool:
        """Whether an entry can be added to what waits."""
        return self._waiting is None or (self._waiting.span, self._waiting.plan) == (entry.span, plan)

    def begin(self, entry: Entry, plan: WorkerPlan, partial: Partial) -> None:
        """Put into an empty partial what a span has already of the states that are added to in place."""
        self._open()
        if entry.span != self._span:
            self._span, self._kept = entry.span, {}
        for fingerprint in partial.states.keys() & plan.lanes.large:
            if not _is_kept(plan, fingerprint):
                continue
            key = (fingerprint, _interval_of(plan, fingerprint, entry, self._ring.interval_ns))
            if key not in self._kept and (row := (entry.span, *key, WHOLE)) in self._record.rows:
                self._kept[key] = copied(self._load(row))
            if key in self._kept:
                partial.states[fingerprint] = self._kept[key]

    def add(self, plan: WorkerPlan, step: Step) -> None:
        """Let what an entry gave wait to be stored; no other span or plan may be waiting."""
        entry = step.entry
        if self._waiting is None:
            facts = SpanFacts(run=entry.run, graph_version=entry.graph_version)
            self._waiting = Waiting(entry.span, plan, facts, self._ring.interval_ns)
        self._waiting.add(step)
        for key, state in self._waiting.states.items():
            if _is_kept(plan, key[0]):
                self._kept[key] = state

    def _open(self) -> Arena:
        if self._arena is None:
            ring = self._ring
            arena = Arena(ring.name, ring.ring_id, ring.worker, self._bytes)
            self._record = _read(arena)
            self._arena = arena
        return self._arena

    def _load(self, row: Row) -> State:
        return codec.decode(self._open().view(self._record.rows[row]))

    def store(self) -> list[Stretch] | None:
        """Put what waits into the arena; return the slots that are in it, or None if there is no room now."""
        waiting = self._waiting
        if waiting is None:
            return []
        began = time.monotonic()
        arena, released = self._open(), self._ring.released
        record = self._record
        rows = {row: place for row, place in record.rows.items() if row[0] >= released}
        if waiting.writes is None:
            waiting.writes = self._encode(waiting)
        arena.keep_only(rows.values())
        places = arena.take([chunks.nbytes for chunks in waiting.writes.values()])
        if places is None:
            waiting.refused_at = waiting.refused_at or began
            return None
        for place, (row, chunks) in zip(places, waiting.writes.items(), strict=True):
            arena.write(place, chunks.buffers)
            self.written_bytes += chunks.nbytes
            self.flows.add(row[1], chunks.nbytes)
        new = self._added(record, waiting, released, rows | dict(zip(waiting.writes, places, strict=True)))
        raw = bytes(codec.encode(new))
        if len(raw) > RECORD_BYTES - 8:
            return None
        arena.select(raw)
        self._record, self._waiting = new, None
        self._longest_s = max(LONGEST_S, (time.monotonic() - began) / COPY_SHARE)
        return waiting.runs

    @property
    def is_hopeless(self) -> bool:
        """Whether room cannot come, or too late: others wait for what grows, and is more than half.

        Of a scan whose keys come back a span has each key once, so it does not.
        """
        waiting, released = self._waiting, self._ring.released
        rows = {row: size for row, (_, size) in self._record.rows.items() if row[0] >= released}
        if waiting is None or all(row[0] == waiting.span for row in rows):
            return True
        if waiting.refused_at is None or not waiting.grown_bytes:
            return False
        grown = waiting.grown_bytes + sum(rows[row] for row in rows if row[1] in waiting.plan.growing)
        there = sum(rows.values()) + sum(chunks.nbytes for chunks in (waiting.writes or {}).values())
        return time.monotonic() - waiting.refused_at > ROOM_S and 2 * grown > there

    def give_up(self) -> tuple[str, dict[str, ErrorRecord]]:
        """Count what waits as failed for lack of memory: for the largest state that grows, or else for all.

        Returns the fingerprint of the one that grew, or "", and the errors.
        """
        waiting = self._waiting
        assert waiting is not None
        assert waiting.writes is not None
        grown = {row[1]: 0 for row in waiting.writes if row[1] in waiting.plan.growing}
        for row, chunks in waiting.writes.items():
            if row[1] in grown:
                grown[row[1]] += chunks.nbytes
        largest = max(grown, key=grown.__getitem__, default="")
        errors: dict[str, ErrorRecord] = {}
        for where, account in waiting.accounts.items():
            gone = {key: used for key, used in account.used.items() if largest in ("", key)}
            for fingerprint, used in gone.items():
                if used:
                    names = waiting.plan.names[fingerprint]
                    merge_errors(errors, dict.fromkeys(names, ErrorRecord(used, self.no_room)))
            left = {key: used for key, used in account.used.items() if key not in gone}
            waiting.accounts[where] = replace(account, used=left)
        waiting.writes = {row: one for row, one in waiting.writes.items() if largest not in ("", row[1])}
        waiting.grown_bytes = sum(grown.values()) - grown.get(largest, 0)
        self._kept = {key: state for key, state in self._kept.items() if largest not in ("", key[0])}
        return largest, errors

    def _encode(self, waiting: Waiting) -> dict[Row, Chunks]:
        plan = waiting.plan
        writes: dict[Row, Chunks] = {}
        for (fingerprint, interval), state in waiting.states.items():
            key = (fingerprint, interval)
            if _is_kept(plan, fingerprint):
                writes[(waiting.span, *key, WHOLE)] = codec.encode(state)
                continue
            reduction = plan.reductions[fingerprint]
            parts: dict[Hashable, State] = (
                dict(reduction.split(state)) if fingerprint in plan.by_key else {WHOLE: state}
            )
            for label, mine in parts.items():
                row = (waiting.span, *key, label)
                # Into the private one: what lies in the arena is true until the next record.
                both = reduction.merge(mine, self._load(row)) if row in self._record.rows else mine
                writes[row] = codec.encode(both)
        return writes

    def _added(
        self, record: ArenaRecord, waiting: Waiting, released: int, rows: dict[Row, Place]
    ) -> ArenaRecord:
        accounts = {place: one for place, one in record.accounts.items() if place[0] >= released}
        for where, account in waiting.accounts.items():
            accounts[where] = accounts.get(where, Account()).plus(account)
        spans = {span: facts for span, facts in record.spans.items() if span >= released}
        spans[waiting.span] = waiting.facts
        return ArenaRecord(spans=spans, rows=rows, accounts=accounts, covered=waiting.runs)

    def close(self) -> None:
        """Let go of the arena, which stays."""
        if self._arena is not None:
            self._arena.close()
            self._arena = None


def _is_kept(plan: WorkerPlan, fingerprint: str) -> bool:
    return fingerprint not in plan.lanes.small and fingerprint not in plan.by_key


def _interval_of(plan: WorkerPlan, fingerprint: str, entry: Entry, interval_ns: int) -> int:
    part = plan.lanes.part_of(fingerprint, entry.interval, interval_ns)
    return NO_INTERVAL if part is None else part
