"""A large state that grows beyond a worker's arena is let go by itself; the others beside it stay exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ami.daemons.worker import large as module
from ami.daemons.worker.flush import Held
from ami.daemons.worker.large import LargeStates
from ami.graph.execution.partial import ErrorRecord, merge_errors
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from ami.ring import RingReader
from tests import ring_rig as rig

GRAPH = replace(
    graph_of("results:\n  picture: sum_events(image)\n  scan: mean_vs(image, key=timestamp)\n").at_version(1),
    large=(("picture", 1), ("scan", 1)),
)
PLAN = WorkerPlan(GRAPH, rig.SCHEMA)
PICTURE, SCAN = GRAPH.fingerprint("picture"), GRAPH.fingerprint("scan")
PLAN.by_key = frozenset({SCAN})
ROOM_BYTES = 1 << 17


def let_go(large: LargeStates) -> tuple[list[str], dict[str, ErrorRecord]]:
    """Put what waits into the arena, and let go of what hinders that; return what went, and the errors."""
    gone: list[str] = []
    errors: dict[str, ErrorRecord] = {}
    while large.store() is None:
        assert large.is_hopeless
        grown, more = large.give_up()
        merge_errors(errors, more)
        gone.append(grown)
    return gone, errors


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=4))
@example([31, 1])
@example([31])
def test_of_a_span_that_has_no_room_the_scan_goes_and_each_other_event_is_in_the_arena(
    counts: list[int],
) -> None:
    with pytest.MonkeyPatch.context() as patch, rig.ring_name() as name:
        rig.let_arenas_be_small(patch)
        with rig.create(name, slots=512, entries=8) as writer, RingReader(name, 0) as reader:
            large = LargeStates(reader, ROOM_BYTES)
            failed: dict[str, ErrorRecord] = {}
            for interval, count in enumerate(counts):
                rig.open_entry(writer, interval, large=True)
                rig.publish(writer, count)
                writer.close_entry()
                block = reader.claim(count)
                assert block is not None
                held = Held(block, PLAN, large)
                PLAN.run(block.slots, block.sequence, held.partial, interval=interval)
                held.add(block)
                large.add(PLAN, held.split())
                gone, errors = let_go(large)
                # The picture goes only where a scan that was there before has left no page for another copy.
                assert gone in ([], [SCAN], [SCAN, ""])
                assert set(errors) == set(("scan", "picture")[: len(gone)])
                merge_errors(failed, errors)
            record = module._read(large._open())
            used = [account.used for account in record.accounts.values()]
            lost = {name: failed[name].count if name in failed else 0 for name in ("picture", "scan")}
            assert sum(one.get(PICTURE, 0) for one in used) == sum(counts) - lost["picture"]
            rows = [row for row in record.rows if row[1] == SCAN]
            assert len(rows) == sum(one.get(SCAN, 0) for one in used) == sum(counts) - lost["scan"]
            assert (lost["scan"] > 0) == (sum(counts) > ROOM_BYTES // 4096 - 1 - (len(counts) > 1))
            large.close()


def grown_span(writer: rig.RingWriter, reader: RingReader, large: LargeStates, count: int) -> bool:
    """Run a span of one entry; return whether there was room for it."""
    rig.open_entry(writer, writer.cursor.entries_opened, large=True)
    rig.publish(writer, count)
    writer.close_entry()
    writer.end_span()
    block = reader.claim(count)
    assert block is not None
    held = Held(block, PLAN, large)
    PLAN.run(block.slots, block.sequence, held.partial, interval=block.entry.interval)
    held.add(block)
    large.add(PLAN, held.split())
    return large.store() is not None


def test_where_spans_before_are_in_the_way_others_do_not_wait_for_long_for_what_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig.let_arenas_be_small(monkeypatch)
    with (
        rig.ring_name() as name,
        rig.create(name, slots=512, entries=16) as writer,
        RingReader(name, 0) as reader,
    ):
        large = LargeStates(reader, ROOM_BYTES)
        while grown_span(writer, reader, large, 10):
            pass
        assert not large.is_hopeless  # the reducer may take the spans before
        monkeypatch.setattr(module, "ROOM_S", 0.0)
        assert large.is_hopeless
        assert large.give_up()[0] == SCAN
        assert not large.is_hopeless  # what is left waits as ever
        large.close()


def test_what_grows_is_put_into_the_arena_before_it_has_grown_much(monkeypatch: pytest.MonkeyPatch) -> None:
    rig.let_arenas_be_small(monkeypatch)
    monkeypatch.setattr(module, "LONGEST_S", 1e9)
    with rig.ring_name() as name, rig.create(name, slots=64) as writer, RingReader(name, 0) as reader:
        large = LargeStates(reader, ROOM_BYTES, waiting_bytes=1000)
        rig.open_entry(writer, 0, large=True)
        rig.publish(writer, 64)
        seen = []
        while (block := reader.claim(1)) is not None and not large.is_due:
            held = Held(block, PLAN, large)
            PLAN.run(block.slots, block.sequence, held.partial)
            held.add(block)
            large.add(PLAN, held.split())
            seen.append(large.waiting)
        # Two arrays of 15 float64 an event, and what belongs to them.
        assert 1000 / 400 < len(seen) <= 1 + 1000 // (2 * 15 * 8)
        large.close()
