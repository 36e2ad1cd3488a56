"""Whether a generated mask is a possible chest slice: what the paper's eye would reject, written down.

Judged by connected components, not by class shares: a generator's nodule pixels are in part single
speckles, which are not nodules.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

MIN_NODULE_PIXELS = 3
NODULE_MM = (3.0, 30.0)
LUNG_SHARE = (0.01, 0.45)
BODY_IN_ONE = 0.95

AROUND_MM = 5.0
"""How far round a patch its surroundings reach."""

TRACHEA_LUNG_AROUND = 0.5
"""Share of lung and nodule round a patch of trachea, above which it lies inside a lung."""

NEIGHBOURS = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together."""

NO_BODY = "no body"
BODY_IN_PIECES = "body in pieces"
ORGAN_OUTSIDE_BODY = "lung, trachea or nodule outside the body"
LUNG_MISSING = {LEFT_LUNG: "left lung missing", RIGHT_LUNG: "right lung missing"}
LUNG_TOO_LARGE = {LEFT_LUNG: "left lung too large", RIGHT_LUNG: "right lung too large"}
LUNGS_SWAPPED = "lungs swapped"
TRACHEA_IN_LUNG = "trachea inside a lung"
NO_NODULE = "no nodule"
NODULE_TOO_LARGE = "nodule too large"
NODULE_OUTSIDE_LUNG = "nodule outside the lungs"


@dataclass(frozen=True)
class Verdict:
    """accepted: whether there is no reason against the mask; reasons: constants of this module, in a fixed order."""

    accepted: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """A connected patch of nodule pixels.

    pixels: its area; diameter_mm: of the disc of equal area; box: (x, y, width, height) in pixels;
    at_lung: whether it touches, or lies in, a lung; lung_around: the lungs' share of the 5 mm round it, 1 for a
    solitary nodule, about .5 for one on the pleura.
    """

    pixels: int
    diameter_mm: float
    box: tuple[int, int, int, int]
    at_lung: bool
    lung_around: float

    @property
    def is_speckle(self) -> bool:
        """Below 3 pixels or 3 mm: not a nodule, and not to be exported as one (A28)."""
        return self.pixels < MIN_NODULE_PIXELS or self.diameter_mm < NODULE_MM[0]


def nodule_components(mask: np.ndarray, pixel_mm: float) -> tuple[Component, ...]:
    """All nodule patches of mask uint8 [h, w], speckles included, in scan order; pixel_mm: side of a pixel."""
    lungs = _lungs(mask)
    near_lung = ndimage.binary_dilation(lungs, NEIGHBOURS)
    found = []
    for patch in _patches(mask == NODULE, pixel_mm):
        pixels = int(patch.inside.sum())
        rows, columns = np.nonzero(patch.inside)
        top, left = rows.min(), columns.min()
        found.append(
            Component(
                pixels=pixels,
                diameter_mm=2.0 * float(np.sqrt(pixels / np.pi)) * pixel_mm,
                box=(
                    int(patch.window[1].start + left),
                    int(patch.window[0].start + top),
                    int(columns.max() - left + 1),
                    int(rows.max() - top + 1),
                ),
                at_lung=bool(near_lung[patch.window][patch.inside].any()),
                lung_around=patch.around(lungs),
            )
        )
    return tuple(found)


def judge(mask: np.ndarray, pixel_mm: float) -> Verdict:
    """Verdict on mask uint8 [h, w] with the codes of `labels`; pixel_mm: side of a pixel in mm.

    Accepted are masks with one connected body (95 % of its pixels in the largest patch, and no organ outside that),
    both lungs, each 1 to 45 % of the body, the right one at smaller x (the reader faces the patient), no trachea that
    lung and nodules surround for the most part, and at least one nodule of 3 to 30 mm, each of them inside or touching
    a lung.  Speckles of nodule are ignored, as the exported boxes ignore them.
    """
    body = mask != BACKGROUND
    if not body.any():
        return Verdict(False, (NO_BODY,))
    reasons = []
    main = _largest_patch(body)
    if main.sum() < BODY_IN_ONE * body.sum():
        reasons.append(BODY_IN_PIECES)
    elif ((mask > BODY) & ~main).any():
        reasons.append(ORGAN_OUTSIDE_BODY)
    shares = {lung: (mask == lung).sum() / body.sum() for lung in (LEFT_LUNG, RIGHT_LUNG)}
    reasons += [LUNG_MISSING[lung] for lung, share in shares.items() if share < LUNG_SHARE[0]]
    reasons += [LUNG_TOO_LARGE[lung] for lung, share in shares.items() if share > LUNG_SHARE[1]]
    if all(shares.values()) and _centre_x(mask == RIGHT_LUNG) >= _centre_x(mask == LEFT_LUNG):
        reasons.append(LUNGS_SWAPPED)
    lungs_and_nodules = _lungs(mask) | (mask == NODULE)
    if any(patch.around(lungs_and_nodules) > TRACHEA_LUNG_AROUND for patch in _patches(mask == TRACHEA, pixel_mm)):
        reasons.append(TRACHEA_IN_LUNG)
    nodules = [component for component in nodule_components(mask, pixel_mm) if not component.is_speckle]
    if not nodules:
        reasons.append(NO_NODULE)
    if any(nodule.diameter_mm > NODULE_MM[1] for nodule in nodules):
        reasons.append(NODULE_TOO_LARGE)
    if not all(nodule.at_lung for nodule in nodules):
        reasons.append(NODULE_OUTSIDE_LUNG)
    return Verdict(not reasons, tuple(reasons))


@dataclass(frozen=True)
class _Patch:
    """A connected patch in its window of the mask: its pixels, and those within 5 mm round it."""

    window: tuple[slice, slice]
    inside: np.ndarray
    ring: np.ndarray

    def around(self, region: np.ndarray) -> float:
        """The share of `region` [h, w] in the ring."""
        return float(region[self.window][self.ring].mean()) if self.ring.any() else 0.0


def _patches(region: np.ndarray, pixel_mm: float) -> Iterator[_Patch]:
    """The patches of a region bool [h, w], in scan order."""
    numbered, count = ndimage.label(region, NEIGHBOURS)
    margin = max(1, round(AROUND_MM / pixel_mm))
    for number, box in enumerate(ndimage.find_objects(numbered, count), start=1):
        rows, columns = (slice(max(0, part.start - margin), part.stop + margin) for part in box)
        window = (rows, columns)
        inside = numbered[window] == number
        ring = ndimage.binary_dilation(inside, NEIGHBOURS, iterations=margin) & ~inside
        yield _Patch(window, inside, ring)


def _lungs(mask: np.ndarray) -> np.ndarray:
    return (mask == LEFT_LUNG) | (mask == RIGHT_LUNG)


def _largest_patch(region: np.ndarray) -> np.ndarray:
    """The largest connected patch of a non-empty region."""
    patches, _ = ndimage.label(region, NEIGHBOURS)
    return patches == np.bincount(patches[region]).argmax()


def _centre_x(region: np.ndarray) -> float:
    return float(np.nonzero(region)[1].mean())
