"""Result values: equality, arithmetic with propagated errors, the plain form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ami.errors import GraphError
from ami.values import VALUE_TYPES, Arrays, Histogram, Histogram2D, Moments, PickedEvents, Scan

SCAN = Scan(np.array([1, 3, 5]), np.array([4, 5, 6]), np.array([10.0, 20, 30]), np.array([3.0, 1, 2]))
OTHER = Scan(np.array([3, 5, 9]), np.array([9, 2, 7]), np.array([4.0, 5, 6]), np.array([2.0, 4, 1]))
HISTOGRAM = Histogram(np.array([1, 2, 3]), np.array([0.0, 1, 2, 3]), 4, 5, 6)
EXAMPLES = [
    SCAN,
    HISTOGRAM,
    Histogram2D(np.eye(2, dtype=np.int64), np.arange(3.0), np.arange(3.0), 1, 2),
    Moments(4, np.array(10.0), np.array(90.0)),
    PickedEvents(np.array([1, 2]), np.array([0, 1]), (np.array([3.0, 4.0]),)),
    Arrays(np.array([3.0, 4.0, 5.0]), np.array([2, 0, 1])),
]


def test_every_value_type_has_an_example_here() -> None:
    assert {type(example) for example in EXAMPLES} == set(VALUE_TYPES)


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda v: type(v).__name__)
def test_a_value_equals_itself_only_and_json_can_say_it(value: Any) -> None:
    assert value == value  # equality is what is tested
    assert value != SCAN * 2
    assert value != 7
    assert json.loads(json.dumps(value.to_plain())) == value.to_plain()


def test_scans_are_aligned_by_key_and_errors_added_in_quadrature() -> None:
    difference = SCAN - OTHER
    assert difference.keys.tolist() == [3, 5]
    assert difference.counts.tolist() == [5, 2]
    assert difference.means.tolist() == [16, 25]
    np.testing.assert_allclose(difference.errors, np.hypot([1, 2], [2, 4]))


def test_of_products_and_ratios_the_relative_errors_are_added_in_quadrature() -> None:
    relative = np.hypot(np.array([1 / 20, 2 / 30]), np.array([2 / 4, 4 / 5]))
    for combined, means in ((SCAN * OTHER, [80, 150]), (SCAN / OTHER, [5, 6])):
        np.testing.assert_allclose(combined.means, means)
        np.testing.assert_allclose(combined.errors, np.array(means) * relative)


def test_a_scan_and_a_number_combine_on_both_sides() -> None:
    assert (SCAN / 2).means.tolist() == [5, 10, 15]
    assert (SCAN / 2).errors.tolist() == [1.5, 0.5, 1]
    assert (1 - SCAN).means.tolist() == [-9, -19, -29]
    assert (np.float64(1) - SCAN).errors.tolist() == [3, 1, 2]
    np.testing.assert_allclose((60 / SCAN).errors, 60 * np.array([3, 1, 2]) / np.array([10, 20, 30]) ** 2)
    assert (-SCAN).means.tolist() == [-10, -20, -30]


def test_a_mean_of_zero_has_an_error_in_a_product() -> None:
    zero = Scan(np.array([1]), np.array([2]), np.array([0.0]), np.array([3.0]))
    assert (zero * zero).errors.tolist() == [0]
    assert (zero * 2).errors.tolist() == [6]


def test_histograms_of_equal_bins_combine_bin_by_bin() -> None:
    half = HISTOGRAM / 2 + HISTOGRAM
    assert half.counts.tolist() == [1.5, 3, 4.5]
    assert (half.underflow, half.overflow, half.nan) == (6, 7.5, 9)
    with pytest.raises(GraphError, match="different bins"):
        HISTOGRAM + Histogram(np.array([1, 2, 3]), np.array([0.0, 2, 4, 6]))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(GraphError, match="cannot be combined"):
        SCAN + HISTOGRAM
    with pytest.raises(GraphError, match="cannot be combined"):
        HISTOGRAM * np.ones(3)


def test_the_variance_of_one_event_is_unknown() -> None:
    moments = Moments(1, np.array([1.0]), np.array([0.0]))
    assert np.isnan(moments.variance).all()
    assert moments.population_variance.tolist() == [0]
    assert Moments(4, np.array(10.0), np.array(90.0)).to_plain()["error"] == pytest.approx(np.sqrt(30 / 4))


@pytest.mark.parametrize("shape", [(2,), (3,), (3, 2), (2, 3)])
def test_a_scan_of_arrays_goes_with_a_scan_of_numbers_key_by_key(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    keys, counts = np.array([1, 3]), np.array([4, 5])
    arrays = Scan(keys, counts, rng.normal(size=(2, *shape)), rng.uniform(size=(2, *shape)))
    numbers = Scan(keys, counts, np.array([2.0, 4.0]), np.array([0.1, 0.2]))
    ratio, product = arrays / numbers, numbers * arrays
    for key in range(2):
        single = Scan(keys[key : key + 1], counts[:1], arrays.means[[key]], arrays.errors[[key]])
        np.testing.assert_array_equal(ratio.means[key], arrays.means[key] / numbers.means[key])
        np.testing.assert_array_equal(product.means[key], arrays.means[key] * numbers.means[key])
        relative = np.hypot(single.errors[0] / single.means[0], numbers.errors[key] / numbers.means[key])
        np.testing.assert_allclose(ratio.errors[key], np.abs(ratio.means[key]) * relative, rtol=1e-12)


def test_a_scan_goes_with_a_reduced_array_at_each_key_and_never_along_its_keys() -> None:
    spectrum = np.array([1.0, 2.0, 4.0])  # as many numbers as keys
    wide = SCAN - spectrum
    np.testing.assert_array_equal(wide.means, SCAN.means[:, np.newaxis] - spectrum)
    np.testing.assert_array_equal(wide.errors, np.repeat(SCAN.errors[:, np.newaxis], 3, axis=1))
    np.testing.assert_array_equal((spectrum / SCAN).means, spectrum / SCAN.means[:, np.newaxis])


def test_keys_of_int64_and_uint64_meet_exactly() -> None:
    large = (1 << 62) + 1  # float64 has no such number
    mine = Scan(np.array([large, large + 1]), np.ones(2, np.int64), np.ones(2), np.ones(2))
    other = Scan(np.array([large + 1, large + 2], np.uint64), np.ones(2, np.int64), np.ones(2), np.ones(2))
    assert (mine - other).keys.tolist() == [large + 1]
