"""Selection, repetition, pace and transitions: what all sources do alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import SourceError
from ami.event import Transition
from ami.sources import Source, Span, open_source, take
from ami.sources.base import THE_END
from ami.sources.simulated.pool import START_NS

SCAN = "sim://pump-probe?steps=3&step_events=4&first_delay=-1&last_delay=1"
BEGIN_RUN, END_RUN = Transition.BEGIN_RUN, Transition.END_RUN
BEGIN_STEP, END_STEP = Transition.BEGIN_STEP, Transition.END_STEP


def walk(source: Source, limit: int, until: int) -> list[tuple[int, int, tuple[object, ...], float]]:
    """Return (first, count, transitions, step value) of the spans up to position ``until``."""
    spans, first = [], 0
    while first < until and isinstance(span := source.span(first, limit), Span):
        spans.append((first, span.count, span.transitions, span.step_value))
        first += span.count
    return spans


def test_spans_end_at_steps_and_say_what_came_between() -> None:
    assert walk(open_source(SCAN), 3, 9) == [
        (0, 3, ((BEGIN_STEP, -1.0),), -1.0),
        (3, 1, (), -1.0),
        (4, 3, ((END_STEP, -1.0), (BEGIN_STEP, 0.0)), 0.0),
        (7, 1, (), 0.0),
        (8, 3, ((END_STEP, 0.0), (BEGIN_STEP, 1.0)), 1.0),
    ]


def test_the_scan_begins_again_after_its_last_step() -> None:
    assert walk(open_source(SCAN), 4, 16)[3] == (12, 4, ((END_STEP, 1.0), (BEGIN_STEP, -1.0)), -1.0)


def test_runs_end_and_begin_around_steps() -> None:
    assert walk(open_source(SCAN + "&run_events=6"), 99, 12) == [
        (0, 4, ((BEGIN_STEP, -1.0),), -1.0),
        (4, 2, ((END_STEP, -1.0), (BEGIN_STEP, 0.0)), 0.0),
        (6, 2, ((END_STEP, 0.0), (END_RUN, 1.0), (BEGIN_RUN, 2.0), (BEGIN_STEP, 0.0)), 0.0),
        (8, 4, ((END_STEP, 0.0), (BEGIN_STEP, 1.0)), 1.0),
    ]


def test_a_repetition_begins_its_step_anew() -> None:
    spans = walk(open_source(SCAN + "&start=2&stop=6&repeat=2"), 99, 99)
    assert spans == [
        (0, 2, ((BEGIN_STEP, -1.0),), -1.0),
        (2, 2, ((END_STEP, -1.0), (BEGIN_STEP, 0.0)), 0.0),
        (4, 2, ((END_STEP, 0.0), (BEGIN_STEP, -1.0)), -1.0),
        (6, 2, ((END_STEP, -1.0), (BEGIN_STEP, 0.0)), 0.0),
    ]


def test_a_selection_begins_at_position_0() -> None:
    whole, part = open_source("sim://scalars"), open_source("sim://scalars?start=100&stop=150")
    assert part.length == 50
    expected, got = take(whole, 100, 50), take(part, 0, 50)
    np.testing.assert_array_equal(got["energy"], expected["energy"])
    np.testing.assert_array_equal(got.timestamps, expected.timestamps)
    assert part.span(50, 1) is THE_END


def test_a_selection_can_be_repeated_with_time_going_on() -> None:
    once, source = open_source("sim://scalars?stop=5"), open_source("sim://scalars?stop=5&repeat=3")
    assert source.length == 15
    got = take(source, 0, 15)
    np.testing.assert_array_equal(got["energy"], np.tile(take(once, 0, 5)["energy"], 3))
    np.testing.assert_array_equal(got.timestamps, START_NS + np.arange(15) * 1_000_000)


def test_a_replay_without_end_has_no_length() -> None:
    source = open_source("sim://scalars?stop=5&repeat=forever")
    assert source.length is None
    assert isinstance(source.span(10**9, 100), Span)


def test_reading_beyond_the_end_is_refused() -> None:
    with pytest.raises(SourceError, match="has 5 events; 3 to 7 were asked for"):
        take(open_source("sim://scalars?stop=5"), 3, 4)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(
        [
            SCAN + "&camera=16x16&samples=8&missing=0.3",
            "sim://pump-probe?steps=2&step_events=10000&camera=16x16&samples=8",
            "sim://pump-probe?steps=2&step_events=7&stop=19&repeat=2000&camera=16x16&samples=8",
            "sim://scalars?pool=37&missing=0.5",
            "static://?fields=a:binary,b:image:2x3",
        ]
    ),
    st.integers(0, 30_000),
    st.integers(1, 300),
    st.integers(0, 300),
)
def test_an_event_does_not_depend_on_where_reading_began(uri: str, first: int, count: int, cut: int) -> None:
    whole, again = take(open_source(uri), first, count), open_source(uri)
    cut = min(cut, count - 1)
    tail = take(again, first + cut, count - cut)
    np.testing.assert_array_equal(whole.timestamps[cut:], tail.timestamps)
    np.testing.assert_array_equal(whole.valid[:, cut:], tail.valid)
    for name in again.schema.names:
        np.testing.assert_array_equal(whole[name][cut:], tail[name])


def test_spans_have_the_timestamps_that_reading_gives() -> None:
    source = open_source("sim://scalars?rate=300&stop=10&repeat=2")
    span = source.span(3, 100)
    assert span is not None
    np.testing.assert_array_equal(span.timestamps, take(source, 3, span.count).timestamps)


def test_only_the_fields_that_are_asked_for_are_written_and_valid() -> None:
    source = open_source("sim://scalars")
    slots = take(source, 0, 10)
    slots["energy"][:] = -1
    source.read(0, slots, frozenset({"laser", "delay", "timestamp"}))
    assert (slots["energy"] == -1).all()
    assert all(slots.has(name).all() == (name in ("laser", "delay")) for name in source.schema.names)


@pytest.mark.parametrize(
    ("options", "paced", "speed"),
    [
        ("", True, 1.0),
        ("rate=max", False, 1.0),
        ("rate=500&event_rate=1000", True, 0.5),
        ("rate=20", True, 1.0),
    ],
)
def test_pace_is_a_ratio_of_event_time_to_wall_time(options: str, paced: bool, speed: float) -> None:
    source = open_source("sim://scalars?" + options)
    assert (source.pace.paced, source.pace.speed) == (paced, speed)


def test_a_rate_is_the_distance_of_timestamps() -> None:
    assert np.diff(take(open_source("sim://scalars?rate=100"), 0, 5).timestamps).tolist() == [10**7] * 4
    assert np.diff(take(open_source("sim://scalars?rate=max"), 0, 5).timestamps).tolist() == [100] * 4
    assert np.diff(take(open_source("sim://pump-probe?rate=max"), 0, 5, []).timestamps).tolist() == [1000] * 4


def test_policy_and_interval_come_from_the_uri() -> None:
    source = open_source("sim://scalars?policy=drop&interval=20ms")
    assert (source.policy, source.interval_s, source.interval_fixed) == ("drop", 0.02, True)
    source = open_source("sim://scalars")
    assert (source.policy, source.interval_s, source.interval_fixed) == (None, None, False)


def test_pace_and_policy_do_not_change_the_identity() -> None:
    base = open_source("sim://scalars?event_rate=1000")
    same = open_source("sim://scalars?event_rate=1000&rate=max&policy=drop&interval=1s")
    assert base.identity == same.identity


def test_inputs_that_differ_have_different_identities() -> None:
    uris = [
        "sim://scalars",
        "sim://scalars?seed=2",
        "sim://scalars?start=1",
        "sim://scalars?stop=9",
        "sim://scalars?stop=9&repeat=2",
        "sim://scalars?stop=9&repeat",
        "sim://scalars?event_rate=5",
        "sim://scalars?missing=0.5",
        "sim://pump-probe",
        "sim://pump-probe?noise=0",
        "static://",
        "static://?fields=a:scalar",
        "static://?fields=a:binary",
    ]
    assert len({open_source(uri).identity for uri in uris}) == len(uris)


def test_events_beyond_what_a_timestamp_can_say_are_refused() -> None:
    with pytest.raises(SourceError, match="2262"):
        open_source("sim://scalars?rate=max&event_rate=1000&stop=1000000000000000")
