"""Soft pooling, and local importance-based attention (LIA; Eq. 3; A3 to A6).

Soft pooling is the softmax-weighted mean of each window (A6).  LIA weights a skip connection by its local importance.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from tsgan_jax.nn.resample import bilinear_matrix
from tsgan_jax.types import Array


def soft_pool(x: Array, *, window: int = 7, stride: int = 3) -> Array:
    """Sum over each window of softmax(x) * x, without padding; window and stride of LIA by default (A6).

    x: [h, w, c], one example; any float dtype, computed in float32, finite at any magnitude.
    Returns [(h - window) // stride + 1, (w - window) // stride + 1, c] in x's dtype; every value is
    between the mean and the maximum of its window.  Raises ValueError when x is smaller than a window.

    The softmax of a window factors into rows and columns: 2 * window terms instead of window**2.
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

    A partial window over values v is stored as (p, sum exp(v - p), sum (v - p) exp(v - p)) for any p near
    its maximum; the offsets from p keep precision for values of 1e4.
    """
    peaks, weights, moments = (_windows(x, axis, window, stride) for x in (peak, weight, moment))
    # The result does not depend on the new p, so stopping its gradient changes nothing.
    top = lax.stop_gradient(peaks.max(axis + 1))
    offset = peaks - jnp.expand_dims(top, axis + 1)
    scale = jnp.exp(offset)
    share = weights * scale
    return top, share.sum(axis + 1), (moments * scale + offset * share).sum(axis + 1)


def _windows(x: Array, axis: int, window: int, stride: int) -> Array:
    """The windows along an axis, with their elements in a new axis after it; joined from blocks of `stride`."""
    count = (x.shape[axis] - window) // stride + 1
    touched = -(-window // stride)
    length = (count - 1 + touched) * stride
    kept = lax.slice_in_dim(x, 0, min(length, x.shape[axis]), axis=axis)
    padding = [(0, length - kept.shape[axis] if i == axis else 0) for i in range(x.ndim)]  # never part of a window
    blocks = jnp.pad(kept, padding).reshape(*x.shape[:axis], count - 1 + touched, stride, *x.shape[axis + 1 :])
    parts = [lax.slice_in_dim(blocks, i, i + count, axis=axis) for i in range(touched)]
    return lax.slice_in_dim(jnp.concatenate(parts, axis + 1), 0, window, axis=axis + 1)


MIN_SIZE = 8
"""Smallest skip that gets LIA (A7): the next power of two below is smaller than the pooling window."""


class ImportanceParams(NamedTuple):
    """Kernels (HWIO) and biases of the importance branch of width f; no norm, no activation between them (A6)."""

    reduce: Array  # [c, f], the 1x1 convolution before pooling
    reduce_bias: Array  # [f]
    squeeze: Array  # [3, 3, f, f], stride 2
    squeeze_bias: Array  # [f]
    expand: Array  # [3, 3, f, c]
    expand_bias: Array  # [c]


def local_importance_attention(x: Array, params: ImportanceParams) -> Array:
    """x * w * g (Eq. 3; A5).

    x: [h, w, c], one example, h and w at least 7.  w in (0, 1) [h, w, c] is the importance map and
    g = sigmoid(x[..., :1]) a spatial gate taken from the first channel (A4).  Returns [h, w, c].
    """
    gate = jax.nn.sigmoid(x[..., :1])
    return x * importance_map(x, params) * gate


def importance_map(x: Array, params: ImportanceParams) -> Array:
    """1x1 -> soft pooling -> 3x3 stride 2 -> 3x3 -> sigmoid -> bilinear (A3, A6).  [h, w, c] -> [h, w, c] in (0, 1)."""
    y = x @ params.reduce + params.reduce_bias
    y = soft_pool(y)
    y = _conv3x3(y, params.squeeze, stride=2) + params.squeeze_bias
    y = _conv3x3(y, params.expand, stride=1) + params.expand_bias
    rows, cols = (jnp.asarray(bilinear_matrix(*sizes), y.dtype) for sizes in zip(y.shape[:2], x.shape[:2], strict=True))
    return jnp.einsum("ij,jkc,lk->ilc", rows, jax.nn.sigmoid(y), cols, optimize=[(0, 1), (0, 1)])


def _conv3x3(x: Array, w: Array, stride: int) -> Array:
    """3x3 convolution with padding 1 of one small map, as one matrix product, and so are its gradients under vmap."""
    rows, cols = ((n - 1) // stride + 1 for n in x.shape[:2])
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    tall = jnp.concatenate([padded[i : i + (rows - 1) * stride + 1 : stride] for i in range(3)], -1)
    patches = jnp.concatenate([tall[:, j : j + (cols - 1) * stride + 1 : stride] for j in range(3)], -1)
    return patches @ w.swapaxes(0, 1).reshape(-1, w.shape[-1])  # columns outermost, as in the patches


class LocalImportanceAttention(nn.Module):
    """LIA with learned parameters, over a batch [n, h, w, c].

    width: channels f of the importance branch (A6).  Kernels start as N(0, 0.02) and biases at 0, so w
    starts at about one half.
    """

    width: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels, f = x.shape[-1], self.width
        kernel, bias = nn.initializers.normal(0.02), nn.initializers.zeros
        params = ImportanceParams(
            reduce=self.param("reduce", kernel, (channels, f)),
            reduce_bias=self.param("reduce_bias", bias, (f,)),
            squeeze=self.param("squeeze", kernel, (3, 3, f, f)),
            squeeze_bias=self.param("squeeze_bias", bias, (f,)),
            expand=self.param("expand", kernel, (3, 3, f, channels)),
            expand_bias=self.param("expand_bias", bias, (channels,)),
        )
        params = jax.tree.map(lambda p: p.astype(self.dtype), params)
        return jax.vmap(local_importance_attention, in_axes=(0, None))(x.astype(self.dtype), params)
