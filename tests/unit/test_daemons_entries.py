"""Entries on their way from flushes to batches: order, grace, supplements, barriers, other rings, marks."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.config import ReducerConfig
from ami.daemons.reduction.entries import EntryQueue, Ready, Sent
from ami.event import Transition
from ami.graph.execution.bind import reductions
from ami.graph.execution.partial import Partial
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.operation import Operation
from ami.messages.batch import Batch
from ami.messages.flush import Covers, EntryFacts, Flush
from ami.ring.cursor import Cursor
from ami.ring.entries import Entry

GRAPH = graph_of("results: {total: sum_events(x)}").at_version(1)
KEY = GRAPH.fingerprint("total")
SUM = reductions(GRAPH)[KEY]
S = 10**9
NOW = 1_000_000 * S
CONFIG = ReducerConfig(grace_s=2, barrier_s=10)
WORKERS = ("here:worker:0", "here:worker:1")


@dataclass
class Paper:
    """A table of entries on paper: what a ring's would say, without the ring."""

    ring_id: int = 7
    interval_ns: int = 1000
    rows: list[Entry] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)

    @property
    def cursor(self) -> Cursor:
        closed = sum(row.closed for row in self.rows)
        return Cursor(sum(row.count for row in self.rows), 0, len(self.rows), closed, 0)

    def entry(self, index: int) -> Entry:
        return self.rows[index]

    def is_complete(self, index: int) -> bool:
        return self.rows[index].closed and index not in self.missing

    def add(
        self, count: int, *, transition: int = 0, closed: bool = True, missing: bool = False,
        dropped: int = 0, age_s: float = 0.0, version: int = 1, run: int = 1,
    ) -> int:  # fmt: skip
        index = len(self.rows)
        self.rows.append(
            Entry(
                index=index, interval=100 + index, run=run, step=2, step_value=0.5, graph_version=version,
                transition=transition, first_sequence=0, count=count, dropped=dropped, first_ns=0,
                last_ns=0, opened_wall_ns=0,
                closed_wall_ns=NOW - int(age_s * S) if closed else 0,
            )
        )  # fmt: skip
        if missing:
            self.missing.add(index)
        return index


def total(batch: Batch) -> float:
    assert batch.partial is not None
    return float(SUM.result(batch.partial.states[KEY]))


def queue(config: ReducerConfig = CONFIG) -> EntryQueue:
    return EntryQueue(config, "here", GRAPH.at_version)


def flush(table: Paper, index: int, events: int, total: float = 0.0, **covers: Any) -> Flush:
    entry = table.entry(index)
    state = SUM.add(SUM.zero(), np.array([total]), stamps=np.zeros((1, 2), np.int64))
    return Flush(
        entry=EntryFacts.of(table.ring_id, entry),
        covers=Covers(**{"events": events, "first_ns": 10 * index, "last_ns": 10 * index + events, **covers}),
        partial=Partial(entry.graph_version, events, {KEY: state}, {KEY: events}),
    )


def sent(entries: EntryQueue, table: Paper, now_ns: int = NOW) -> list[Sent]:
    return [entries.batch(table, ready) for ready in entries.look(table, now_ns)]


def send(entries: EntryQueue, table: Paper, now_ns: int = NOW) -> list[Batch]:
    return [batch for batch, _ in sent(entries, table, now_ns)]


def attached(table: Paper, config: ReducerConfig = CONFIG) -> EntryQueue:
    entries = queue(config)
    entries.resume(None, 0)
    assert entries.attach(table) == []
    return entries


def test_complete_entries_are_sent_in_order_with_what_every_worker_did() -> None:
    table = Paper()
    for count in (5, 3):
        table.add(count)
    entries = attached(table)
    entries.take(WORKERS[1], 1, flush(table, 1, 3, 30.0))
    entries.take(WORKERS[0], 1, flush(table, 0, 2, 1.0, first_ns=50, last_ns=60))
    entries.take(WORKERS[1], 2, flush(table, 0, 3, 2.0, first_ns=40, last_ns=55))
    (first, mark), (second, next_mark) = sent(entries, table)
    assert (mark.batch, first.entry.index, next_mark.batch, second.entry.index) == (1, 0, 2, 1)
    merged = first.partial
    assert merged is not None
    assert (merged.seen, total(first), merged.used[KEY]) == (5, 3.0, 5)
    assert mark.flushes == {WORKERS[0]: [1], WORKERS[1]: [2]}
    entry = EntryFacts(ring=7, index=0, interval=100, run=1, step=2, step_value=0.5, graph_version=1)
    assert first == Batch(
        node="here", entry=entry, interval_ns=1000, transition=0,
        covers=Covers(events=5, first_ns=40, last_ns=60), expected=5, dropped=0, complete=True,
        supplement=False, workers=WORKERS, partial=merged,
    )  # fmt: skip
    assert entries.look(table, NOW) == []


def test_flushes_are_looked_for_until_each_event_of_a_complete_entry_has_come() -> None:
    table = Paper()
    for count in (5, 0, 2):
        table.add(count)
    table.missing.add(2)
    entries = attached(table)
    first, empty = entries.look(table, NOW)
    assert entries.has_all(table, [empty])
    entries.take(WORKERS[0], 1, flush(table, 0, 2))
    assert not entries.has_all(table, [first, empty])
    entries.take(WORKERS[1], 1, flush(table, 0, 3))
    assert entries.has_all(table, [first, empty])
    late = Ready(2, complete=False, late=False)
    entries.take(WORKERS[1], 2, flush(table, 2, 2))
    assert not entries.has_all(table, [first, late])


def test_an_entry_that_is_open_or_has_events_under_way_holds_back_all_behind_it() -> None:
    table = Paper()
    table.add(5, missing=True, age_s=1.9)
    table.add(3)
    entries = attached(table)
    assert send(entries, table) == []
    table.missing.clear()
    assert [batch.entry.index for batch in send(entries, table)] == [0, 1]
    table.add(2, closed=False)
    assert send(entries, table) == []


def test_after_the_grace_time_it_is_sent_as_it_is_and_the_rest_follows_as_a_supplement() -> None:
    table = Paper()
    table.add(5, missing=True, dropped=4, age_s=2.1)
    table.add(3)
    entries = attached(table)
    entries.take(WORKERS[0], 1, flush(table, 0, 2, 20.0))
    entries.take(WORKERS[0], 2, flush(table, 1, 3))
    early, other = send(entries, table)
    assert (early.complete, early.covers.events, early.expected) == (False, 2, 9)
    assert early.dropped == 4
    assert other.complete
    assert entries.lowest == 0  # still needed in the table
    assert entries.next_entry == 2
    assert send(entries, table) == []
    entries.take(WORKERS[1], 1, flush(table, 0, 3, 30.0))
    assert send(entries, table) == []  # not yet complete: it may be that more comes
    table.missing.clear()
    ((late, mark),) = sent(entries, table)
    assert (late.supplement, late.complete, late.covers.events) == (True, True, 3)
    assert (late.expected, late.dropped) == (0, 0)  # told with the first part
    assert mark.batch == 3
    assert entries.lowest == 2
    assert send(entries, table) == []


@pytest.mark.parametrize("empty", [0, 3])
def test_in_a_backlog_entries_are_late_and_whole(empty: int) -> None:
    """All workers are behind: what is behind the oldest entry is not complete either, or has no events."""
    table = Paper()
    for _ in range(5):
        table.add(5, missing=True, age_s=50.0)
        for _ in range(empty):
            table.add(0, age_s=50.0)
    entries = attached(table)
    for index in sorted(table.missing):
        assert send(entries, table) == []
        table.missing.remove(index)
        done = send(entries, table)
        assert [batch.entry.index for batch in done] == [*range(index, index + 1 + empty)]
        assert all(batch.complete for batch in done)


@pytest.mark.parametrize("barrier", [Transition.BEGIN_RUN, Transition.END_RUN])
def test_a_run_s_border_waits_for_late_entries_up_to_the_barrier_time(barrier: Transition) -> None:
    table = Paper()
    late = table.add(5, missing=True, age_s=2.1)
    other = table.add(3)
    border = table.add(0, transition=barrier)
    entries = attached(table)
    assert [batch.entry.index for batch in send(entries, table)] == [late, other]
    assert send(entries, table, NOW + int(9.9 * S)) == []
    (batch,) = send(entries, table, NOW + int(10.1 * S))
    assert (batch.entry.index, batch.transition) == (border, barrier)
    table.missing.clear()
    assert [batch.supplement for batch in send(entries, table)] == [True]


def test_a_run_s_border_goes_in_the_same_turn_as_the_late_entry_that_it_waited_for() -> None:
    table = Paper()
    table.add(5, missing=True, age_s=2.1)
    table.add(1)
    table.add(0, transition=Transition.END_RUN)
    entries = attached(table)
    send(entries, table)
    table.missing.clear()
    entries.take(WORKERS[0], 1, flush(table, 0, 5))
    assert [batch.supplement for batch in send(entries, table)] == [True, False]


def test_a_step_s_border_waits_for_nobody() -> None:
    table = Paper()
    table.add(5, missing=True, age_s=2.1)
    table.add(1)
    table.add(0, transition=Transition.BEGIN_STEP)
    assert [batch.entry.index for batch in send(attached(table), table)] == [0, 1, 2]


def test_an_entry_without_an_event_is_sent_as_an_interval_in_which_nothing_was() -> None:
    table = Paper()
    table.add(0, dropped=6)
    (batch,) = send(attached(table), table)
    assert (batch.partial, batch.expected, batch.dropped) == (None, 6, 6)
    assert (batch.covers.first_ns, batch.workers) == (None, ())


def test_flushes_of_another_graph_version_are_merged_by_that_version_s_rules() -> None:
    table = Paper()
    table.add(2, version=1)
    table.add(2, version=2)
    entries = attached(table)
    for index in (1, 0):
        for number, worker in enumerate(WORKERS):
            entries.take(worker, 2 - index, flush(table, index, 1, float(number + index)))
    batches = send(entries, table)
    assert [b.partial and b.partial.graph_version for b in batches] == [1, 2]
    assert [total(b) for b in batches] == [1.0, 3.0]


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(6)))
def test_flushes_of_many_versions_are_merged_in_whatever_order_they_come(order: list[int]) -> None:
    """One worker is many edits behind the other."""
    table = Paper()
    for version in range(1, 7):
        table.add(2, version=version)
    entries = attached(table)
    for number, index in enumerate(order, start=1):
        for worker in WORKERS:
            entries.take(worker, number, flush(table, index, 1, float(index)))
    assert [total(batch) for batch in send(entries, table)] == [2.0 * index for index in range(6)]


def test_what_is_left_of_an_earlier_ring_is_sent_as_incomplete_intervals_of_its_own() -> None:
    old, new = Paper(ring_id=7), Paper(ring_id=8)
    old.add(5)
    new.add(1)
    entries = attached(old)
    entries.take(WORKERS[0], 1, flush(old, 0, 2, 5.0))
    ((orphan, mark),) = entries.attach(new)
    assert (orphan.entry.ring, orphan.entry.interval, orphan.entry.run) == (7, 100, 1)
    assert (orphan.expected, orphan.covers.events, orphan.complete) == (2, 2, False)
    assert mark.flushes == {WORKERS[0]: [1]}
    entries.take(WORKERS[0], 2, flush(new, 0, 1))
    ((batch, mark),) = sent(entries, new)
    assert (mark.batch, batch.entry.ring, batch.entry.index) == (2, 8, 0)


def test_a_late_part_of_an_earlier_ring_s_entry_is_not_expected_a_second_time() -> None:
    old, new = Paper(ring_id=7), Paper(ring_id=8)
    old.add(5, missing=True, age_s=3)
    old.add(1)
    entries = attached(old)
    entries.take(WORKERS[0], 1, flush(old, 0, 2))
    early, _ = send(entries, old)
    entries.take(WORKERS[1], 1, flush(old, 0, 3))
    ((rest, _),) = entries.attach(new)
    assert early.expected + rest.expected == 5
    assert early.covers.events + rest.covers.events == 5
    assert rest.supplement


def test_a_successor_between_two_orphans_still_knows_which_of_them_are_late_parts() -> None:
    old, new = Paper(ring_id=7), Paper(ring_id=8)
    for _ in range(2):
        old.add(5, missing=True, age_s=3)
    old.add(1)
    entries = attached(old)
    send(entries, old)
    for index in range(2):
        entries.take(WORKERS[0], index + 1, flush(old, index, 5))
    (_, first), _ = entries.attach(new)
    successor = queue()
    successor.resume(first, first.batch)
    successor.take(WORKERS[0], 2, flush(old, 1, 5))
    ((second, mark),) = successor.attach(new)
    assert (mark.batch, second.entry.index, second.expected) == (5, 1, 0)
    new.add(1)
    assert [batch.entry.ring for batch in send(successor, new)] == [8]


def test_a_flush_of_an_earlier_ring_that_comes_later_still_is_sent() -> None:
    old, new = Paper(ring_id=7), Paper(ring_id=8)
    old.add(5)
    entries = attached(old)
    assert entries.attach(new) == []
    entries.take(WORKERS[0], 1, flush(old, 0, 5, 4.0))
    ((orphan, _),) = entries.orphans(new)
    assert (orphan.entry.ring, orphan.covers.events) == (7, 5)
    assert entries.orphans(new) == []


def test_the_same_ring_again_changes_nothing() -> None:
    table = Paper()
    table.add(1)
    table.add(1)
    entries = attached(table)
    entries.take(WORKERS[0], 1, flush(table, 0, 1))
    send(entries, table)
    entries.take(WORKERS[0], 2, flush(table, 1, 1))
    before = entries.next_entry
    assert entries.attach(table) == []
    assert entries.next_entry == before == 2


amounts = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(amounts=amounts, deaths=st.sets(st.integers(1, 20)), data=st.data())
def test_a_successor_at_any_batch_sends_what_was_not_sent_and_nothing_twice(  # noqa: C901  # one story
    amounts: list[tuple[int, bool]], deaths: set[int], data: st.DataObject
) -> None:
    """The store keeps what is in no mark yet; a successor reads the mark of the last batch."""
    table = Paper()
    stored: list[tuple[str, int, Flush]] = []
    late: list[tuple[str, int, Flush]] = []
    numbers = dict.fromkeys(WORKERS, 0)
    for count, is_late in amounts:
        index = table.add(count, missing=is_late and count > 0, age_s=3.0)
        split = data.draw(st.integers(0, count))
        parts = ((WORKERS[0], split, stored), (WORKERS[1], count - split, late if is_late else stored))
        for worker, events, where in parts:
            if events:
                numbers[worker] += 1
                where.append((worker, numbers[worker], flush(table, index, events, float(events))))
    done: list[Sent] = []
    supplements_there = False
    entries = queue()
    entries.resume(None, 0)
    entries.attach(table)
    taken = 0
    for _ in range(100):
        for worker, number, one in stored[taken:]:
            entries.take(worker, number, copy.deepcopy(one))
        taken = len(stored)
        batches = sent(entries, table)
        if not batches and supplements_there:
            break
        for batch, mark in batches:
            done.append((batch, mark))
            gone = {(worker, n) for worker, flushed in mark.flushes.items() for n in flushed}
            stored = [one for one in stored if one[:2] not in gone]
            if mark.batch in deaths:
                entries = queue()
                entries.resume(mark, len(done))
                entries.attach(table)
                taken = 0
                break
        else:
            taken = len(stored)
            if not batches:
                stored += late
                table.missing.clear()
                supplements_there = True
    assert [mark.batch for _, mark in done] == list(range(1, len(done) + 1))
    assert not stored
    for index, (count, _) in enumerate(amounts):
        mine = [batch for batch, _ in done if batch.entry.index == index]
        assert sum(batch.covers.events for batch in mine) == count
        assert sum(batch.expected for batch in mine) == count
        assert sum(not batch.complete for batch in mine) == sum(batch.supplement for batch in mine)


def test_states_that_this_reducer_cannot_merge_are_counted_as_failed_and_the_others_go_on() -> None:
    wobble = Operation("w", "wobble", ("x",), reduces=True)
    graph = Graph(1, (*GRAPH.operations, wobble), (*GRAPH.results, "w"))
    table = Paper()
    table.add(5)
    entries = EntryQueue(CONFIG, "lab", graph.at_version)
    entries.attach(table)
    for worker, count in zip(WORKERS, (2, 3), strict=True):
        one = flush(table, 0, count, 1.0)
        one.partial.states[graph.fingerprint("w")] = ["its state"]
        one.partial.used[graph.fingerprint("w")] = count
        entries.take(worker, 1, one)
    (batch,) = send(entries, table)
    merged = batch.partial
    assert merged is not None
    assert (total(batch), merged.seen, merged.used) == (2.0, 5, {KEY: 5})
    assert merged.errors["w"].count == 5
    assert "'wobble' is not installed on local-reducer:0 of lab" in merged.errors["w"].text
