"""A smooth random warp of a label map: another chest with the same organs, none torn and none folded.

The warp is a global affine map about the body's centre and a displacement that cubic splines interpolate from a few
knots.  It is applied to signed distances from each organ's outline, not to the codes, so that outlines stay smooth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from tsgan_jax.labels import BACKGROUND, BODY, PRECEDENCE
from tsgan_jax.masks.distance import signed_distance

KNOTS = 5
"""Knots of the displacement along a side."""

DISPLACEMENT = 0.01
"""Standard deviation of a knot's displacement along an axis, in sides of the mask; at most twice that.

On knots a quarter of a side apart the map's derivative then stays well below 1, so it cannot fold.
"""

SMOOTHING = 0.5
"""Sigma, in pixels, of the Gaussian on distances before they are warped: outlines lose the stairs of the grid, and
patches of two pixels keep their area."""

REACH = 4
"""How far round an organ, in pixels, its distance is needed."""

BEYOND = 8
"""The part of a side, as its reciprocal, that is continued beyond the frame on each side."""

SCALE = 0.05
ASPECT = 0.03
DEGREES = 3.0
SHIFT = 0.01
"""Largest change of size (natural logarithm), of height against width (the same), of angle, of place (in sides)."""


def warped(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A mask uint8 [h, h] under a random warp; the same codes, outlines between pixels decided by linear distance.

    Body is warped as everything that is not background, and organs are kept inside it.  A body that the frame cuts on
    both sides is continued beyond it as it was going: where it narrows, it closes.  rng: decides the warp.
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
    """Where each pixel of the warped mask comes from: rows and columns [2, h, h], not whole numbers."""
    side = len(body)
    size, aspect, angle, *shift = rng.uniform(-1, 1, 5) * (SCALE, ASPECT, np.radians(DEGREES), SHIFT, SHIFT)
    knots = np.clip(rng.normal(size=(2, KNOTS, KNOTS)), -2, 2) * DISPLACEMENT * side
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = turn / np.exp([[size + aspect], [size - aspect]])
    pixels = np.indices(body.shape).astype(float)
    centre = np.array([where.mean() for where in np.nonzero(body)])[:, None, None]
    moved = pixels - centre - side * np.array(shift)[:, None, None]
    spline = CubicSpline(np.arange(KNOTS), np.eye(KNOTS))(np.linspace(0, KNOTS - 1, side))
    return _cut_as_before(np.tensordot(inverse, moved, 1) + centre + spline @ knots @ spline.T, body)


def _cut_as_before(source: NDArray[np.float64], body: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Places [2, h, h] moved so that a body that the frame cuts on one side, not on the opposite one, stays cut there.

    How it goes on beyond the frame is not known.  Where both sides cut it, it cannot be moved to hide either.
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
