"""Maps to masks with calibrated small objects (calibration.py), batched; for sets, requests and export alike."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tsgan_jax.labels import BODY, LEFT_LUNG, RIGHT_LUNG, SMALL
from tsgan_jax.masks.distance import CHANNELS, enlarged, organs
from tsgan_jax.masks.small_objects import Objects
from tsgan_jax.types import Array

APART = 1 / 32  # least distance of two peaks, as a share of the slice's side
ROUNDNESS = 0.1  # by how much heights are lowered at the radius of the disc of an object's area


@dataclass(frozen=True)
class Calibration:
    """What makes an object of a peak."""

    real: Objects  # that it is made for
    slope: float  # a peak's rank is its height less `slope` times the nearer lung's channel there
    levels: tuple[float, ...]  # least rank of the first, second, ... peak to be an object, if those before it are
    ranks: tuple[float, ...]  # rising, of peaks whose objects have the areas `real.areas`


def decode(maps: Array, size: int, rules: Mapping[int, Calibration]) -> Array:
    """Maps [n, r, r, 5] to masks uint8 [n, size, size]; rules: by class, of the small objects, which peaks make.

    A generator's calibration at another truncation compiles nothing anew.
    """
    maps = enlarged(maps, size)
    masks = organs(maps)
    for label in (label for label in SMALL if label in rules):  # nodules last: they have precedence
        rule = rules[label]
        slope, levels, ranks = (np.array(value, np.float32) for value in (rule.slope, rule.levels, rule.ranks))
        masks = _with_objects(masks, maps, slope, levels, ranks, label, rule.real)
    return masks


@functools.partial(jax.jit, static_argnames=("label", "real"))
def peaks(maps: Array, label: int, real: Objects) -> tuple[Array, Array]:
    """A class's local maxima in maps [n, h, h, 5]: (heights, -inf elsewhere; the nearer lung), [n, h, h].

    Only where body and lungs are as they are at real objects: a nodule's in a lung or at one, trachea's between both.
    """
    channel = maps[..., CHANNELS.index(label)]
    lungs = maps[..., [CHANNELS.index(LEFT_LUNG), CHANNELS.index(RIGHT_LUNG)]]
    nearer = lungs.max(axis=-1)
    around = jnp.stack([maps[..., CHANNELS.index(BODY)], nearer, lungs.min(axis=-1)], axis=-1)
    lowest, highest = (np.array(bound, np.float32) for bound in (real.lowest, real.highest))
    allowed = ((around >= lowest) & (around <= highest)).all(axis=-1)
    width = 2 * max(1, round(APART * maps.shape[1])) + 1
    tops = channel
    for window in ((1, width, 1), (1, 1, width)):  # one after the other: many times faster than both at once
        tops = lax.reduce_window(tops, -jnp.inf, lax.max, window, (1, 1, 1), "SAME")
    found = (channel == tops) & (channel > channel.min(axis=(1, 2), keepdims=True)) & allowed
    return jnp.where(found, channel, -jnp.inf), nearer


@functools.partial(jax.jit, static_argnames=("label", "real"))
def _with_objects(
    masks: Array, maps: Array, slope: Array, levels: Array, ranks: Array, label: int, real: Objects
) -> Array:
    """Masks [n, h, h] with the objects of one class that its calibration makes of maps [n, h, h, 5]."""
    heights, depths = peaks(maps, label, real)

    def one(mask: Array, channel: Array, ranked: Array) -> Array:
        first = jnp.unravel_index(jnp.argmax(ranked), ranked.shape)
        rows, columns = np.indices(ranked.shape)
        apart = (rows - first[0]) ** 2 + (columns - first[1]) ** 2
        ranked = jnp.where(apart <= _squared(real.spread * len(ranked)), ranked, -jnp.inf)

        def another(drawn: tuple[Array, Array, Array], level: Array) -> tuple[tuple[Array, Array, Array], None]:
            mask, ranked, exists = drawn
            place = jnp.unravel_index(jnp.argmax(ranked), ranked.shape)
            rank = ranked[place]
            exists &= rank >= level
            pixels = jnp.interp(rank, ranks, np.array(real.areas, np.float32) * mask.size)
            patch = _drawn(channel, place, jnp.maximum(1, jnp.round(pixels)), max(real.areas))
            return (jnp.where(exists & patch, np.uint8(label), mask), ranked.at[place].set(-jnp.inf), exists), None

        (mask, _, _), _ = lax.scan(another, (mask, ranked, jnp.array(True)), levels)
        return mask

    return jax.vmap(one)(masks, maps[..., CHANNELS.index(label)], heights - slope * depths)


def _squared(reach: float) -> int:
    """The largest whole number whose root is at most `reach`."""
    square = int(reach**2) + 1
    return next(n for n in range(square, -1, -1) if np.sqrt(n) <= reach)


def _drawn(channel: Array, place: tuple[Array, ...], pixels: Array, largest: float) -> Array:
    """The `pixels` highest pixels round a peak, those that are connected with it; bool [h, h].

    Heights fall by ROUNDNESS towards the radius of the disc of that area, so that a flat peak gives a disc.
    largest: area of the largest object, as a share of the slice.
    """
    side = len(channel)
    radius = jnp.sqrt(pixels / np.pi)
    margin = 2 + isqrt(int(2.25 * max(1.0, largest * side**2) / np.pi) + 1)  # what the largest object needs
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
