"""Pictures of a network: a walk through its masks, style mixing and truncation, each mask with its CT next to it."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tsgan_jax.files import replacing
from tsgan_jax.generation.generate import set_key
from tsgan_jax.generation.networks import Networks
from tsgan_jax.images import to_uint8
from tsgan_jax.labels import PALETTE
from tsgan_jax.masks.networks import num_layers
from tsgan_jax.masks.sample import walk_mask
from tsgan_jax.types import Key

STOPS, FRAMES = 4, 12  # images that a walk passes, and frames from each to the next
FRAME_MS = 100
MIXED = 4  # rows and columns of style mixing
SWEPT = 4  # images of a truncation sweep
TRUNCATIONS = (0.0, 0.4, 0.7, 1.0, 1.25, 1.5)
SIDE = 128  # least side of a mask, px
GAP, HEAD, GROUND, INK = 4, 16, (24, 24, 24), (200, 200, 200)

Tile = NDArray[np.uint8]  # [side, 2 side, 3], a mask in colours and its CT in the window


def ends_of(seed: int, count: int) -> list[Key]:
    """The own keys of the first images that `Networks.masks` draws with the set's key of a seed."""
    return [jax.random.fold_in(set_key(seed, "masks"), index) for index in range(count)]


def walk(networks: Networks, seed: int, truncation: float) -> list[Tile]:
    """STOPS images with FRAMES steps from each to the next, and from the last to the first."""
    ends = ends_of(seed, STOPS)
    legs = [jax.numpy.stack([first, second]) for first, second in zip(ends, [*ends[1:], ends[0]], strict=True)]
    generator = networks.generator
    masks = [walk_mask(generator, leg, step / FRAMES, truncation) for leg in legs for step in range(FRAMES)]
    return tiles_of(networks, masks, seed)


def mixing(networks: Networks, seed: int, truncation: float) -> list[list[Tile | None]]:
    """The first row and column are images; the others have the styles of their row's in the coarse half of the layers,
    and of their column's in the fine half.
    """
    ends, generator = ends_of(seed, 2 * MIXED), networks.generator
    half = num_layers(generator.synthesis.resolution) // 2

    def mask(row: Key, column: Key) -> NDArray[np.uint8]:
        return walk_mask(generator, jax.numpy.stack([row, column]), 0.0, truncation, half)

    rows, columns = ends[:MIXED], ends[MIXED:]
    masks = [mask(end, end) for end in ends] + [mask(row, column) for row in rows for column in columns]
    tiles = tiles_of(networks, masks, seed)
    grid: list[list[Tile | None]] = [[None, *tiles[MIXED : 2 * MIXED]]]
    for row in range(MIXED):
        grid.append([tiles[row], *tiles[2 * MIXED + row * MIXED :][:MIXED]])
    return grid


def sweep(networks: Networks, seed: int) -> list[list[Tile | None]]:
    """An image a row, at the TRUNCATIONS."""
    generator = networks.generator
    pairs = [jax.numpy.stack([end, end]) for end in ends_of(seed, SWEPT)]
    tiles = tiles_of(networks, [walk_mask(generator, pair, 0.0, psi) for pair in pairs for psi in TRUNCATIONS], seed)
    return [list(tiles[row * len(TRUNCATIONS) :][: len(TRUNCATIONS)]) for row in range(SWEPT)]


def tiles_of(networks: Networks, masks: Sequence[NDArray[np.uint8]], seed: int) -> list[Tile]:
    """Masks [h, w], each with its CT."""
    factor = -(-SIDE // masks[0].shape[0])
    stacked = np.stack(masks)
    grey = to_uint8(networks.ct(stacked, set_key(seed, "ct")), networks.trained.config.data.hu_window)
    both = np.concatenate([PALETTE[stacked], grey[..., None].repeat(3, -1)], axis=2)
    return list(both.repeat(factor, axis=1).repeat(factor, axis=2))


def page_of(rows: Sequence[Sequence[Tile | None]], heads: Sequence[str] = ()) -> Image.Image:
    """Tiles in rows; heads: a line of text over each column."""
    height, width, _ = next(tile for tile in rows[0] if tile is not None).shape
    top = HEAD if heads else 0
    size = len(rows[0]) * (width + GAP) - GAP, top + len(rows) * (height + GAP) - GAP
    page = Image.new("RGB", size, GROUND)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            if tile is not None:
                page.paste(Image.fromarray(tile), (x * (width + GAP), top + y * (height + GAP)))
    for x, head in enumerate(heads):
        ImageDraw.Draw(page).text((x * (width + GAP) + 2, 2), head, INK)
    return page


def write(networks: Networks, out: Path, seed: int = 0, truncation: float | None = None) -> list[Path]:
    """Write all pictures to a folder; earlier ones in it are replaced.  truncation: None for the run's."""
    psi = networks.trained.config.generation.truncation if truncation is None else truncation
    frames = walk(networks, seed, psi)
    legs = [frames[leg * FRAMES :: 3][: FRAMES // 3] for leg in range(STOPS)]
    heads = [f"truncation {value:g}" for value in TRUNCATIONS]
    pages = {
        "walk.png": page_of(legs),
        "mixing.png": page_of(mixing(networks, seed, psi)),
        "truncation.png": page_of(sweep(networks, seed), heads),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        with replacing(out / name) as temporary:
            page.save(temporary)
    first, *rest = (Image.fromarray(frame) for frame in frames)
    with replacing(out / "walk.gif") as temporary:
        first.save(temporary, save_all=True, append_images=rest, duration=FRAME_MS, loop=0)
    return [out / name for name in ("walk.gif", *pages)]
