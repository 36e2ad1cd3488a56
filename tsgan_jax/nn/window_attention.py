"""DWMH, dynamically weighted multi-head window attention (section 3.3, Eq. 6; A8 to A13)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.types import Array


def window_attention(q: Array, k: Array, v: Array, weight: Array) -> Array:
    """One head in one window: (weight * softmax(q k^T / sqrt(d))) v (Eq. 6; A10).

    q, k, v: [t, d], the window's t pixels; weight: scalar W_h, which may be negative.  The softmax is
    computed in float32.  Returns [t, d] in v's dtype.
    """
    scores = (q @ k.T).astype(jnp.float32) * q.shape[-1] ** -0.5
    share = weight * jax.nn.softmax(scores, axis=-1)
    return share.astype(v.dtype) @ v


def partition(x: Array, window: int) -> Array:
    """[h, w, c] -> [windows, window * window, c], row by row, without overlap; window divides h and w."""
    h, w, c = x.shape
    x = x.reshape(h // window, window, w // window, window, c)
    return x.swapaxes(1, 2).reshape(-1, window * window, c)


def merge(windows: Array, height: int, width: int) -> Array:
    """The inverse of `partition`."""
    size = int(windows.shape[1] ** 0.5)
    x = windows.reshape(height // size, width // size, size, size, -1)
    return x.swapaxes(1, 2).reshape(height, width, -1)


def attend(q: Array, k: Array, v: Array, weights: Array, window: int) -> Array:
    """`window_attention` in every window and head of one example.

    q, k, v: [h, w, c]; weights: [heads], heads divides c (A11).  Rows and columns beyond the last full
    window get zero, so the residual leaves them unchanged (A9).  Returns [h, w, c].
    """
    h, w, c = v.shape
    height, width = h - h % window, w - w % window

    def split(x: Array) -> Array:  # [windows, heads, t, d]
        x = partition(x[:height, :width], window)
        return x.reshape(*x.shape[:2], weights.shape[0], -1).swapaxes(1, 2)

    heads = jax.vmap(window_attention)
    windows = jax.vmap(heads, in_axes=(0, 0, 0, None))(split(q), split(k), split(v), weights)
    merged = merge(windows.swapaxes(1, 2).reshape(-1, window * window, c), height, width)
    return jnp.pad(merged, ((0, h - height), (0, w - width), (0, 0)))


class DynamicWindowAttention(nn.Module):
    """x + gamma * attention over a batch [n, h, w, c].

    Q, K and V come from 1x1 convolutions with bias (A11, A13); gamma starts at 0, so the layer is
    the identity at first (A12); the head weights W_h start at 1 (A10).
    """

    heads: int = 8
    window: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        if channels % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {channels} channels")
        y = x.astype(self.dtype)
        kernel, bias = nn.initializers.normal(0.02), nn.initializers.zeros
        q, k, v = (
            y @ self.param(name, kernel, (channels, channels)).astype(self.dtype)
            + self.param(f"{name}_bias", bias, (channels,)).astype(self.dtype)
            for name in ("query", "key", "value")
        )
        weights = self.param("head_weights", nn.initializers.ones, (self.heads,))
        gamma = self.param("gamma", nn.initializers.zeros, ())
        mixed = jax.vmap(attend, in_axes=(0, 0, 0, None, None))(q, k, v, weights, self.window)
        return x + (gamma * mixed).astype(x.dtype)
