"""How a mask enters a network."""

import jax
import jax.numpy as jnp

from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.types import Array


def one_hot(mask: Array) -> Array:
    """Class codes [n, h, w] -> float32 [n, h, w, 6] of 0 and 1 (A23)."""
    return jax.nn.one_hot(mask, NUM_CLASSES)


def scalar(mask: Array) -> Array:
    """Class codes [n, h, w] as one channel, float32 [n, h, w, 1]: 0 is -1, 5 is 1, in equal steps of 0.4 (A23)."""
    return (mask.astype(jnp.float32) * (2 / (NUM_CLASSES - 1)) - 1)[..., None]
