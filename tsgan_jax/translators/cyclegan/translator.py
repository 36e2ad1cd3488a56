"""CycleGAN as a Translator."""

import jax.numpy as jnp

from tsgan_jax.config import CycleGANConfig
from tsgan_jax.translators.adversarial import Adversarial
from tsgan_jax.translators.api import Translator
from tsgan_jax.translators.cycle import cycle_translator
from tsgan_jax.translators.cyclegan.generator import Generator


def cyclegan(config: CycleGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """CycleGAN on unpaired masks and CT.

    images_per_epoch: real training images, which turns images seen into epochs of the schedule.
    Raises UserError where critic_layers leaves no patch.
    """
    generator = Generator(config.generator_width, config.residual_blocks, jnp.dtype(config.precision))
    return cycle_translator(config, generator, images_per_epoch)
