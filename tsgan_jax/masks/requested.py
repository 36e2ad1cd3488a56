"""A nodule of a requested diameter, in a requested lung and place, drawn into a mask.

Its shape is the contour of a real nodule where there are any, otherwise a smooth random one.  Its position is drawn by
where real nodules of that side and place are (nodules.likely), otherwise evenly over the pixels that suit.  It lies
inside the lung, apart from trachea and other nodules, and has the area of the disc of the requested diameter, to the
pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS
from tsgan_jax.labels import NODULE
from tsgan_jax.masks.distance import signed_distance, with_nodules
from tsgan_jax.masks.nodules import RealNodule, apart, contour_depth, likely, pixel_range
from tsgan_jax.masks.places import PERIPHERAL_MM, SIDES, Place, Side, place_of

ANY: Literal["any"] = "any"

TRIES = 24
"""Positions tried in a lung."""

GAP = 2
"""Pixels between two nodules, and of lung between a nodule and the outline of its lung, unless it touches it."""

COARSE_MM = 4.0
"""With larger pixels there is one pixel of lung."""

CLEAR_MM = 2.0
"""A nodule's centre keeps so far from the limit between peripheral and central, as CT moves it a little."""

FLATTENED = 0.6
"""Least depth of the centre of a nodule at the pleura, in radii: it is at most so far cut off by the outline."""

IRREGULAR = 0.05
"""Standard deviation of a smooth random contour's radius, as a share of it, for each wave of `WAVES`."""

WAVES = (2, 3, 4)
"""Waves round a smooth random contour; the first makes it oval."""

CONTOUR_RADIUS = 12.0
"""Of a smooth random contour, in its own pixels."""


@dataclass(frozen=True)
class NoduleRequest:
    """One nodule to draw; diameter_mm: of the disc of equal area."""

    diameter_mm: float
    side: Side | Literal["any"] = ANY
    place: Place | Literal["any"] = ANY


def least_mm(pixel_mm: float) -> float:
    """Diameter of the smallest nodule on a grid: that of the least area that is not a speck."""
    return 2.0 * float(np.sqrt(pixel_range(pixel_mm)[0] / np.pi)) * pixel_mm


def with_requested(
    mask: NDArray[np.uint8],
    pixel_mm: float,
    wanted: NoduleRequest,
    bank: Sequence[RealNodule],
    rng: np.random.Generator,
) -> NDArray[np.uint8] | None:
    """The mask uint8 [h, w] with one more nodule; None if there is no room for it.

    bank: real nodules, for shape and position; it may be empty.  A diameter below `least_mm` is drawn with that one.
    """
    least, most = pixel_range(pixel_mm)
    pixels = int(np.clip(round(np.pi * (wanted.diameter_mm / 2 / pixel_mm) ** 2), least, most))
    radius = float(np.sqrt(pixels / np.pi))
    alike = [real for real in bank if _is_alike(real, wanted)]
    real = alike[int(rng.integers(len(alike)))] if alike else None
    if real is not None:
        contour = real.contour
    else:
        contour = bank[int(rng.integers(len(bank)))].contour if bank else smooth_contour(rng)
    for code in _lungs(mask, wanted.side, real, rng):
        lung = with_nodules(mask, code)
        if not lung.any():
            continue
        depth = signed_distance(lung)
        centres = (mask == code) & _depths(depth, radius, pixel_mm, wanted.place) & apart(mask, radius + GAP)
        if not centres.any():
            continue
        room = (mask == code) & apart(mask, GAP)
        if wanted.place in ("peripheral", "central"):
            room &= depth > _gap(pixel_mm)
        chances = centres / centres.sum()
        if real is not None and real.lung == code:
            chances = likely(real, lung, depth * pixel_mm, centres)
        for at in rng.choice(mask.size, TRIES, p=chances.ravel()):
            centre = np.array(np.unravel_index(at, mask.shape)) + rng.uniform(-0.5, 0.5, 2)
            patch = _patch(room, contour, centre, pixels, rng)
            if patch is not None and wanted.place in (ANY, _place(patch, lung, depth, pixel_mm)):
                return np.where(patch, np.uint8(NODULE), mask)
    return None


def smooth_contour(rng: np.random.Generator) -> NDArray[np.bool_]:
    """The pixels, bool [a, a], of a compact random shape: a disc whose radius varies by a few per cent."""
    y, x = np.indices((2 * int(CONTOUR_RADIUS * 1.5) + 1,) * 2) - int(CONTOUR_RADIUS * 1.5)
    angle = np.arctan2(y, x)
    heights, turns = rng.normal(0, IRREGULAR, len(WAVES)), rng.uniform(0, 2 * np.pi, len(WAVES))
    waves = sum(h * np.cos(k * angle + turn) for k, h, turn in zip(WAVES, heights, turns, strict=True))
    return np.hypot(y, x) <= CONTOUR_RADIUS * (1 + waves)


def _is_alike(real: RealNodule, wanted: NoduleRequest) -> bool:
    """Whether a real nodule is in the requested lung and place, as far as its depth tells."""
    if wanted.side != ANY and real.lung != SIDES[wanted.side]:
        return False
    radius_mm = float(np.sqrt(real.contour.sum() / np.pi)) * real.pixel_mm
    return wanted.place in (ANY, place_of(real.depth_mm < radius_mm + real.pixel_mm, real.depth_mm))


def _lungs(
    mask: NDArray[np.uint8], side: Side | Literal["any"], real: RealNodule | None, rng: np.random.Generator
) -> Iterator[int]:
    """The lungs to try, in order: of both, that of the real nodule first, without one by chance and size."""
    if side != ANY:
        yield SIDES[side]
        return
    left, right = SIDES.values()
    areas = [int((mask == code).sum()) for code in (left, right)]
    first = real.lung if real else left if rng.uniform() * sum(areas) < areas[0] else right
    yield from (first, left + right - first)


def _depths(
    depth: NDArray[np.float32], radius: float, pixel_mm: float, place: Place | Literal["any"]
) -> NDArray[np.bool_]:
    """The pixels at a depth (pixels) that suits the centre of a nodule of a radius (pixels)."""
    if place == "juxtapleural":
        return (depth > FLATTENED * radius - 0.5) & (depth < radius + 0.75)
    if place == ANY:
        return depth > FLATTENED * radius
    limit = depth > (PERIPHERAL_MM + CLEAR_MM) / pixel_mm
    if place == "peripheral":
        limit = depth < (PERIPHERAL_MM - CLEAR_MM) / pixel_mm
    return limit & (depth > radius + _gap(pixel_mm) - 0.5)


def _gap(pixel_mm: float) -> int:
    return GAP if pixel_mm <= COARSE_MM else 1


def _patch(
    room: NDArray[np.bool_],
    contour: NDArray[np.bool_],
    centre: NDArray[np.float64],
    pixels: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_] | None:
    """A nodule's pixels, bool [h, w]: of `room`, the `pixels` deepest in the contour; None if these are in pieces."""
    scale = float(np.sqrt(pixels / contour.sum()))
    reach = int(np.ceil(scale * np.hypot(*contour.shape) / 2 + np.sqrt(pixels))) + 2
    window, depth = contour_depth(room.shape, contour, centre, scale, reach, rng)
    depth[~room[window]] = -np.inf
    deepest = np.zeros(depth.shape, bool)
    deepest.flat[np.argsort(-depth, axis=None, kind="stable")[:pixels]] = True
    deepest &= room[window]
    if deepest.sum() != pixels or ndimage.label(deepest, NEIGHBOURS)[1] != 1:
        return None
    patch = np.zeros(room.shape, bool)
    patch[window] = deepest
    return patch


def _place(patch: NDArray[np.bool_], lung: NDArray[np.bool_], depth: NDArray[np.float32], pixel_mm: float) -> Place:
    """As `places.located` finds it; depth: in pixels."""
    touches = bool((ndimage.binary_dilation(patch, NEIGHBOURS) & ~lung).any())
    y, x = (float(where.mean()) for where in np.nonzero(patch))
    return place_of(touches, float(depth[round(y), round(x)]) * pixel_mm)
