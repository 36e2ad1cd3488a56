"""Body, lungs and trachea from Hounsfield units, for scans that have no mask of their own.

Classical steps only (FACTS 9): the body from tissue, air inside it, the airway near the middle, the lungs by size
and texture of their air, and one seam of least lung per slice that parts right from left.  A slice is examined in
its own plane; which air belongs to the lungs, and what is airway, is decided in 3-D where there is more than one.

Array order is [z, y, x] with x rising to the patient's left, y to the back, z to the head; lengths are in mm.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.data.body import (
    FREE_GAS_HU,
    TISSUE_HU,
    Spacing,
    body_mask,
    body_outline,
    clip,
    close,
    coarse,
    dilate,
    erode,
    refine,
    working_grid,
)
from tsgan_jax.labels import BODY, LEFT_LUNG, RIGHT_LUNG, TRACHEA

__all__ = ["Spacing", "body_mask", "segment"]

_AIRWAY_HU = (-820.0, -900.0, -600.0)
"""Upper limits tried in turn: the usual one, one that parts a bronchus from lung, one for a blurred or narrow one."""
_BEHIND_LUNGS_MM = 25.0
"""Airways lie no farther behind the centre of all air: beyond are streaks of metal and thin ends of a lung."""
_CLOSING_MM = 7.0
"""Radius that takes vessels, and nodules at the pleura, into the lung."""
_LARGEST_HOLE_MM2 = 900.0
"""A ring of lung round more than LUNA16's largest nodules (33 mm) is lung round the dome of the liver."""
_BULLA_MM2 = 1500.0
"""Bowel gas seldom has more in one slice."""
_SLAB_MM = 60.0
"""Below this depth a volume may hold parts of one lung that meet only outside it."""
_BOX_2D = np.ones((3, 3), bool)


@dataclass(frozen=True)
class _Plane:
    """What a slice alone says, on the working grid [h, w].

    hu: float32; body, air, airway: bool; middle: x of the patient's middle, px; width: the body's, px; mm: pixel.
    """

    hu: np.ndarray
    body: np.ndarray
    air: np.ndarray
    airway: np.ndarray
    middle: float
    width: float
    mm: float


def segment(hu: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Classes 0 to 4 (labels.py; no nodules) of a whole scan, a slab of it or one slice.

    hu: [z, h, w] HU, padding of any value below air allowed; spacing: mm, z y x.  Returns uint8 [z, h, w].  Lungs
    are solid: vessels and nodules inside them are lung.  A slice without lungs holds body only.
    Raises ValueError on another number of axes or a spacing that is not positive.
    """
    factor, mm = working_grid(hu, spacing)
    out = np.zeros(hu.shape, np.uint8)
    if not len(hu):
        return out
    planes = [_examine(coarse(clip(plane), factor, mm), mm) for plane in hu]
    airway = _linked_airway(planes, spacing[0])
    lung = _lung_air(planes, airway, spacing[0])
    seam = None
    for k, plane in enumerate(planes):
        labels = np.where(plane.body, np.uint8(BODY), np.uint8(0))
        if lung[k].any():
            seam = _seam(plane, lung[k], seam)
            _paint_lungs(labels, plane, lung[k], airway[k], seam)
        labels[airway[k]] = TRACHEA
        out[k] = refine(labels, clip(hu[k]), factor, spacing)
    return out


def _examine(hu: np.ndarray, mm: float) -> _Plane:
    body = body_outline(hu, mm)
    air = body & (hu < TISSUE_HU)
    mass = body.sum(0)
    columns = np.flatnonzero(mass)
    if not len(columns):
        return _Plane(hu, body, air, air, hu.shape[1] / 2, 0.0, mm)
    centroid = float(mass @ np.arange(len(mass))) / float(mass.sum())
    middle = 0.5 * centroid + 0.25 * float(columns[0] + columns[-1])
    width = float(columns[-1] - columns[0] + 1)
    return _Plane(hu, body, air, _airway(hu, body, middle, width, mm), middle, width, mm)


def _airway(hu: np.ndarray, body: np.ndarray, middle: float, width: float, mm: float) -> np.ndarray:
    """Trachea and main bronchi: compact dark air near the middle with a wall of tissue round it, bool [h, w]."""
    found = np.zeros_like(body)
    rows = np.flatnonzero(body.any(1))
    top, height = rows[0], rows[-1] - rows[0] + 1
    air_rows = np.nonzero(body & (hu < TISSUE_HU))[0]
    hindmost = (float(air_rows.mean()) if len(air_rows) else 0.0) + _BEHIND_LUNGS_MM / mm
    margin = int(5 / mm) + 2
    for limit in _AIRWAY_HU:
        labels, _ = ndimage.label(body & (hu < limit))
        for index, (rows_of, columns_of) in enumerate(ndimage.find_objects(labels), 1):
            box_mm2 = (rows_of.stop - rows_of.start) * (columns_of.stop - columns_of.start) * mm * mm
            x = 0.5 * (columns_of.start + columns_of.stop)
            y = 0.5 * (rows_of.start + rows_of.stop)
            if not 30 <= box_mm2 <= 2500 or abs(x - middle) > 0.13 * width:
                continue
            if y > hindmost or not 0.18 < (y - top) / height < 0.72:
                continue
            around = (_widen(rows_of, margin), _widen(columns_of, margin))
            piece = labels[around] == index
            if _is_airway(piece, hu[around], box_mm2, mm):
                found[around] |= dilate(piece, 1.5, mm) & (hu[around] < TISSUE_HU)
    return found


def _widen(extent: slice, margin: int) -> slice:
    return slice(max(0, extent.start - margin), extent.stop + margin)


def _is_airway(piece: np.ndarray, hu: np.ndarray, box_mm2: float, mm: float) -> bool:
    """Whether a piece of air [h, w] has an airway's size (40 to 900 mm2), compactness, darkness and wall."""
    area = float(piece.sum()) * mm * mm
    if not 40 < area < 900 or area < 0.5 * box_mm2 or hu[piece].min() > -880:
        return False
    wall = dilate(piece, 4.0, mm) & ~dilate(piece, 2.0, mm)
    return float((hu[wall] > -500).mean()) > 0.75


def _linked_airway(planes: list[_Plane], dz: float) -> np.ndarray:
    """The candidates of the slices that form one tree, bool [z, h, w]; of a single slice, all of them.

    The longest candidate along z is the trachea; others belong to it when they come within 20 mm of it.
    """
    candidates = np.stack([p.airway for p in planes])
    if len(planes) == 1 or not candidates.any():
        return candidates
    labels, _ = ndimage.label(candidates, np.ones((3, 3, 3), bool))
    boxes = ndimage.find_objects(labels)
    lengths = [(box[0].stop - box[0].start) * dz for box in boxes]
    trunk = int(np.argmax(lengths))
    if lengths[trunk] < min(15.0, 0.6 * len(planes) * dz):
        return np.zeros_like(candidates)
    sizes = (dz, planes[0].mm, planes[0].mm)
    keep = np.zeros(len(boxes) + 1, bool)
    for index, box in enumerate(boxes):
        gaps = [
            max(0, a.start - b.stop, b.start - a.stop) * s for a, b, s in zip(box, boxes[trunk], sizes, strict=True)
        ]
        keep[index + 1] = index == trunk or (lengths[index] >= 10.0 and float(np.hypot.reduce(gaps)) < 20.0)
    return keep[labels]


def _lung_air(planes: list[_Plane], airway: np.ndarray, dz: float) -> np.ndarray:
    """Air that is lung, vessels still open: connected pieces of fair size that are not free gas.  bool [z, h, w].

    In a complete scan bowel gas is a small piece of its own: what has less than 3 % of the largest piece is dropped.
    """
    mm = planes[0].mm
    air = np.stack([p.air for p in planes]) & ~ndimage.binary_dilation(airway, _BOX_2D[None])
    labels, _ = ndimage.label(air)
    volumes = np.bincount(labels.ravel()) * (mm * mm * dz)
    volumes[0] = 0
    if len(planes) == 1:
        least = 80.0 * dz
    else:
        share = 0.03 if len(planes) * dz >= _SLAB_MM else 0.005
        least = max(500.0, share * float(volumes.max()))
    keep = volumes > least
    boxes = ndimage.find_objects(labels)
    # In a slice with an airway, thus above the stomach, large dark air behind that airway is an emphysematous lung.
    front = float(np.nonzero(airway)[1].mean()) + 10.0 / mm if len(planes) == 1 and airway.any() else np.inf
    for index in np.flatnonzero(keep):
        rows = boxes[index - 1][1]
        if 0.5 * (rows.start + rows.stop) > front and volumes[index] > _BULLA_MM2 * dz:
            continue
        keep[index] = not _is_gas(planes, labels, int(index), boxes[index - 1])
    return keep[labels]


def _is_gas(planes: list[_Plane], labels: np.ndarray, index: int, box: tuple[slice, ...]) -> bool:
    """Whether a piece of air is stomach or bowel gas: dark throughout away from its wall, without vessels."""
    values = []
    for k in range(box[0].start, box[0].stop):
        core = erode(np.pad(labels[k][box[1:]] == index, 1), 2.5, planes[k].mm)[1:-1, 1:-1]
        values.append(planes[k].hu[box[1:]][core])
    inner = np.concatenate(values)
    return len(inner) > 0 and float(inner.mean()) < FREE_GAS_HU and float(np.percentile(inner, 90)) < -900


def _seam(plane: _Plane, lung: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """int [h]: x of the line from front to back that crosses the least lung; the right lung lies at smaller x.

    Dynamic programming over rows, two pixels sideways at most per row; the patient's middle and the seam of the
    slice below (previous) pull weakly.
    """
    h, w = lung.shape
    low = max(0, int(plane.middle - 0.22 * plane.width))
    high = min(w, int(plane.middle + 0.22 * plane.width) + 1)
    x = np.arange(low, high)
    dark = np.clip((-300.0 - plane.hu[:, low:high]) / 600.0, 0.0, 1.0) ** 2
    aim = np.full(h, plane.middle) if previous is None else 0.5 * (plane.middle + previous)
    cost = np.where(lung[:, low:high], dark, 0.0) + 0.003 * plane.mm * np.abs(x - aim[:, None])
    sideways = 0.05 * np.abs(np.arange(-2, 3))
    came = np.zeros((h, len(x)), np.intp)
    total = np.pad(cost[0], 2, constant_values=np.inf)
    columns = np.arange(len(x))
    for y in range(1, h):
        options = np.lib.stride_tricks.sliding_window_view(total, 5) + sideways
        came[y] = options.argmin(1)
        total[2:-2] = options[columns, came[y]] + cost[y]
    path = np.zeros(h, np.intp)
    path[-1] = total[2:-2].argmin()
    for y in range(h - 1, 0, -1):
        path[y - 1] = path[y] + came[y, path[y]] - 2
    return path + low


def _paint_lungs(labels: np.ndarray, plane: _Plane, lung: np.ndarray, airway: np.ndarray, seam: np.ndarray) -> None:
    """Writes both lungs into labels, solid.  Bits that the seam cut off from one lung go back to the other."""
    on_right = np.arange(lung.shape[1]) < seam[:, None]
    right, left = _hand_back(lung & on_right, lung & ~on_right)
    left, right = _hand_back(left, right)
    solid_right = close(right, _CLOSING_MM, plane.mm, _LARGEST_HOLE_MM2) & ~left
    solid_left = close(left, _CLOSING_MM, plane.mm, _LARGEST_HOLE_MM2) & ~right
    disputed = solid_right & solid_left
    allowed = plane.body & ~airway
    labels[solid_right & ~(disputed & ~on_right) & allowed] = RIGHT_LUNG
    labels[solid_left & ~(disputed & on_right) & allowed] = LEFT_LUNG


def _hand_back(mine: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves small pieces of `mine` that touch `other`, and not the rest of mine, to the other lung."""
    labels, count = ndimage.label(mine)
    if count == 0 or not other.any():
        return mine, other
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    touching = np.zeros(count + 1, bool)
    touching[np.unique(labels[ndimage.binary_dilation(other) & mine])] = True
    move = touching & (sizes < 0.25 * max(int(sizes.max()), int(other.sum())))
    if count > 1:
        move[int(sizes.argmax())] = False
    moved = move[labels]
    return mine & ~moved, other | moved
