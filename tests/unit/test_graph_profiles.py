"""Profiles of images: by loops over pixels the same as by plans, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ami.errors import GraphError
from ami.graph.kind import Kind
from ami.graph.language.lower import define
from ami.graph.library.profiles import Azimuthal, Line, Radial

RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.integers(0, 60000, (3, 17, 23)).astype(np.uint16)
IMAGE = Kind(np.dtype(np.uint16), (17, 23))


def mean_by_pixel(image: Any, center: Any, radii: Any, angles: Any, bins: int, *, by: str) -> list[float]:
    """Go pixel by pixel, with complex numbers for angles."""
    found: list[list[float]] = [[] for _ in range(bins)]
    for row, column in np.ndindex(image.shape):
        z = complex(column - center[1], row - center[0])
        turned = math.degrees(math.atan2(z.imag, z.real)) - angles[0]
        turned -= 360 * math.floor(turned / 360)
        if radii[0] <= abs(z) < radii[1] and turned < angles[1] - angles[0]:
            value, (low, high) = (abs(z), radii) if by == "radius" else (turned, (0, angles[1] - angles[0]))
            found[int((value - low) / (high - low) * bins)].append(float(image[row, column]))
    return [sum(pixels) / len(pixels) if pixels else math.nan for pixels in found]


@pytest.mark.parametrize("draw", range(20))
def test_profiles_around_a_center_are_means_of_their_pixels(draw: int) -> None:
    drawn = np.random.default_rng(draw).uniform
    center, inner, first, bins = drawn((-5, -5), (22, 28)), drawn(0, 8), drawn(-400, 400), 1 + draw % 9
    radii, angles = (inner, inner + drawn(2, 20)), (first, first + drawn(20, 360))
    for kind, by in ((Radial, "radius"), (Azimuthal, "angle")):
        made = kind(tuple(center), radii, angles, bins)
        wanted = [mean_by_pixel(image, center, radii, angles, bins, by=by) for image in IMAGES]
        np.testing.assert_allclose(made(IMAGES), wanted, rtol=1e-12)


@pytest.mark.parametrize("draw", range(20))
def test_a_line_is_the_mean_of_what_lies_between_the_pixels(draw: int) -> None:
    # Eighths of a pixel: on a border, or clearly off it.
    (r0, r1), (c0, c1) = np.random.default_rng(draw).integers(-40, [[180], [220]], (2, 2)) / 8
    start, end, width = (r0, c0), (r1, c1), 1 + draw % 4
    numbers = math.ceil(math.dist(start, end)) + 1
    # A plane: between its pixels a bilinear value is the plane's own.
    rows, columns = np.mgrid[0:17, 0:23]
    plane = 3.0 * rows - 2.0 * columns + 7
    side = np.array([start[1] - end[1], end[0] - start[0]]) / math.dist(start, end)
    wanted = []
    for n in range(numbers):
        at = np.array(start) + (np.array(end) - start) * n / (numbers - 1)
        beside = [at + side * (k - (width - 1) / 2) for k in range(width)]
        there = [3.0 * r - 2.0 * c + 7 for r, c in beside if -1e-9 < r < 16 + 1e-9 and -1e-9 < c < 22 + 1e-9]
        wanted.append(sum(there) / len(there) if there else math.nan)
    np.testing.assert_allclose(Line(start, end, width)(plane[None])[0], wanted, rtol=1e-9, atol=1e-9)


def test_along_rows_and_columns_a_line_is_the_pixels_themselves() -> None:
    np.testing.assert_array_equal(Line((4, 2), (4, 9))(IMAGES), IMAGES[:, 4, 2:10])
    np.testing.assert_array_equal(Line((16, 22), (10, 22))(IMAGES), IMAGES[:, 16:9:-1, 22])
    np.testing.assert_allclose(Line((4, 2), (4, 9), 3)(IMAGES), IMAGES[:, 3:6, 2:10].mean(axis=1))


def test_all_pixels_are_in_the_profiles_that_nothing_bounds() -> None:
    for kind in (Radial, Azimuthal):
        np.testing.assert_allclose(kind((8.2, 3.7), bins=1)(IMAGES)[:, 0], IMAGES.mean(axis=(1, 2)))
    assert Radial((0, 0)).infer(IMAGE).shape == (math.floor(math.hypot(16, 22)) + 1,)
    assert Azimuthal((0, 0)).infer(IMAGE).shape == (72,)


def test_integers_are_summed_exactly_and_nan_is_of_its_own_number_only() -> None:
    great = np.full((2, 3, 3), 2**62, np.int64)
    assert (Radial((1, 1), bins=1)(great) == 2.0**62).all()
    holed = np.ones((1, 9, 9))
    holed[0, 4, 8] = np.nan
    assert np.isnan(Radial((4, 4), (0, 5))(holed)[0]).tolist() == [False, False, False, False, True]
    assert not np.isnan(Line((4, 0), (4, 7))(holed)).any()


def test_large_images_and_views_give_what_small_blocks_give() -> None:
    large = RANDOM.integers(0, 100, (3, 140, 150)).astype(np.uint16)
    made = Radial((70, 70), (10, 60))
    np.testing.assert_array_equal(made(large), np.concatenate([made(large[n : n + 1]) for n in range(3)]))
    np.testing.assert_array_equal(made(large[:, ::-1, ::-1])[0], Radial((69, 79), (10, 60))(large)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Line((1, 1), (1, 1)), "the same"),
        (lambda: Line((1, 1), (2, 2), 0), "width"),
        (lambda: Line((1, 1), (1e9, 2)), "at most"),
        (lambda: Line((1, 1, 1), (1, 2)), r"\[row, column\]"),
        (lambda: Line((30, 0), (30, 9)).infer(IMAGE), "no pixel"),
        (lambda: Radial((1, math.inf)), "finite"),
        (lambda: Radial((1, 1), (9, 3)), "10:40"),
        (lambda: Radial((1, 1), (-9, 3)), "10:40"),
        (lambda: Radial((1, 1), (90, 95)).infer(IMAGE), "no pixel"),
        (lambda: Radial((1, 1), (90, None)).infer(IMAGE), "90 pixels or more"),
        (lambda: Radial((1, 1), angles=(0, 361)), "360"),
        (lambda: Radial((1, 1), bins=10**6).infer(IMAGE), "at most"),
        (lambda: Azimuthal((1, 1), angles=(5, None)), "360"),
        (lambda: Azimuthal((1, 1)).infer(Kind(np.dtype(float), (9,))), "needs an image"),
    ],
)
def test_what_is_no_profile_is_refused_with_the_reason(make: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        make()


def test_numbers_without_a_pixel_are_told_and_results_are_taken_too() -> None:
    assert "2 of the profile's 11" in Line((0, 0), (0, 10)).caution(Kind(np.dtype(float), (2, 9)))
    assert Line((0, 0), (0, 8)).caution(IMAGE) == ""
    assert Radial((0, 0)).infer(Kind(np.dtype(float), (9, 9), True)).reduced


def test_a_profile_is_written_as_it_is_read() -> None:
    text = "radial(camera, center=[8.5, -3], radii=2.5:9, angles=-30:45, bins=4)"
    (part,) = define("ring", text, {}).parts
    assert part.arguments == {"center": (8.5, -3), "radii": (2.5, 9), "angles": (-30, 45), "bins": 4}
