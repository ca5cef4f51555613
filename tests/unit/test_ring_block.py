"""Cutting sequence numbers into blocks, without any shared memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.ring.block import among, split


def _sequences(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def _cut(
    sequences: list[int],
    attempts: list[int],
    entries: list[tuple[int, int]],
    limit: int = 100,
    flushed: list[int] | None = None,
) -> list:
    done = np.array(flushed or [0] * len(sequences), np.uint8)
    return [
        (run.first, run.count, run.entry, run.attempts, *([run.flushed] if flushed else []))
        for run in split(
            _sequences(*sequences), np.array(attempts, np.uint8), done, entries, slot_count=8, limit=limit
        )
    ]


def test_nothing_owned_is_no_block() -> None:
    assert _cut([], [], [(0, 0)]) == []


def test_a_gap_ends_a_block() -> None:
    assert _cut([1, 2, 4], [0, 0, 0], [(0, 0)]) == [(1, 2, 0, 0), (4, 1, 0, 0)]


def test_the_rings_end_ends_a_block() -> None:
    assert _cut([6, 7, 8, 9], [0] * 4, [(0, 0)]) == [(6, 2, 0, 0), (8, 2, 0, 0)]


def test_what_is_flushed_ends_a_block() -> None:
    assert _cut([0, 1, 2], [0] * 3, [(0, 0)], flushed=[1, 0, 0]) == [(0, 1, 0, 0, True), (1, 2, 0, 0, False)]


def test_other_attempts_end_a_block() -> None:
    assert _cut([0, 1, 2], [0, 1, 1], [(0, 0)]) == [(0, 1, 0, 0), (1, 2, 0, 1)]


def test_a_block_has_at_most_the_limit() -> None:
    assert _cut([0, 1, 2, 3, 4], [0] * 5, [(0, 0)], limit=2) == [(0, 2, 0, 0), (2, 2, 0, 0), (4, 1, 0, 0)]


def test_an_entry_without_events_owns_none() -> None:
    assert _cut([1, 2, 3], [0] * 3, [(0, 5), (2, 6), (2, 7), (2, 8)]) == [(1, 1, 5, 0), (2, 2, 8, 0)]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [([], []), ([(0, 3)], [1, 2]), ([(2, 1), (9, 5)], [2, 9]), ([(3, 6)], [])],
)
def test_among_tells_which_sequences_lie_in_runs(runs: list[tuple[int, int]], expected: list[int]) -> None:
    sequences = _sequences(1, 2, 9)
    assert sequences[among(sequences, runs)].tolist() == expected


@given(
    sequences=st.sets(st.integers(0, 60)).map(sorted),
    borders=st.sets(st.integers(0, 60)).map(lambda found: sorted(found | {0})),
    attempts=st.lists(st.integers(0, 2), min_size=61, max_size=61),
    limit=st.integers(1, 9),
)
def test_blocks_hold_each_event_once_and_keep_all_borders(
    sequences: list[int], borders: list[int], attempts: list[int], limit: int
) -> None:
    entries = [(first, index) for index, first in enumerate(borders)]
    marks = [attempts[s] for s in sequences]
    blocks = _cut(sequences, marks, entries, limit)
    assert [s for first, count, *_ in blocks for s in range(first, first + count)] == sequences
    for first, count, entry, attempt in blocks:
        inside = range(first, first + count)
        assert count <= limit
        assert len({s // 8 for s in inside}) == 1
        assert {attempts[s] for s in inside} == {attempt}
        stop = borders[entry + 1] if entry + 1 < len(borders) else 1000
        assert all(borders[entry] <= s < stop for s in inside)
