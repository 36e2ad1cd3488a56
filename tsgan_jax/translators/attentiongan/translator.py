"""AttentionGAN as a Translator: its training is CycleGAN's."""

import jax.numpy as jnp

from tsgan_jax.config import AttentionGANConfig
from tsgan_jax.translators.adversarial import Adversarial
from tsgan_jax.translators.api import Translator
from tsgan_jax.translators.attentiongan.generator import Generator
from tsgan_jax.translators.cycle import cycle_translator


def attentiongan(config: AttentionGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """AttentionGAN v2 on unpaired masks and CT.

    images_per_epoch: real training images, which turns images seen into epochs of the schedule.
    Raises UserError where critic_layers leaves no patch.
    """
    dtype = jnp.dtype(config.precision)
    generator = Generator(config.contents, config.generator_width, config.residual_blocks, dtype)
    return cycle_translator(config, generator, images_per_epoch)
