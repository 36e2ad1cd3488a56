"""Nodules out of real masks and into others: their contour, their place in the lung, how much lung lies round them.

A nodule put in is a real one, turned and scaled a little, about where that one lay: the place in its lung's bounding
box, the distance from the lung's outline and the share of lung round it are those of the real one, with some jitter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE
from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE, RIGHT_LUNG
from tsgan_jax.masks.distance import signed_distance
from tsgan_jax.masks.plausibility import AROUND_MM, NODULE_MM, nodule_components

LUNGS = (LEFT_LUNG, RIGHT_LUNG)
SOFT = (BODY, *LUNGS)
"""What a nodule may lie on, and what is left where one was."""

PLACE_JITTER = 0.08
"""Standard deviation of a nodule's place along an axis, in heights and widths of its lung."""

DEPTH_JITTER_MM = 1.5
"""Standard deviation of the distance between a nodule's centre and the lung's outline."""

SCALE = 0.1
"""Largest change of a nodule's diameter, natural logarithm."""

TRIES = 12
"""Places tried for a nodule; the first that suits it is taken, else the best of them."""

SUITS = 0.05
"""A place suits a nodule where its share of lung round it differs from that of the real one by this at most."""

Window = tuple[slice, slice]


@dataclass(frozen=True)
class RealNodule:
    """A real nodule and where it lies.

    contour: bool [a, b], its pixels with two pixels round them; pixel_mm: their side.  lung: code of its lung.
    place: row and column of its centre in the lung's bounding box, 0 to 1 inside.  depth_mm: of its centre, from the
    lung's outline as it is without the nodule; below 0 outside the lung.  lung_around: as in plausibility.Component.
    """

    contour: NDArray[np.bool_]
    pixel_mm: float
    lung: int
    place: tuple[float, float]
    depth_mm: float
    lung_around: float


def without_nodules(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask uint8 [h, w] whose nodule pixels, speckles too, have the class of the nearest pixel of lung or body."""
    soft = np.isin(mask, SOFT)
    if not soft.any() or not (mask == NODULE).any():
        return mask
    nearest = ndimage.distance_transform_edt(~soft, return_distances=False, return_indices=True)
    return np.where(mask == NODULE, mask[tuple(nearest)], mask)


def nodules_of(mask: NDArray[np.uint8], pixel_mm: float) -> list[RealNodule]:
    """The nodules of a mask uint8 [h, w] that are no speckles, not above 30 mm, and inside or touching a lung."""
    bare = without_nodules(mask)
    lungs = {code: bare == code for code in LUNGS if (bare == code).any()}
    numbered, _ = ndimage.label(mask == NODULE, NEIGHBOURS)
    found = []
    for number, component in enumerate(nodule_components(mask, pixel_mm), start=1):
        if not lungs or component.is_speckle or component.diameter_mm > NODULE_MM[1] or not component.at_lung:
            continue
        rows, columns = np.nonzero(numbered == number)
        contour = np.zeros((np.ptp(rows) + 5, np.ptp(columns) + 5), bool)
        contour[rows - rows.min() + 2, columns - columns.min() + 2] = True
        y, x = float(rows.mean()), float(columns.mean())
        depths = {code: _depth(region, y, x) for code, region in lungs.items()}
        lung = max(depths, key=depths.__getitem__)
        (top, bottom), (left, right) = _ends(lungs[lung])
        place = (y - top) / (bottom - top), (x - left) / (right - left)
        found.append(RealNodule(contour, pixel_mm, lung, place, depths[lung] * pixel_mm, component.lung_around))
    return found


def with_nodule(
    mask: NDArray[np.uint8], pixel_mm: float, nodule: RealNodule, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The mask uint8 [h, w] with one nodule more on its lung and body, inside or touching a lung, apart from others.

    The mask as it is where none of the places tried has room for it.
    """
    scale = np.exp(rng.uniform(-SCALE, SCALE)) * nodule.pixel_mm / pixel_mm
    least, most = _pixel_range(pixel_mm)
    pixels = int(np.clip(round(nodule.contour.sum() * scale**2), least, most))
    chances = _chances(mask, pixel_mm, nodule, np.sqrt(pixels / np.pi))
    if chances is None:
        return mask
    best: tuple[float, Window, NDArray[np.bool_]] | None = None
    for place in rng.choice(mask.size, TRIES, p=chances.ravel()):
        centre = np.array(np.unravel_index(place, mask.shape)) + rng.uniform(-0.5, 0.5, 2)
        window, patch = _patch(mask, nodule, centre, pixels, scale, round(AROUND_MM / pixel_mm) + 1, rng)
        lungs = np.isin(mask[window], LUNGS) & ~patch
        if patch.sum() < least or not (ndimage.binary_dilation(patch, NEIGHBOURS) & lungs).any():
            continue
        ring = ndimage.binary_dilation(patch, NEIGHBOURS, iterations=max(1, round(AROUND_MM / pixel_mm))) & ~patch
        difference = abs(lungs[ring].mean() - nodule.lung_around)
        if best is None or difference < best[0]:
            best = difference, window, patch
        if difference <= SUITS:
            break
    if best is None:
        return mask
    out = mask.copy()
    out[best[1]][best[2]] = NODULE
    return out


def _pixel_range(pixel_mm: float) -> tuple[int, int]:
    """Smallest and largest area of what the gate takes for a nodule, in pixels."""
    least, most = (np.pi * (mm / 2 / pixel_mm) ** 2 for mm in NODULE_MM)
    return max(SMALLEST_NODULE.pixels, int(np.ceil(least))), max(SMALLEST_NODULE.pixels, int(most))


def _depth(region: NDArray[np.bool_], y: float, x: float) -> float:
    """`signed_distance` of one place alone."""
    inside = region[round(y), round(x)]
    rows, columns = np.nonzero(region != inside)
    distance = float(np.hypot(rows - y, columns - x).min()) - 0.5
    return distance if inside else -distance


def _ends(region: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """First and last edge of a region's bounding box: of its rows, then of its columns."""
    return [(where.min() - 0.5, where.max() + 0.5) for where in np.nonzero(region)]


def _chances(mask: NDArray[np.uint8], pixel_mm: float, nodule: RealNodule, radius: float) -> NDArray[np.float64] | None:
    """How likely the centre of a nodule of a radius in pixels is each pixel [h, w]; sums to 1.  None without room.

    Normal in the place along both axes of the lung's bounding box and in the depth, about those of the real nodule.
    """
    lung = mask == nodule.lung
    if not lung.any():
        return None
    depth = signed_distance(lung, int(radius) + 1)
    allowed = np.isin(mask, SOFT) & (depth > -radius)
    others = mask == NODULE
    if others.any():
        allowed &= ndimage.distance_transform_edt(~others) > radius + 2
    if not allowed.any():
        return None
    down, along = (
        ((np.arange(size) - first) / (last - first) - place) / PLACE_JITTER
        for size, (first, last), place in zip(mask.shape, _ends(lung), nodule.place, strict=True)
    )
    deep = (depth * pixel_mm - nodule.depth_mm) / DEPTH_JITTER_MM
    cost = down[:, None] ** 2 + along**2 + deep**2
    chances = np.where(allowed, np.exp(-0.5 * (cost - cost[allowed].min())), 0.0)
    return chances / chances.sum()


def _patch(
    mask: NDArray[np.uint8],
    nodule: RealNodule,
    centre: NDArray[np.float64],
    pixels: int,
    scale: float,
    margin: int,
    rng: np.random.Generator,
) -> tuple[Window, NDArray[np.bool_]]:
    """A nodule's contour about a centre, turned by any angle, in half of the cases mirrored: a window of the mask
    with at least `margin` pixels round it, and the contour's pixels in that.

    They are the `pixels` deepest ones in the contour, so that its area survives on a coarse grid; of those only such
    as lie on lung or body, and only one connected piece.  None may be left.
    """
    angle, flip = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [[1], [flip]]
    reach = int(np.ceil(scale * np.hypot(*nodule.contour.shape) / 2 + np.sqrt(pixels))) + margin
    rows, columns = (slice(max(0, round(at) - reach), max(0, round(at) + reach + 1)) for at in centre)
    soft = np.isin(mask[rows, columns], SOFT)
    offset = np.indices(soft.shape) + (np.array([rows.start, columns.start]) - centre)[:, None, None]
    middle = np.array([where.mean() for where in np.nonzero(nodule.contour)])[:, None, None]
    source = np.tensordot(turn, offset, 1) / scale + middle
    stored = signed_distance(nodule.contour, max(nodule.contour.shape))
    depth = ndimage.map_coordinates(stored, source, order=1, mode="nearest")
    depth -= 1e-3 * np.hypot(*offset)  # beyond the stored contour all depths are alike: the nearer pixel goes first
    deepest = np.zeros(soft.shape, bool)
    deepest.flat[np.argsort(-depth, axis=None, kind="stable")[:pixels]] = True
    numbered, count = ndimage.label(deepest & soft, NEIGHBOURS)
    largest = np.bincount(numbered.ravel())[1:].argmax() + 1 if count else 1
    return (rows, columns), numbered == largest
