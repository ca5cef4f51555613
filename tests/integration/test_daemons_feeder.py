"""The feeder on a real ring: entries, transitions, pace, and its replacement at any point."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from ami.daemons.source import feeder
from ami.daemons.source.feeder import Feeder
from ami.event import Transition
from ami.graph.language.text import graph_of
from ami.ring import Entry, RingObserver, RingReader, configurations
from ami.sources import intervals, open_source, pace, take
from tests.feeder_rig import Killed, Stamp, World, entries, feed_to_the_end, ring_interval_ns, story
from tests.ring_rig import ring_name

# 120 events in 10 ms, steps of 25, a new run after 60.
SCAN = (
    "sim://pump-probe?rate=max&event_rate=10kHz&stop=120&steps=3&step_events=25&run_events=60"
    "&camera=16x16&samples=64&interval=2ms"
)
ONE_RUN = "sim://pump-probe?rate=max&event_rate=10kHz&stop=100&step_events=1000&camera=16x16&samples=64&interval=1ms"
PACED = ONE_RUN.replace("rate=max", "rate=10kHz", 1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(feeder, "WAIT_S", 0.002)
    with ring_name() as name:
        yield World(name)


# Three of its events, 5, 55 and 105: before two of them come several borders, and four behind the last.
SHARE = SCAN.replace("stop=120", "stop=124") + "&every=50&offset=5"


def published(name: str, count: int) -> dict[str, np.ndarray]:
    """Return the columns of every event of a ring that nobody took any from."""
    found: dict[str, list[np.ndarray]] = {"timestamp": [], "delay": [], "step_value": []}
    with RingReader(name, 0) as reader:
        while (block := reader.claim(1 << 16)) is not None:
            found["timestamp"].append(block.slots.timestamps.copy())
            found["delay"].append(block.slots["delay"].copy())
            found["step_value"].append(np.full(block.slots.count, block.entry.step_value))
    columns = {key: np.concatenate(parts) for key, parts in found.items()}
    assert len(columns["timestamp"]) == count
    return columns


def test_entries_are_cut_at_the_borders_of_intervals(world: World) -> None:
    source = open_source(ONE_RUN)
    with world.ring(source) as ring:
        feed_to_the_end(world.feeder(source, ring))
        cut = [(entry.interval, entry.count) for entry in entries(ring) if not entry.transition]
        timestamps = source.span(0, 1000).timestamps  # type: ignore[union-attr]
        runs = intervals.split(timestamps, ring_interval_ns(source))
    assert cut == [(run.interval, run.stop - run.start) for run in runs]
    assert sum(count for _, count in cut) == 100
    assert len(cut) >= 10


def test_each_entry_has_the_newest_graph_at_its_beginning_and_only_its_fields_are_read(world: World) -> None:
    source = open_source(ONE_RUN)
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        while ring.cursor.published < 30:
            feeding.step()
        world.graph = graph_of("results: {level: moments(diode)}").at_version(2)
        before = ring.cursor.published
        opened = ring.cursor.entries_opened
        feed_to_the_end(feeding)
        versions = [entry.graph_version for entry in entries(ring)]
        with RingReader(world.name, 0) as reader:
            while (block := reader.claim(1 << 16)) is not None:
                wanted = {1: ["delay", "monitor"], 2: ["diode"]}[block.entry.graph_version]
                assert list(block.slots.columns) == wanted
                assert all(block.slots.has(name).all() for name in wanted)
    assert before >= 30
    assert versions == [1] * opened + [2] * (len(versions) - opened)
    assert len(versions) > opened


def test_a_recording_begins_and_ends_with_its_run_and_each_step_stands_between_barriers(
    world: World,
) -> None:
    source = open_source(SCAN)
    with world.ring(source) as ring:
        feed_to_the_end(world.feeder(source, ring))
        told = [Transition(entry.transition).name for entry in entries(ring) if entry.transition]
        by_step = {(entry.run, entry.step): 0 for entry in entries(ring) if entry.count}
        for entry in entries(ring):
            if entry.count:
                by_step[entry.run, entry.step] += entry.count
        columns = published(world.name, 120)
    assert told == [
        "BEGIN_RUN", "BEGIN_STEP", "END_STEP", "BEGIN_STEP", "END_STEP", "BEGIN_STEP",
        "END_STEP", "END_RUN", "BEGIN_RUN", "BEGIN_STEP", "END_STEP", "BEGIN_STEP", "END_STEP",
        "BEGIN_STEP", "END_RUN",
    ]  # fmt: skip
    assert by_step == {(1, 1): 25, (1, 2): 25, (1, 3): 10, (2, 1): 15, (2, 2): 25, (2, 3): 20}
    np.testing.assert_array_equal(columns["delay"], columns["step_value"])


def test_the_end_of_the_input_is_told_once_and_then_the_feeder_rests(world: World) -> None:
    source = open_source(ONE_RUN)
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        feed_to_the_end(feeding)
        before = ring.cursor
        world.naps.clear()
        assert not feeding.step()
        assert world.naps
        assert ring.cursor == before
        again = world.feeder(source, ring)  # a source that was started again has nothing to do
        assert again.finished
        assert not again.step()
        assert ring.cursor == before
        assert [entry.transition for entry in entries(ring)][-1] == Transition.END_RUN


def test_a_share_has_all_borders_also_where_it_has_no_event(world: World) -> None:
    source = open_source(SHARE)
    with world.ring(source) as ring:
        feed_to_the_end(world.feeder(source, ring))
        told = story(ring)
    began = [(run, step) for transition, run, step, *_ in told if transition == Transition.BEGIN_STEP]
    assert began == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1)]
    assert [(run, step, events) for transition, run, step, _, _, events in told if not transition] == [
        (0, 1, 1), (0, 3, 1), (1, 3, 1),
    ]  # fmt: skip
    assert [Transition(transition).name for transition, *_ in told[-5:]] == [
        "END_STEP", "END_RUN", "BEGIN_RUN", "BEGIN_STEP", "END_RUN",
    ]  # fmt: skip


class Uninterrupted(NamedTuple):
    uri: str
    story: list[Stamp]
    columns: dict[str, np.ndarray]
    things_done: int


@pytest.fixture(params=[SCAN, SHARE], ids=["whole", "share"])
def uninterrupted(request: pytest.FixtureRequest) -> Uninterrupted:
    source = open_source(request.param)
    assert source.length
    with ring_name() as name:
        world = World(name)
        with world.ring(source) as ring:
            feed_to_the_end(world.feeder(source, ring))
            done: int = ring.done  # type: ignore[attr-defined]
            return Uninterrupted(request.param, story(ring), published(name, source.length), done)


def test_a_feeder_replaced_at_any_point_leaves_the_stream_of_one_that_never_died(
    uninterrupted: Uninterrupted,
) -> None:
    uri, want, columns, things_done = uninterrupted
    assert things_done > 30
    for kill_at in range(1, things_done + 1):
        source = open_source(uri)
        with ring_name() as name:
            world = World(name)
            with world.ring(source, kill_at=kill_at) as ring, pytest.raises(Killed):
                feed_to_the_end(world.feeder(source, ring))
            with world.ring(source) as ring:
                assert ring.resumed
                feed_to_the_end(world.feeder(source, ring))
                assert story(ring) == want, f"killed at {kill_at}"
                assert world.feeder(source, ring).finished
                found = published(name, len(columns["timestamp"]))
            for key, column in columns.items():
                np.testing.assert_array_equal(found[key], column, err_msg=f"{key}, killed at {kill_at}")


@pytest.mark.parametrize("lifetime", [1, 2, 3, 5, 7])
def test_feeders_that_die_again_and_again_leave_the_stream_of_one_that_never_died(
    world: World, uninterrupted: Uninterrupted, lifetime: int
) -> None:
    """Every feeder does ``lifetime`` things, more than it takes to begin."""
    uri, want, columns, _ = uninterrupted
    for deaths in range(500):
        source = open_source(uri)
        with world.ring(source, kill_at=4 + lifetime, entries=1024) as ring:
            try:
                feed_to_the_end(world.feeder(source, ring))
            except Killed:
                continue
            assert deaths > 2
            assert story(ring) == want
            found = published(world.name, len(columns["timestamp"]))
            break
    else:
        pytest.fail("never came to its end")
    np.testing.assert_array_equal(found["timestamp"], columns["timestamp"])


def test_under_the_policy_drop_what_finds_no_room_is_counted_in_its_interval(world: World) -> None:
    source = open_source(ONE_RUN)
    with world.ring(source, slots=16) as ring:
        feed_to_the_end(world.feeder(source, ring, drop=True))
        cursor = ring.cursor
        found = entries(ring)
    assert (cursor.published, cursor.dropped, cursor.position) == (16, 84, 100)
    timestamps = source.span(0, 1000).timestamps  # type: ignore[union-attr]
    runs = intervals.split(timestamps, ring_interval_ns(source))
    assert [(e.interval, e.count + e.dropped) for e in found if not e.transition] == [
        (run.interval, run.stop - run.start) for run in runs
    ]


def test_under_the_policy_wait_nothing_is_passed_over(world: World) -> None:
    source = open_source(ONE_RUN)
    with world.ring(source, slots=16) as ring:
        feeding = world.feeder(source, ring)
        for _ in range(200):
            feeding.step()
        assert (ring.cursor.published, ring.cursor.dropped, feeding.position) == (16, 0, 16)
        seen = 0
        with RingReader(world.name, 0) as reader:
            while not feeding.finished:
                feeding.step()
                if (block := reader.claim(5)) is not None:
                    seen += block.slots.count
                    reader.commit([(block.sequence, block.slots.count)])
            while (block := reader.claim(5)) is not None:
                seen += block.slots.count
        assert seen == 100


def test_a_table_full_of_transitions_and_empty_entries_does_not_confuse_a_successor(world: World) -> None:
    source = open_source(SCAN)
    world.ring(source, entries=4).close(unlink=False)
    with RingObserver(world.name, reducer=True) as reducer:
        for _ in range(20):  # each dies when it has opened an entry and published nothing
            with world.ring(source, entries=4, kill_at=4) as ring, contextlib.suppress(Killed):
                feed_to_the_end(world.feeder(source, ring))
            reducer.forget_entries(reducer.cursor.entries_closed)
        with world.ring(source, entries=4) as ring:
            assert ring.cursor.published == 0
            assert ring.cursor.entries_opened > 10
            world.feeder(source, ring).step()


def test_a_full_table_of_entries_holds_the_feeder_up_and_loses_no_transition(world: World) -> None:
    source = open_source(SCAN)
    want = 15
    with world.ring(source, entries=8) as ring, RingObserver(world.name, reducer=True) as reducer:
        feeding = world.feeder(source, ring)
        for _ in range(100):
            feeding.step()
        assert ring.cursor.entries_opened == 8
        assert not feeding.finished
        seen: list[Entry] = []
        with RingReader(world.name, 0) as reader:
            for _ in range(2000):
                feeding.step()
                while (block := reader.claim(100)) is not None:
                    reader.commit([(block.sequence, block.slots.count)])
                while len(seen) < reducer.cursor.entries_closed:
                    seen.append(reducer.entry(len(seen)))
                reducer.forget_entries(len(seen))
                if feeding.finished:
                    break
    assert sum(1 for entry in seen if entry.transition) == want
    assert sum(entry.count for entry in seen) == 120


class Clock:
    now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def test_at_a_pace_events_come_when_they_are_due(world: World, clock: Clock) -> None:
    source = open_source(PACED)
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        step_until_nothing_is_due(feeding)
        clock.now_s += 0.00205  # events are 0.1 ms apart, intervals 1 ms long
        step_until_nothing_is_due(feeding)
        assert ring.cursor.published == 20  # of the third interval there is one, which waits for others
        assert 0 < world.naps[-1] <= 0.001  # up to the end of the interval, and no further
        clock.now_s += 0.00095
        step_until_nothing_is_due(feeding)
        assert ring.cursor.published == 30
        assert feeding.lag_s < 0.001  # it has caught up


def test_events_wait_for_each_other_for_half_an_interval_and_none_beyond_its_own(
    world: World, clock: Clock
) -> None:
    interval_s, apart_s = 0.05, 0.008
    source = open_source("sim://pump-probe?rate=125&camera=16x16&samples=64&interval=50ms")
    begun: list[int] = []
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        step_until_nothing_is_due(feeding)
        began_s, due = clock.now_s, 0
        while due < 40:
            if ring.cursor.published > sum(begun):
                begun.append(ring.cursor.published - sum(begun))
            clock.now_s += apart_s / 8
            feeding.step()
            feeding.step()
            since_s = clock.now_s - began_s
            due = int(since_s / apart_s + 1e-6) + 1
            waiting_s = since_s - ring.cursor.published * apart_s
            assert waiting_s < interval_s / 2 + apart_s / 4
            over = int(since_s / interval_s - 0.1)  # intervals, but for the last moments
            assert ring.cursor.published >= over * interval_s / apart_s
    assert max(begun) == 4  # 0, 8, 16 and 24 ms
    assert len(begun) <= 2 * 40 * apart_s / interval_s + 1


def test_what_is_due_is_handed_on_together_when_a_source_is_late(world: World, clock: Clock) -> None:
    source = open_source(PACED.replace("stop=100", "stop=400").replace("interval=1ms", "interval=50ms"))
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        step_until_nothing_is_due(feeding)
        clock.now_s += 0.02505  # more than half an interval; events are 0.1 ms apart
        world.naps.clear()
        assert feeding.step()
        assert ring.cursor.published == 251
        assert not feeding.step()
        assert len(world.naps) == 1  # and then it rests


def test_an_interval_whose_time_is_over_is_closed_although_the_next_event_is_far(
    world: World, clock: Clock
) -> None:
    source = open_source(
        ONE_RUN.replace("rate=max&event_rate=10kHz", "rate=2").replace("interval=1ms", "interval=50ms")
    )
    interval_s = ring_interval_ns(source) / 1e9
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        step_until_nothing_is_due(feeding)
        clock.now_s += interval_s * 0.9
        step_until_nothing_is_due(feeding)
        assert (ring.cursor.published, ring.open is not None) == (1, True)
        clock.now_s += interval_s * 0.1  # half a second is left until the next event
        step_until_nothing_is_due(feeding)
        assert ring.open is None
        assert ring.cursor.published == 1
        clock.now_s += 0.5
        step_until_nothing_is_due(feeding)
        clock.now_s += interval_s
        step_until_nothing_is_due(feeding)
        assert ring.cursor.published == 2


def step_until_nothing_is_due(feeding: Feeder) -> None:
    idle = 0
    while idle < 2:  # to announce a transition is no work, but work may follow
        idle = 0 if feeding.step() else idle + 1


def test_a_graph_of_fields_that_the_source_does_not_have_reads_what_there_is(world: World) -> None:
    source = open_source(ONE_RUN)
    world.graph = graph_of("results: {a: moments(monitor), b: moments(nothing_like_it)}").at_version(1)
    with world.ring(source) as ring:
        feed_to_the_end(world.feeder(source, ring))
        with RingReader(world.name, 0) as reader:
            block = reader.claim(10)
            assert block is not None
            assert list(block.slots.columns) == ["monitor"]
            assert block.slots.has("monitor").all()


WITHOUT_CAMERA = graph_of("results: {level: moments(monitor)}")
WITH_CAMERA = graph_of("results: {level: moments(monitor), image: moments(sum(camera))}")


def test_until_a_new_fields_columns_are_whole_entries_go_on_with_the_graph_that_they_had(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(ONE_RUN.replace("stop=100", "stop=20000"))
    monkeypatch.setattr("ami.ring.configurations._PIECE_BYTES", 4096)
    monkeypatch.setattr("ami.ring.configurations._TURN_S", 0.0)
    world.graph = WITHOUT_CAMERA.at_version(1)
    with world.ring(source, slots=4096, entries=4096) as ring, RingReader(world.name, 0) as reader:
        feeding = world.feeder(source, ring)
        for number in range(100_000):
            if feeding.finished:
                break
            feeding.step()
            if number >= 20:  # somebody edits all the time, and holds up nobody
                world.graph = WITH_CAMERA.at_version(2 + number // 20)
            while (block := reader.claim(1000)) is not None:
                reader.commit([(block.sequence, block.count)])
        stamped = [(entry.graph_version, entry.configuration) for entry in entries(ring)]
    assert stamped == sorted(stamped)
    assert {configuration for version, configuration in stamped if version >= 2} == {2}
    assert [version for version, _ in stamped].count(1) > 50  # most of them after the first edit
    assert len({version for version, _ in stamped}) > 10


@pytest.mark.parametrize("drop", [False, True])
def test_a_camera_that_is_added_and_removed_again_and_again_loses_no_event(world: World, drop: bool) -> None:
    source = open_source(ONE_RUN.replace("stop=100", "stop=20000"))
    world.graph = WITHOUT_CAMERA.at_version(1)
    seen: list[int] = []
    kept = set()
    with world.ring(source, slots=256, entries=4096) as ring, RingReader(world.name, 0) as reader:
        feeding = world.feeder(source, ring, drop=drop)
        for number in range(100_000):
            if feeding.finished:
                break
            feeding.step()
            if number % 40 == 0:
                graph = (WITH_CAMERA, WITHOUT_CAMERA)[number // 40 % 2]
                world.graph = graph.at_version(number // 40 + 2)
            while (block := reader.claim(64)) is not None:
                has = "camera" in block.slots.schema
                image = take(source, block.sequence, block.count, ["camera", "monitor"])
                assert (block.slots["monitor"] == image["monitor"]).all()
                assert not has or (block.slots["camera"] == image["camera"]).all()
                assert has == (block.entry.graph_version % 2 == 0)
                assert all(block.slots.has(name).all() for name in block.slots.columns)
                seen += range(block.sequence, block.sequence + block.count)
                kept.add((has, block.entry.graph_version))
                reader.commit([(block.sequence, block.count)])
            assert len(configurations.find(world.name)) <= 3
        assert feeding.finished
        assert ring.cursor.dropped == 0
    assert seen == list(range(20_000))
    assert len([True for has, _ in kept if has]) >= 3
    assert len([True for has, _ in kept if not has]) >= 3


def test_a_camera_for_which_there_is_no_room_waits_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(ONE_RUN)
    free = [1 << 40]
    monkeypatch.setattr("ami.ring.segment.free_bytes", lambda: free[0])
    monkeypatch.setattr("ami.ring.configurations.free_bytes", lambda: free[0])
    world.graph = WITHOUT_CAMERA.at_version(1)
    with world.ring(source) as ring:
        feeding = world.feeder(source, ring)
        while ring.cursor.published < 20:
            feeding.step()
        free[0] = 1000
        world.graph = WITH_CAMERA.at_version(2)
        while ring.cursor.published < 50:
            feeding.step()
        assert feeding.asked.shortage.startswith("/dev/shm has 0 MiB free, 1 MiB wanted for ring")
        assert feeding.asked.graph is not None
        assert entries(ring)[-1].graph_version == 1
        free[0] = 1 << 40
        feed_to_the_end(feeding)
        assert not feeding.asked.shortage
        assert entries(ring)[-1].graph_version == 2
        assert sum(entry.count for entry in entries(ring)) == 100
