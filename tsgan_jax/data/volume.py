"""A CT scan in HU on a grid aligned with the world axes.

World coordinates are ITK's, LPS in mm: x rises to the patient's left, y to the back, z to the head (FACTS 9).
The array is always [z, y, x] with identity direction, whatever the axis order of the file.  Indices rise with
coordinates, so the patient's left lung has the larger x.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsgan_jax.data.metaimage import Header, VolumeError, parse_header, read_voxels

Triple = tuple[float, float, float]

HU_MIN, HU_MAX = -1024, 3071
"""Values are clamped to this range; padding (-2000, -3024 and others) and metal are outside it."""

_AXIS_ALIGNED = 1e-3
_MIN_SHARE = 0.005


@dataclass(frozen=True)
class Volume:
    """One scan.

    hu: int16 [z, y, x], HU in [HU_MIN, HU_MAX]; spacing: mm along z, y, x; origin: world x, y, z (mm) of hu[0, 0, 0].
    padding, overflow: clamped voxels below and above the range.  reoriented: whether the file had other axes.
    """

    seriesuid: str
    hu: np.ndarray
    spacing: Triple
    origin: Triple
    padding: int
    overflow: int
    reoriented: bool

    @property
    def affine(self) -> np.ndarray:
        """float64 [4, 4]: voxel (x, y, z, 1) to world mm."""
        return grid_affine(self.spacing, self.origin)


def read_header(path: Path, root: Path) -> Header:
    """The validated header of a scan of the tree `root`; VolumeError unless its axes are the world axes."""
    header = parse_header(path, root)
    _world_axes(header)
    return header


def read_volume(path: Path, root: Path) -> Volume:
    """Read a CT scan of the tree `root`; VolumeError when the header, the voxels or the HU range are invalid."""
    header = read_header(path, root)
    voxels = read_voxels(header)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise VolumeError(f"{header.data}: holds values that are not finite; expected HU")
    if voxels.dtype.kind == "u" or voxels.dtype.itemsize == 1:
        voxels = voxels.astype(np.int32)  # a type that holds the clamping limits
    padding, overflow = int((voxels < HU_MIN).sum()), int((voxels > HU_MAX).sum())
    _check_hounsfield(header, voxels)
    if padding or overflow:
        voxels = np.clip(voxels, HU_MIN, HU_MAX)
    if voxels.dtype.kind == "f":
        voxels = np.rint(voxels)
    hu, spacing, origin = _to_world_axes(header, voxels.astype(np.int16, copy=False))
    reoriented = not np.allclose(header.direction, np.eye(3), atol=_AXIS_ALIGNED)
    return Volume(path.stem, hu, spacing, origin, padding, overflow, reoriented)


def read_labels(path: Path, root: Path, like: Volume) -> np.ndarray:
    """A label volume [z, y, x]; VolumeError unless it has the grid of `like`."""
    header = read_header(path, root)
    labels, spacing, origin = _to_world_axes(header, read_voxels(header))
    same = labels.shape == like.hu.shape and np.allclose(spacing, like.spacing, rtol=1e-3)
    if not same or np.abs(np.subtract(origin, like.origin)).max() > min(like.spacing):
        raise VolumeError(
            f"{header.path}: size {labels.shape}, spacing {spacing}, origin {origin} differ from the scan's "
            f"{like.hu.shape}, {like.spacing}, {like.origin}; restore the mask of this scan or remove it"
        )
    return labels


def grid_affine(spacing: Triple, origin: Triple) -> np.ndarray:
    """float64 [4, 4] from the spacing (z, y, x) and origin (x, y, z) of an array in world axes."""
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return affine


def voxel_to_world(affine: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """World mm [..., 3] of (fractional) voxel positions (x, y, z) [..., 3]; a voxel's position is its centre."""
    return np.asarray(voxels, np.float64) @ affine[:3, :3].T + affine[:3, 3]


def world_to_voxel(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Fractional voxel positions (x, y, z) [..., 3] of world points [..., 3] in mm."""
    return np.linalg.solve(affine[:3, :3], (np.asarray(points, np.float64) - affine[:3, 3])[..., None])[..., 0]


def header_affine(header: Header) -> np.ndarray:
    """float64 [4, 4]: the file's own voxel (i, j, k, 1) to world mm."""
    affine = np.eye(4)
    affine[:3, :3] = header.direction * np.array(header.spacing)
    affine[:3, 3] = header.origin
    return affine


def _world_axes(header: Header) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The file axis of each world axis x, y, z, and its sign."""
    axes = tuple(int(a) for a in np.abs(header.direction).argmax(axis=1))
    signs = tuple(int(np.sign(header.direction[world, axis])) for world, axis in enumerate(axes))
    permutation = np.zeros((3, 3))
    permutation[range(3), axes] = signs
    if sorted(axes) != [0, 1, 2] or np.abs(header.direction - permutation).max() > _AXIS_ALIGNED:
        raise VolumeError(
            f"{header.path}: direction {np.round(header.direction, 4).tolist()} is oblique; "
            "expected axes along the patient's: resample the scan to an axial grid"
        )
    return axes, signs


def _to_world_axes(header: Header, voxels: np.ndarray) -> tuple[np.ndarray, Triple, Triple]:
    """The array [k, j, i] of the file as [z, y, x] in world axes, with spacing (z, y, x) and origin (x, y, z)."""
    axes, signs = _world_axes(header)
    first = np.zeros(3)  # the file's voxel that becomes [0, 0, 0]
    for axis, sign in zip(axes, signs, strict=True):
        first[axis] = 0 if sign > 0 else header.size[axis] - 1
    origin = voxel_to_world(header_affine(header), first)
    xyz = voxels.transpose(2, 1, 0).transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    z, y, x = (float(header.spacing[axis]) for axis in axes[::-1])
    world_x, world_y, world_z = (float(o) for o in origin)
    return np.ascontiguousarray(xyz.transpose(2, 1, 0)), (z, y, x), (world_x, world_y, world_z)


def _check_hounsfield(header: Header, voxels: np.ndarray) -> None:
    """Raise VolumeError unless the values contain air and soft tissue: 0..4095 or 8-bit values are not HU."""
    sample = voxels.reshape(-1)[:: max(1, voxels.size // 2_000_000)]
    sample = sample[sample >= HU_MIN]
    if not sample.size:
        raise VolumeError(f"{header.data}: every value is below {HU_MIN}; expected a CT in HU")
    air = float(np.mean(sample < -200))
    tissue = float(np.mean((sample > -200) & (sample < 200)))
    if air < _MIN_SHARE or tissue < _MIN_SHARE:
        low, high = (float(v) for v in np.percentile(sample, (1, 99)))
        raise VolumeError(
            f"{header.data}: values run from {low:g} to {high:g} (1 % to 99 %), {air:.1%} are air and {tissue:.1%} "
            "soft tissue if they are HU; the rescale slope and intercept were not applied, or this is no chest CT"
        )
