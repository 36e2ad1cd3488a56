"""Components are found whole, measured right, and told from speckles."""

from math import pi, sqrt

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings

from tsgan_jax.components import SMALLEST_NODULE, Smallest, components

REGIONS = hnp.arrays(np.bool_, (9, 11))


def drawn(*pixels, shape=(12, 10)):
    region = np.zeros(shape, bool)
    for row, column in pixels:
        region[row, column] = True
    return region


def test_corners_connect_and_gaps_do_not():
    region = drawn((1, 1), (2, 2), (3, 1), (3, 4), (0, 9))
    found = list(components(region))
    assert [one.pixels for one in found] == [1, 3, 1]  # in the order of their first pixels
    assert [one.box for one in found] == [(9, 0, 1, 1), (1, 1, 2, 3), (4, 3, 1, 1)]


def test_diameter_is_that_of_the_disc_of_equal_area():
    (one,) = components(drawn((1, 1), (1, 2), (2, 1), (2, 2)))
    assert pi * (one.diameter_mm(0.5) / 2) ** 2 == pytest.approx(4 * 0.25)


@given(region=REGIONS)
@settings(max_examples=50, deadline=None)
def test_components_make_up_the_region_and_share_no_pixel(region):
    found = list(components(region))
    total = sum((one.drawn(region.shape).astype(int) for one in found), np.zeros(region.shape, int))
    np.testing.assert_array_equal(total, region)
    for one in found:  # and its window is tight
        assert one.inside[0].any() and one.inside[-1].any() and one.inside[:, 0].any() and one.inside[:, -1].any()


@given(region=REGIONS)
@settings(max_examples=50, deadline=None)
def test_a_widened_window_stays_inside_and_keeps_the_pixels(region):
    for one in components(region):
        window, inside = one.widened(2, region.shape)
        np.testing.assert_array_equal(inside, one.drawn(region.shape)[window])
        assert inside.shape == tuple(
            min(part.stop + 2, size) - max(part.start - 2, 0)
            for part, size in zip(one.window, region.shape, strict=True)
        )


@pytest.mark.parametrize(
    ("pixels", "pixel_mm", "speckle"),
    [(2, 5.0, True), (3, 5.0, False), (3, 1.0, True), (9, 0.88, True), (9, 0.89, False)],
)
def test_speckles_are_below_three_pixels_or_three_mm(pixels, pixel_mm, speckle):
    (one,) = components(drawn(*((1, 1 + place) for place in range(pixels)), shape=(3, 12)))
    assert (2 * sqrt(pixels / pi) * pixel_mm < 3 or pixels < 3) == speckle
    assert SMALLEST_NODULE.admits(one, pixel_mm) is not speckle
    assert Smallest(1, 0.0).admits(one, pixel_mm)
