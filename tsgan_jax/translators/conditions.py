"""How a mask enters a network."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, NUM_CLASSES, RIGHT_LUNG, TRACHEA
from tsgan_jax.types import Array

GREY = {BACKGROUND: -1.0, TRACHEA: -0.9, LEFT_LUNG: -0.8, RIGHT_LUNG: -0.7, NODULE: 0.1, BODY: 0.4}
"""The grey value of each class: near its CT's median in the window of [-1000, 400] HU, and no two alike."""

GREY_BY_CODE = np.array([GREY[code] for code in range(NUM_CLASSES)], np.float32)


def one_hot(mask: Array) -> Array:
    """Class codes [n, h, w] -> float32 [n, h, w, 6] of 0 and 1 (A23)."""
    return jax.nn.one_hot(mask, NUM_CLASSES)


def scalar(mask: Array) -> Array:
    """Class codes [n, h, w] as one channel, float32 [n, h, w, 1], as grey as the CT of the class is (A23).

    In the order of the codes lungs would be brighter than the body, and what learns from unpaired images, which nothing
    tells which tissue is which, exchanges the two.  With levels far from the CT's, AttentionGAN, which passes its input
    on where its maps say so, shows them.
    """
    return jnp.asarray(GREY_BY_CODE)[mask][..., None]
