"""Label maps as truncated signed distance maps: one channel an organ, smooth where one-hot maps jump.

    value = tanh((d + grow) / scale),   d: distance to the organ's outline, positive inside

A network that errs by half a pixel moves an outline by half a pixel; in a one-hot map it would add and remove pixels.
A lung contains the nodules that touch it and the body all organs, so that no channel has holes for another's sake.
Nodules and trachea are grown before the distance is taken: of an object of a pixel or two no average over pixels
would be positive, and lower resolutions would lack it.  An absent organ is -1 everywhere.
Ours, not the paper's (A23).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, Component, components
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, SMALL, TRACHEA
from tsgan_jax.nn.conv import DIMENSIONS
from tsgan_jax.nn.resample import bilinear_matrix
from tsgan_jax.types import Array

CHANNELS = (BODY, LEFT_LUNG, RIGHT_LUNG, TRACHEA, NODULE)
"""The class of each channel; background is where no channel is positive."""

MIRROR = np.array([0, 2, 1, 3, 4])
SCALE = {BODY: 1 / 16, LEFT_LUNG: 1 / 16, RIGHT_LUNG: 1 / 16, TRACHEA: 5 / 128, NODULE: 5 / 128}
"""Distance, as a share of the slice's side, over which tanh goes from 0 to .76: 21 and 13 mm of 340."""

GROW = {TRACHEA: 1 / 64, NODULE: 1 / 32}  # by how much of the slice's side a small object is grown: 5 and 11 mm of 340


def encode(masks: np.ndarray) -> np.ndarray:
    """Masks uint8 [n, h, h] with the codes of `labels` to maps float32 [n, h, h, 5] in [-1, 1]."""
    return np.stack([_encode(mask) for mask in masks])


def _encode(mask: np.ndarray) -> np.ndarray:
    regions = {
        BODY: mask != BACKGROUND,
        LEFT_LUNG: with_nodules(mask, LEFT_LUNG),
        RIGHT_LUNG: with_nodules(mask, RIGHT_LUNG),
        TRACHEA: mask == TRACHEA,
        NODULE: mask == NODULE,
    }
    return np.stack([_value(regions[label], label) for label in CHANNELS], axis=-1)


def with_nodules(mask: np.ndarray, lung: int, nodules: Sequence[Component] | None = None) -> np.ndarray:
    """A lung, bool [h, w], with the nodules that touch it filled in; nodules: of the mask, if they are known."""
    region = mask == lung
    near = ndimage.binary_dilation(region, NEIGHBOURS)
    for nodule in components(mask == NODULE) if nodules is None else nodules:
        if near[nodule.window][nodule.inside].any():
            region[nodule.window] |= nodule.inside
    return region


def signed_distance(region: NDArray[np.bool_], reach: int | None = None) -> NDArray[np.float32]:
    """Distance of each pixel [h, w] from the outline of a region that is not empty, in pixels, positive inside.

    Pixels on either side of the outline have .5 and -.5.  The frame is none, unless the region fills it.  What lies
    further than `reach` from the region's bounding box has -reach: this saves time.
    """
    reach = max(region.shape) if reach is None else reach
    if region.all():
        return signed_distance(np.pad(region, 1), reach)[1:-1, 1:-1]
    ends = ((where.min(), where.max() + 1) for where in np.nonzero(region))
    rows, columns = (slice(max(0, first - reach), last + reach) for first, last in ends)
    near = region[rows, columns]
    inside = ndimage.distance_transform_edt(near)
    outside = ndimage.distance_transform_edt(~near)
    distance = np.full(region.shape, -reach, np.float32)
    distance[rows, columns] = np.where(near, inside - 0.5, 0.5 - outside)
    return distance


def distance_at(region: NDArray[np.bool_], y: float, x: float) -> float:
    """`signed_distance` at one place, which may be between pixels."""
    if region.all():
        return distance_at(np.pad(region, 1), y + 1, x + 1)
    inside = region[round(y), round(x)]
    rows, columns = np.nonzero(region != inside)
    distance = float(np.hypot(rows - y, columns - x).min()) - 0.5
    return distance if inside else -distance


def _value(region: np.ndarray, label: int) -> np.ndarray:
    if not region.any():
        return np.full(region.shape, -1.0, np.float32)
    side = region.shape[0]
    distance = (signed_distance(region) / side + GROW.get(label, 0.0)) / SCALE[label]
    return np.tanh(distance).astype(np.float32)


def decode(maps: Array, size: int) -> Array:
    """Maps [n, r, r, 5], enlarged bilinearly, to masks uint8 [n, size, size].

    A pixel belongs to the organs whose channels are positive there, small ones shrunk by what they were grown, and of
    several to the first in the labels' order of precedence.
    """
    maps = enlarged(maps, size)
    masks = organs(maps)
    for label in SMALL:
        masks = jnp.where(_shrunk(maps[..., CHANNELS.index(label)] > 0, GROW[label]), np.uint8(label), masks)
    return masks


@jax.jit
def organs(maps: Array) -> Array:
    """The masks uint8 [n, h, h] of body and lungs in maps [n, h, h, 5]; lungs are where the body is."""
    inside = maps > 0
    body = inside[..., CHANNELS.index(BODY)]
    masks = jnp.where(body, np.uint8(BODY), np.uint8(BACKGROUND))
    for lung in (RIGHT_LUNG, LEFT_LUNG):
        masks = jnp.where(inside[..., CHANNELS.index(lung)] & body, np.uint8(lung), masks)
    return masks


@functools.partial(jax.jit, static_argnames=("size",))
def enlarged(maps: Array, size: int) -> Array:
    """Maps [n, r, r, c] at size x size pixels, bilinear between the centres of pixels."""
    if maps.shape[1] == size:
        return maps
    weight = bilinear_matrix(maps.shape[1], size)
    return jnp.einsum("ai,bj,nijc->nabc", weight, weight, maps, precision="highest", optimize=[(0, 2), (0, 1)])


@functools.partial(jax.jit, static_argnames=("share",))
def _shrunk(regions: Array, share: float) -> Array:
    """Regions bool [n, h, h] less what is within `share` of the side, and a quarter of a pixel, of their outside."""
    reach = share * regions.shape[1] + 0.25
    along = np.arange(-int(reach), int(reach) + 1)
    disc = along[:, None] ** 2 + along**2 <= reach**2
    outside = (~regions)[..., None].astype(jnp.float32)
    kernel = jnp.asarray(disc[:, :, None, None], jnp.float32)
    near = lax.conv_general_dilated(outside, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS)
    return regions & (near[..., 0] < 0.5)


def rotation(angle: float) -> NDArray[np.float64]:
    """The matrix [2, 2] that rotates by an angle in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
