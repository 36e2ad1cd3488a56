"""Every tile of a sample grid is the array it shows."""

import numpy as np
import pytest

from tsgan_jax.experiment.stage import GAP, GAP_GREY, mask_grid, pair_grid, sample_points
from tsgan_jax.labels import NUM_CLASSES, PALETTE


def tile(grid, row, column, side):
    y, x = (GAP + place * (side + GAP) for place in (row, column))
    return grid[y : y + side, x : x + side]


@pytest.mark.parametrize(("side", "shown"), [(4, 96), (32, 96), (50, 100), (128, 128)])
def test_masks_are_shown_in_label_colours_at_96_pixels_or_more(side, shown):
    masks = np.random.default_rng(0).integers(0, NUM_CLASSES, (5, side, side), dtype=np.uint8)
    grid = mask_grid(masks)
    assert grid.dtype == np.uint8 and grid.shape == (2 * (shown + GAP) + GAP, 3 * (shown + GAP) + GAP, 3)
    factor = shown // side
    for i, mask in enumerate(masks):
        assert np.array_equal(tile(grid, i // 3, i % 3, shown)[::factor, ::factor], PALETTE[mask])
    assert (tile(grid, 1, 2, shown) == GAP_GREY).all()


@pytest.mark.parametrize("count", [1, 3])
def test_pairs_stand_beside_their_masks(count):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, NUM_CLASSES, (count, 96, 96), dtype=np.uint8)
    real, fake = rng.uniform(-1, 1, (2, count, 96, 96)).astype(np.float32)
    grid = pair_grid(masks, real, fake)
    assert grid.dtype == np.uint8 and grid.shape[:2] == ({1: 100, 3: 198}[count], {1: 296, 3: 590}[count])
    for i in range(count):
        row, column = i // 2, i % 2 * 3
        assert np.array_equal(tile(grid, row, column, 96), PALETTE[masks[i]])
        for ct, place in ((real, 1), (fake, 2)):
            shown = tile(grid, row, column + place, 96)
            assert np.abs(shown[..., 0] - (ct[i] + 1) * 127.5).max() <= 0.5 + 1e-4
            assert (shown == shown[..., :1]).all()


def test_values_out_of_range_and_nan_are_shown_clipped():
    fake = np.zeros((1, 96, 96), np.float32)
    fake[0, 0, :3] = [7, -7, np.nan]
    grid = pair_grid(np.zeros((1, 96, 96), np.uint8), fake)
    assert tile(grid, 0, 1, 96)[0, :3, 0].tolist() == [255, 0, 0]


def test_points_end_at_the_end():
    assert sample_points(100, 200, 3) == (133, 166, 200)
    assert sample_points(0, 10, 1) == (10,)
