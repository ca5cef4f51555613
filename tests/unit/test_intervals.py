"""Intervals of event time: cutting blocks, and choosing a length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.sources import open_source
from ami.sources.intervals import Run, choose, propose_ns, split

times = st.lists(st.integers(-(10**6), 10**6), max_size=60).map(sorted)


@given(times, st.integers(1, 500_000))
def test_each_event_is_in_the_run_of_its_interval(stamps: list[int], interval_ns: int) -> None:
    runs = split(np.array(stamps, np.int64), interval_ns)
    assert [n for run in runs for n in [run.interval] * (run.stop - run.start)] == [
        stamp // interval_ns for stamp in stamps
    ]
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])][: len(runs)]


@given(times, st.integers(1, 500_000))
def test_neighbouring_runs_have_different_intervals(stamps: list[int], interval_ns: int) -> None:
    numbers = [run.interval for run in split(np.array(stamps, np.int64), interval_ns)]
    assert len(set(numbers)) == len(numbers)


def test_a_time_before_zero_is_in_an_interval_before_zero() -> None:
    assert split(np.array([-1, 0, 49, 50]), 50) == [Run(-1, 0, 1), Run(0, 1, 3), Run(1, 3, 4)]


@pytest.mark.parametrize(
    ("span_s", "length_s"),
    [(0, 0.05), (10, 0.05), (50, 0.05), (50.1, 0.1), (3600, 5), (944.6, 1), (86400, 100), (5000, 5)],
)
def test_a_replay_is_proposed_a_round_length_for_at_most_1000_intervals(
    span_s: float, length_s: float
) -> None:
    assert propose_ns(round(span_s * 1e9)) == round(length_s * 1e9)


@given(st.integers(0, 10**18))
def test_a_proposal_gives_at_most_1000_intervals_and_is_1_2_or_5(span_ns: int) -> None:
    length = propose_ns(span_ns, at_least_s=0)
    assert -(-span_ns // length) <= 1000
    assert str(length).rstrip("0") in ("1", "2", "5")


@pytest.mark.parametrize(
    ("uri", "setting_s", "length_ns"),
    [
        ("sim://scalars?rate=max&interval=7ms", 0.05, 7_000_000),
        ("sim://scalars?rate=1000", 0.05, 50_000_000),
        ("sim://scalars?rate=1000&event_rate=100", 0.05, 500_000_000),
        ("sim://scalars?rate=max", 0.2, 200_000_000),
        ("sim://scalars?rate=max&event_rate=10&stop=36000", 0.05, 5_000_000_000),
        ("sim://scalars?rate=max&event_rate=10&stop=36000", 30.0, 30_000_000_000),
        ("sim://scalars?rate=max&event_rate=10&stop=36000&repeat", 0.05, 5_000_000_000),
    ],
)
def test_the_length_is_what_the_uri_asks_for_else_a_proposal_else_the_scaled_setting(
    uri: str, setting_s: float, length_ns: int
) -> None:
    assert choose(open_source(uri), setting_s) == length_ns
