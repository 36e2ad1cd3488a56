"""Soft pooling: the softmax-weighted mean of each window (used by LIA, Eq. 3; A6)."""

import functools

import jax.numpy as jnp
from jax import lax

from tsgan_jax.types import Array


def soft_pool(x: Array, *, window: int = 7, stride: int = 3) -> Array:
    """Sum over each window of softmax(x) * x, without padding.

    x: [h, w, c], one example; any float dtype, computed in float32, finite at any magnitude.
    Returns [(h - window) // stride + 1, (w - window) // stride + 1, c] in x's dtype; every value lies
    between the mean and the maximum of its window.  Raises ValueError where x is smaller than a window.

    A window's softmax factors into its rows and then its columns, so 2 * window strided slices do the
    work of window**2.
    """
    if min(x.shape[:2]) < window:
        raise ValueError(f"soft_pool: {x.shape[0]}x{x.shape[1]} is smaller than the {window}x{window} window")
    peak = x.astype(jnp.float32)
    weight, moment = jnp.ones_like(peak), jnp.zeros_like(peak)
    for axis in (1, 0):
        peak, weight, moment = _merge(peak, weight, moment, axis, window, stride)
    return (peak + moment / weight).astype(x.dtype)


def _merge(peak: Array, weight: Array, moment: Array, axis: int, window: int, stride: int) -> tuple[Array, ...]:
    """Merge partial windows along an axis.

    A partial window over values v is held as (p, sum exp(v - p), sum (v - p) exp(v - p)) for any p near
    its maximum; offsets from p keep the digits that v itself would lose at 1e4.
    """
    parts = [_strided(peak, axis, i, window, stride) for i in range(window)]
    # The result does not depend on the new reference, so no gradient is lost by holding it fixed.
    top = lax.stop_gradient(functools.reduce(jnp.maximum, parts))
    total, first = jnp.zeros_like(top), jnp.zeros_like(top)
    for i, part in enumerate(parts):
        offset = part - top
        scale = jnp.exp(offset)
        share = _strided(weight, axis, i, window, stride) * scale
        total += share
        first += _strided(moment, axis, i, window, stride) * scale + offset * share
    return top, total, first


def _strided(x: Array, axis: int, start: int, window: int, stride: int) -> Array:
    """Element `start` of every window along an axis."""
    count = (x.shape[axis] - window) // stride + 1
    return lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis)
