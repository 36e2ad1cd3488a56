"""How a label map becomes what stage 1's networks see, and how their output becomes a label map again.

The only place in stage 1 that knows classes: mapping, synthesis, discriminator, growth and the training step work on
maps of `channels` numbers a pixel.  Two representations:

one_hot    six class shares, softmax head, hard samples before the critic (A23; SB-GAN, Azadi et al. 2019): the paper
distance   five truncated signed distances (distance.py): ours
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax import labels
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks import distance
from tsgan_jax.nn.stylegan import sample_one_hot
from tsgan_jax.types import Array, Key


class Representation(NamedTuple):
    """Label maps as maps of real numbers.

    channels: numbers a pixel.  mirror: their order in a left-right mirrored map, so that a left lung stays left.
    encode: masks uint8 [n, h, w] to maps float32 [n, h, w, channels]; averages over 2x2 pixels of it, as StyleGAN pools
        images, are the maps of lower resolutions.
    activate: what a 1x1 head gives, [..., channels], to values in the range of `encode`; one function object, because
        compiled code is kept by it.
    critic_input: key and maps [n, r, r, channels] to what the critic sees, real and generated alike; without a key for
        maps that are exactly `encode`'s, of which there is nothing to draw.
    decode: maps [n, r, r, channels] of any resolution to masks uint8 [n, size, size].
    """

    channels: int
    encode: Callable[[np.ndarray], np.ndarray]
    activate: Callable[[Array], Array]
    critic_input: Callable[[Key | None, Array], Array]
    decode: Callable[[Array, int], Array]
    mirror: np.ndarray


def representation_of(config: MasksConfig) -> Representation:
    """The representation that a config names."""
    if config.representation == "distance":
        return Representation(
            channels=len(distance.CHANNELS),
            encode=distance.encode,
            activate=jnp.tanh,
            critic_input=lambda key, maps: maps,
            decode=distance.decode,
            mirror=distance.MIRROR,
        )

    def critic_input(key: Key | None, shares: Array) -> Array:
        """Shares to [-1, 1], each pixel's class drawn (straight through) unless `discretisation` is "none"."""
        if config.discretisation == "gumbel" and key is not None:
            shares = sample_one_hot(key, shares, config.temperature)
        return 2.0 * shares - 1.0

    return Representation(
        channels=labels.NUM_CLASSES,
        encode=lambda masks: np.eye(labels.NUM_CLASSES, dtype=np.float32)[masks],
        activate=_softmax,
        critic_input=critic_input,
        decode=_likeliest,
        mirror=labels.MIRROR,
    )


def _softmax(logits: Array) -> Array:
    return jax.nn.softmax(logits, axis=-1)


def _likeliest(shares: Array, size: int) -> Array:
    """The class of the largest share at each pixel of [n, r, r, 6], pixels doubled up to [n, size, size]."""
    codes = shares.argmax(axis=-1).astype(jnp.uint8)
    factor = size // codes.shape[1]
    return codes.repeat(factor, axis=1).repeat(factor, axis=2)
