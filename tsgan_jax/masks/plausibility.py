"""Whether a generated mask is a possible chest slice: what the paper's eye would reject, written down.

Judged by connected components, not by class shares: a generator's nodule pixels are in part single
speckles, which are not nodules.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG

MIN_NODULE_PIXELS = 3
NODULE_MM = (3.0, 30.0)
LUNG_SHARE = (0.01, 0.45)
BODY_IN_ONE = 0.95

AROUND_MM = 5.0
"""How far round a nodule `Component.lung_around` looks."""

NEIGHBOURS = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together."""

NO_BODY = "no body"
BODY_IN_PIECES = "body in pieces"
ORGAN_OUTSIDE_BODY = "lung, trachea or nodule outside the body"
LUNG_MISSING = {LEFT_LUNG: "left lung missing", RIGHT_LUNG: "right lung missing"}
LUNG_TOO_LARGE = {LEFT_LUNG: "left lung too large", RIGHT_LUNG: "right lung too large"}
LUNGS_SWAPPED = "lungs swapped"
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
    patches, count = ndimage.label(mask == NODULE, NEIGHBOURS)
    lungs, margin = _lungs(mask), max(1, round(AROUND_MM / pixel_mm))
    near_lung = ndimage.binary_dilation(lungs, NEIGHBOURS)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(patches, count), start=1):
        patch = patches[rows, columns] == number
        pixels = int(patch.sum())
        wide = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in (rows, columns))
        whole = patches[wide] == number
        ring = ndimage.binary_dilation(whole, NEIGHBOURS, iterations=margin) & ~whole
        found.append(
            Component(
                pixels=pixels,
                diameter_mm=2.0 * float(np.sqrt(pixels / np.pi)) * pixel_mm,
                box=(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
                at_lung=bool((near_lung[rows, columns] & patch).any()),
                lung_around=float(lungs[wide][ring].mean()) if ring.any() else 0.0,
            )
        )
    return tuple(found)


def judge(mask: np.ndarray, pixel_mm: float) -> Verdict:
    """Verdict on mask uint8 [h, w] with the codes of `labels`; pixel_mm: side of a pixel in mm.

    Accepted are masks with one connected body (95 % of its pixels in the largest patch, and no
    organ outside that), both lungs, each
    1 to 45 % of the body, the right one at smaller x (the reader faces the patient), and at least one
    nodule of 3 to 30 mm, each of them inside or touching a lung.  Speckles are ignored, as the
    exported boxes ignore them.
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
    nodules = [component for component in nodule_components(mask, pixel_mm) if not component.is_speckle]
    if not nodules:
        reasons.append(NO_NODULE)
    if any(nodule.diameter_mm > NODULE_MM[1] for nodule in nodules):
        reasons.append(NODULE_TOO_LARGE)
    if not all(nodule.at_lung for nodule in nodules):
        reasons.append(NODULE_OUTSIDE_LUNG)
    return Verdict(not reasons, tuple(reasons))


def _lungs(mask: np.ndarray) -> np.ndarray:
    return (mask == LEFT_LUNG) | (mask == RIGHT_LUNG)


def _largest_patch(region: np.ndarray) -> np.ndarray:
    """The largest connected patch of a non-empty region."""
    patches, _ = ndimage.label(region, NEIGHBOURS)
    return patches == np.bincount(patches[region]).argmax()


def _centre_x(region: np.ndarray) -> float:
    return float(np.nonzero(region)[1].mean())
