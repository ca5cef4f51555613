"""How many events a worker takes at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ami.config import WorkerConfig
from ami.daemons.worker.blocksize import FIRST_EVENTS, STEP_S, BlockSize


def test_quick_blocks_grow_up_to_the_limit_and_no_further() -> None:
    block = BlockSize(WorkerConfig(block_events=1000))
    sizes = []
    for _ in range(10):
        sizes.append(block.events)
        block.learn(block.events, 0.0)
    assert sizes[:3] == [FIRST_EVENTS, 2 * FIRST_EVENTS, 4 * FIRST_EVENTS]
    assert sizes[-1] == 1000


def test_slow_blocks_shrink_to_one_event_at_the_least() -> None:
    block = BlockSize(WorkerConfig())
    for _ in range(10):
        block.learn(block.events, 2 * STEP_S)
    assert block.events == 1


def test_a_slow_part_of_a_block_tells_more_than_the_limit_it_was_claimed_with() -> None:
    block = BlockSize(WorkerConfig())
    for _ in range(5):
        block.learn(block.events, 0.0)
    block.learn(10, 2 * STEP_S)  # ten were there, and they took too long already
    assert block.events == 5


def test_a_block_of_fair_length_changes_nothing() -> None:
    block = BlockSize(WorkerConfig())
    block.learn(FIRST_EVENTS, 0.6 * STEP_S)
    assert block.events == FIRST_EVENTS


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 10)), max_size=40), st.integers(1, 5000))
def test_whatever_blocks_took_the_next_one_is_within_bounds(
    took: list[tuple[int, float]], limit: int
) -> None:
    block = BlockSize(WorkerConfig(block_events=limit))
    for events, elapsed_s in took:
        block.learn(events, elapsed_s)
        assert 1 <= block.events <= limit


def test_events_are_dear_by_the_time_that_each_takes() -> None:
    block = BlockSize(WorkerConfig())
    assert not block.is_dear
    block.learn(3, 0.005)
    assert not block.is_dear
    block.learn(3, 0.007)
    assert block.is_dear
