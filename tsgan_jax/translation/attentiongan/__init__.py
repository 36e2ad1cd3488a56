"""AttentionGAN v2 (Tang et al. 2021): CycleGAN with a generator that weighs what it paints against its input."""

from tsgan_jax.translation.attentiongan.translator import attentiongan

__all__ = ["attentiongan"]
