"""A table of results gives back each of them as it was, type and all, and none for another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.errors import Undecodable
from ami.messages.table import Moment, Table
from ami.result import Events, Result, Row
from ami.stores import codec
from ami.values import Histogram, Label
from tests.client_rig import made

VALUES: list[Any] = [
    None, 5, -(1 << 63), 1 << 70, True, 2.5, -0.0, float("inf"), "text", (1, 2.5), np.float64(1.5),
    np.float32(0.1), np.int64(7), np.uint64((1 << 64) - 1), np.uint8(3), np.bool_(True), np.complex128(1j),
    np.arange(3), np.array(4.5),
    np.datetime64(5, "s"), Histogram(np.array([1, 2]), np.arange(3.0), overflow=4),
]  # fmt: skip

results = st.lists(
    st.builds(
        made,
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5),
        st.sampled_from(VALUES),
        window=st.sampled_from(["run", "interval"]),
        error=st.sampled_from([None, "it failed"]),
        time_ns=st.sampled_from([(0, 1), (5, 9)]),
        label=st.sampled_from([Label(), Label("mJ", (("delay", "ps"),))]),
        events=st.builds(Events, expected=st.integers(0, 1 << 62), used=st.integers(0, 9)),
        complete=st.booleans(),
        published_ns=st.just(7),
    ),
    max_size=12,
    unique_by=lambda result: result.name,
)


def passed(table: Any) -> Any:
    """Return what comes out of a store."""
    return codec.decode(bytes(codec.encode(table)))


def check_same(found: Result, result: Result) -> None:
    assert type(found.value) is type(result.value)
    assert codec.equal(found.value, result.value)
    if isinstance(result.value, np.generic | np.ndarray):
        assert found.value.dtype == result.value.dtype
    assert replace(found, value=None) == replace(result, value=None)


@given(results)
def test_results_come_back_as_they_were_all_or_some(results: list[Result]) -> None:
    table = passed(Table.of(results))
    assert table.list_names() == [result.name for result in results]
    found = table.read()
    assert list(found) == table.list_names()
    for result in results:
        check_same(found[result.name], result)
        check_same(table.read([result.name, "not\nthere"])[result.name], result)
    some = [result.name for result in results[::2]] + [f"none {number}" for number in range(8)]
    assert table.read(some).keys() == {result.name for result in results[::2]}


def test_a_nan_is_one_and_keeps_its_type() -> None:
    found = passed(Table.of([made("a", float("nan")), made("b", np.float32("nan"))])).read()
    assert np.isnan(found["a"].value)
    assert type(found["a"].value) is float
    assert type(found["b"].value) is np.float32


@given(results)
def test_the_numbers_of_an_interval_are_remembered_and_nothing_else(results: list[Result]) -> None:
    moment = passed(Moment.of([Row.of(one) for one in results], Table.of(results)))
    for result in results:
        is_number = isinstance(result.value, int | float | np.integer | np.floating | np.bool_) or (
            isinstance(result.value, np.ndarray) and result.value.ndim == 0
        )
        picked = moment.pick(result.name) if moment is not None else None
        if is_number:
            facts = {"interval": 5, "time_ns": result.time_ns[1], "used": result.events.used}
            assert picked == {**facts, "value": float(result.value)}
        else:
            assert picked is None


def test_a_value_that_cannot_be_stored_is_an_error_in_its_place() -> None:
    odd, fine = passed(Table.of([made("odd", object()), made("fine", 3)])).read().values()
    assert (odd.value, fine.value, fine.error) == (None, 3, None)
    assert "cannot be stored" in odd.error


def test_a_value_that_cannot_be_read_hides_no_other() -> None:
    table = Table.of([made("odd", "text"), made("fine", 3)])
    odd, fine = replace(table, others={0: b"\xa3nothing"}).read().values()  # type: ignore[type-var]  # a message
    assert (odd.value, odd.complete, fine.value) == (None, False, 3)
    assert "a stored value" in str(odd.error)


@pytest.mark.parametrize(
    "changes",
    [
        {"envelopes": ()}, {"envelope": np.array([5])}, {"events": np.zeros((1, 2), np.int64)},
        {"numbers": {"int": 5}}, {"envelopes": (5,)}, {"others": {0: 5}},
    ],
)  # fmt: skip
def test_a_table_that_nobody_made_is_refused_and_not_misread(changes: dict[str, Any]) -> None:
    with pytest.raises(Undecodable):
        replace(Table.of([made("level", 3)]), **changes).read(["level"])  # type: ignore[type-var]  # a message


def test_results_are_taken_out_of_a_table() -> None:
    table = Table.of([made("a", 1.5), made("b", np.arange(2)), made("c", None)])
    assert list(table.without({"a"}).read()) == ["b", "c"]
    assert table.without({"a", "b", "c"}).list_names() == []
