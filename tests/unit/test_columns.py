"""Values come out of columns as they went in, type and all, whatever else is among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.errors import Undecodable
from ami.stores import codec, columns

numbers = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False),
    st.sampled_from([np.float64(1.5), np.float32(0.1), np.int64(7), np.uint64((1 << 64) - 1)]),
)  # fmt: skip
odd = st.sampled_from([1 << 70, "text", b"raw", (), {"a": 1}, np.array(4.5), np.array(["a"])])
arrays = st.builds(
    lambda shape, dtype: np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype),
    st.sampled_from([(0,), (3,), (2, 2), (200,)]), st.sampled_from(["i8", "f4", "?", ">i4"]),
)  # fmt: skip
parts = st.one_of(numbers, odd, arrays)
pairs, triples = st.tuples(parts, parts), st.tuples(numbers, arrays, numbers)
values = st.one_of(parts, st.tuples(numbers, numbers), pairs, triples)
groups = st.tuples(st.lists(values, max_size=3), st.integers(1, 20))  # of most forms there are many
lists = st.lists(groups, max_size=4).map(
    lambda found: [value for some, times in found for _ in range(times) for value in some]
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | np.generic) and (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return codec.equal(one, other)


@given(lists)
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    found = columns.unpack(codec.decode(bytes(codec.encode(columns.pack(values)))))
    assert len(found) == len(values)
    assert all(map(same, found, values))


def test_a_thousand_equal_forms_are_a_few_arrays() -> None:
    states = [(number, np.float64(number) / 7, False) for number in range(1000)]
    count, (rows, names, is_tuple, arrays), others = columns.pack(states)
    assert (count, len(rows), names, is_tuple, others) == (1000, 1000, ["int", "<f8", "bool"], True, {})
    assert [array.nbytes for array in arrays] == [8000, 8000, 1000]


def test_large_arrays_are_not_copied() -> None:
    images = [np.zeros(1000) for _ in range(20)]
    _, others = columns.pack(images)
    assert all(others[row] is image for row, image in enumerate(images))


ROWS = np.arange(9)


@pytest.mark.parametrize(
    "packed",
    [
        None, [], [3], [2, {0: 1}], [1, {5: 1}], [9, (ROWS, ["int"], False, []), {}], [-1, {}],
        [9, (ROWS, ["int"], False, [np.zeros(8)]), {}], [9, (ROWS, ["array"], False, [np.zeros(9)]), {}],
        [9, (ROWS, [], False, []), {}], [9, (ROWS, ["int"], False, [5]), {}],
        [10, (ROWS, ["int"], False, [ROWS]), {}],
        [1 << 62, {}], ["a", {}], [10, (ROWS + 5, ["int"], False, [ROWS]), {0: 1}],
    ],
)  # fmt: skip
def test_what_nobody_packed_is_refused(packed: Any) -> None:
    with pytest.raises(Undecodable):
        columns.unpack(packed)
