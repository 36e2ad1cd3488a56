"""Straight-through Gumbel softmax (Jang et al. 2017; SB-GAN's way of showing a label map to a critic)."""

import math

import jax
import jax.numpy as jnp

from tsgan_jax.nn.resample import fade, upsample
from tsgan_jax.types import Array, Key

EPSILON = 1e-10
"""Added to a share before its logarithm: a class of share 0 is then drawn about once in 10^10 pixels."""


def sample_one_hot(
    key: Key, shares: Array, temperature: float = 1.0, scale: Array | float = 1.0, alpha: Array | None = None
) -> Array:
    """A class drawn at each pixel of shares [..., k] (which sum to 1 over k), as an exact one-hot float32.

    Forward: the hard sample.  Backward: the gradient of the Gumbel-softmax sample at `temperature`.
    scale: of the noise; 1 draws from the shares, 0 takes the largest.
    alpha: of a fade, for shares [n, h, w, k]: from one draw for 2x2 pixels at 0, as blocks of one class, to one each.
    """
    noise = _gumbel(key, shares.shape)
    if alpha is not None:
        n, h, w, k = shares.shape
        noise = fade(upsample(_gumbel(jax.random.fold_in(key, 1), (n, h // 2, w // 2, k))), noise, alpha)
    logits = jnp.log(shares + EPSILON) + scale * noise
    soft = jax.nn.softmax(logits / temperature, axis=-1)
    hard = jax.nn.one_hot(jnp.argmax(logits, axis=-1), shares.shape[-1], dtype=shares.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))


def _gumbel(key: Key, shape: tuple[int, ...]) -> Array:
    """Gumbel noise, drawn flat: XLA takes ten times as long to compile a draw of four axes."""
    return jax.random.gumbel(key, (math.prod(shape),)).reshape(shape)
