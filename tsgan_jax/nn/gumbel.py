"""Straight-through Gumbel softmax (Jang et al. 2017; SB-GAN's way of showing a label map to a critic)."""

import jax
import jax.numpy as jnp

from tsgan_jax.types import Array, Key

EPSILON = 1e-10
"""Added to a share before its logarithm: a class of share 0 is then drawn about once in 10^10 pixels."""


def sample_one_hot(key: Key, shares: Array, temperature: float = 1.0, scale: Array | float = 1.0) -> Array:
    """A class drawn at each pixel of shares [..., k] (which sum to 1 over k), as an exact one-hot float32.

    Forward: the hard sample.  Backward: the gradient of the Gumbel-softmax sample at `temperature`.
    scale: of the noise; 1 draws from the shares, 0 takes the largest.
    The noise is drawn flat: XLA takes ten times as long to compile a draw of four axes.
    """
    gumbel = jax.random.gumbel(key, (shares.size,), shares.dtype).reshape(shares.shape)
    logits = jnp.log(shares + EPSILON) + scale * gumbel
    soft = jax.nn.softmax(logits / temperature, axis=-1)
    hard = jax.nn.one_hot(jnp.argmax(logits, axis=-1), shares.shape[-1], dtype=shares.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))
