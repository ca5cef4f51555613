"""States that grow with what comes are bounded on each hop, and who asked for them is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ami.graph.execution.bind import reductions
from ami.graph.execution.partial import Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.windows import Accumulator
from ami.graph.language.text import graph_of
from tests.unit.test_graph_lanes import SCHEMA, events

TEXT = """
results:
  shots: count(x)
  few: mean_vs(x, key=timestamp, max_keys=10)
  many: mean_vs(x + 1, key=timestamp)
  also: mean_vs(x + 1, key=timestamp)
"""
GRAPH = graph_of(TEXT).at_version(1)
ROW_BYTES = 32  # of a key: itself, a count, a sum, and squares


def partial_of(count: int, first: int = 0) -> Partial:
    plan = WorkerPlan(GRAPH, SCHEMA)
    partial = plan.partial()
    plan.run(events(count, first), first, partial)
    return partial


@given(st.integers(1, 200), st.integers(0, 9000))
def test_of_states_that_grow_the_largest_go_until_the_others_fit(count: int, most: int) -> None:
    partial = partial_of(count)
    gone = partial.bound(WorkerPlan(GRAPH, SCHEMA).growing, most)
    assert gone.keys() == {GRAPH.fingerprint(name) for name in ("few", "many")} - partial.states.keys()
    left, sizes = most, {"few": min(10, count) * ROW_BYTES + 16, "many": count * ROW_BYTES + 16}
    kept = set()
    for name in sorted(sizes, key=lambda name: sizes[name]):
        left -= sizes[name]
        if left >= 0:
            kept.add(name)
    there = {name for name in sizes if GRAPH.fingerprint(name) in partial.states}
    assert len(there) == len(kept)  # of two equal ones either goes
    assert sum(sizes[name] for name in there) <= most
    assert GRAPH.fingerprint("shots") in partial.states
    # Those who share a state are told both, of each event.
    names = {"few": {"few"}, "many": {"many", "also"}}
    assert set(partial.errors) == {told for name in sizes.keys() - there for told in names[name]}
    assert {record.count for record in partial.errors.values()} <= {count}
    assert partial.seen == count


def test_windows_that_grew_too_large_are_let_go_with_their_events_and_the_others_stay() -> None:
    windows = Accumulator(GRAPH)
    for interval in range(4):
        partial = partial_of(100, 100 * interval)
        windows.apply(partial, interval=interval, run=1, expected=100, dropped=0)
        windows.bound(300 * ROW_BYTES, "as the test says")
    computed = windows.results()
    assert computed["shots"].value == 400
    assert computed["few"].account.used == 400
    assert "all together may have 0, as the test says" in str(computed["many"].error)
    assert windows.errors["many"].count == windows.errors["also"].count == 400
    assert list(windows.refused) == [GRAPH.fingerprint("many")]
    assert windows.refused[GRAPH.fingerprint("many")] in windows.errors["many"].text
    windows.begin_run(2)
    assert windows.refused == {}


def test_reducers_know_the_same_ones_to_grow_as_workers() -> None:
    plan = WorkerPlan(GRAPH, SCHEMA)
    known = reductions(GRAPH).growing
    assert {key: sorted(names) for key, names in known.items()} == {
        key: sorted(names) for key, names in plan.growing.items()
    }
    assert sorted(known) == sorted({GRAPH.fingerprint(name) for name in ("few", "many")})
