"""The patient's outline in CT slices, and the morphology with discs in mm that body and lungs share.

Arrays of one slice are [y, x] with x rising to the patient's left and y to the back; lengths are in mm.  Slices are
examined on pixels of 1 to 1.65 mm (means of f x f blocks); `refine` puts edges back on the scan's own pixels.
Discs are thresholds of Euclidean distances: their cost does not grow with the radius.
"""

import math

import numpy as np
from scipy import ndimage

from tsgan_jax.labels import BODY

Spacing = tuple[float, float, float]
"""Voxel size in mm, z y x."""

TISSUE_HU = -400.0
"""About half way between lung (-850) and tissue (40), so that a blurred wall keeps its place (FACTS 9)."""
FREE_GAS_HU = -935.0
"""Air outside the patient and gas in the bowel lie below this on average, lung above."""

_COARSEST_MM = 1.65
_TABLE_GAP_MM = 2.0
_TABLE_THICKNESS_MM = 12.0


def body_mask(hu: np.ndarray, spacing: Spacing) -> np.ndarray:
    """The patient without table and blankets; lungs and other inner air count as patient.

    hu: [z, h, w] HU, padding of any value below air allowed; spacing: mm, z y x.  Returns bool [z, h, w]; slices
    are independent of one another.  Raises ValueError on another number of axes or a spacing that is not positive.
    """
    factor, mm = working_grid(hu, spacing)
    out = np.zeros(hu.shape, bool)
    for k, plane in enumerate(hu):
        fine = clip(plane)
        outline = body_outline(coarse(fine, factor, mm), mm)
        out[k] = refine(outline.astype(np.uint8), fine, factor, spacing) > 0
    return out


def working_grid(hu: np.ndarray, spacing: Spacing) -> tuple[int, float]:
    """Side of a block in pixels, and of the working pixel in mm.  Raises ValueError as `body_mask` does."""
    if hu.ndim != 3:
        raise ValueError(f"HU of shape [z, h, w] wanted, got {hu.shape}")
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"spacing must be three positive lengths in mm (z, y, x), got {spacing}")
    factor = max(1, int(_COARSEST_MM / max(spacing[1], spacing[2])))
    return factor, factor * math.sqrt(spacing[1] * spacing[2])


def clip(plane: np.ndarray) -> np.ndarray:
    """int16: metal and the scanner's padding (-2000 to -3024) brought near bone and air."""
    return np.clip(plane, -1024, 600).astype(np.int16)


def coarse(plane: np.ndarray, factor: int, mm: float) -> np.ndarray:
    """float32 HU on the working grid: means of factor x factor blocks, smoothed by 0.8 mm."""
    h, w = plane.shape
    padded = np.pad(plane, ((0, -h % factor), (0, -w % factor)), mode="edge").astype(np.float32)
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor).mean((1, 3))
    return ndimage.gaussian_filter(blocks, 0.8 / mm)


def refine(labels: np.ndarray, fine: np.ndarray, factor: int, spacing: Spacing) -> np.ndarray:
    """uint8 [h, w]: classes of the working grid on the scan's own pixels; beside an edge HU decides.

    fine: int16 HU [h, w].  Edges inside tissue (the filled hilum) and between the lungs stay on the working grid.
    """
    h, w = fine.shape
    if factor == 1:
        return labels
    big = np.repeat(np.repeat(labels, factor, 0), factor, 1)[:h, :w]
    air = ndimage.gaussian_filter(fine.astype(np.float32), 0.7 / spacing[1]) < TISSUE_HU
    low = ndimage.minimum_filter(big, 2 * factor + 1)
    high = ndimage.maximum_filter(big, 2 * factor + 1)
    skin = (low == 0) & (high == BODY)
    big[skin] = np.where(air[skin], 0, BODY)
    pleura = (low == BODY) & (high > BODY)
    big[pleura] = np.where(air[pleura], high[pleura], BODY)
    return big


def body_outline(hu: np.ndarray, mm: float) -> np.ndarray:
    """bool [h, w]: the largest thick piece of tissue, filled, without what sticks out and is thinner than 12 mm."""
    tissue = hu > TISSUE_HU
    core = largest(erode(tissue, _TABLE_GAP_MM, mm))
    if not core.any():
        return core
    skin = tissue & dilate(core, _TABLE_GAP_MM + 0.5, mm)
    filled = _fill(skin, hu, mm)
    radius = _TABLE_THICKNESS_MM / 2
    return largest(dilate(erode(filled, radius, mm), radius, mm))


def _fill(skin: np.ndarray, hu: np.ndarray, mm: float) -> np.ndarray:
    """Fills holes, also lungs that the edge of a narrow picture cuts open: such gaps are lighter than room air."""
    framed = np.pad(skin, 1)
    depth = max(1, round(4 / mm))
    for side in range(4):
        ring = np.rot90(framed, side)[0, 1:-1]
        border = np.rot90(hu, side)[:depth].mean(0)
        on = np.flatnonzero(np.rot90(skin, side)[0])
        for a, b in zip(on[:-1], on[1:], strict=True):
            if b - a > 1 and border[a + 1 : b].mean() > FREE_GAS_HU:
                ring[a + 1 : b] = True
    return ndimage.binary_fill_holes(framed)[1:-1, 1:-1]


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece (edge neighbours)."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def erode(mask: np.ndarray, radius: float, mm: float) -> np.ndarray:
    """Erosion by a disc; radius in mm; beyond the picture everything counts as mask."""
    return mask if mask.all() else _distant(mask, radius, mm)


def dilate(mask: np.ndarray, radius: float, mm: float) -> np.ndarray:
    """Dilation by a disc; radius in mm."""
    return ~_distant(~mask, radius, mm) if mask.any() else mask


def _distant(mask: np.ndarray, radius: float, mm: float) -> np.ndarray:
    """Pixels of the mask farther than radius from all pixels outside it."""
    return ndimage.distance_transform_edt(mask) > radius / mm


def close(mask: np.ndarray, radius: float, mm: float, largest_hole: float) -> np.ndarray:
    """Closing by a disc of `radius` mm, then holes of up to `largest_hole` mm2 are filled.  bool [h, w]."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return mask
    margin = math.ceil(radius / mm) + 2
    closed = erode(dilate(np.pad(mask[boxes[0]], margin), radius, mm), radius, mm)
    holes, _ = ndimage.label(ndimage.binary_fill_holes(closed) & ~closed)
    small = np.bincount(holes.ravel()) * mm * mm <= largest_hole
    small[0] = False
    out = mask.copy()
    out[boxes[0]] |= (closed | small[holes])[margin:-margin, margin:-margin]
    return out
