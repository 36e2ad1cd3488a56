"""GauGAN (Park et al. 2019): a generator with norms modulated by the mask, and critics at two scales."""

from tsgan_jax.translation.gaugan.translator import gaugan

__all__ = ["gaugan"]
