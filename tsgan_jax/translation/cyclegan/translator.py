"""CycleGAN: its generator, and the method as a Translator."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from tsgan_jax.config import CycleGANConfig
from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.resnet import Decoder, Encoder, reflect
from tsgan_jax.translation.adversarial import Adversarial
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.cycle import cycle_translator
from tsgan_jax.types import Array


class Generator(nn.Module):
    """c7s1-64, d128, d256, nine residual blocks, u128, u64, c7s1-1, tanh, at a width of 64."""

    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """image: [n, h, w, 1] in [-1, 1], h and w multiples of 4.  Returns float32 [n, h, w, 1] in (-1, 1)."""
        x = Encoder(self.width, self.blocks, self.dtype, name="encoder")(image)
        x = Decoder(self.width, self.dtype, name="decoder")(x)
        x = Conv(1, 7, stride=1, padding=0, dtype=self.dtype, name="last")(reflect(x, 3))
        return jnp.tanh(x.astype(jnp.float32))


def cyclegan(config: CycleGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """CycleGAN on unpaired masks and CT.

    images_per_epoch: real training images, which turns images seen into epochs of the schedule.
    Raises UserError when critic_layers leaves no patch.
    """
    generator = Generator(config.generator_width, config.residual_blocks, jnp.dtype(config.precision))
    return cycle_translator(config, generator, images_per_epoch)
