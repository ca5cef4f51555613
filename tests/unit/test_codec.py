"""The codec: every value comes back, and nothing else gets in."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ami.errors import Undecodable
from ami.stores import codec, labels
from tests.hostile import HOSTILE, calling, spoiled, wrapped


@codec.register
@dataclass(frozen=True)
class Reading:
    """A value type, for this test."""

    name: str
    image: Any
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError("a name is text")


FIELDS = "format 1: name, image, scale"

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
arrays = npst.arrays(
    dtype=npst.boolean_dtypes()
    | npst.integer_dtypes()
    | npst.floating_dtypes()
    | npst.datetime64_dtypes()
    | npst.unicode_string_dtypes(max_len=4)
    | npst.array_dtypes(npst.integer_dtypes()),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
hashable = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=3)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.builds(Reading, st.text(), inner)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN and NaT equal to themselves, also within containers."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and one.dtype.kind in "fcmM":
        return bool(one.dtype == other.dtype) and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other) or codec.equal(one, other)


@given(arrays)
def test_an_array_comes_back_with_its_dtype_shape_and_bytes(array: Any) -> None:
    back = codec.decode(bytes(codec.encode(array)))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.aligned


@given(values)
@settings(max_examples=150)
def test_a_value_comes_back_with_its_types(value: Any) -> None:
    back = codec.decode(bytes(codec.encode(value)))
    assert type(back) is type(value)
    assert repr(back) == repr(value) or same(back, value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12)[::2],
        np.arange(24).reshape(2, 3, 4)[:, 1],
        np.array(5.0),
    ],
    ids=["F order", "strided", "a slice", "no axes"],
)
def test_an_array_of_any_layout_comes_back(array: Any) -> None:
    back = codec.decode(bytes(codec.encode([array])))[0]
    np.testing.assert_array_equal(back, array)
    back = codec.decode(bytes(codec.encode(array)))
    np.testing.assert_array_equal(back, array)


def test_large_arrays_are_neither_copied_in_nor_out() -> None:
    array = np.zeros(1 << 16)
    chunks = codec.encode({"a": array})
    assert any(
        np.shares_memory(np.frombuffer(one, np.uint8), array) for one in chunks.buffers if len(one) > 999
    )
    data = bytes(chunks)
    assert np.shares_memory(codec.decode(data)["a"], np.frombuffer(data, np.uint8))


def test_decoded_arrays_are_read_only_even_over_memory_that_is_not() -> None:
    for value in (np.arange(3), [np.arange(3)]):
        back = codec.decode(bytearray(bytes(codec.encode(value))))
        array = back if isinstance(back, np.ndarray) else back[0]
        assert not array.flags.writeable


def test_an_array_on_a_file_is_stored_as_an_array(tmp_path: Path) -> None:
    array = np.memmap(tmp_path / "x", np.int16, "w+", shape=(4,))
    assert type(codec.decode(bytes(codec.encode(array)))) is np.ndarray


@pytest.mark.parametrize(
    "value",
    [
        object(),
        int,
        len,
        np.array([None]),
        np.zeros(2, [("a", "O")]),
        np.ma.masked_array([1]),
        Path("x"),
        range(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_value_is_refused(value: object) -> None:
    for one in (value, [1, {"deep": value}]):
        with pytest.raises(TypeError, match="cannot be stored"):
            codec.encode(one)


def test_a_registered_type_is_made_by_its_own_constructor() -> None:
    reading = Reading("camera", np.arange(3), 2.0)
    back = codec.decode(bytes(codec.encode(reading)))
    assert back.name == "camera"
    assert back.scale == 2.0
    with pytest.raises(Undecodable, match="a name is text"):
        codec.decode(wrapped(calling("Reading", FIELDS, 5, None, 1.0)))


@pytest.mark.parametrize(
    "parts",
    [("x",), ("x", None, 1.0), (), ("format 2: name, image, scale", "x", None, 1.0), (5, "x", None, 1.0)],
)
def test_a_registered_type_of_other_fields_is_refused_with_both_lists(parts: tuple[Any, ...]) -> None:
    with pytest.raises(Undecodable, match=f"has a Reading of .*, and this program's is of {FIELDS}"):
        codec.decode(wrapped(calling("Reading", *parts)))


def test_only_dataclasses_of_different_names_are_registered() -> None:
    @dataclass(frozen=True)
    class array:  # noqa: N801  # the name of a maker
        x: int = 0

    for cls in (int, array):
        with pytest.raises(TypeError):
            codec.register(cls)
    elsewhere = {"__module__": "elsewhere", "__annotations__": {}}
    other = dataclass(frozen=True)(type("Reading", (), elsewhere))
    with pytest.raises(TypeError, match="another value type"):
        codec.register(other)
    assert codec.register(Reading) is Reading


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_refused_and_run_nothing(data: bytes) -> None:
    with pytest.raises(Undecodable):
        codec.decode(data)
    assert not Path("/tmp/ami-was-here").exists()


@pytest.mark.parametrize(
    "value", [{"a": [1, "x"]}, [np.arange(3), np.float32(1)], np.arange(4.0), Reading("n", None)], ids=repr
)
def test_spoiled_bytes_are_refused_or_are_another_value(value: Any) -> None:
    good = bytes(codec.encode(value))
    for data in spoiled(good):
        try:
            codec.decode(data)
        except Undecodable:
            continue
        assert len(data) == len(good), "a cut value was taken for a whole one"


def test_the_message_says_what_was_seen_and_what_is_known() -> None:
    with pytest.raises(Undecodable, match="version 2, this program knows 1"):
        codec.decode(HOSTILE["another version"])
    with pytest.raises(Undecodable, match=r"names posix\.system, which is no value type"):
        codec.decode(HOSTILE["os.system"])
    with pytest.raises(Undecodable, match=r"'Unknown'.*Reading"):
        codec.decode(HOSTILE["a type that is not registered"])


def test_equal_values_are_equal_and_others_are_not() -> None:
    assert codec.equal({"a": np.arange(3)}, {"a": np.arange(3)})
    assert not codec.equal({"a": np.arange(3)}, {"a": np.arange(3.0)})
    assert not codec.equal(np.arange(3), [0, 1, 2])
    assert not codec.equal([np.arange(3)], [np.arange(4)])
    assert codec.equal((1, [True]), (True, [1.0]))
    assert not codec.equal([1], (1,))
    assert codec.equal(Reading("x", np.ones(2)), Reading("x", np.ones(2)))
    assert not codec.equal(Reading("x", np.ones(2)), Reading("x", np.zeros(2)))


label_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)


@given(label_values, label_values)
@settings(max_examples=300)
def test_labels_have_equal_bytes_when_python_calls_them_equal(one: Any, other: Any) -> None:
    assert labels.decode(labels.encode(one)) == one
    assert (labels.encode(one) == labels.encode(other)) == (one == other)


def test_numbers_that_are_equal_are_one_label() -> None:
    assert {labels.encode(n) for n in (1, 1.0, True, np.int64(1), np.float32(1))} == {b"i1"}
    assert labels.encode(-0.0) == labels.encode(0)
    assert labels.encode((1.0,)) == labels.encode((True,))
    with pytest.raises(ValueError, match="NaN"):
        labels.encode(float("nan"))
    for wrong in ([1], {1}, np.arange(2), object(), ([],)):
        with pytest.raises(TypeError):
            labels.encode(wrong)


LABELS = [
    b"", b"x", b"i", b"i1.5", b"ione", b"f", b"fx", b"n1", b"t3:i1", b"t1", b"t-1:", b"t:i1", b"tx:",
    b"t9:i1",    b"z1:?", b"s\xff", b"t2:i1x", b"t" * 50, b"i" + b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("data", [*LABELS, *HOSTILE.values()], ids=lambda data: repr(data[:16]))
def test_bytes_that_are_no_label_are_refused(data: bytes) -> None:
    with pytest.raises(Undecodable):
        labels.decode(data)
