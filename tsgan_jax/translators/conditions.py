"""How a mask enters a network."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, NUM_CLASSES, RIGHT_LUNG, TRACHEA
from tsgan_jax.types import Array

BY_DENSITY = np.linspace(-1.0, 1.0, NUM_CLASSES, dtype=np.float32)[
    np.argsort([BACKGROUND, TRACHEA, LEFT_LUNG, RIGHT_LUNG, NODULE, BODY])
]
"""The grey value of each class code."""


def one_hot(mask: Array) -> Array:
    """Class codes [n, h, w] -> float32 [n, h, w, 6] of 0 and 1 (A23)."""
    return jax.nn.one_hot(mask, NUM_CLASSES)


def scalar(mask: Array) -> Array:
    """Class codes [n, h, w] as one channel, float32 [n, h, w, 1]: -1 to 1 in steps of 0.4, in the order of HU (A23).

    Background, trachea, left lung, right lung, nodule, body.  In the order of the codes lungs would be brighter than
    the body, and what learns from unpaired images, which nothing tells which tissue is which, exchanges the two.
    """
    return jnp.asarray(BY_DENSITY)[mask][..., None]
