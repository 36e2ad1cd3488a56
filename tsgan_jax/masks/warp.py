"""A smooth random deformation of a label map: another chest with the same organs, without tears and folds.

The deformation is an affine map around the body's centre, plus a displacement that cubic splines interpolate between a
few knots.  It is applied to the signed distance from each organ's outline, not to class codes, so outlines stay smooth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from tsgan_jax.labels import BACKGROUND, BODY, PRECEDENCE
from tsgan_jax.masks.distance import rotation, signed_distance

KNOTS = 5  # knots of the displacement along a side
DISPLACEMENT = 0.01  # standard deviation of a knot's along an axis, in sides; at most twice that, so nothing folds
SMOOTHING = 0.5  # sigma, in pixels, of a Gaussian filter on distances: no steps of the grid, small patches keep area
REACH = 4  # distances from an organ are computed up to this many pixels outside it
BEYOND = 8  # the body is extrapolated beyond the image border by 1 / BEYOND of a side
SCALE = 0.05
ASPECT = 0.03
DEGREES = 3.0
SHIFT = 0.01
"""Largest changes: size (natural logarithm), height relative to width (likewise), angle, position (in sides)."""


def warped(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A mask uint8 [h, h], randomly deformed; all but background is deformed as body, and organs are kept inside it.

    A body that is cut by two opposite image borders is extrapolated beyond them linearly: where it narrows, it closes.
    """
    body = mask != BACKGROUND
    source, margin = _source_places(body, rng), max(1, len(mask) // BEYOND)
    continued = np.pad(_smooth_distance(body, len(mask)), margin, "reflect", reflect_type="odd")
    out = np.where(_sampled(continued, source + margin) > 0, np.uint8(BODY), np.uint8(BACKGROUND))
    for code in reversed(PRECEDENCE):
        organ = mask == code
        if code not in (BODY, BACKGROUND) and organ.any():
            out[(_sampled(_smooth_distance(organ, REACH), source) > 0) & (out != BACKGROUND)] = code
    return out


def _smooth_distance(region: NDArray[np.bool_], reach: int) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(signed_distance(region, reach), SMOOTHING, mode="nearest")


def _sampled(values: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    return ndimage.map_coordinates(values, places, order=1, mode="nearest")


def _source_places(body: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """The source of each pixel of the deformed mask: rows and columns float [2, h, h]."""
    side = len(body)
    size, aspect, angle, *shift = rng.uniform(-1, 1, 5) * (SCALE, ASPECT, np.radians(DEGREES), SHIFT, SHIFT)
    knots = np.clip(rng.normal(size=(2, KNOTS, KNOTS)), -2, 2) * DISPLACEMENT * side
    inverse = rotation(angle) / np.exp([[size + aspect], [size - aspect]])
    pixels = np.indices(body.shape).astype(float)
    centre = np.reshape(ndimage.center_of_mass(body), (2, 1, 1))
    moved = pixels - centre - side * np.array(shift)[:, None, None]
    spline = CubicSpline(np.arange(KNOTS), np.eye(KNOTS))(np.linspace(0, KNOTS - 1, side))
    return _cut_as_before(np.tensordot(inverse, moved, 1) + centre + spline @ knots @ spline.T, body)


def _cut_as_before(source: NDArray[np.float64], body: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Source places [2, h, h], shifted so that a body that one image border cuts, but not the opposite one, stays cut:
    its shape beyond the border is not known.
    """
    last = len(body) - 1
    at = tuple(np.clip(np.rint(source), 0, last).astype(int))
    shown = source[:, body[at]]
    moved = source.copy()
    for axis, places in enumerate(shown):
        first_cut, last_cut = (np.take(body, end, axis).any() for end in (0, last))
        if first_cut and not last_cut:
            moved[axis] += max(0.0, -places.min())
        if last_cut and not first_cut:
            moved[axis] -= max(0.0, places.max() - last)
    return moved
