"""What a client sees of a result, and what JSON can say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ami.messages  # noqa: F401  # so that results may travel
from ami.result import Events, Result, Row
from ami.stores import codec
from ami.values import Axis, Histogram, Label, Part, plain


def made(value: Any) -> Result:
    return Result(
        name="signal",
        value=value,
        error=None,
        window="run",
        run=3,
        interval=17,
        interval_ns=50_000_000,
        intervals=(15, 17),
        time_ns=(10**18, 10**18 + 1),
        events=Events(expected=10, used=7, dropped=2, set_aside=1),
        nodes=("a", "b"),
        missing_nodes=("c",),
        late=(("c", 2.5),),
        workers=("a:worker:0",),
        graph_version=4,
        graph_hash="abc",
        complete=False,
        published_ns=5_000_000_000,
        label=Label("mJ", (("delay", "ps"),)),
    )


def histogram() -> Histogram:
    return Histogram(
        counts=np.array([3.0, 4.0]), edges=np.array([0.0, 1.0, 2.0]), underflow=1.0, overflow=0.0, nan=2.0
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (np.int64(2**62), 2**62),
        (np.float32(0.5), 0.5),
        (np.array(1.5), 1.5),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([True, False]), [True, False]),
        (float("nan"), None),
        (np.array([1.0, np.nan, -np.inf]), [1.0, None, None]),
        ((1, [np.int8(2)], {"x": np.float64("inf")}), [1, [2], {"x": None}]),
        ({1: 2}, {"1": 2}),
    ],
)
def test_plain_values_are_what_json_has(value: Any, shown: Any) -> None:
    assert plain(value) == shown
    assert type(plain(value)) is type(shown)
    json.dumps(plain(value), allow_nan=False)


def test_a_result_is_told_with_its_whole_envelope() -> None:
    told = made(np.array([1.0, np.nan])).to_plain()
    age_s = told.pop("age_s")
    assert age_s > 0
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "name": "signal",
        "value": [1.0, None],
        "error": None,
        "window": "run",
        "run": 3,
        "interval": 17,
        "interval_s": 0.05,
        "intervals": {"first": 15, "last": 17},
        "time": {"first_ns": 10**18, "last_ns": 10**18 + 1},
        "events": {"expected": 10, "used": 7, "dropped": 2, "set_aside": 1},
        "nodes": ["a", "b"],
        "missing_nodes": ["c"],
        "late": {"c": 2.5},
        "workers": ["a:worker:0"],
        "graph_version": 4,
        "graph_hash": "abc",
        "complete": False,
        "published_ns": 5_000_000_000,
        "every_s": 0.0,
        "one_in": 1,
        "unit": "mJ",
        "axes": [{"name": "delay", "unit": "ps"}],
    }


def test_a_row_is_the_result_that_it_was_made_of() -> None:
    result = made(np.float64(1.5))
    row = Row.of(result)
    assert (row.name, row.value, row.events) == (result.name, result.value, result.events)
    assert row.to_result() == result
    others = row._replace(name="other", value=None, events=Events(used=1)).to_result()
    assert others == replace(result, name="other", value=None, events=Events(used=1))


def test_the_age_is_counted_from_when_it_was_published() -> None:
    assert made(1).age_s(now_ns=7_500_000_000) == 2.5


def test_a_histogram_says_its_edges_and_counts() -> None:
    told = made(histogram()).to_plain()["value"]
    assert told["edges"] == [0.0, 1.0, 2.0]
    assert told["counts"] == [3.0, 4.0]


@pytest.mark.parametrize("value", [None, 1.5, np.arange(6.0).reshape(2, 3), histogram()], ids=type)
def test_a_result_comes_back_from_the_wire_as_it_was(value: Any) -> None:
    sent = made(value)
    back = codec.decode(bytes(codec.encode(sent)))
    assert isinstance(back, Result)
    assert back.to_plain() | {"age_s": 0} == sent.to_plain() | {"age_s": 0}
    assert type(back.value) is type(value)
    assert isinstance(back.events, Events)


def test_a_result_says_what_its_value_is_made_of_and_in_which_units() -> None:
    value = histogram()
    assert made(value).parts() == (
        Part("counts", value.counts, "mJ", ("delay",)), Part("underflow", 1.0), Part("overflow", 0.0),
        Part("nan", 2.0),
    )  # fmt: skip
    assert made(value).axes() == (Axis("delay", value.edges, "ps", edges=True),)
    assert (made(2.5).parts(), made(2.5).axes()) == ((Part("value", 2.5, "mJ"),), ())
    assert made(None).parts() == ()
