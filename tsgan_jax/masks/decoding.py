"""Maps to masks as a JAX function, for export: what representation.py, distance.py and calibration.py do in numpy.

A pixel, a peak or an object's area may differ from theirs where a value is within float32 rounding of its threshold.
"""

from collections.abc import Callable, Mapping
from math import isqrt

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tsgan_jax.config import MasksConfig
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, RIGHT_LUNG, SMALL
from tsgan_jax.masks.calibration import APART, ROUNDNESS, Calibration
from tsgan_jax.masks.distance import CHANNELS, GROW
from tsgan_jax.nn.conv import DIMENSIONS
from tsgan_jax.nn.resample import bilinear_matrix
from tsgan_jax.types import Array


def decoder(config: MasksConfig, rules: Mapping[int, Calibration] | None) -> Callable[[Array], Array]:
    """The function from maps [n, r, r, c] to masks uint8 [n, size, size] at the config's resolution.

    rules: the calibration of each class (`sample.calibration_of`); None: maps are decoded as they are.
    """
    size = config.resolution
    decode = _likeliest if config.representation == "one_hot" else _of_distances
    return jax.vmap(lambda one: decode(one, size, rules))


def _likeliest(one: Array, size: int, rules: object) -> Array:
    """Of a map [r, r, 6]; pixels doubled up to `size`."""
    codes = one.argmax(axis=-1).astype(jnp.uint8)
    factor = size // one.shape[0]
    return codes.repeat(factor, axis=0).repeat(factor, axis=1)


def _of_distances(one: Array, size: int, rules: Mapping[int, Calibration] | None) -> Array:
    """Of a map [r, r, 5]; small objects by their peaks where there are rules, else by sign."""
    if one.shape[0] != size:
        weight = bilinear_matrix(one.shape[0], size)
        one = jnp.einsum("ai,bj,ijc->abc", weight, weight, one, precision="highest", optimize=[(0, 2), (0, 1)])
    inside = {label: one[..., CHANNELS.index(label)] > 0 for label in CHANNELS}
    mask = jnp.where(inside[BODY], BODY, BACKGROUND).astype(jnp.uint8)
    for lung in (RIGHT_LUNG, LEFT_LUNG):
        mask = jnp.where(inside[lung] & inside[BODY], np.uint8(lung), mask)
    for label in SMALL:  # nodules last: they have precedence
        if rules is None:
            mask = jnp.where(_shrunk(inside[label], GROW[label]), np.uint8(label), mask)
        elif label in rules:
            mask = _with_objects(mask, one, label, rules[label])
    return mask


def _shrunk(region: Array, share: float) -> Array:
    """A region bool [h, h] without what is within `share` of the side, and a quarter of a pixel, from its outside."""
    reach = share * region.shape[0] + 0.25
    along = np.arange(-int(reach), int(reach) + 1)
    disc = along[:, None] ** 2 + along**2 <= reach**2
    outside = (~region)[None, :, :, None].astype(jnp.float32)
    kernel = jnp.asarray(disc[:, :, None, None], jnp.float32)
    near = lax.conv_general_dilated(outside, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS)
    return region & (near[0, :, :, 0] < 0.5)


def _with_objects(mask: Array, one: Array, label: int, rule: Calibration) -> Array:
    """A mask with the objects of one class that its calibration makes of a map [h, h, 5]."""
    channel, side = one[..., CHANNELS.index(label)], one.shape[0]
    ranks = _ranks(one, channel, rule)
    first = jnp.unravel_index(jnp.argmax(ranks), ranks.shape)
    rows, columns = np.indices((side, side))
    apart = (rows - first[0]) ** 2 + (columns - first[1]) ** 2
    ranks = jnp.where(apart <= _squared(rule.real.spread * side), ranks, -jnp.inf)

    def another(drawn: tuple[Array, Array, Array], level: Array) -> tuple[tuple[Array, Array, Array], None]:
        mask, ranks, exists = drawn
        place = jnp.unravel_index(jnp.argmax(ranks), ranks.shape)
        exists &= ranks[place] >= level
        mask = jnp.where(exists & _drawn(channel, place, ranks[place], rule), np.uint8(label), mask)
        return (mask, ranks.at[place].set(-jnp.inf), exists), None

    (mask, _, _), _ = lax.scan(another, (mask, ranks, jnp.array(True)), jnp.array(rule.levels, jnp.float32))
    return mask


def _squared(reach: float) -> int:
    """The largest whole number whose root is at most `reach`."""
    square = int(reach**2) + 1
    return next(n for n in range(square, -1, -1) if np.sqrt(n) <= reach)


def _ranks(one: Array, channel: Array, rule: Calibration) -> Array:
    """The rank at each of the channel's local maxima that may be an object, -inf elsewhere; [h, h]."""
    lungs = one[..., [CHANNELS.index(LEFT_LUNG), CHANNELS.index(RIGHT_LUNG)]]
    nearer = lungs.max(axis=-1)
    around = jnp.stack([one[..., CHANNELS.index(BODY)], nearer, lungs.min(axis=-1)], axis=-1)
    lowest, highest = (np.array(bound, np.float32) for bound in (rule.real.lowest, rule.real.highest))
    allowed = ((around >= lowest) & (around <= highest)).all(axis=-1)
    width = 2 * max(1, round(APART * len(channel))) + 1
    tops = lax.reduce_window(channel, -jnp.inf, lax.max, (width, width), (1, 1), "SAME")
    peaks = (channel == tops) & (channel > channel.min()) & allowed
    return jnp.where(peaks, channel - np.float32(rule.slope) * nearer, -jnp.inf)


def _drawn(channel: Array, place: tuple[Array, ...], rank: Array, rule: Calibration) -> Array:
    """The pixels, bool [h, h], of an object of some rank at a peak: the highest round it that are connected with it."""
    side = len(channel)
    areas = np.array(rule.real.areas, np.float32) * side**2
    pixels = jnp.maximum(1, jnp.round(jnp.interp(rank, np.array(rule.ranks, np.float32), areas)))
    radius = jnp.sqrt(pixels / np.pi)
    margin = 2 + isqrt(int(2.25 * max(1.0, areas.max()) / np.pi) + 1)  # what the largest object needs
    along = np.arange(-margin, margin + 1)
    squares = along[:, None] ** 2 + along**2
    near = lax.dynamic_slice(jnp.pad(channel, margin, constant_values=-jnp.inf), place, squares.shape)
    reach = jnp.ceil(1.5 * radius) + 1
    within = jnp.maximum(abs(along[:, None]), abs(along)) <= reach
    heights = jnp.where(within, near - ROUNDNESS * squares / radius**2, -jnp.inf)
    order = jnp.argsort(-heights, axis=None, stable=True)
    position = jnp.zeros(order.shape, jnp.int32).at[order].set(jnp.arange(order.size, dtype=jnp.int32))
    chosen = (position.reshape(near.shape) < pixels) & (heights > -jnp.inf)
    patch = _connected(chosen, margin)
    canvas = jnp.zeros((side + 2 * margin, side + 2 * margin), bool)
    return lax.dynamic_update_slice(canvas, patch, place)[margin:-margin, margin:-margin]


def _connected(region: Array, middle: int) -> Array:
    """The component of a region bool [w, w] that has its middle pixel, by 8-connectivity; empty if that is outside."""

    def grown(patches: tuple[Array, Array]) -> tuple[Array, Array]:
        patch, _ = patches
        wide = lax.reduce_window(patch, False, lax.bitwise_or, (3, 3), (1, 1), "SAME")
        return wide & region, patch

    start = jnp.zeros_like(region).at[middle, middle].set(region[middle, middle])
    patch, _ = lax.while_loop(lambda patches: (patches[0] != patches[1]).any(), grown, (start, jnp.zeros_like(region)))
    return patch
