"""Every tile of a grid is the array it shows."""

import numpy as np
import pytest

from tsgan_jax.generation import grids
from tsgan_jax.labels import NUM_CLASSES, PALETTE


def tile(grid, row, column, side):
    step = side + grids.GAP
    return grid[row * step : row * step + side, column * step : column * step + side]


@pytest.mark.parametrize(("side", "shown"), [(4, 96), (32, 96), (50, 100), (128, 128)])
def test_masks_are_shown_in_label_colours_at_96_pixels_or_more(side, shown):
    masks = np.random.default_rng(0).integers(0, NUM_CLASSES, (5, side, side), dtype=np.uint8)
    grid = grids.mask_grid(masks)
    assert grid.shape == (2 * shown + grids.GAP, 3 * shown + 2 * grids.GAP, 3)
    factor = shown // side
    for i, mask in enumerate(masks):
        assert np.array_equal(tile(grid, i // 3, i % 3, shown)[::factor, ::factor], PALETTE[mask])
    assert (tile(grid, 1, 2, shown) == grids.GAP_GREY).all()


@pytest.mark.parametrize("with_real", [True, False])
def test_pairs_stand_beside_their_masks(with_real):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, NUM_CLASSES, (3, 96, 96), dtype=np.uint8)
    real, fake = rng.uniform(-1, 1, (2, 3, 96, 96)).astype(np.float32)
    grid = grids.pair_grid(masks, real if with_real else None, fake, pairs_per_row=2)
    each = 3 if with_real else 2
    assert grid.shape == (2 * 96 + grids.GAP, 2 * each * (96 + grids.GAP) - grids.GAP, 3)
    for i in range(3):
        row, column = i // 2, i % 2 * each
        assert np.array_equal(tile(grid, row, column, 96), PALETTE[masks[i]])
        shown = tile(grid, row, column + each - 1, 96)
        assert np.abs(shown[..., 0] - (fake[i] + 1) * 127.5).max() <= 0.5 + 1e-4
        assert (shown == shown[..., :1]).all()


def test_values_out_of_range_and_nan_are_shown_clipped():
    fake = np.zeros((1, 96, 96), np.float32)
    fake[0, 0, :3] = [7, -7, np.nan]
    grid = grids.pair_grid(np.zeros((1, 96, 96), np.uint8), None, fake)
    assert tile(grid, 0, 1, 96)[0, :3, 0].tolist() == [255, 0, 0]
