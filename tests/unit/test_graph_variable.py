"""Values of another length in each event: every operation against plain lists, however the events are cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ami.messages  # noqa: F401  # so that states may be stored
from ami.errors import GraphError
from ami.event import Field, Schema, Slots
from ami.graph.check import check
from ami.graph.execution.partial import ErrorRecord, Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.results import Computed
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.language.text import graph_of
from ami.ragged import Ragged
from ami.stores import codec
from ami.values import Arrays, PickedEvents, plain
from tests.unit.graphs import refusal

MOST = 5
SCHEMA = Schema.of(
    [
        Field("energy", np.dtype("f8"), (MOST,), variable=True, unit="keV"),
        Field("x", np.dtype("i2"), (MOST + 2,), variable=True),
        Field("gain", np.dtype("f8")),
        Field("laser", np.dtype("i8")),
        Field("wave", np.dtype("f4"), (4,)),
        Field("pairs", np.dtype("f8"), (3, 2), variable=True),
    ]
)


class Event:
    """One event as plain Python values; None where a value is missing."""

    def __init__(self, energy: Any, x: Any, gain: float, laser: int, wave: Any, pairs: Any) -> None:
        self.energy, self.x, self.gain, self.laser = energy, x, gain, laser
        self.wave, self.pairs = wave, pairs


halves = st.integers(-20, 20).map(lambda n: n / 2)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    made = []
    for _ in range(draw(st.integers(1, 12))):
        energy = draw(st.one_of(st.none(), st.lists(halves, max_size=MOST)))
        x = draw(st.lists(st.integers(-300, 300), max_size=MOST + 2))
        if energy is not None and draw(st.integers(0, 4)):
            x = [draw(st.integers(-300, 300)) for _ in energy]
        wave = draw(st.lists(halves, min_size=4, max_size=4))
        pairs = draw(st.lists(st.tuples(halves, halves), max_size=3))
        made.append(Event(energy, x, draw(halves), draw(st.integers(0, 1)), wave, pairs))
    return made


def slots_of(made: list[Event]) -> Slots:
    """Return a block of the events, with rubbish wherever nothing is meant to stand."""
    slots = Slots.allocate(SCHEMA, len(made))
    for name in ("energy", "x", "pairs"):
        slots.columns[name][:] = 77
        slots.columns[f"{name}.length"][:] = 1 << 40
    slots.set_valid(SCHEMA.names)
    slots.timestamps[:] = 1000 + np.arange(len(made))
    for row, event in enumerate(made):
        for name in ("gain", "laser", "wave"):
            slots.columns[name][row] = getattr(event, name)
        for name in ("energy", "x", "pairs"):
            value = getattr(event, name)
            if value is None:
                slots.set_missing([name, f"{name}.length"], [row])
                continue
            slots.columns[f"{name}.length"][row] = len(value)
            if value:
                slots.columns[name][row, : len(value)] = value
    return slots


def compute(text: str, made: list[Event], block: int = 100) -> tuple[Any, dict[str, ErrorRecord]]:
    """Return what the result ``r`` is, and what failed."""
    graph = graph_of(f"results:\n  r: '{text}'\n")
    check(graph, SCHEMA)
    results, errors = compute_all(graph, made, block)
    return results["r"].value, errors


def compute_all(
    graph: Graph, made: list[Event], block: int
) -> tuple[dict[str, Computed], dict[str, ErrorRecord]]:
    """Return all results, over blocks whose partials were stored, read and merged, and what failed.

    Two blocks are of one interval.
    """
    plan, accumulator, slots = WorkerPlan(graph, SCHEMA), Accumulator(graph), slots_of(made)
    for start in range(0, slots.count, block):
        partial = plan.partial()
        part = slots.part(start, min(start + block, slots.count))
        plan.run(part, start, partial)
        partial.states = codec.decode(bytes(codec.encode(partial.states)))
        accumulator.apply(partial, interval=start // (2 * block), run=1, expected=part.count, dropped=0)
    return accumulator.results(), accumulator.errors


def scaled(event: Event) -> list[float] | None:
    return None if event.energy is None else [e * event.gain for e in event.energy]


def std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


EACH = {  # text of one number for each event: the same in Python, None where the event has none
    "sum(energy)": lambda e: None if e.energy is None else float(sum(e.energy)),
    "length(energy)": lambda e: None if e.energy is None else len(e.energy),
    "sum(energy * gain)": lambda e: None if e.energy is None else sum(scaled(e) or []),
    "mean(energy)": lambda e: sum(e.energy) / len(e.energy) if e.energy else None,
    "std(energy)": lambda e: std(e.energy) if e.energy else None,
    "max(energy)": lambda e: max(e.energy) if e.energy else None,
    "min(x)": lambda e: min(e.x) if e.x else None,
    "sum(x + 32000)": lambda e: sum(x + 32000 for x in e.x),
    "length(select(energy, energy > 1))": lambda e: (
        None if e.energy is None else sum(1 for v in e.energy if v > 1)
    ),
    "max(select(energy, energy * gain > 1))": lambda e: max(
        (v for v in e.energy or [] if v * e.gain > 1), default=None
    ),
    "sum(energy where laser == 1)": lambda e: None if e.energy is None or not e.laser else sum(e.energy),
    "sum(energy where length(x) > 2)": lambda e: None if e.energy is None or len(e.x) < 3 else sum(e.energy),
    "sum(where(x > gain, x, 0))": lambda e: sum(x for x in e.x if x > e.gain),
    "sum(select(wave, wave > 0))": lambda e: sum(w for w in e.wave if w > 0),
    "sum(energy + x)": lambda e: (
        None if e.energy is None or len(e.energy) != len(e.x) else sum(e.energy) + sum(e.x)
    ),
    "sum(pairs * gain)": lambda e: sum(a * e.gain + b * e.gain for a, b in e.pairs),
    "max(sum(pairs, axis=0))": lambda e: (
        max(sum(a for a, _ in e.pairs), sum(b for _, b in e.pairs))
    ),
}  # fmt: skip


WRONG = list(EACH).index("sum(energy + x)")  # in some events of other lengths
WAYS = ("sum_events", "count", "last")
OF_EACH = graph_of(
    "results:\n" + "".join(f"  {way}{n}: '{way}({text})'\n" for n, text in enumerate(EACH) for way in WAYS)
)


@settings(max_examples=100, deadline=None)
@given(made=events(), block=st.integers(1, 13))
def test_what_each_event_gives_is_that_of_its_own_list(made: list[Event], block: int) -> None:
    results, errors = compute_all(OF_EACH, made, block)
    for number, (text, of) in enumerate(EACH.items()):
        wanted = [value for value in map(of, made) if value is not None]
        total, count, newest = (results[f"{way}{number}"].value for way in WAYS)
        assert (count, newest is None) == (len(wanted), not wanted), text
        if wanted:
            assert total == pytest.approx(sum(wanted)), text
            assert newest == pytest.approx(wanted[-1]), text
    assert {name.split("/")[0] for name in errors} <= {f"{way}{WRONG}" for way in WAYS}


@settings(max_examples=60, deadline=None)
@given(made=events(), block=st.integers(1, 13))
def test_all_elements_are_counted_and_the_newest_are_kept(made: list[Event], block: int) -> None:
    elements = [value for event in made for value in event.energy or []]
    histogram, _ = compute("histogram(energy, 8, -4, 4)", made, block)
    assert histogram.counts.tolist() == np.histogram([v for v in elements if v < 4], 8, (-4, 4))[0].tolist()
    assert histogram.counts.sum() + histogram.underflow + histogram.overflow == len(elements)
    there = [event for event in made if event.energy is not None]
    newest, _ = compute("last(energy * gain)", made, block)
    assert newest is None if not there else newest.tolist() == scaled(there[-1])
    both = [event for event in there if len(event.energy) == len(event.x)]
    pairs, errors = compute("histogram2d(energy, x, 4, -4, 4, 4, -99, 99)", made, block)
    assert pairs.counts.sum() + pairs.outside == sum(len(event.x) for event in both)
    assert (len(both) < len(there)) is bool(errors)
    by_event, _ = compute("histogram2d(energy, gain, 4, -20, 20, 4, -20, 20)", made, block)
    assert by_event.counts.sum() + by_event.outside == len(elements)


@settings(max_examples=60, deadline=None)
@given(made=events(), block=st.integers(1, 6), count=st.integers(0, 5))
def test_picked_events_have_an_array_each(made: list[Event], block: int, count: int) -> None:
    there = [event for event in made if event.energy is not None]
    count += 2 * block  # of each interval all, so that each batch has the events after the one before
    batches = len(there) // count
    picked, _ = compute(f"pick(energy, gain, count={count})", made, block)
    total, _ = compute(f'histogram(energy, 4, -99, 99, window="{count} events")', made, block)
    if not batches:
        assert picked is None
        return
    last = there[(batches - 1) * count : batches * count]
    assert isinstance(picked, PickedEvents)
    energies, gains = picked.values
    assert isinstance(energies, Arrays)
    assert [energies[n].tolist() for n in range(len(energies))] == [event.energy for event in last]
    assert gains.tolist() == [event.gain for event in last]
    assert plain(picked)["values"][0] == [event.energy for event in last]
    assert codec.decode(bytes(codec.encode(picked))) == picked
    assert total.counts.sum() == sum(len(event.energy) for event in last)


def test_lengths_that_differ_are_the_error_of_that_event() -> None:
    made = [Event([1.0] * n, [1] * m, 1.0, 1, [0] * 4, []) for n, m in ((2, 2), (3, 1), (0, 0))]
    value, errors = compute("sum_events(sum(energy * x))", made)
    assert value == 2
    ((name, record),) = errors.items()
    assert name.startswith("r/")
    assert (record.count, record.first_sequence) == (1, 1)
    assert "values of 3 and of 1 elements in one event do not fit each other" in record.text


def test_an_impossible_length_in_the_ring_is_an_error_of_its_event_only() -> None:
    made = [Event([1.0], [], 1.0, 1, [0] * 4, []) for _ in range(4)]
    graph = graph_of("results:\n  r: count(energy)\n")
    slots, plan = slots_of(made), WorkerPlan(graph, SCHEMA)
    slots.columns["energy.length"][1:3] = -1, MOST + 1
    partial = plan.partial()
    plan.run(slots, 10, partial)
    assert list(partial.states.values()) == [2]
    assert (partial.errors["energy"].count, partial.errors["energy"].first_sequence) == (2, 11)
    assert "-1 elements, 5 is the most that energy can have" in partial.errors["energy"].text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "mean_events(energy)",
            "mean_events needs a value of one shape in every event, got float64 (up to 5)",
        ),
        (
            "mean_events(energy)",
            "for example mean_events(sum(x)) or mean_events(length(x)), or take histogram",
        ),
        ("mean_vs(energy, key=laser)", "mean_vs needs a value of one shape in every event"),
        ("last(projection(energy, 0))", "projection needs a value of one shape in every event"),
        ("last(roi(energy, samples=0:2))", "roi needs a value of one shape in every event"),
        ("last(gain where energy > 3)", "to choose elements write select(x, condition)"),
        ("last(energy + wave)", "float64 (up to 5) and float32 (4,) do not fit each other: with a value of"),
        ("last(energy + pairs)", "do not fit each other"),
        ("last(select(gain, gain > 1))", "select chooses elements of a value with axes"),
        ("last(select(energy, x))", "select needs a condition such as x > 3, got int16 (up to 7)"),
        ("last(select(energy, gain > 1))", "select needs a truth for each element of float64 (up to 5)"),
        ("histogram2d(energy, wave, 2, 0, 1, 2, 0, 1)", "histogram2d needs two values of one shape"),
        ("last(sum(pairs, axis=1))", "either all axes or the first one can be taken away"),
        ("last(energy) + last(x)", "as in last(x - y)"),
        ("last(energy) + last(wave)", "do not fit each other"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(text: str, wanted: str) -> None:
    with pytest.raises(GraphError) as caught:
        check(graph_of(f"results:\n  r: {text}\n"), SCHEMA)
    assert wanted in str(caught.value)
    assert text in str(caught.value)


def test_results_of_variable_length_are_arrays_to_compute_with() -> None:
    made = [Event([1.0, 4.0], [], 2.0, 1, [0] * 4, [])]
    assert compute("2 * last(energy)", made)[0].tolist() == [2.0, 8.0]
    assert compute("length(last(energy))", made)[0] == 2
    assert compute("max(last(select(energy, energy > 2)))", made)[0] == 4
    assert compute("select(last(energy), last(energy) > 2)", made)[0].tolist() == [4.0]


FUNCTIONS = """
functions:
  peaks: |
    def peaks(wave):
        return np.flatnonzero(wave > 0)
  declared:
    returns: 'float64[:2]'
    code: |
      def declared(wave):
          return None if wave[0] < 0 else wave[wave > 0]
  doubled: |
    def doubled(energy):
        return 2 * energy
  total: |
    def total(energy):
        return energy.sum()
"""


def run_function(text: str, made: list[Event]) -> tuple[Kind, Any, Partial]:
    graph = graph_of(f"{FUNCTIONS}\nvalues:\n  v: {text}\nresults:\n  r: pick(v, count=2)\n")
    kind = check(graph, SCHEMA)["v"]
    plan, accumulator = WorkerPlan(graph, SCHEMA), Accumulator(graph)
    partial = plan.partial()
    plan.run(slots_of(made), 0, partial)
    accumulator.apply(partial, interval=0, run=1, expected=len(made), dropped=0)
    return kind, accumulator.results()["r"].value, partial


def test_a_users_function_gives_and_takes_arrays_of_changing_length() -> None:
    made = [
        Event([1.0], [], 1.0, 1, [0, 1, 1, 0], []),
        Event([], [], 1.0, 1, [1, 1, 1, 1], []),
        Event([2.0, 3.0], [], 1.0, 1, [-1, 1, 0, 0], []),
        Event([4.0], [], 1.0, 1, [0, 0, 0, 0], []),
    ]
    kind, value, _ = run_function("peaks(wave)", made[:2])
    assert kind == Kind(np.dtype("f8"), (4,), variable=True)
    assert plain(value)["values"] == [[[1, 2], [0, 1, 2, 3]]]
    kind, value, partial = run_function("declared(wave)", made)
    assert kind == Kind(np.dtype("f8"), (2,), variable=True)
    assert plain(value)["values"] == [[[1.0, 1.0], []]]  # of the other two one has none, one too many
    assert [(e.count, e.first_sequence) for e in partial.errors.values()] == [(1, 1)]
    assert "gave float32 (4,), but first float64 (up to 2); declare" in partial.errors["v"].text
    assert "returns: float64[:4]" in partial.errors["v"].text
    kind, value, _ = run_function("doubled(energy)", made[:2])
    assert kind == Kind(np.dtype("f8"), (MOST,), variable=True)
    assert plain(value)["values"] == [[[2.0], []]]
    kind, value, _ = run_function("total(energy)", made[:2])
    assert (kind, plain(value)["values"]) == (Kind(np.dtype("f8")), [[1.0, 0.0]])


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (
            "{returns: 'float64[', code: 'def f(a): return a'}",
            "returns must be such as float64, float64[3, 4]",
        ),
        ("{returns: 'float64[:0]', code: 'def f(a): return a'}", "for up to 100 elements"),
        ("{returns: float64, dtype: float64, code: 'def f(a): return a'}", "returns says dtype and shape"),
        ("{returns: 'int8[:9]', block: true, code: 'def f(a): return a'}", "block: true arrays cannot have"),
        ("'def f(a): return []'", "gives an empty array for sample events; declare"),
    ],
)
def test_what_a_function_declares_is_checked(function: str, wanted: str) -> None:
    text = f"functions:\n  f: {function}\nresults:\n  r: last(f(gain))\n"
    with pytest.raises(GraphError, match="^'r'") as caught:
        check(graph_of(text), SCHEMA)
    assert wanted in str(caught.value)


def test_a_block_wise_function_takes_no_values_of_variable_length() -> None:
    text = "functions:\n  f: {block: true, code: 'def f(a): return a'}\nresults:\n  r: last(f(energy))\n"
    with pytest.raises(GraphError, match="function needs a value of one shape"):
        check(graph_of(text), SCHEMA)


def test_choosing_events_copies_no_element_and_padding_is_never_read() -> None:
    column = np.full((3, 4), np.nan)
    column[0, :2], column[2, :1] = (1, 2), 3
    padded = Ragged.padded(column, np.array([2, 0, 1]))
    assert padded.take(np.array([0, 2])).values.tolist() == [1, 2, 3]
    assert np.shares_memory(padded[2:].take(np.array([0])).values, column)
    assert padded[1:][1].tolist() == [3]
    assert [one.tolist() for one in padded] == [[1, 2], [], [3]]
    full = Ragged.padded(column, np.array([4, 4, 4]))
    assert np.shares_memory(full.values, column)


def test_a_field_names_its_lengths_and_they_are_read_with_it() -> None:
    plan = WorkerPlan(graph_of("results:\n  r: count(energy)\n"), SCHEMA)
    assert plan.fields == {"energy", "energy.length"}
    assert Schema.from_json(SCHEMA.to_json()) == SCHEMA


def test_arrays_refuse_lengths_that_are_not_theirs() -> None:
    for lengths in ([1, 3], [-1, 3], [[2]]):
        with pytest.raises(ValueError, match=r"lengths are|elements in all"):
            Arrays(np.zeros(2), np.array(lengths))


def test_refusals_of_scalars_are_as_they_were() -> None:
    assert "there is no operation" in refusal("results:\n  r: lenght(energy)\n")
