"""AttentionGAN v2 (Tang et al. 2021): CycleGAN with a generator that blends generated images and its input by attention
maps."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.config import AttentionGANConfig
from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.resnet import Decoder, Encoder, reflect
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import Adversarial
from tsgan_jax.translation.cyclegan import cycle_translator
from tsgan_jax.types import Array


class Generator(nn.Module):
    """The sum of generated images and the input, each weighted by its attention map."""

    contents: int = 9
    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    @nn.compact
    def layers(self, image: Array) -> tuple[Array, Array]:
        """image: [n, h, w, 1] in [-1, 1], h and w multiples of 4.  Returns the terms of `__call__`, both float32
        [n, h, w, contents + 1]: the generated images, then the input; attention in (0, 1), which sums to 1 in a pixel.
        """
        x = Encoder(self.width, self.blocks, self.dtype, name="encoder")(image)
        content = reflect(Decoder(self.width, self.dtype, name="content_decoder")(x), 3)
        content = Conv(self.contents, 7, stride=1, padding=0, dtype=self.dtype, name="content")(content)
        maps = Decoder(self.width, self.dtype, name="attention_decoder")(x)
        maps = Conv(self.contents + 1, 1, stride=1, padding=0, dtype=self.dtype, name="attention")(maps)
        images = jnp.concatenate([jnp.tanh(content.astype(jnp.float32)), image], axis=-1)
        return images, jax.nn.softmax(maps.astype(jnp.float32))

    def __call__(self, image: Array) -> Array:
        """image: as in `layers`.  Returns float32 [n, h, w, 1] in [-1, 1]."""
        images, attention = self.layers(image)
        return (images * attention).sum(axis=-1, keepdims=True)


def attentiongan(config: AttentionGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """AttentionGAN v2 on unpaired masks and CT; see `cycle_translator`."""
    dtype = jnp.dtype(config.precision)
    generator = Generator(config.contents, config.generator_width, config.residual_blocks, dtype)
    return cycle_translator(config, generator, images_per_epoch)
