"""How a mask enters a network."""

import jax

from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.types import Array


def one_hot(mask: Array) -> Array:
    """Class codes [n, h, w] -> float32 [n, h, w, 6] of 0 and 1 (A23)."""
    return jax.nn.one_hot(mask, NUM_CLASSES)
