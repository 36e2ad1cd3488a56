"""HU windows are invertible inside and clip outside."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsgan_jax.data.windows import to_hu, to_uint8, to_unit

WINDOW = (-1000.0, 400.0)


@given(st.integers(-1000, 400))
def test_hounsfield_units_survive_the_round_trip(hu: int) -> None:
    unit = to_unit(np.array(hu, np.int16), WINDOW)
    assert unit.dtype == np.float32 and -1 <= unit <= 1
    assert np.rint(to_hu(unit, WINDOW)) == hu


def test_edges_and_beyond() -> None:
    hu = np.array([-3024, -1000, -300, 400, 3071], np.int16)
    np.testing.assert_allclose(to_unit(hu, WINDOW), [-1, -1, 0, 1, 1], atol=1e-7)
    np.testing.assert_array_equal(to_uint8(hu, WINDOW), [0, 0, 128, 255, 255])


@given(st.integers(0, 255))
def test_eight_bits_are_the_window_in_256_steps(grey: int) -> None:
    hu = grey * 1400 / 255 - 1000
    assert to_uint8(np.array(hu), WINDOW) == grey
