"""Resampling by factors of two and the [1, 2, 1] blur, written for speed in XLA.

Broadcasts, reshapes and shifted sums replace `image.resize` and depthwise convolutions, whose gradients are many
times slower on a CPU.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.types import Array


def upsample(x: Array) -> Array:
    """Nearest-neighbour doubling: x [n, h, w, c] to [n, 2h, 2w, c]."""
    n, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c))
    return wide.reshape(n, 2 * h, 2 * w, c)


def downsample(x: Array) -> Array:
    """Mean over 2x2 pixels: x [n, h, w, c] with even h and w to [n, h/2, w/2, c].

    One-hot maps and class shares become class shares: the channels still sum to 1.
    """
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def bilinear_matrix(source: int, target: int) -> np.ndarray:
    """Weights float32 [target, source] of a bilinear resize along one axis, two in each row, which sum to 1.

    Centres of pixels are aligned as in PyTorch (align_corners false): positions beyond the ends take the end's value.
    """
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.minimum(position.astype(int), max(source - 2, 0))
    matrix, rows = np.zeros((target, source), np.float32), np.arange(target)
    np.add.at(matrix, (rows, low), 1 - (position - low))
    np.add.at(matrix, (rows, np.minimum(low + 1, source - 1)), position - low)
    return matrix


@jax.custom_vjp
def blur(x: Array) -> Array:
    """Separable [1, 2, 1] / 4 filter over h and w of x [n, h, w, c], zeros outside.

    The filter is symmetric, so it equals its transpose and gradients of any order are this function again.
    """
    return _smooth(_smooth(x, 1), 2)


def _smooth(x: Array, axis: int) -> Array:
    """[1, 2, 1] / 4 along one axis."""
    pad = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
    padded = jnp.pad(x, pad)
    before = jax.lax.slice_in_dim(padded, 0, x.shape[axis], axis=axis)
    after = jax.lax.slice_in_dim(padded, 2, x.shape[axis] + 2, axis=axis)
    return 0.5 * x + 0.25 * (before + after)


blur.defvjp(lambda x: (blur(x), None), lambda _, dy: (blur(dy),))


def fade(previous: Array, current: Array, alpha: Array) -> Array:
    """`(1 - alpha) * previous + alpha * current`: exact at alpha 0 and 1."""
    return (1.0 - alpha) * previous + alpha * current
