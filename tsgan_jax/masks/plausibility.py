"""Whether a generated mask is a plausible chest slice.  These rules replace the paper's visual inspection.

They use connected components, not class shares, because some nodule pixels of a generator are isolated specks, which
are not nodules.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE, Component, components
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

NODULE_MM = (SMALLEST_NODULE.diameter_mm, 30.0)
LUNG_SHARE = (0.01, 0.45)
BODY_IN_ONE = 0.95

LUNGS = (LEFT_LUNG, RIGHT_LUNG)

AROUND_MM = 5.0  # width of the surroundings of a patch
TRACHEA_LUNG_AROUND = 0.5
"""A patch of trachea with more lung and nodule than this share in its surroundings is inside a lung."""

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
    """Whether a mask is plausible."""

    accepted: bool
    reasons: tuple[str, ...]  # why not: constants of this module in a fixed order


@dataclass(frozen=True)
class NoduleComponent:
    """A connected patch of nodule pixels, and its surroundings."""

    pixels: int
    diameter_mm: float  # of the disc of equal area
    box: tuple[int, int, int, int]  # x, y, width, height in pixels
    at_lung: bool  # inside or touching a lung
    lung_around: float  # share of lung within 5 mm around it: 1 for a solitary nodule, about .5 for one at the pleura
    is_speckle: bool  # too small for a nodule, so it is not exported


def nodule_components(mask: np.ndarray, pixel_mm: float) -> tuple[NoduleComponent, ...]:
    """All nodule patches of mask uint8 [h, w], specks included, row by row; pixel_mm: side of a pixel."""
    lungs = np.isin(mask, LUNGS)
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
    """Verdict on mask uint8 [h, w] with the codes of `labels`; pixel_mm: side of a pixel.  Accepted is a mask with

    - one body: 95 % of its pixels are in the largest patch, and no organ is outside that patch;
    - both lungs, each 1 to 45 % of the body, the right one at smaller x (as seen when facing the patient);
    - no patch of trachea that has mostly lung and nodules around it;
    - at least one nodule, and each 3 to 30 mm large and inside or touching a lung; specks are ignored, as in the boxes.
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
    shares = {lung: (mask == lung).sum() / body.sum() for lung in LUNGS}
    reasons += [LUNG_MISSING[lung] for lung, share in shares.items() if share < LUNG_SHARE[0]]
    reasons += [LUNG_TOO_LARGE[lung] for lung, share in shares.items() if share > LUNG_SHARE[1]]

    def centre_x(lung: int) -> float:
        return ndimage.center_of_mass(mask == lung)[1]

    if all(shares.values()) and centre_x(RIGHT_LUNG) >= centre_x(LEFT_LUNG):
        reasons.append(LUNGS_SWAPPED)
    lungs_and_nodules = np.isin(mask, (*LUNGS, NODULE))
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


def share_around(inside: np.ndarray, region: np.ndarray, pixel_mm: float) -> float:
    """The share of `region` in the 5 mm around a patch; both bool [h, w].  0 if nothing is around it."""
    margin = max(1, round(AROUND_MM / pixel_mm))
    ring = ndimage.binary_dilation(inside, NEIGHBOURS, iterations=margin) & ~inside
    return float(region[ring].mean()) if ring.any() else 0.0


def _share_around(patch: Component, region: np.ndarray, pixel_mm: float) -> float:
    window, inside = patch.widened(max(1, round(AROUND_MM / pixel_mm)), region.shape)
    return share_around(inside, region[window], pixel_mm)
