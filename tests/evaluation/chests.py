"""Drawn chests: ellipses for body, lungs, trachea and nodule with HU to match, no two alike."""

import numpy as np

from tsgan_jax.data.pipeline import SliceSet
from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

PIXEL_MM = 5.0
HU = np.array([-1000, 30, -850, -850, -950, 20], np.float32)


def chest(seed: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(mask uint8, HU int16), [side, side]; HU is smooth texture over each class's own value."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    cy, cx = rng.uniform(-0.03, 0.03, 2)
    mask = np.zeros((side, side), np.uint8)

    def ellipse(dy, dx, height, width):
        return ((y - cy - dy) / height) ** 2 + ((x - cx - dx) / width) ** 2 <= 1

    mask[ellipse(0, 0, rng.uniform(0.28, 0.36), rng.uniform(0.36, 0.43))] = BODY
    for lung, way in ((LEFT_LUNG, 1), (RIGHT_LUNG, -1)):
        mask[ellipse(rng.uniform(-0.04, 0.04), way * 0.17, rng.uniform(0.13, 0.2), rng.uniform(0.09, 0.12))] = lung
    mask[ellipse(rng.uniform(-0.05, 0.0), 0, 0.025, 0.025)] = TRACHEA
    radius = rng.uniform(1.6, 3.2) / side
    mask[ellipse(rng.uniform(-0.06, 0.06), rng.choice([-0.17, 0.17]) + rng.uniform(-0.04, 0.04), radius, radius)] = (
        NODULE
    )
    texture = rng.normal(0, 1, (8, 8)).repeat(side // 8, 0).repeat(side // 8, 1)
    return mask, (HU[mask] + 40 * texture + rng.normal(0, 8, mask.shape)).astype(np.int16)


def chests(seeds, side: int = 64) -> SliceSet:
    """One slice a scan."""
    masks, ct = zip(*(chest(seed, side) for seed in seeds), strict=True)
    return slice_set(np.stack(ct), np.stack(masks), [f"scan{seed:04d}" for seed in seeds])


def slice_set(ct: np.ndarray, mask: np.ndarray, scans) -> SliceSet:
    """Prepared slices, each of the scan named for it."""
    n = len(ct)
    return SliceSet(
        ct=ct,
        mask=mask,
        seriesuid=tuple(scans),
        fold=np.zeros(n, np.int32),
        slice_index=np.arange(n),
        z_mm=np.zeros(n),
        pixel_mm=np.full(n, PIXEL_MM, np.float32),
        native_mm=np.full((n, 2), PIXEL_MM, np.float32),
        nodules=((),) * n,
    )
