"""What every method of stage 2 is trained with: Adam and pix2pix's schedule of its learning rate (section 4.1)."""

import jax.numpy as jnp
import optax

from tsgan_jax.types import Array


def learning_rate(base: float, epochs: int, decay_start: int, images_per_epoch: int, images_seen: Array) -> Array:
    """pix2pix's schedule: constant for `decay_start` epochs, then falling by equal steps towards 0.

    Epoch e (from 0) has the factor 1 - max(0, e + 1 - decay_start) / (epochs - decay_start + 1), which is
    (epochs - e) / (epochs - decay_start + 1) up to 1: with 100 + 100 epochs, 1 up to epoch 99, 100/101 at
    epoch 100, 1/101 at epoch 199.
    """
    left = epochs - images_seen // images_per_epoch
    return base * jnp.clip(left / (epochs - decay_start + 1), 0.0, 1.0)


def adam(rate: Array | float, betas: tuple[float, float]) -> optax.GradientTransformation:
    """Adam whose learning rate is a traced value; its state holds the moments only."""
    return optax.chain(optax.scale_by_adam(*betas, eps=1e-8), optax.scale(-rate))
