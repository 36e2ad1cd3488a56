"""Straight-through Gumbel softmax (Jang et al. 2017; SB-GAN's way of showing a label map to a critic)."""

import math

import jax
import jax.numpy as jnp

from tsgan_jax.types import Array, Key

EPSILON = 1e-10
"""Added to a share before its logarithm: a class of share 0 is then drawn about once in 10^10 pixels."""


def sample_one_hot(key: Key, shares: Array, temperature: float = 1.0) -> Array:
    """A class drawn at each pixel of shares [..., k] (which sum to 1 over k), as an exact one-hot float32.

    Forward: the hard sample.  Backward: the gradient of the Gumbel-softmax sample at `temperature`.
    """
    logits = jnp.log(shares + EPSILON) + _gumbel(key, shares.shape)
    soft = jax.nn.softmax(logits / temperature, axis=-1)
    hard = jax.nn.one_hot(jnp.argmax(logits, axis=-1), shares.shape[-1], dtype=shares.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))


def _gumbel(key: Key, shape: tuple[int, ...]) -> Array:
    """Gumbel noise, drawn flat: XLA takes ten times as long to compile a draw of four axes."""
    return jax.random.gumbel(key, (math.prod(shape),)).reshape(shape)
