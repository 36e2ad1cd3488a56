"""Common parts of the stage 2 methods: Adam, pix2pix's schedule of its rate (section 4.1), masks as network input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, NUM_CLASSES, RIGHT_LUNG, TRACHEA
from tsgan_jax.types import Array


def learning_rate(base: float, epochs: int, decay_start: int, images_per_epoch: int, images_seen: Array) -> Array:
    """pix2pix's schedule: constant for `decay_start` epochs, then decreasing linearly towards 0.

    Epoch e (from 0) has the factor 1 - max(0, e + 1 - decay_start) / (epochs - decay_start + 1), which is
    (epochs - e) / (epochs - decay_start + 1) up to 1: with 100 + 100 epochs, 1 up to epoch 99, 100/101 at
    epoch 100, 1/101 at epoch 199.
    """
    left = epochs - images_seen // images_per_epoch
    return base * jnp.clip(left / (epochs - decay_start + 1), 0.0, 1.0)


def adam(rate: Array | float, betas: tuple[float, float]) -> optax.GradientTransformation:
    """Adam whose learning rate is a traced value; its state has only the moments."""
    return optax.chain(optax.scale_by_adam(*betas, eps=1e-8), optax.scale(-rate))


GREY = {BACKGROUND: -1.0, TRACHEA: -0.9, LEFT_LUNG: -0.8, RIGHT_LUNG: -0.7, NODULE: 0.1, BODY: 0.4}
"""The grey value of each class: near the median of its CT in the window [-1000, 400] HU; all values differ."""

GREY_BY_CODE = np.array([GREY[code] for code in range(NUM_CLASSES)], np.float32)


def one_hot(mask: Array) -> Array:
    """Class codes [n, h, w] -> float32 [n, h, w, 6] of 0 and 1 (A23)."""
    return jax.nn.one_hot(mask, NUM_CLASSES)


def scalar(mask: Array) -> Array:
    """Class codes [n, h, w] as one channel, float32 [n, h, w, 1], with the grey level of each class's CT (A23).

    The codes themselves would make lungs brighter than the body, and methods that learn from unpaired images then
    exchange the two.  The levels are close to the CT's because AttentionGAN copies its input where its maps choose it.
    """
    return jnp.asarray(GREY_BY_CODE)[mask][..., None]
