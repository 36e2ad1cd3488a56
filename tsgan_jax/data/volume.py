"""A CT scan in HU on a grid aligned with the world axes.

World coordinates are ITK's, LPS in mm: x rises to the patient's left, y to the back, z to the head (FACTS 9).
The array is always [z, y, x] with identity direction, whatever the axis order of the file.  Indices rise with
coordinates, so the patient's left lung has the larger x.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsgan_jax.data.metaimage import Triple, VolumeError, read_image

HU_MIN, HU_MAX = -1024, 3071
"""Values are clamped to this range; padding (-2000, -3024 and others) and metal are outside it."""

_MIN_SHARE = 0.005


@dataclass(frozen=True)
class Volume:
    """One scan.

    hu: int16 [z, y, x], HU in [HU_MIN, HU_MAX]; spacing: mm along z, y, x; origin: world x, y, z (mm) of hu[0, 0, 0].
    overflow: voxels above the range, which are clamped.
    """

    seriesuid: str
    hu: np.ndarray
    spacing: Triple
    origin: Triple
    overflow: int

    def voxel(self, point: Triple) -> np.ndarray:
        """Position x, y, z [3] in voxels of a world point (mm); a voxel's position is its centre."""
        return np.subtract(point, self.origin) / self.spacing[::-1]


def read_volume(path: Path, root: Path) -> Volume:
    """Read a CT scan of the tree `root`; VolumeError when the header, the voxels or the HU range are invalid."""
    return hounsfield(path, path.stem, *read_image(path, root))


def hounsfield(path: Path, name: str, voxels: np.ndarray, spacing: Triple, origin: Triple) -> Volume:
    """The scan of voxels [z, y, x] read from `path`; VolumeError unless they are HU."""
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise VolumeError(f"{path}: holds values that are not finite; expected HU")
    _check_hounsfield(path, voxels)
    overflow = int((voxels > HU_MAX).sum())
    if voxels.dtype != np.int16:
        voxels = np.rint(voxels) if voxels.dtype.kind == "f" else voxels.astype(np.int32)
    return Volume(name, np.clip(voxels, HU_MIN, HU_MAX).astype(np.int16), spacing, origin, overflow)


def read_labels(path: Path, root: Path, like: Volume) -> np.ndarray:
    """A label volume [z, y, x]; VolumeError unless it has the grid of `like`."""
    labels, spacing, origin = read_image(path, root)
    check_grid(path, labels, spacing, origin, like)
    return labels


def check_grid(path: Path, labels: np.ndarray, spacing: Triple, origin: Triple, like: Volume) -> None:
    """Raise VolumeError unless labels [z, y, x] have the grid of `like`."""
    same = labels.shape == like.hu.shape and np.allclose(spacing, like.spacing, rtol=1e-3)
    if not same or np.abs(np.subtract(origin, like.origin)).max() > min(like.spacing):
        raise VolumeError(
            f"{path}: size {labels.shape}, spacing {spacing}, origin {origin} differ from the scan's "
            f"{like.hu.shape}, {like.spacing}, {like.origin}; restore the mask of this scan or remove it"
        )


def _check_hounsfield(path: Path, voxels: np.ndarray) -> None:
    """Raise VolumeError unless the values contain air and soft tissue: 0..4095 or 8-bit values are not HU."""
    sample = voxels.reshape(-1)[:: max(1, voxels.size // 2_000_000)]
    sample = sample[sample >= HU_MIN]
    if not sample.size:
        raise VolumeError(f"{path}: every value is below {HU_MIN}; expected a CT in HU")
    air = float(np.mean(sample < -200))
    tissue = float(np.mean((sample > -200) & (sample < 200)))
    if air < _MIN_SHARE or tissue < _MIN_SHARE:
        low, high = (float(v) for v in np.percentile(sample, (1, 99)))
        raise VolumeError(
            f"{path}: values run from {low:g} to {high:g} (1 % to 99 %), {air:.1%} are air and {tissue:.1%} "
            "soft tissue if they are HU; the rescale slope and intercept were not applied, or this is no chest CT"
        )
