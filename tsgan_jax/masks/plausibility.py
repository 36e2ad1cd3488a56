"""Whether a generated mask is a possible chest slice: what the paper's eye would reject, written down.

Judged by connected components, not by class shares: a generator's nodule pixels are in part single
speckles, which are not nodules.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE, Component, components
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

NODULE_MM = (SMALLEST_NODULE.diameter_mm, 30.0)
LUNG_SHARE = (0.01, 0.45)
BODY_IN_ONE = 0.95

AROUND_MM = 5.0
"""How far round a patch its surroundings reach."""

TRACHEA_LUNG_AROUND = 0.5
"""Share of lung and nodule round a patch of trachea, above which it lies inside a lung."""

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
class NoduleComponent:
    """A connected patch of nodule pixels, and what lies round it.

    pixels: its area; diameter_mm: of the disc of equal area; box: (x, y, width, height) in pixels;
    at_lung: whether it touches, or lies in, a lung; lung_around: the lungs' share of the 5 mm round it, 1 for a
    solitary nodule, about .5 for one on the pleura; is_speckle: too small for a nodule, and not to be exported as one.
    """

    pixels: int
    diameter_mm: float
    box: tuple[int, int, int, int]
    at_lung: bool
    lung_around: float
    is_speckle: bool


def nodule_components(mask: np.ndarray, pixel_mm: float) -> tuple[NoduleComponent, ...]:
    """All nodule patches of mask uint8 [h, w], speckles included, in scan order; pixel_mm: side of a pixel."""
    lungs = _lungs(mask)
    near_lung = ndimage.binary_dilation(lungs, NEIGHBOURS)
    return tuple(
        NoduleComponent(
            pixels=patch.pixels,
            diameter_mm=patch.diameter_mm(pixel_mm),
            box=patch.box,
            at_lung=bool(near_lung[patch.window][patch.inside].any()),
            lung_around=_share_around(patch, lungs, pixel_mm),
            is_speckle=not SMALLEST_NODULE.admits(patch, pixel_mm),
        )
        for patch in components(mask == NODULE)
    )


def check(mask: np.ndarray, pixel_mm: float) -> Verdict:
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
    main = max(components(body), key=lambda patch: patch.pixels).drawn(body.shape)
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
    tracheas = components(mask == TRACHEA)
    if any(_share_around(patch, lungs_and_nodules, pixel_mm) > TRACHEA_LUNG_AROUND for patch in tracheas):
        reasons.append(TRACHEA_IN_LUNG)
    nodules = [nodule for nodule in nodule_components(mask, pixel_mm) if not nodule.is_speckle]
    if not nodules:
        reasons.append(NO_NODULE)
    if any(nodule.diameter_mm > NODULE_MM[1] for nodule in nodules):
        reasons.append(NODULE_TOO_LARGE)
    if not all(nodule.at_lung for nodule in nodules):
        reasons.append(NODULE_OUTSIDE_LUNG)
    return Verdict(not reasons, tuple(reasons))


def _share_around(patch: Component, region: np.ndarray, pixel_mm: float) -> float:
    """The share of `region` bool [h, w] in the 5 mm round a patch of the same mask; 0 where nothing is round it."""
    margin = max(1, round(AROUND_MM / pixel_mm))
    window, inside = patch.widened(margin, region.shape)
    ring = ndimage.binary_dilation(inside, NEIGHBOURS, iterations=margin) & ~inside
    return float(region[window][ring].mean()) if ring.any() else 0.0


def _lungs(mask: np.ndarray) -> np.ndarray:
    return (mask == LEFT_LUNG) | (mask == RIGHT_LUNG)


def _centre_x(region: np.ndarray) -> float:
    return float(np.nonzero(region)[1].mean())
