"""Sample grids: masks in label colours next to CT in grey."""

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.labels import PALETTE

TILE = 96  # minimum side of a tile, px
GAP = 2
GAP_GREY = 40

Rgb = NDArray[np.uint8]


def mask_grid(masks: NDArray[np.uint8]) -> Rgb:
    """Masks uint8 [n, h, w] as one nearly square RGB image [H, W, 3]."""
    count = len(masks)
    columns = int(np.ceil(np.sqrt(count)))
    tiles = [_enlarge(PALETTE[mask]) for mask in masks]
    return _compose([tiles[start : start + columns] for start in range(0, count, columns)])


def pair_grid(
    masks: NDArray[np.uint8], real: NDArray[np.float32] | None, fake: NDArray[np.float32], pairs_per_row: int = 2
) -> Rgb:
    """(mask, real CT, generated CT) tiles, or (mask, generated CT) if there is no real CT.

    masks: uint8 [n, h, w]; real, fake: [n, h, w] in [-1, 1].  Returns RGB uint8 [H, W, 3].
    """
    groups = []
    for i, mask in enumerate(masks):
        slices = [fake[i]] if real is None else [real[i], fake[i]]
        groups.append([_enlarge(PALETTE[mask]), *(_enlarge(_grey(ct)) for ct in slices)])
    rows = [groups[start : start + pairs_per_row] for start in range(0, len(groups), pairs_per_row)]
    return _compose([[tile for group in row for tile in group] for row in rows])


def _grey(ct: NDArray[np.floating]) -> Rgb:
    """[h, w] in [-1, 1] to RGB; NaN, from a diverged network, is black."""
    unit = np.nan_to_num(np.clip((ct + 1) / 2, 0, 1), nan=0.0)
    return np.repeat(np.round(255 * unit).astype(np.uint8)[..., None], 3, axis=2)


def _enlarge(tile: Rgb) -> Rgb:
    factor = -(-TILE // min(tile.shape[:2]))
    return tile.repeat(factor, axis=0).repeat(factor, axis=1)


def _compose(rows: list[list[Rgb]]) -> Rgb:
    """Tiles of equal size in a grid with thin separators; the last row is padded."""
    height, width, _ = rows[0][0].shape
    columns = max(len(row) for row in rows)
    grid = np.full((len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), GAP_GREY, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            y, x = i * (height + GAP), j * (width + GAP)
            grid[y : y + height, x : x + width] = tile
    return grid
