"""Labelled slices of volumes, resampling to the training resolution, and folds.

Each nodule gives its central slice.  A slice that is central to several nodules is stored once, and every nodule that
crosses it is drawn (FACTS A26).  The five folds hold whole scans, so a split never divides a scan (FACTS A26, A27).
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tsgan_jax import labels
from tsgan_jax.data.nodules import NODULE_SHARE, Box, Nodule, NoduleSection, boxes, coverage, draw, section_radius
from tsgan_jax.data.volume import HU_MIN, Volume

NUM_FOLDS = 5


def scan_of(seriesuid: str) -> str:
    """The scan a volume belongs to: single slices named `<seriesuid>.sNNNN` belong to the scan `<seriesuid>`."""
    return re.sub(r"\.s\d+$", "", seriesuid)


def fold_of(seriesuid: str, subset: int | None, subsets: Collection[int]) -> int:
    """The fold, 0 to 4, of a scan in the folder `subset<subset>` of a tree that has the folders `subsets`.

    LUNA16's ten subsets form folds in pairs: subsets 0 and 1 are fold 0.  Any other number of folders, at least two,
    is assigned to folds in turn.  With fewer folders the fold is a hash of the scan's name, which does not change
    when scans are added.
    """
    ordered = sorted(set(subsets))
    if subset is None or len(ordered) < 2:
        return int.from_bytes(hashlib.sha256(scan_of(seriesuid).encode()).digest()[:8], "big") % NUM_FOLDS
    if ordered == list(range(2 * NUM_FOLDS)):
        return subset // 2
    return ordered.index(subset) % NUM_FOLDS


def other_folds(test_folds: Collection[int]) -> tuple[int, ...]:
    """The folds that are not test folds."""
    return tuple(fold for fold in range(NUM_FOLDS) if fold not in test_folds)


@dataclass(frozen=True)
class LabelledSlice:
    """An axial slice at the resolution of the scan.

    hu: int16 [h, w]; anatomy: uint8 [h, w], classes 0 to 4; pixel: height and width of a pixel in mm.
    sections: the nodules that cross it.  index: position in the volume (z ascends); z: world mm.
    """

    seriesuid: str
    index: int
    z: float
    hu: np.ndarray
    anatomy: np.ndarray
    pixel: tuple[float, float]
    sections: tuple[NoduleSection, ...]

    @property
    def mask(self) -> np.ndarray:
        """uint8 [h, w], all six classes."""
        return _with_nodules(self.anatomy, self.sections, self.pixel)[0]


@dataclass(frozen=True)
class StoredNodule:
    """A nodule of a stored slice.

    box: in pixels of the stored mask; box_native: in pixels of the scan; both enclose the mask's component.
    centre: x, y in stored pixels; diameter_mm: of the sphere; area: of the section, in stored pixels.
    """

    box: Box
    box_native: Box
    centre: tuple[float, float]
    diameter_mm: float
    area: float


@dataclass(frozen=True)
class StoredSlice:
    """A slice at the training resolution R.

    ct: int16 HU [R, R]; mask: uint8 [R, R]; pixel_mm: side of a stored pixel; native_mm: height and width of a
    pixel as scanned.
    """

    seriesuid: str
    slice_index: int
    z_mm: float
    ct: np.ndarray
    mask: np.ndarray
    pixel_mm: float
    native_mm: tuple[float, float]
    nodules: tuple[StoredNodule, ...]


def central_index(volume: Volume, nodule: Nodule) -> int | None:
    """The slice nearest to the nodule's centre; None when the centre is above or below the volume."""
    index = int(np.floor(volume.voxel(nodule.centre)[2] + 0.5))
    return index if 0 <= index < len(volume.hu) else None


def chosen_indices(volume: Volume, nodules: Sequence[Nodule]) -> list[int]:
    """The central slices of the nodules, ascending, each once."""
    return sorted({index for nodule in nodules if (index := central_index(volume, nodule)) is not None})


def labelled_slices(volume: Volume, nodules: Sequence[Nodule], anatomy: np.ndarray) -> list[LabelledSlice]:
    """The chosen slices of one scan.  anatomy: uint8 [n, h, w], classes 0 to 4 of `chosen_indices`."""
    pixel = volume.spacing[1:]
    result = []
    for index, classes in zip(chosen_indices(volume, nodules), anatomy, strict=True):
        z = volume.origin[2] + index * volume.spacing[0]
        sections = []
        for nodule in nodules:
            x, y, _ = volume.voxel(nodule.centre)
            section = NoduleSection(nodule, (float(x), float(y)), section_radius(nodule, z))
            grazes = coverage(classes.shape, section.centre, section.radius, pixel).max() < NODULE_SHARE
            if central_index(volume, nodule) == index or not grazes:
                sections.append(section)
        result.append(LabelledSlice(volume.seriesuid, index, z, volume.hu[index], classes, pixel, tuple(sections)))
    return result


def resample(source: LabelledSlice, resolution: int) -> StoredSlice:
    """The slice padded to a square with air and resampled to `resolution` x `resolution` pixels.

    Shrinking is an exact area average, enlarging is linear interpolation.  HU is resampled directly, the anatomy as
    class shares: the largest share wins, ties go by precedence.  Nodules are drawn again on the new grid.
    """
    pixel_mm = max(n * mm for n, mm in zip(source.hu.shape, source.pixel, strict=True)) / resolution
    # Padding is in whole pixels: half a pixel would blur a slice that is not resampled.
    offsets = [
        mm * int((pixel_mm * resolution / mm - n) / 2 + 1e-6)
        for n, mm in zip(source.hu.shape, source.pixel, strict=True)
    ]
    rows, columns = (
        (area_weights if pixel_mm >= mm * (1 - 1e-9) else linear_weights)(n, mm, offset, resolution, pixel_mm)
        for n, mm, offset in zip(source.hu.shape, source.pixel, offsets, strict=True)
    )
    inside = np.outer(rows.sum(1), columns.sum(1))
    ct = rows @ source.hu.astype(np.float32) @ columns.T + (1.0 - inside) * HU_MIN
    order = [code for code in labels.PRECEDENCE if code != labels.NODULE]
    shares = {code: rows @ (source.anatomy == code).astype(np.float32) @ columns.T for code in order}
    shares[labels.BACKGROUND] += 1.0 - inside
    # Rounded: shares that differ only in the last bit are a tie.
    winner = np.round(np.stack([shares[c] for c in order]), 4).argmax(0)

    def moved(section: NoduleSection) -> NoduleSection:
        x, y = (
            ((c + 0.5) * mm + offset) / pixel_mm - 0.5
            for c, mm, offset in zip(section.centre, source.pixel[::-1], offsets[::-1], strict=True)
        )
        return replace(section, centre=(x, y))

    sections = [moved(section) for section in source.sections]
    mask, areas = _with_nodules(np.array(order, np.uint8)[winner], sections, (pixel_mm, pixel_mm))
    boxes_of = zip(_boxes(mask, sections), _boxes(source.mask, source.sections), strict=True)
    nodules = tuple(
        StoredNodule(box, native, section.centre, section.nodule.diameter, area)
        for (box, native), section, area in zip(boxes_of, sections, areas, strict=True)
    )
    ct = np.rint(ct).astype(np.int16)
    return StoredSlice(source.seriesuid, source.index, source.z, ct, mask, pixel_mm, source.pixel, nodules)


def pool_classes(mask: np.ndarray, resolution: int) -> np.ndarray:
    """float32 [r, r, 6]: the share of each class in each pixel of a mask [h, h] pooled to r = `resolution`."""
    factor = len(mask) // resolution
    one_hot = np.eye(labels.NUM_CLASSES, dtype=np.float32)[mask]
    return one_hot.reshape(resolution, factor, resolution, factor, -1).mean(axis=(1, 3))


def area_weights(size: int, step: float, offset: float, resolution: int, pixel: float) -> np.ndarray:
    """float32 [resolution, size]: row j holds the share of output pixel j that each input pixel fills.

    Input pixel i spans offset + [i, i+1] step, output pixel j spans [j, j+1] pixel (mm).  A row sums to less than 1
    where the output extends beyond the input.
    """
    inputs = offset + step * np.arange(size)
    outputs = pixel * np.arange(resolution)[:, None]
    overlap = np.minimum(inputs + step, outputs + pixel) - np.maximum(inputs, outputs)
    return (np.clip(overlap, 0, None) / pixel).astype(np.float32)


def linear_weights(size: int, step: float, offset: float, resolution: int, pixel: float) -> np.ndarray:
    """float32 [resolution, size]: linear interpolation between centres of input pixels, 0 beyond the input."""
    weights = np.zeros((resolution, size), np.float32)
    position = ((np.arange(resolution) + 0.5) * pixel - offset) / step - 0.5
    rows = np.flatnonzero((position >= -0.5) & (position <= size - 0.5))
    clamped = np.clip(position[rows], 0, size - 1)
    low = np.minimum(clamped.astype(int), max(size - 2, 0))
    fraction = clamped - low
    weights[rows, low] = 1 - fraction
    weights[rows, np.minimum(low + 1, size - 1)] += fraction
    return weights


def _with_nodules(
    anatomy: np.ndarray, sections: Sequence[NoduleSection], pixel: tuple[float, float]
) -> tuple[np.ndarray, list[float]]:
    """The mask with nodules drawn over it, and their areas in pixels."""
    mask, areas = anatomy.copy(), []
    for section in sections:
        disc, area = draw(mask.shape, section, pixel)
        mask[disc] = labels.NODULE
        areas.append(area)
    return mask, areas


def _boxes(mask: np.ndarray, sections: Sequence[NoduleSection]) -> list[Box]:
    return boxes(mask == labels.NODULE, [section.centre for section in sections]) if sections else []
