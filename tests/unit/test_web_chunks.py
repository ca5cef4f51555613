"""What a viewer gets of a result is what it is: its envelope, its parts and its axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ami.result import Events, Result
from ami.values import Histogram, Label, Moments, PickedEvents, Scan
from ami.web.chunks import MOST, PICTURE, encode_result, join
from ami.web.pictures import Showing
from tests.web_rig import read

RNG = np.random.default_rng(4)


def shown(result: Result) -> dict[str, Any]:
    showing = Showing()
    number, found = read(join(7, [encode_result(result, showing, 5), encode_result(result, showing, 5)]))
    assert number == 7
    return found[result.name]


@pytest.mark.parametrize(
    "value",
    [
        3, 2.5, True, None, "a text", np.int64(9), np.float32(0.5), float("nan"), 1 << 80,
        np.arange(5), np.arange(4, dtype=">u2"), RNG.normal(size=(3, 4)), np.zeros(0), np.zeros((2, 0)),
        np.array([1, 2], np.float16), np.array([True, False]), np.array([np.nan, np.inf]),
        Histogram(np.arange(3), np.arange(4.0), 1, 2, 3),
        Moments(3, RNG.normal(size=7), RNG.random(7)),
        Scan(np.array([-1.5, 0, 9]), np.array([1, 2, 3]), RNG.normal(size=3), RNG.random(3)),
        Scan(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0)),
        PickedEvents(np.arange(2), np.arange(2), (RNG.normal(size=(2, 5)),)),
    ],
    ids=repr,
)  # fmt: skip
def test_parts_and_axes_are_those_of_the_result(value: Any) -> None:
    result = Result(name="r", value=value, label=Label("mJ"), events=Events(expected=5, used=4, dropped=1))
    head = shown(result)
    assert head["error"] is None
    assert head["events"] == {"expected": 5, "used": 4, "dropped": 1, "set_aside": 0}
    assert head["now_ns"] == 5
    assert [one["name"] for one in head["parts"]] == [part.name for part in result.parts()]
    for told, part in zip(head["parts"], result.parts(), strict=True):
        assert (told["unit"], told["axes"]) == (part.unit, list(part.axes))
        if np.ndim(part.value):
            np.testing.assert_array_equal(told["array"], np.asarray(part.value).astype(told["dtype"]))
        elif isinstance(part.value, str) or part.value is None:
            assert told["value"] == part.value
        elif not np.isfinite(float(part.value)):
            assert told["value"] is None
        else:
            assert told["value"] == part.value
    for told, axis in zip(head["axes"], result.axes(), strict=True):
        assert (told["name"], told["unit"], told["edges"]) == (axis.name, axis.unit, axis.edges)
        np.testing.assert_array_equal(told["array"], axis.points)


def test_an_image_is_a_picture_and_what_is_too_long_is_left_out_with_its_size() -> None:
    side = int(PICTURE**0.5) + 1
    assert shown(Result(name="r", value=np.ones((side, side))))["parts"][0]["picture"]["whole"] == [
        side,
        side,
    ]
    assert "picture" not in shown(Result(name="r", value=np.ones((8, 8))))["parts"][0]
    (part,) = shown(Result(name="r", value=np.zeros(MOST + 1)))["parts"]
    assert part["value"] is None
    assert str(MOST + 1) in part["left_out"]


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([object()]), np.ones((99, 99), complex)])
def test_what_cannot_be_drawn_says_so_and_keeps_its_envelope(value: Any) -> None:
    head = shown(Result(name="r", value=value, run=3))
    assert head["run"] == 3
    assert head["error"].startswith("this cannot be shown")
    assert head["parts"] == []


def test_a_reason_is_told_whatever_characters_it_has() -> None:
    assert shown(Result(name="r", error="half \ud800 of </script>"))["error"] == "half \ud800 of </script>"


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 80, 90), (1, 1, 1), (2, 1, 1)])
@pytest.mark.parametrize("key", [0.0, -7.0, 0.4, 2.6, 1e9])
def test_of_a_stack_the_image_of_the_nearest_key_travels_as_an_image_does(
    shape: tuple[int, ...], key: float
) -> None:
    keys = np.array([-3.0, -1.0, np.nan, 0.5, 2.0])[-shape[0] :]
    stack = RNG.normal(size=shape)
    result = Result(name="r", value=Scan(keys, np.ones(len(keys), int), stack, stack / 9))
    (found,) = read(join(1, [encode_result(result, Showing(256, key=key), 0)]))[1].values()
    means = found["parts"][0]
    nearest = int(np.nanargmin(np.abs(keys - key)))
    assert means["stack"] == {"axis": "key", "at": nearest, "of": shape[0]}
    assert means["axes"] == []
    alone = Result(name="r", value=stack[nearest])
    (image,) = read(join(1, [encode_result(alone, Showing(256), 0)]))[1].values()
    np.testing.assert_array_equal(means["array"], image["parts"][0]["array"])
    assert means.get("picture") == image["parts"][0].get("picture")


@pytest.mark.parametrize("key", [float("nan"), float("inf"), True, "3", None, [1]])
def test_a_key_that_is_no_number_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        Showing(key=key)


def test_pairs_are_no_picture() -> None:
    assert "picture" not in shown(Result(name="r", value=np.zeros((PICTURE, 2))))["parts"][0]
