"""Nodules taken out of real masks and put into others.

A nodule that is put in has the contour of a real one, rotated and slightly scaled.  Its position is similar to that of
the real one: the place in the lung's bounding box, the distance from the lung's outline and the share of lung around
it differ only by some random jitter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE, Window, components
from tsgan_jax.labels import BODY, NODULE
from tsgan_jax.masks.distance import distance_at, rotation, signed_distance
from tsgan_jax.masks.plausibility import AROUND_MM, LUNGS, NODULE_MM, nodule_components, share_around

SOFT = (BODY, *LUNGS)  # classes that a nodule may replace, and that replace a nodule which is taken out
PLACE_JITTER = 0.08  # standard deviation of a nodule's place along an axis, in heights and widths of its lung
DEPTH_JITTER_MM = 1.5  # standard deviation of the distance between a nodule's centre and the lung's outline
SCALE = 0.1  # largest change of a nodule's diameter, natural logarithm
TRIES = 12  # places tried for a nodule. The first suitable one is used; if there is none, the best of them.
SUITS = 0.05  # A place is suitable if its share of lung around the nodule differs from the real one's by at most this


@dataclass(frozen=True)
class RealNodule:
    """A real nodule and its position."""

    contour: NDArray[np.bool_]  # [a, b], its pixels, with a margin of two pixels
    pixel_mm: float  # side of a pixel
    lung: int  # code of its lung
    place: tuple[float, float]  # row and column of its centre in the lung's bounding box, 0 to 1 inside
    depth_mm: float  # of its centre inside the outline that the lung has without the nodule; negative outside
    lung_around: float  # as in plausibility.NoduleComponent


def without_nodules(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask uint8 [h, w] in which each nodule pixel, specks included, has the class of the nearest lung or body."""
    soft = np.isin(mask, SOFT)
    if not soft.any() or not (mask == NODULE).any():
        return mask
    nearest = ndimage.distance_transform_edt(~soft, return_distances=False, return_indices=True)
    return np.where(mask == NODULE, mask[tuple(nearest)], mask)


def nodules_of(mask: NDArray[np.uint8], pixel_mm: float) -> list[RealNodule]:
    """The nodules of a mask uint8 [h, w] of at most 30 mm that are inside or touch a lung, without specks."""
    bare = without_nodules(mask)
    lungs = {code: bare == code for code in LUNGS if (bare == code).any()}
    found = []
    for patch, nodule in zip(components(mask == NODULE), nodule_components(mask, pixel_mm), strict=True):
        if not lungs or nodule.is_speckle or nodule.diameter_mm > NODULE_MM[1] or not nodule.at_lung:
            continue
        y, x = (float(where.mean()) for where in np.nonzero(patch.drawn(mask.shape)))
        depths = {code: distance_at(region, y, x) for code, region in lungs.items()}
        lung = max(depths, key=depths.__getitem__)
        (top, bottom), (left, right) = _ends(lungs[lung])
        place = (y - top) / (bottom - top), (x - left) / (right - left)
        contour = np.pad(patch.inside, 2)
        found.append(RealNodule(contour, pixel_mm, lung, place, depths[lung] * pixel_mm, nodule.lung_around))
    return found


def with_nodule(
    mask: NDArray[np.uint8], pixel_mm: float, nodule: RealNodule, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The mask uint8 [h, w] with one more nodule, on lung and body, inside or touching a lung, apart from the others;
    the mask itself if the nodule fits in none of the places tried.
    """
    scale = np.exp(rng.uniform(-SCALE, SCALE)) * nodule.pixel_mm / pixel_mm
    least, most = pixel_range(pixel_mm)
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
        difference = abs(share_around(patch, lungs, pixel_mm) - nodule.lung_around)
        if best is None or difference < best[0]:
            best = difference, window, patch
        if difference <= SUITS:
            break
    if best is None:
        return mask
    out = mask.copy()
    out[best[1]][best[2]] = NODULE
    return out


def pixel_range(pixel_mm: float) -> tuple[int, int]:
    """Smallest and largest area, in pixels, that the plausibility check accepts for a nodule."""
    least, most = (np.pi * (mm / 2 / pixel_mm) ** 2 for mm in NODULE_MM)
    return max(SMALLEST_NODULE.pixels, int(np.ceil(least))), max(SMALLEST_NODULE.pixels, int(most))


def _ends(region: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """First and last edge of a region's bounding box: of its rows, then of its columns."""
    return [(where.min() - 0.5, where.max() + 0.5) for where in np.nonzero(region)]


def _chances(mask: NDArray[np.uint8], pixel_mm: float, nodule: RealNodule, radius: float) -> NDArray[np.float64] | None:
    """Probability [h, w] that a nodule's centre is at each pixel; radius: in pixels.  None if there is no room."""
    lung = mask == nodule.lung
    if not lung.any():
        return None
    depth = signed_distance(lung, int(radius) + 1)
    allowed = np.isin(mask, SOFT) & (depth > -radius) & apart(mask, radius + 2)
    if not allowed.any():
        return None
    return likely(nodule, lung, depth * pixel_mm, allowed)


def likely(
    nodule: RealNodule, lung: NDArray[np.bool_], depth_mm: NDArray[np.floating], allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Probability [h, w] that a nodule's centre is at each allowed pixel: a normal distribution around the real one's.

    Its variables are the place along both axes of the lung's bounding box, and the depth in the lung.
    """
    down, along = (
        ((np.arange(size) - first) / (last - first) - place) / PLACE_JITTER
        for size, (first, last), place in zip(lung.shape, _ends(lung), nodule.place, strict=True)
    )
    deep = (depth_mm - nodule.depth_mm) / DEPTH_JITTER_MM
    cost = down[:, None] ** 2 + along**2 + deep**2
    chances = np.where(allowed, np.exp(-0.5 * (cost - cost[allowed].min())), 0.0)
    return chances / chances.sum()


def apart(mask: NDArray[np.uint8], pixels: float) -> NDArray[np.bool_]:
    """Which pixels of a mask uint8 [h, w] are more than `pixels` away from every nodule."""
    others = mask == NODULE
    return ndimage.distance_transform_edt(~others) > pixels if others.any() else ~others


def _patch(
    mask: NDArray[np.uint8],
    nodule: RealNodule,
    centre: NDArray[np.float64],
    pixels: int,
    scale: float,
    margin: int,
    rng: np.random.Generator,
) -> tuple[Window, NDArray[np.bool_]]:
    """A nodule's pixels around a centre: a window of the mask with `margin` pixels around it, and bool [rows, columns].

    The contour is rotated by a random angle and mirrored in half of the cases.  Of its `pixels` deepest ones, so that
    the area is kept on a coarse grid, those on lung or body, and only the largest connected piece.
    """
    reach = int(np.ceil(scale * np.hypot(*nodule.contour.shape) / 2 + np.sqrt(pixels))) + margin
    window, depth = contour_depth(mask.shape, nodule.contour, centre, scale, reach, rng)
    soft = np.isin(mask[window], SOFT)
    deepest = np.zeros(soft.shape, bool)
    deepest.flat[np.argsort(-depth, axis=None, kind="stable")[:pixels]] = True
    pieces = list(components(deepest & soft))
    if not pieces:
        return window, np.zeros(soft.shape, bool)
    return window, max(pieces, key=lambda piece: piece.pixels).drawn(soft.shape)


def contour_depth(
    shape: tuple[int, ...],
    contour: NDArray[np.bool_],
    centre: NDArray[np.float64],
    scale: float,
    reach: int,
    rng: np.random.Generator,
) -> tuple[Window, NDArray[np.float32]]:
    """A contour's signed distance around a centre: a window of the mask of `shape`, up to `reach` away, and its values.

    The contour is enlarged by `scale`, rotated by a random angle and mirrored in half of the cases.
    """
    angle, flip = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    rows, columns = (
        slice(max(0, round(at) - reach), min(size, round(at) + reach + 1))
        for at, size in zip(centre, shape, strict=True)
    )
    offset = np.indices((rows.stop - rows.start, columns.stop - columns.start), float)
    offset += (np.array([rows.start, columns.start]) - centre)[:, None, None]
    middle = np.reshape(ndimage.center_of_mass(contour), (2, 1, 1))
    source = np.tensordot(rotation(angle) * [[1], [flip]], offset, 1) / scale + middle
    depth = ndimage.map_coordinates(signed_distance(contour, max(contour.shape)), source, order=1, mode="nearest")
    depth -= 1e-3 * np.hypot(*offset)  # outside the stored contour all depths are equal: nearer pixels go first
    return (rows, columns), depth
