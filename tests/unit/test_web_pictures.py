"""Pictures at the size of a tile: which pixels fall together, and what a code means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.web.pictures import Showing, draw, pool


def decode(codes: np.ndarray[Any, Any], facts: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return the values as docs/page-protocol.md says."""
    t = (codes.astype(float) - 1) / 254
    low, high, soft = facts["low"], facts["high"], facts["soft"]
    if facts["scale"] == "linear" or not soft:
        values = low + t * (high - low)
    else:
        values = low + soft * np.sinh(t * np.arcsinh((high - low) / soft))
    return np.where(codes == 0, np.nan, values)


@st.composite
def images(draw_: Any) -> np.ndarray[Any, Any]:
    rows, columns = draw_(st.integers(1, 40)), draw_(st.integers(1, 40))
    dtype = draw_(st.sampled_from(["f4", "f8", "u2", "i4", "u1", "?", "f2", "i8"]))
    rng = np.random.default_rng(draw_(st.integers(0, 1 << 20)))
    image = rng.normal(50, 20, (rows, columns)).astype(dtype)
    if image.dtype.kind == "f" and draw_(st.booleans()):
        image[rng.random(image.shape) < 0.3] = draw_(st.sampled_from([np.nan, np.inf, -np.inf]))
    return image


@given(
    image=images(),
    step=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    how=st.sampled_from(["mean", "max"]),
)
def test_pixels_that_fall_together_give_their_mean_or_the_greatest(
    image: np.ndarray[Any, Any], step: tuple[int, int], how: str
) -> None:
    found = pool(image, step, how)
    numbers = image.astype(float)
    for row in range(0, image.shape[0], step[0]):
        for column in range(0, image.shape[1], step[1]):
            block = numbers[row : row + step[0], column : column + step[1]]
            there = block[~np.isnan(block)]
            got = found[row // step[0], column // step[1]]
            if not there.size:
                assert np.isnan(got)
            elif how == "max":
                assert got == there.max()
            else:
                with np.errstate(invalid="ignore"):
                    np.testing.assert_allclose(got, there.mean(), rtol=1e-6)


@given(image=images(), scale=st.sampled_from(["linear", "asinh"]))
def test_a_code_is_its_value_to_half_a_level_and_none_is_none(
    image: np.ndarray[Any, Any], scale: str
) -> None:
    codes, facts = draw(image, Showing(256, "mean", scale))
    assert codes.dtype == np.uint8
    assert codes.shape == image.shape
    numbers = image.astype(float)
    finite = numbers[np.isfinite(numbers)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    assert (facts["low"], facts["high"], facts["whole"]) == (low, high, list(image.shape))
    found = decode(codes, facts)
    assert (np.isnan(found) == np.isnan(numbers)).all()
    clipped = np.clip(numbers, low, high)
    # The next codes' values are the bounds within which it lies.
    below = decode(np.maximum(codes, 2) - np.uint8(1), facts)
    above = decode(np.minimum(codes, 254) + np.uint8(1), facts)
    room = 1e-6 * (high - low + abs(high))
    there = codes > 0
    assert (clipped[there] >= below[there] - room).all()
    assert (clipped[there] <= above[there] + room).all()


@pytest.mark.parametrize(
    ("shape", "size", "shown"), [((1024, 1024), 256, (256, 256)), ((1, 5000), 512, (1, 500))]
)
def test_a_picture_has_at_most_the_size_that_was_asked_for(
    shape: tuple[int, int], size: int, shown: tuple[int, int]
) -> None:
    image = np.zeros(shape)
    image[0, 3] = 7
    codes, facts = draw(image, Showing(size, "max"))
    assert codes.shape == shown
    assert (codes > 1).sum() == 1  # a hot pixel is seen
    assert codes.max() == 255
    assert facts["step"] == [-(-n // size) for n in shape]


@pytest.mark.parametrize("wrong", [{"size": 100}, {"pool": "min"}, {"scale": "log"}, {"size": "256"}])
def test_what_no_picture_can_be_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an image is shown with size 256, 512, 1024"):
        Showing(**wrong)
