"""Soft pooling: the softmax-weighted mean of each window (used by LIA, Eq. 3; A6)."""

import jax.numpy as jnp
from jax import lax

from tsgan_jax.types import Array


def soft_pool(x: Array, *, window: int = 7, stride: int = 3) -> Array:
    """Sum over each window of softmax(x) * x, without padding.

    x: [h, w, c], one example; any float dtype, computed in float32, finite at any magnitude.
    Returns [(h - window) // stride + 1, (w - window) // stride + 1, c] in x's dtype; every value lies
    between the mean and the maximum of its window.  Raises ValueError where x is smaller than a window.

    A window's softmax factors into its rows and then its columns: 2 * window terms do the work of window**2.
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
    peaks, weights, moments = (_windows(x, axis, window, stride) for x in (peak, weight, moment))
    # The result does not depend on the new reference, so no gradient is lost by holding it fixed.
    top = lax.stop_gradient(peaks.max(axis + 1))
    offset = peaks - jnp.expand_dims(top, axis + 1)
    scale = jnp.exp(offset)
    share = weights * scale
    return top, share.sum(axis + 1), (moments * scale + offset * share).sum(axis + 1)


def _windows(x: Array, axis: int, window: int, stride: int) -> Array:
    """The windows along an axis, their elements in a new axis behind it.

    Joined from blocks of `stride` elements: as many slices as a window touches blocks, not one for each element.
    """
    count = (x.shape[axis] - window) // stride + 1
    touched = -(-window // stride)
    length = (count - 1 + touched) * stride
    kept = lax.slice_in_dim(x, 0, min(length, x.shape[axis]), axis=axis)
    padding = [(0, length - kept.shape[axis] if i == axis else 0) for i in range(x.ndim)]  # never part of a window
    blocks = jnp.pad(kept, padding).reshape(*x.shape[:axis], count - 1 + touched, stride, *x.shape[axis + 1 :])
    parts = [lax.slice_in_dim(blocks, i, i + count, axis=axis) for i in range(touched)]
    return lax.slice_in_dim(jnp.concatenate(parts, axis + 1), 0, window, axis=axis + 1)
