"""AttentionGAN v2 (Tang et al. 2021): CycleGAN with a generator that blends generated images and its input by attention
maps."""

from tsgan_jax.translation.attentiongan.translator import attentiongan

__all__ = ["attentiongan"]
