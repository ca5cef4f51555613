"""Up to which interval all nodes came: drawn orders of what comes, against a look at everything that came."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ami.daemons.reduction.watermark import NEVER, Watermark

NODES = ("a", "b", "c")
TWO = ("a", "b")
GRACE_S = 2.0

STEPS = st.lists(
    st.tuples(st.sampled_from(NODES), st.integers(1, 3), st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0])),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS, st.sets(st.sampled_from(NODES)))
def test_it_is_the_least_of_all_that_live_and_are_not_silent(
    steps: list[tuple[str, int, float]], dead: set[str]
) -> None:
    mark, now = Watermark(GRACE_S), 0.0
    reached: dict[str, int] = {}
    history: list[tuple[float, str, int]] = []
    here = set(NODES) - dead
    for node, forward, wait_s in steps:
        now += wait_s
        reached[node] = reached.get(node, 0) + forward
        mark.meet(node, (1, reached[node]), now)
        history.append((now, node, reached[node]))
        before = mark.place
        mark.look(here, now)
        assert mark.place >= before
        waited = {one for one in here if _waits(one, history, now)}
        least = min([max(reached.values()), *(reached.get(one, 0) for one in waited)])
        assert mark.place == (max(before, (1, least)) if least else before)
        assert mark.list_missing(NODES) == {one for one in NODES if reached.get(one, 0) < mark.place[1]}


def _waits(node: str, history: list[tuple[float, str, int]], now: float) -> bool:
    """Whether a node is waited for: at the front, or due and heard of no longer ago than is allowed."""
    mine = [(when, place) for when, one, place in history if one == node]
    top = max(place for _, _, place in history)
    if not mine:
        return now - history[0][0] < GRACE_S
    if mine[-1][1] >= top:
        return True
    due = min(when for when, _, place in history if place > mine[-1][1])
    return now - max(due, mine[-1][0]) < GRACE_S


def test_a_node_that_lives_is_waited_for_before_its_first_interval_and_once_only() -> None:
    """Else what it sends first is of intervals that are over: the others began earlier, by their place."""
    mark = Watermark(GRACE_S)
    mark.meet("a", (1, 5), 0.0)
    mark.look(["a", "b"], 0.0)
    assert (mark.place, mark.list_missing(["a", "b"])) == ((0, NEVER), set())
    mark.meet("b", (1, 4), 1.0)
    mark.look(["a", "b", "c"], 1.0)
    assert mark.place == (0, NEVER), "another came"
    mark.look(["a", "b", "c"], 2.9)
    assert mark.place == (0, NEVER)
    mark.look(["a", "b", "c"], 3.0)
    assert (mark.place, mark.list_missing(["a", "b", "c"])) == ((1, 5), {"b", "c"})
    mark.meet("a", (1, 6), 3.1)
    mark.look(["a", "c"], 3.1)
    assert mark.place == (1, 6), "it had its time"


def test_a_node_that_ended_its_run_holds_up_nobody_and_is_not_missing() -> None:
    mark = Watermark(GRACE_S)
    mark.meet("a", (1, 5), 0.0)
    mark.meet("b", (1, 3), 0.0)
    mark.look(TWO, 0.0)
    assert mark.place == (1, 3)
    mark.end("b", 1, 0.1)
    mark.look(TWO, 0.1)
    assert (mark.place, mark.list_missing(["a", "b"])) == ((1, 5), set())


def test_a_node_in_the_run_before_is_waited_for_and_then_named() -> None:
    mark = Watermark(GRACE_S)
    mark.meet("a", (1, 5), 0.0)
    mark.meet("b", (1, 5), 0.0)
    mark.end("a", 1, 0.0)
    mark.meet("a", (2, NEVER), 0.1)
    mark.meet("a", (2, 9), 0.2)
    mark.look(TWO, 1.0)
    assert mark.place == (1, 5)
    mark.look(TWO, 2.2)
    assert (mark.place, mark.list_missing(["a", "b"])) == ((2, 9), {"b"})


def test_by_how_much_a_node_is_late_is_told_in_time_of_events() -> None:
    mark = Watermark(GRACE_S)
    mark.meet("b", (1, 60), 0.0)
    mark.meet("a", (1, 100), 0.0)
    mark.look(["a"], 0.0)
    assert mark.list_late(["a", "b", "c"], 50_000_000) == (("b", 2.0),)


def test_who_takes_over_goes_on_where_it_was_and_waits_anew() -> None:
    mark, other = Watermark(GRACE_S), Watermark(GRACE_S)
    mark.meet("b", (1, 3), 0.0)
    mark.meet("a", (1, 5), 0.0)
    mark.look(TWO, 3.0)
    assert mark.place == (1, 5)
    other.restore(mark.place, mark.top, mark.newest, mark.ended, 10.0)
    other.meet("a", (1, 6), 10.1)
    other.look(TWO, 10.2)
    assert other.place == (1, 5)
    other.look(TWO, 12.3)
    assert other.place == (1, 6)


def test_who_takes_over_from_a_node_that_is_silent_does_not_wait_for_it_again() -> None:
    """Though its last batches come only now."""
    mark, other = Watermark(GRACE_S), Watermark(GRACE_S)
    mark.meet("a", (1, 5), 0.0)
    mark.meet("b", (1, 5), 0.0)
    mark.look(TWO, 0.0)
    other.silent = {"b"}
    other.restore(mark.place, mark.top, mark.newest, mark.ended, 10.0)
    other.meet("b", (1, 6), 10.0)
    other.meet("a", (1, 9), 10.0)
    other.meet("b", (1, 7), 10.0)
    other.look(TWO, 10.0)
    assert (other.place, other.list_missing(NODES)) == ((1, 9), {"b", "c"})
    other.silent.discard("b")
    other.meet("b", (1, 8), 10.1)
    other.meet("a", (1, 10), 10.1)
    other.look(TWO, 10.2)
    assert other.place == (1, 9), "it is waited for again"


def test_a_node_is_behind_by_intervals_of_which_something_came_and_not_by_their_numbers() -> None:
    """After a while without events the first one is of one node, and the next one of another."""
    mark = Watermark(GRACE_S, most_behind=3)
    for node in TWO:
        mark.meet(node, (1, 5), 0.0)
    mark.look(TWO, 0.0)
    for number in (1000, 2000, 3000):
        mark.meet("a", (1, number), 0.1)
        mark.look(TWO, 0.1)
        assert mark.place == (1, 5)
    mark.meet("a", (1, 3001), 0.1)
    mark.look(TWO, 0.1)
    assert mark.place == (1, 3001)
    mark.meet("b", (1, 1000), 0.2)
    mark.meet("a", (1, 3002), 0.2)
    mark.look(TWO, 0.2)
    assert mark.place == (1, 3001), "it is waited for again"
