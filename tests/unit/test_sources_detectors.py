"""Detectors of a description, drawn or static."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ami.errors import SourceError
from ami.sources import open_source, take

DESCRIPTION = {
    "interval": 0.01,
    "config": {
        "delta_t": {"dtype": "Scalar", "range": [0, 10], "integer": True},
        "laser": {"dtype": "Scalar", "range": [0, 2], "integer": True, "binary": True},
        "cspad": {"dtype": "Image", "pedestal": 5, "width": 1, "shape": [200, 200]},
        "waveform": {"dtype": "Waveform", "length": 1024},
        "gain": {"dtype": "Scalar", "range": [-1, 3]},
    },
}


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "detectors.json"
    path.write_text(json.dumps(DESCRIPTION))
    return path


def test_a_description_gives_fields_of_its_shapes_and_ranges(description: Path) -> None:
    source = open_source(f"sim://{description}")
    events = take(source, 0, 500)
    assert events["cspad"].shape == (500, 200, 200)
    assert events["waveform"].shape == (500, 1024)
    assert set(events["delta_t"]) == set(range(10))
    assert set(events["laser"]) == {0, 1}
    assert events["delta_t"].dtype == events["laser"].dtype == np.int64
    assert -1 <= events["gain"].min() < events["gain"].max() < 3
    assert events["cspad"].mean() == pytest.approx(5, abs=0.01)
    assert events["cspad"].std() == pytest.approx(1, abs=0.01)
    assert np.diff(events.timestamps).tolist() == [10_000_000] * 499


def test_a_rate_in_the_uri_overrides_that_of_the_description(description: Path) -> None:
    source = open_source(f"sim://{description}?rate=50")
    assert np.diff(take(source, 0, 3, []).timestamps).tolist() == [20_000_000] * 2


def test_a_static_source_is_all_ones_and_binary_fields_alternate(description: Path) -> None:
    events = take(open_source(f"static://{description}"), 0, 7)
    assert events["laser"].tolist() == [1, 0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(events["cspad"][:, :10, :10], np.ones((7, 10, 10)))
    assert events["cspad"][0, :100, :100].sum() == 10_000
    assert events["delta_t"].tolist() == [1] * 7
    assert (events["waveform"] == 1).all()
    assert (events["gain"] == 1).all()


def test_binary_fields_alternate_over_the_end_of_the_pool() -> None:
    events = take(open_source("static://?fields=laser:binary"), 1, 20_001)
    assert events["laser"].tolist() == [0, 1] * 10_000 + [0]


def test_static_fields_can_be_named_in_the_uri() -> None:
    source = open_source("static://?fields=a:scalar,b:binary,c:waveform:5,d:image:2x3")
    assert [(f.name, f.shape) for f in source.schema.fields] == [
        ("a", ()),
        ("b", ()),
        ("c", (5,)),
        ("d", (2, 3)),
    ]


def test_equal_descriptions_are_equal_inputs_wherever_they_lie(description: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(DESCRIPTION, indent=3))
    assert open_source(f"sim://{description}").identity == open_source(f"sim://{copy}").identity


def test_an_integer_type_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(
        '{"config": {"a": {"dtype": "Image", "shape": [8, 8], "type": "uint8", "pedestal": 3, "width": 9}}}'
    )
    images = take(open_source(f"sim://{path}"), 0, 50)["a"]
    assert images.dtype == np.uint8
    assert images.max() < 80  # a negative value was cut to 0 and not wrapped


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", '"config"'),
        ('{"config": {}}', '"config"'),
        ('{"config": {"a": {"dtype": "Scalar"}}, "repeat": 1}', "unknown key 'repeat'"),
        ('{"interval": 0, "config": {"a": {"dtype": "Scalar"}}}', "interval 0"),
        ('{"config": {"a": {"dtype": "Vector"}}}', '"Scalar" | "Waveform" | "Image"'),
        ('{"config": {"a": {"dtype": "Scalar", "ragne": [0, 1]}}}', "no 'ragne'; known: binary"),
        ('{"config": {"a": {"dtype": "Scalar", "range": [1, 1]}}}', "low below high"),
        ('{"config": {"a": {"dtype": "Scalar", "integer": "yes"}}}', "true or false"),
        ('{"config": {"a": {"dtype": "Image", "shape": [5]}}}', '"shape": [rows, columns]'),
        ('{"config": {"a": {"dtype": "Waveform", "length": 0}}}', '"length": samples'),
        ('{"config": {"a": {"dtype": "Waveform", "length": 5, "width": -1}}}', "width not below 0"),
        ('{"config": {"a": {"dtype": "Waveform", "length": 5, "type": "flaot"}}}', "type 'flaot'"),
        ('{"config": {"a": {"dtype": "Waveform", "length": 5, "type": "str"}}}', "dtype <U0"),
        ('{"config": {"timestamp": {"dtype": "Scalar"}}}', "every event has one already"),
    ],
)
def test_a_description_that_is_wrong_is_refused_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(SourceError) as refused:
        open_source(f"sim://{path}")
    assert words in str(refused.value)


def test_a_description_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        open_source(f"sim://{tmp_path}/absent.json")
