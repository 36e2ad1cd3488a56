"""Segmentation of body, lungs and trachea from HU, for scans without a lung mask.

The steps are classical (FACTS 9): body from tissue, air inside it, the airway near the middle, the lungs by size and
texture, and one seam of least air per slice that separates right from left.  Candidates are found slice by slice; in a
volume, which air is lung and which is airway is decided in 3-D.  All on pixels of about 1 mm (means of f x f blocks);
edges are then refined on the pixels of the scan.  Arrays are [z, y, x], x rising to the patient's left, y to the back.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import graph, measure, morphology

from tsgan_jax.labels import BODY, LEFT_LUNG, RIGHT_LUNG, TRACHEA

TISSUE_HU = -400.0  # half way between lung and tissue, so that blur does not move the wall
AIRWAY_HU = (-820.0, -900.0, -600.0)  # of these thresholds at least one separates the airway from adjacent lung
OUTSIDE_HU = -935.0  # air at the image border with a higher mean is lung cut by the field of view, not room air
CLOSING_MM = 4.5  # radius of the disc that closes the lungs over vessels at their edge
HOLE_MM2 = 1000.0  # largest hole that is filled: a nodule (up to 36 mm across), not the dome of the diaphragm

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class _Plane:
    """Candidates of one slice [h, w]; x of the patient's middle and width of the body in pixels, size of a pixel."""

    hu: np.ndarray
    body: np.ndarray
    air: np.ndarray
    airway: np.ndarray
    middle: float
    width: float
    mm: float


def segment(hu: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Classes 0 to 4 (labels.py, no nodules) of a whole scan, a slab of it or one slice.

    hu: [z, h, w] HU, any padding below air; spacing: mm, z y x.  Returns uint8 [z, h, w].  Vessels and
    nodules inside the lungs are lung.  A slice without lungs holds body only.
    """
    fine, f, mm = _prepare(hu, spacing)
    planes = [_candidates(_coarse(plane, f, mm), mm) for plane in fine]
    airway = _linked_airway(planes, spacing[0])
    mm3, volume = mm * mm * spacing[0], len(planes) > 1
    lung = np.stack([_without_gas(p, tube, volume) for p, tube in zip(planes, airway, strict=True)])
    if volume and lung.any():
        largest = np.bincount(ndimage.label(lung)[0].ravel())[1:].max()
        lung = _larger(lung, max(500 / mm3, 0.02 * largest))
    out = np.zeros(hu.shape, np.uint8)
    seam = None
    for k, plane in enumerate(planes):
        labels = np.where(plane.body, np.uint8(BODY), np.uint8(0))
        if lung[k].any():
            seam = _seam(plane, lung[k], seam)
            _paint_lungs(labels, plane, lung[k], airway[k], seam)
        labels[airway[k]] = TRACHEA
        out[k] = _refine(labels, fine[k], f, spacing)
    return out


def body_mask(hu: np.ndarray, spacing: Spacing) -> np.ndarray:
    """The patient without table and blankets, inner air filled.  hu: [z, h, w]; spacing: mm, z y x; bool [z, h, w]."""
    fine, f, mm = _prepare(hu, spacing)
    bodies = (_body(_coarse(plane, f, mm), mm).astype(np.uint8) for plane in fine)
    return np.stack([_refine(body, plane, f, spacing) > 0 for body, plane in zip(bodies, fine, strict=True)])


def _prepare(hu: np.ndarray, spacing: Spacing) -> tuple[np.ndarray, int, float]:
    """HU without padding (int16), the side of a block in pixels, and in mm."""
    if hu.ndim != 3:
        raise ValueError(f"hu has shape {hu.shape}, expected [z, h, w]")
    f = max(1, int(1.65 / max(spacing[1], spacing[2])))
    return np.clip(hu, -1024, 600).astype(np.int16), f, f * math.sqrt(spacing[1] * spacing[2])


def _coarse(plane: np.ndarray, f: int, mm: float) -> np.ndarray:
    """Smoothed means of f x f blocks."""
    padded = np.pad(plane, [(0, -size % f) for size in plane.shape], mode="edge").astype(np.float32)
    return ndimage.gaussian_filter(measure.block_reduce(padded, f, np.mean), 0.8 / mm)


def _candidates(hu: np.ndarray, mm: float) -> _Plane:
    body = _body(hu, mm)
    air = body & (hu < TISSUE_HU)
    if not body.any():
        return _Plane(hu, body, air, air, hu.shape[1] / 2, 0.0, mm)
    columns = np.flatnonzero(body.any(0))
    middle = 0.25 * (columns[0] + columns[-1]) + 0.5 * float(np.nonzero(body)[1].mean())
    width = float(columns[-1] - columns[0] + 1)
    return _Plane(hu, body, air, _airway(hu, body, air, middle, width, mm), middle, width, mm)


def _body(hu: np.ndarray, mm: float) -> np.ndarray:
    """The largest thick component of tissue, holes filled; protrusions thinner than 12 mm are removed."""
    tissue = hu > TISSUE_HU
    thin, thick = max(1, round(2 / mm)), max(2, round(6 / mm))
    core = _largest(_shrink(tissue, thin))
    filled = _fill(tissue & _grow(core, thin + 1), hu, mm)
    return _largest(_grow(_shrink(filled, thick), thick))


def _fill(skin: np.ndarray, hu: np.ndarray, mm: float) -> np.ndarray:
    """Fill holes, including lungs that a narrow field of view cuts at the image border."""
    closed = np.pad(skin, 1)
    depth = max(1, round(4 / mm))
    for side in range(4):
        ring = np.rot90(closed, side)[0, 1:-1]
        strip = np.rot90(hu, side)[:depth].mean(0)
        on = np.flatnonzero(np.rot90(skin, side)[0])
        for a, b in zip(on[:-1], on[1:], strict=True):
            if b - a > 1 and strip[a + 1 : b].mean() > OUTSIDE_HU:
                ring[a + 1 : b] = True
    return ndimage.binary_fill_holes(closed)[1:-1, 1:-1]


def _airway(hu: np.ndarray, body: np.ndarray, air: np.ndarray, middle: float, width: float, mm: float) -> np.ndarray:
    """Trachea and main bronchi: compact dark air near the middle, enclosed by tissue, bool [h, w]."""
    found = np.zeros_like(body)
    rows = np.flatnonzero(body.any(1))
    height = rows[-1] - rows[0] + 1
    top, bottom = rows[0] + int(0.15 * height), rows[0] + int(0.75 * height)
    lung = np.flatnonzero(_larger(air, 900 / mm**2).any(1))
    if len(lung) and (lung[-1] - lung[0]) * mm > 120:  # behind the front of the lungs, unless these are apices
        top = max(top, lung[0] + int(0.08 * (lung[-1] - lung[0])))
    left, right = max(0, int(middle - 0.2 * width)), int(middle + 0.2 * width) + 1
    window = (slice(top, bottom), slice(left, right))
    hu, body, kept = hu[window], body[window], found[window]
    for limit in AIRWAY_HU:
        labels = measure.label(body & (hu < limit), connectivity=1)
        for piece in measure.regionprops(labels):
            y0, x0, y1, x1 = piece.bbox
            cut = y0 == 0 or x0 == 0 or y1 == hu.shape[0] or x1 == hu.shape[1]
            longest = max(y1 - y0, x1 - x0) * mm
            if cut or piece.area_bbox * mm * mm < 40 or longest > 60 or piece.extent <= 0.38:
                continue
            near = (slice(max(0, y0 - 5), y1 + 5), slice(max(0, x0 - 5), x1 + 5))
            around, inside = hu[near], labels[near] == piece.label
            outside = ndimage.distance_transform_edt(~inside) * mm
            area, off_middle = piece.area * mm * mm, abs(left + 0.5 * (x0 + x1) - middle) / width
            walled = (around[(outside > 1.5) & (outside < max(3.5, 1.5 * mm))] > -500).mean()
            clear = np.median(around[inside]) < -930 and walled > 0.55 and off_middle < 0.17
            blurred = around[inside].min() < -900 and walled > 0.8 and off_middle < (0.1 if area > 100 else 0.17)
            if 40 < area < 900 and (clear or blurred):
                kept[near] |= (outside < 2.0) & (around < TISSUE_HU)
    return found


def _linked_airway(planes: list[_Plane], dz: float) -> np.ndarray:
    """Which candidates are airway, bool [z, h, w].

    One slice: those with lung on both sides within 70 mm.  A volume: the longest tube, and tubes of at least 8 mm that
    begin no lower than 40 mm below it (gas in the bowel forms tubes as well).
    """
    candidates = np.stack([plane.airway for plane in planes])
    if len(planes) == 1:
        kept, y, x = np.zeros_like(candidates), *np.nonzero(_without_gas(planes[0], candidates[0]))
        for piece in measure.regionprops(measure.label(candidates[0], connectivity=1)):
            cy, cx = piece.centroid
            near = np.hypot(y - cy, x - cx) * planes[0].mm < 70.0
            if (near & (x < cx)).any() and (near & (x > cx)).any():
                kept[0][tuple(piece.coords.T)] = True
        return kept
    labels, count = ndimage.label(candidates)
    if not count:
        return labels > 0
    ends = np.array([(box[0].start, box[0].stop) for box in ndimage.find_objects(labels)])
    length = (ends[:, 1] - ends[:, 0]) * dz
    longest = int(length.argmax())
    keep = (length >= min(8.0, 0.4 * len(planes) * dz)) & (ends[:, 0] * dz >= ends[longest, 0] * dz - 40.0)
    keep[longest] = True
    return np.concatenate(([False], keep))[labels]


def _without_gas(plane: _Plane, airway: np.ndarray, trust_airway: bool = False) -> np.ndarray:
    """Components of a slice's air of at least 80 mm2, without gas of stomach and bowel (darker and more uniform).

    In a volume (trust_airway), a slice with airway is above the domes of the diaphragm: all of its air is lung.
    """
    air = _larger(plane.air & ~_grow(airway, 1), 80 / plane.mm**2)
    if trust_airway and airway.any():
        return air
    found: list[tuple[Any, float, float, float]] = []
    for piece in measure.regionprops(measure.label(air, connectivity=1)):
        inside = np.pad(piece.image, 1)
        core = _shrink(inside, max(1, round(2.5 / plane.mm)))  # 2.5 mm inside its edge, where it is thick enough
        core = (core if core.any() else inside)[1:-1, 1:-1]
        found.append((piece, *np.percentile(plane.hu[piece.slice][core], (10, 50, 90))))
    usual = max(found, key=lambda one: (one[2] > -940, one[0].area), default=(None, 0.0, 0.0, 0.0))[2]
    for piece, low, median, high in found:
        area, darker = piece.area * plane.mm**2, usual - median
        even = area < 2000 and high - low < 90 and median < -905 and darker > 40
        empty = area < 6000 and median < -940 and (darker > 60 or high < -900)
        # Abdominal gas is on the left, next to the liver: a large dark component on the right is a bulla.
        bulla = area > 2000 and piece.bbox[3] < plane.middle
        if (even or empty) and not bulla:
            air[tuple(piece.coords.T)] = False
    return air


def _seam(plane: _Plane, lung: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """x of the line from front to back that crosses the least lung: right lung lies at smaller x.  int [h].

    The cheapest path over the rows with lung, which moves at most one column a row; a weak cost keeps it near the
    middle of the body and near the seam of the slice below (`previous`).
    """
    h, w = lung.shape
    first, last = np.flatnonzero(lung.any(1))[[0, -1]]
    left = max(0, int(plane.middle - 0.22 * plane.width))
    right = min(w, int(plane.middle + 0.22 * plane.width) + 1)
    window = (slice(first, last + 1), slice(left, right))
    aim = np.full(h, plane.middle) if previous is None else 0.5 * (plane.middle + previous)
    dark = np.clip((-300.0 - plane.hu[window]) / 600.0, 0.0, 1.0) ** 2
    off = np.abs(np.arange(left, right) - aim[window[0], None])
    cost = np.where(lung[window], dark, 0.0) + 0.003 * plane.mm * off + 0.05  # per step: moves to the side are longer
    paths = graph.MCP_Geometric(cost, offsets=[(1, move) for move in (-1, 0, 1)])
    total, _ = paths.find_costs([(0, column) for column in range(right - left)])
    columns = left + np.array(paths.traceback((last - first, total[-1].argmin())))[:, 1]
    return np.pad(columns, (first, h - 1 - last), mode="edge")


def _paint_lungs(labels: np.ndarray, plane: _Plane, lung: np.ndarray, airway: np.ndarray, seam: np.ndarray) -> None:
    """Write both lungs into `labels`, holes filled.  Fragments that the seam cut from one lung go back to it."""
    on_right = np.arange(lung.shape[1]) < seam[:, None]
    right, left = _move_fragments(lung & on_right, lung & ~on_right)
    left, right = _move_fragments(left, right)
    allowed = plane.body & ~airway
    solid_right = _solid(right, plane.mm) & ~left & allowed
    solid_left = _solid(left, plane.mm) & ~right & allowed
    labels[solid_right & (on_right | ~solid_left)] = RIGHT_LUNG
    labels[solid_left & ~(on_right & solid_right)] = LEFT_LUNG


def _move_fragments(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move the small components of `source` that touch `target` to `target`; the largest one stays."""
    labels, count = ndimage.label(source)
    if count == 0 or not target.any():
        return source, target
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    touching = np.unique(labels[_grow(target, 1) & source])
    move = np.zeros(count + 1, bool)
    move[touching] = sizes[touching] < 0.25 * max(sizes.max(), target.sum())
    if count > 1:
        move[int(sizes.argmax())] = False
    moved = move[labels]
    return source & ~moved, target | moved


def _solid(lung: np.ndarray, mm: float) -> np.ndarray:
    """Close by a disc, then fill holes up to HOLE_MM2: vessels and nodules, not the dome of the diaphragm."""
    margin = math.ceil(CLOSING_MM / mm) + 1
    closed = morphology.isotropic_closing(np.pad(lung, margin), CLOSING_MM / mm)[margin:-margin, margin:-margin] | lung
    holes = ndimage.binary_fill_holes(closed) & ~closed
    return closed | (holes & ~_larger(holes, HOLE_MM2 / mm**2))


def _refine(labels: np.ndarray, fine: np.ndarray, f: int, spacing: Spacing) -> np.ndarray:
    """Labels of f x f blocks on the pixels of the scan [h, w]; within a block of an edge they follow HU."""
    if f == 1:
        return labels
    big = labels.repeat(f, 0).repeat(f, 1)[: fine.shape[0], : fine.shape[1]]
    air = ndimage.gaussian_filter(fine.astype(np.float32), 0.7 / spacing[1]) < TISSUE_HU
    low = ndimage.minimum_filter(big, 2 * f + 1)
    high = ndimage.maximum_filter(big, 2 * f + 1)
    skin = (low == 0) & (high == BODY)
    wall = (low == BODY) & (high > BODY)
    gained = wall & air & (big == BODY)
    lost = wall & ~air & (big > BODY)
    big[skin] = ~air[skin]
    big[gained] = high[gained]
    big[lost] = BODY
    return big


def _larger(mask: np.ndarray, size: float) -> np.ndarray:
    """The components of `mask` with more than `size` pixels or voxels."""
    labels, _ = ndimage.label(mask)
    return mask & (np.bincount(labels.ravel()) > size)[labels]


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest component of `mask`."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else mask


def _shrink(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Erosion by a square; the image is extended by its edge values."""
    return ndimage.minimum_filter(mask.view(np.uint8), 2 * pixels + 1, mode="nearest").view(bool)


def _grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Dilation by a square."""
    return ndimage.maximum_filter(mask.view(np.uint8), 2 * pixels + 1, mode="nearest").view(bool)
